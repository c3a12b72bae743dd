#!/usr/bin/env bash
# The tests of real faults on a kernel that has netem, whatever this machine's
# own has: the kernel of Debian's cloud images, in an emulated machine that has
# nothing but that test. Needs Debian on amd64, root and apt-get; installs
# nothing, but keeps what it downloads below $ECS_LOCAL_BUILD (default: build).
set -euo pipefail

cd "$(dirname "$0")/.."
dir=$(realpath -m "${ECS_LOCAL_BUILD:-build}")/netem
root=$dir/root
limit=600 # seconds

if ! test -x "$root/usr/bin/qemu-system-x86_64"; then
	mkdir -p "$dir/debs/partial"
	apt-get -qq update
	apt-get -qq -y -o Dir::Cache::archives="$dir/debs" --download-only --no-install-recommends --reinstall \
		install qemu-system-x86 linux-image-cloud-amd64 busybox-static
	for package in "$dir"/debs/*.deb; do
		dpkg -x "$package" "$root"
	done
fi

# What the machine starts from: a shell, the modules in the order of their
# needs, and the test.
modules='veth nfnetlink libcrc32c nf_tables nft_hash nft_numgen sch_prio sch_netem'
busybox=$(find "$root/bin" "$root/usr/bin" -name busybox | head -n 1)
rm -rf "$dir/start"
mkdir -p "$dir"/start/{bin,dev,modules,proc,sys,tmp}
cp "$busybox" "$dir/start/bin/busybox"
for module in $modules; do
	find "$root/lib/modules" -name "$module.ko" -exec cp {} "$dir/start/modules/" \;
done
CGO_ENABLED=0 go test -c -o "$dir/start/netfault.test" ./local/netfault
cat >"$dir/start/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in $modules; do /bin/busybox insmod /modules/\$module.ko; done
ECS_LOCAL_REQUIRE_DOCKER=1 ECS_LOCAL_REQUIRE_NETEM=1 /netfault.test -test.v
echo "the tests ended with \$?"
/bin/busybox poweroff -f
INIT
chmod +x "$dir/start/init"
(cd "$dir/start" && find . | "$busybox" cpio -o -H newc | gzip -1) >"$dir/start.gz"

libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
LD_LIBRARY_PATH=$libraries timeout "$limit" "$root/usr/bin/qemu-system-x86_64" \
	-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -M pc -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
	-nographic -no-reboot -net none -kernel "$(find "$root/boot" -name 'vmlinuz-*' | head -n 1)" -initrd "$dir/start.gz" \
	-append 'console=ttyS0 panic=-1 quiet' </dev/null | tr -d '\r' | tee "$dir/log" | grep -a -v '^=== '
grep -a -q '^the tests ended with 0$' "$dir/log"
