#!/bin/bash
# Builds an image without packages with podman, as root, for pods that mount this checkout and its .venv:
# image.sh CACHE TAG. The base image of kubeflow/Dockerfile is made by debootstrap, with this machine's Python.
set -euo pipefail
cache=$1 tag=$2
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
export CONTAINERS_CONF=$here/containers.conf
certificates=/etc/ssl/certs/ca-certificates.crt # this machine's: a proxy's may be among them

argument() { sed -n "s/^ARG $1=//p" "$project/kubeflow/Dockerfile"; }
python_image=docker.io/library/$(argument PYTHON_IMAGE)
python=$(command -v python3.10 || ls -d ~/.pyenv/versions/3.10.*/bin/python | tail -n 1)
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')

if ! podman image exists "$python_image"; then
	root=$cache/python
	rm -rf "$root"
	debootstrap --variant=minbase bookworm "$root"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	chroot "$root" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		ca-certificates libbz2-1.0 libffi8 liblzma5 libreadline8 libsqlite3-0 libssl3 zlib1g && apt-get clean'
	cp "$certificates" "$root$certificates"
	cp -a "$prefix"/{bin,lib,include} "$root/usr/local/"
	chroot "$root" sh -c 'ln -sf python3.10 /usr/local/bin/python && ldconfig'
	printf '#!/bin/sh\nexec python -m pip "$@"\n' >"$root/usr/local/bin/pip"
	tar -C "$root" -c . | podman import --change "ENV SSL_CERT_FILE=$certificates" --change "ENV PIP_CERT=$certificates" - "$python_image"
	rm -rf "$root"
fi

# The environment's python is a link to this machine's, whose files the image has in /usr/local.
podman build --network host --pull=never --isolation oci --tag "$tag" --file - "$here/node" <<-END
	FROM $python_image
	RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && groupadd --gid 10001 density \
	    && useradd --uid 10001 --gid 10001 --create-home density && mkdir -p $(dirname "$prefix") \
	    && ln -s /usr/local $prefix && chmod a+x /root
	ENV PATH=$(readlink -f "$project/.venv")/bin:\$PATH PYTHONPATH=$project TF_CPP_MIN_LOG_LEVEL=2
	WORKDIR /home/density
	USER 10001:10001
END
