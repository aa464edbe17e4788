#!/bin/bash
# Runs in the node: inside.sh CACHE WORK. Gives its containerd the images, starts the S3 service, and runs the tests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=$1 work=$2
python=$project/.venv/bin/python

take() { # NAME: a podman image, unless the node has this very one
	local id
	id=$(podman image inspect --format '{{.Id}}' "$1")
	[ "$(cat "$cache/containerd/$(echo "$1" | tr '/:' '__').stamp" 2>/dev/null)" = "$id" ] && return
	podman save "$1" | ctr --address "$work/containerd.sock" --namespace k8s.io images import - >/dev/null
	echo "$id" >"$cache/containerd/$(echo "$1" | tr '/:' '__').stamp"
}
small() { # NAME PROGRAM: an image that is one program
	local folder
	folder=$(mktemp -d "$work/image.XXXXXX")
	mkdir "$folder/tmp"
	chmod 1777 "$folder/tmp"
	cp "$cache/bin/$2" "$folder/program"
	tar -C "$folder" --sort=name --mtime=@0 -c . | podman import --quiet --change 'ENTRYPOINT ["/program"]' - "$1" >/dev/null
	take "$1"
}
begun=$SECONDS
small localhost/pause:1 pause
podman tag "localhost/$KUBERNETES_IMAGE" "docker.io/library/$KUBERNETES_IMAGE"
take "docker.io/library/$KUBERNETES_IMAGE"
echo "Images are in the node after $((SECONDS - begun)) s"

PYTHONPATH=$cache/s3 S3_IGNORE_SUBDOMAIN_BUCKETNAME=true "$python" -m moto.server -H 10.244.0.1 -p 9000 >"$work/log/s3.log" 2>&1 &
KUBERNETES_WORK=$work KUBERNETES_TFJOBS=$cache/tfjobs.yaml "$python" -m pytest -n 0 -s "$here" "${@:3}"
