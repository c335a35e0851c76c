#!/usr/bin/env bash
# Makes what tests/vm boots, once: a disk with Debian 12, Docker 20.10 and cloud-init, its kernel and its initrd. `vm/disk.rs` runs it, as root.
#
#   base.sh FOLDER CACHE    CACHE is that of tests/setup; FOLDER gets disk.raw, vmlinuz, initrd.img
set -euo pipefail
folder=$1 cache=$2

mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
stamp=$(sha256sum "$0" | cut -d ' ' -f 1)
[[ $(cat "$folder/stamp" 2>/dev/null) != "$stamp" ]] || exit 0
rm -rf "$folder/stamp" "$folder/root"
root=$folder/root

# Where apt itself gets Debian from.
# shellcheck disable=SC2016 # apt fills it in
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' | head -n 1)
[[ -n $archive ]] || {
  echo 'apt knows no Debian 12 (bookworm): apt-get update' >&2
  exit 1
}

packages=(
  linux-image-cloud-amd64 initramfs-tools systemd-sysv dbus udev kmod procps iproute2 iptables netbase
  apparmor ca-certificates curl jq busybox-static docker.io cloud-init python3-cffi-backend
)
export DEBOOTSTRAP_DIR=$cache/debian/debootstrap/usr/share/debootstrap LC_ALL=C
mkdir -p "$folder/debs"
"$cache/bin/debootstrap" --cache-dir="$folder/debs" --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" bookworm "$root" "$archive"

echo machine >"$root/etc/hostname"
printf '127.0.0.1 localhost machine\n::1 localhost\n' >"$root/etc/hosts"
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
rm -f "$root/etc/resolv.conf"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
printf '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/10-all.network"
# Seeds of ours alone; the network is there already.
printf 'datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\n' >"$root/etc/cloud/cloud.cfg.d/99-seed.cfg"

# The tests' shell: it says which boot this is, and then runs what it is told.
cat >"$root/usr/local/sbin/test-shell" <<'END'
#!/bin/sh
exec 3<>/dev/virtio-ports/test-shell
echo "test-shell $(cat /proc/sys/kernel/random/boot_id)" >&3
exec sh <&3 >&3 2>&3
END
chmod +x "$root/usr/local/sbin/test-shell"
cat >"$root/etc/systemd/system/test-shell.service" <<'END'
[Unit]
Requires=dev-virtio\x2dports-test\x2dshell.device
After=dev-virtio\x2dports-test\x2dshell.device
[Service]
ExecStart=/usr/local/sbin/test-shell
Restart=always
RestartSec=1
KillMode=process
[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl --quiet enable systemd-networkd test-shell
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service getty.target man-db.timer fstrim.timer
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

cp "$root"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$root"/boot/initrd.img-* "$folder/initrd.img"
rm -f "$folder/disk.raw"
mke2fs -q -t ext4 -d "$root" "$folder/disk.raw" 6G
rm -rf "$root"
echo "$stamp" >"$folder/stamp"
