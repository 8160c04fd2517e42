#!/usr/bin/env bash
# Build a private arm64 root in $1: Debian's python3.11, numpy and ONNX Runtime. Nothing of this system is changed.
# PYTHON names a Python with pip. `$1/python` runs it under qemu.
set -euo pipefail
root=$(realpath -m "$1")
lists="$root.apt"
mkdir -p "$lists"/{state/lists/partial,cache/archives/partial} "$root/site"
: >"$lists/status"
apt=(apt-get -qq -o Dir::State="$lists/state" -o Dir::State::status="$lists/status" -o Dir::Cache="$lists/cache"
  -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Install-Recommends=false -o Debug::NoLocking=1)
"${apt[@]}" update
"${apt[@]}" install -y --download-only python3.11-minimal libpython3.11-stdlib libstdc++6 >/dev/null
for package in "$lists"/cache/archives/*.deb; do dpkg -x "$package" "$root"; done
# ONNX Runtime 1.31 does not start under qemu's user mode; 1.23.2 does.
"${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
  --python-version 3.11 --implementation cp --abi cp311 --dest "$lists/wheels" numpy==2.2.6 onnxruntime==1.23.2
for wheel in "$lists"/wheels/*.whl; do "${PYTHON:-python3}" -m zipfile -e "$wheel" "$root/site"; done
rm -rf "$lists"
libraries="$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu"
cat >"$root/python" <<RUN
#!/bin/sh
exec qemu-aarch64-static -L "$root" -E LD_LIBRARY_PATH="$libraries" -E PYTHONHOME="$root/usr" \\
  -E PYTHONPATH="$root/site" "$root/usr/bin/python3.11" "\$@"
RUN
chmod +x "$root/python"
