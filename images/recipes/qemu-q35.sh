#!/bin/sh
# Runs a Hawser image in QEMU, machine q35.
# qemu-q35.sh IMAGE RUN [QEMU OPTIONS]: IMAGE is a folder of `npm run image`, RUN one for its socket and log.
#
# Then: hawser exec unix:RUN/agent.sock -- uname -a
# The console is in RUN/console.log. ACCEL=kvm where there is KVM.
# q35: a PC, with PCI and up to four serial ports.
# Made by `npm run recipes` from images/recipes.ts: change it there.
set -eu
image=$1 run=$2
shift 2
exec qemu-system-x86_64 \
  -accel "${ACCEL:-tcg,thread=multi}" -cpu max \
  -M q35 -m 512 -smp 1 \
  -nodefaults -no-user-config -no-reboot -nic none -display none \
  -serial "file:$run/console.log" \
  -device virtio-serial-pci \
  -chardev "socket,id=agent,path=$run/agent.sock,server=on,wait=off" \
  -device virtserialport,chardev=agent,name=agent \
  -kernel "$image/vmlinuz" -initrd "$image/initramfs.cpio" \
  -append "console=ttyS0 reboot=t quiet panic=-1 hawser.listen=virtio:agent" \
  "$@"
