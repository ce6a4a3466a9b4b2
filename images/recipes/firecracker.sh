#!/bin/sh
# Runs a Hawser image in Firecracker.
# firecracker.sh IMAGE RUN [FIRECRACKER OPTIONS]: IMAGE is a folder of `npm run image -- --vmlinux`,
# since Firecracker takes no bzImage. Firecracker 1.8 or later, which describes its devices by ACPI.
#
# Then: hawser exec firecracker:RUN/hawser.vsock:5000 -- uname -a
# The paths in firecracker.json are relative to IMAGE; the socket comes to RUN.
# Made by `npm run recipes` from images/recipes.ts: change it there.
set -eu
image=$1 run=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
image=$(cd "$image" && pwd) run=$(cd "$run" && pwd)
sed -e "s|\"vmlinux\"|\"$image/vmlinux\"|" -e "s|\"initramfs.cpio\"|\"$image/initramfs.cpio\"|" \
  -e "s|\"hawser.vsock\"|\"$run/hawser.vsock\"|" "$here/firecracker.json" > "$run/firecracker.json"
exec firecracker \
  --no-api --config-file "$run/firecracker.json" \
  "$@"
