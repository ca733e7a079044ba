#!/usr/bin/env bash
# A bento to a container image, run and measured, on Debian without a Docker engine (as root):
#   bash scripts/containerize.sh lit_rec:TAG onnx
# With Docker, `bentoml containerize TAG` alone makes the image. Tools come by apt; the base image by debootstrap where no
# registry can be reached. Where PyTorch's own index cannot be reached either, WHEELS names a folder with its wheel, and
# the bento is packaged with LIT_REC_TORCH_SOURCE="--find-links $WHEELS".
set -euo pipefail
cd "$(dirname "$0")/.."
tag=$1
name=$2  # of the row in results/container.json
image=lit_rec-$name
base=docker.io/library/python:3.11-slim  # what FROM python:3.11-slim is, in full
wheels=${WHEELS:-/opt/wheels}

if ! command -v buildah podman runc debootstrap > /dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends buildah podman runc iptables netavark aardvark-dns debootstrap
fi

if ! podman image exists "$base" && ! podman pull -q "$base"; then
  echo "No registry: $base is made from Debian's packages"
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  # No recommended packages: pip's would bring a compiler.
  debootstrap --variant=minbase --include=python3.11-minimal,python3.11-venv,python3-pip,ca-certificates,libgomp1 \
    bookworm "$root" > "$root.log" || { tail -n 20 "$root.log" >&2; exit 1; }
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  ln -sf python3 "$root/usr/bin/python"
  rm -rf "$root"/usr/lib/python3*/EXTERNALLY-MANAGED "$root"/usr/share/{doc,man,info,locale,lintian} \
    "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/var/log/* "$root"/usr/lib/python3*/lib2to3 \
    "$root"/usr/share/python-wheels/*.pyc
  mkdir -p "$root"/var/cache/apt/archives/partial "$root"/var/lib/apt/lists/partial
  find "$root" -type d -name __pycache__ -prune -exec rm -rf {} +
  tar -C "$root" -c . | podman import -q --change "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" - "$base"
fi

options=(--opt squash)  # one layer: what is taken away is gone
[ -d "$wheels" ] && options+=(--opt "volume=$wheels:$wheels:ro")
BUILDAH_ISOLATION=chroot .venv/bin/bentoml containerize "$tag" --backend buildah -t "$image" "${options[@]}"
.venv/bin/python scripts/container_check.py "$image" --base "$base" --name "$name" --json results/container.json
