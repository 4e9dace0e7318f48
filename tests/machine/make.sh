#!/bin/sh
# Makes a Debian with systemd and its own kernel, to be booted by test_machine.py:  sudo sh make.sh DIR [SUITE [MIRROR]]
# Needs debootstrap, qemu-system-x86, e2fsprogs, busybox-static, and a Debian mirror. 700 MB.
set -eu
[ $# -ge 1 ] || { sed -n '2,3s/^# *//p' "$0"; exit 2; }
DIR=$1 SUITE=${2:-bookworm} MIRROR=${3:-}
for tool in debootstrap qemu-system-x86_64 mke2fs busybox; do command -v $tool >/dev/null || { echo "make.sh: $tool is missing" >&2; exit 1; }; done
mkdir -p "$DIR"
packages=linux-image-cloud-amd64,systemd,systemd-sysv,udev,dbus,kmod,iproute2,nftables,procps,passwd,python3,python3-venv,ca-certificates,busybox-static,curl
[ -d "$DIR/root" ] || { debootstrap --variant=minbase --include=$packages "$SUITE" "$DIR/root.new" $MIRROR && mv "$DIR/root.new" "$DIR/root"; }
rm -rf "$DIR"/root/var/cache/apt/archives/*.deb

version=$(ls "$DIR/root/lib/modules" | sort -V | tail -1)
cp "$DIR/root/boot/vmlinuz-$version" "$DIR/vmlinuz"
first=$(mktemp -d)
trap 'rm -rf "$first"' EXIT
mkdir -p "$first/bin" "$first/dev" "$first/proc" "$first/root" "$first/mod"
cp "$(command -v busybox)" "$first/bin/busybox"
ln -s busybox "$first/bin/sh"
# what stands between the kernel and its disk, in the order of need
number=0
for module in $(for name in virtio_pci virtio_blk; do chroot "$DIR/root" modprobe -S "$version" --show-depends $name; done | awk '{print $2}' | awk '!seen[$0]++'); do
    number=$((number + 1))
    case $module in
    *.xz) xz -dc "$DIR/root$module" >"$first/mod/$(printf %02d $number).ko" ;;
    *.ko) cp "$DIR/root$module" "$first/mod/$(printf %02d $number).ko" ;;
    esac
done
cat >"$first/init" <<'INIT'
#!/bin/sh
busybox() { /bin/busybox "$@"; }
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
for module in /mod/*; do busybox insmod "$module"; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 300 ]; do busybox sleep 0.1; tries=$((tries + 1)); done
busybox mount -t ext4 /dev/vda /root || busybox poweroff -f
busybox mount --move /dev /root/dev
busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
INIT
chmod 755 "$first/init"
(cd "$first" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$DIR/initrd"

# the machine runs /root/check.sh once it is up, and ends
mkdir -p "$DIR/root/etc/systemd/system/multi-user.target.wants"
cat >"$DIR/root/etc/systemd/system/check.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/check.sh
ExecStopPost=/bin/systemctl poweroff --force
TimeoutStartSec=0
UNIT
ln -sf ../check.service "$DIR/root/etc/systemd/system/multi-user.target.wants/check.service"
for name in serial-getty@ttyS0.service getty@tty1.service; do ln -sf /dev/null "$DIR/root/etc/systemd/system/$name"; done
echo "make.sh: HAVRE_TEST_MACHINE=$DIR .venv/bin/python -m pytest tests/machine"
