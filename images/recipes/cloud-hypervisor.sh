#!/bin/sh
# Runs a Hawser image in Cloud Hypervisor.
# cloud-hypervisor.sh IMAGE RUN [OPTIONS]: IMAGE is a folder of `npm run image -- --vmlinux`,
# whose kernel is entered by PVH.
#
# Then: hawser exec firecracker:RUN/hawser.vsock:5000 -- uname -a
# (Cloud Hypervisor speaks the same protocol on its vsock socket.) The console is in RUN/console.log.
# Made by `npm run recipes` from images/recipes.ts: change it there.
set -eu
image=$1 run=$2
shift 2
exec cloud-hypervisor \
  --kernel "$image/vmlinux" --initramfs "$image/initramfs.cpio" \
  --cmdline "console=ttyS0 quiet panic=-1 hawser.listen=vsock:5000" \
  --cpus boot=1 --memory size=512M \
  --serial "file=$run/console.log" --console off \
  --vsock "cid=3,socket=$run/hawser.vsock" \
  "$@"
