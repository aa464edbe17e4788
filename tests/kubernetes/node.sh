#!/bin/bash
# Runs a command beside a real Kubernetes of one node, as root:  node.sh CACHE WORK COMMAND...
# Network, mounts, processes and cgroups are namespaces of their own: all pods end with the command, and nothing of this
# machine's network is used. The command's KUBECONFIG is the administrator's; kubectl is on its path.
# Images stay in CACHE/containerd. WORK is a folder for the rest, with the logs of all programs in WORK/log.
set -euo pipefail
if [ "${NODE_INSIDE:-}" != yes ]; then
	NODE_INSIDE=yes exec unshare --net --mount --pid --cgroup --uts --fork --kill-child --mount-proc "$(readlink -f "$0")" "$@"
fi
here=$(cd "$(dirname "$0")" && pwd)
cache=$(readlink -f "$1") bin=$(readlink -f "$1")/bin work=$(readlink -f "$2")
shift 2
mkdir -p "$work"/{log,certs,cni,hosts.d} "$cache/containerd"

hostname kube-node
ip link set lo up
# The cgroup namespace's own view, where this machine has cgroup v1, so that all pods stay under this session's cgroups.
for group in cpu cpuacct cpuset memory devices freezer blkio pids; do
	mountpoint -q "/sys/fs/cgroup/$group" || continue
	umount "/sys/fs/cgroup/$group" && mount -t cgroup -o "$group" cgroup "/sys/fs/cgroup/$group"
done
if mountpoint -q /sys/fs/cgroup/systemd; then
	umount /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
mount --make-rshared /
# The bridge is there before the first pod, because everything listens on it; the pair of interfaces keeps it up.
ip link add kube0 type bridge
ip address add 10.244.0.1/24 dev kube0
ip link set kube0 up
ip link add kubeup type veth peer name kubeupb
ip link set kubeup master kube0
ip link set kubeup up
ip link set kubeupb up
ip route add default dev kube0
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true
printf '127.0.0.1 localhost\n10.244.0.1 kube-node\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts

start() {
	local name=$1
	shift
	"$@" >"$work/log/$name.log" 2>&1 </dev/null &
}
until_true() { # NAME COMMAND...: for two minutes
	local name=$1
	shift
	for _ in $(seq 240); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.5
	done
	echo "The node did not start: no $name after two minutes. The logs are in $work/log." >&2
	exit 1
}
fill() { sed -e "s|@WORK@|$work|g" -e "s|@CACHE@|$cache|g" "$here/node/$1" >"$work/$1"; }

for file in kubeconfig containerd.toml kubelet.yaml; do fill "$file"; done
fill 10-kube.conflist && mv "$work/10-kube.conflist" "$work/cni/"
export KUBECONFIG=$work/kubeconfig PATH=$bin:$PATH
openssl genrsa -out "$work/certs/sa.key" 2048 2>/dev/null
openssl rsa -in "$work/certs/sa.key" -pubout -out "$work/certs/sa.pub" 2>/dev/null
echo 'admin-token,admin,admin,"system:masters"' >"$work/tokens.csv"

start etcd etcd --data-dir "$work/etcd" --unsafe-no-fsync \
	--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=10.96.0.0/16 \
	--bind-address=10.244.0.1 --advertise-address=10.244.0.1 --secure-port=6443 --cert-dir="$work/certs" \
	--token-auth-file="$work/tokens.csv" --authorization-mode=RBAC --allow-privileged=true \
	--service-account-key-file="$work/certs/sa.pub" --service-account-signing-key-file="$work/certs/sa.key" \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local --kubelet-preferred-address-types=InternalIP
until_true "API server" kubectl get --raw /readyz
start controllers kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false \
	--service-account-private-key-file="$work/certs/sa.key" --root-ca-file="$work/certs/apiserver.crt"
start scheduler kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false
start containerd containerd --config "$work/containerd.toml"
until_true containerd ctr --address "$work/containerd.sock" version
start kubelet kubelet --config="$work/kubelet.yaml" --kubeconfig="$KUBECONFIG" --root-dir="$work/kubelet" \
	--cert-dir="$work/certs" --hostname-override=kube-node --node-ip=10.244.0.1
# Zeros: a container may not change the limits of the machine's connection tracking.
start proxy kube-proxy --kubeconfig="$KUBECONFIG" --proxy-mode=iptables --hostname-override=kube-node \
	--cluster-cidr=10.244.0.0/24 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
# In the place of CoreDNS: names of services and of their endpoints.
start names python3 "$here/names.py" "$work/hosts.d/services"
start dnsmasq dnsmasq --keep-in-foreground --no-resolv --no-hosts --hostsdir="$work/hosts.d" --bind-interfaces \
	--listen-address=10.244.0.1 --user=root --pid-file= --host-record=kubernetes.default.svc.cluster.local,10.96.0.1
ready() { kubectl get nodes | grep -q ' Ready'; }
until_true "ready node" ready
echo "Kubernetes $(kubectl version -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["serverVersion"]["gitVersion"])'): node ready after $SECONDS s"
"$@"
