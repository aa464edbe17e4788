#!/bin/bash
# make test-kubernetes: run.sh CACHE. Installs and builds what is missing, starts a Kubernetes of one node, and runs the
# tests beside it. Says in one sentence why, and ends well, where this machine cannot.
# Pods mount this checkout and its .venv. kubeflow/Dockerfile is not built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
mkdir -p "$1/bin"
cache=$(readlink -f "$1") bin=$(readlink -f "$1")/bin
export CONTAINERS_CONF=$here/containers.conf PATH=$bin:$PATH

skip() {
	echo "Skipped: $1"
	exit 0
}
[ "$(id -u)" = 0 ] || skip "a node's namespaces and cgroups need root."
command -v go >/dev/null || skip "Kubernetes is built with Go (https://go.dev), which is not on the path."
unshare --net --mount --pid --cgroup --uts --fork --mount-proc true 2>/dev/null || skip "namespaces are not allowed here."

packages="podman buildah runc containerd containernetworking-plugins iptables iproute2 debootstrap dnsmasq-base conntrack"
if ! dpkg --status $packages >/dev/null 2>&1; then
	command -v apt-get >/dev/null || skip "podman and containerd are installed by apt, which is not here."
	# dnsmasq-base and containerd bring no service that would start here.
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >"$cache/apt.log"
fi

build() { # FOLDER TARGET PACKAGE...: a program, or several into a folder, unless they are of the same sources already
	local folder=$here/programs/$1 stamp
	stamp=$(find "$folder" -type f | sort | xargs cat | sha256sum)
	[ "$(cat "$cache/$1.stamp" 2>/dev/null)" != "$stamp" ] || return 0
	echo "Building $1 from the Go module proxy"
	(cd "$folder" && shift && go build -trimpath -ldflags "$flags" -o "$@")
	echo "$stamp" >"$cache/$1.stamp"
}
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
version=$(sed -n 's|.*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$here/programs/kubernetes/go.mod" | head -n 1)
flags="-s -w -X k8s.io/component-base/version.gitVersion=$version"
build kubernetes "$bin/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl,kube-proxy}
flags="-s -w"
build etcd "$bin/etcd" go.etcd.io/etcd/server/v3
build pause "$bin/pause" .
# What a TFJob is: the operator's own definition, without the operator.
if [ ! -e "$cache/tfjobs.yaml" ]; then
	folder=$(cd "$here/programs/training-operator" && go mod download -json github.com/kubeflow/training-operator | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
	install -m 644 "$folder/manifests/base/crds/kubeflow.org_tfjobs.yaml" "$cache/tfjobs.yaml"
fi

image=breast-density:checkout
KUBERNETES_MOUNTED=$(readlink -f "$project/.venv"):$project
export KUBERNETES_MOUNTED
"$here/image.sh" "$cache" "$image" >"$cache/image.log" 2>&1 || { tail -n 30 "$cache/image.log" >&2; exit 1; }
if [ ! -d "$cache/s3" ]; then
	"$project/.uv/bin/uv" pip install --quiet --python "$project/.venv/bin/python" --target "$cache/s3" --no-deps \
		--require-hashes -r "$here/s3-requirements.txt"
fi

work=$(mktemp -d "$cache/node.XXXXXX")
trap 'rm -rf "$work"' EXIT
export KUBERNETES_IMAGE=$image
cd "$project"
PYTHONPATH=$project "$here/node.sh" "$cache" "$work" "$here/inside.sh" "$cache" "$work" "${@:2}"
