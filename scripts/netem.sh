#!/usr/bin/env bash
# The tests of real faults on a kernel that has netem, whatever this machine's
# own has: the kernel of Debian's cloud images, in an emulated machine that has
# nothing but those tests and a Docker engine. Needs Debian on amd64, root and
# apt-get; installs nothing, but keeps what it downloads below $ECS_LOCAL_BUILD
# (default: build).
set -euo pipefail

cd "$(dirname "$0")/.."
dir=$(realpath -m "${ECS_LOCAL_BUILD:-build}")/netem
root=$dir/root
start=$dir/start
limit=900 # seconds

if ! test -e "$dir/unpacked"; then
	rm -rf "$root"
	mkdir -p "$dir/debs/partial"
	apt-get -qq update
	apt-get -qq -y -o Dir::Cache::archives="$dir/debs" --download-only --no-install-recommends --reinstall \
		install qemu-system-x86 linux-image-cloud-amd64 busybox-static kmod docker.io containerd runc iptables
	for package in "$dir"/debs/*.deb; do
		dpkg -x "$package" "$root"
	done
	touch "$dir/unpacked"
fi
libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu

# find_program prints the path of an unpacked program.
find_program() {
	find "$root"/{,usr/}{bin,sbin} -name "$1" -type f | head -n 1
}

# What the machine starts from: a shell, the modules that a network needs, a
# Docker engine, and the tests.
rm -rf "$start"
mkdir -p "$start"/{bin,built,dev,e2e,etc,lib/x86_64-linux-gnu,lib64,proc,run,sys,tmp,var/lib/docker}
ln -s ../bin "$start/sbin"
ln -s ../run "$start/var/run"
busybox=$(find_program busybox)
cp "$busybox" "$start/bin/busybox"
for name in kmod dockerd docker-proxy containerd containerd-shim-runc-v2 runc xtables-nft-multi; do
	cp "$(find_program "$name")" "$start/bin/$name"
done
for name in modprobe depmod; do ln -s kmod "$start/bin/$name"; done
for name in iptables ip6tables; do ln -s xtables-nft-multi "$start/bin/$name"; done
mkdir -p "$start/usr/lib/x86_64-linux-gnu"
cp -r "$root/usr/lib/x86_64-linux-gnu/xtables" "$start/usr/lib/x86_64-linux-gnu/"
for program in "$start"/bin/*; do
	test "$program" = "$start/bin/busybox" || LD_LIBRARY_PATH=$libraries ldd "$program"
done | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
	case $library in
	*/ld-linux-*) cp -L "$library" "$start/lib64/" ;;
	*) cp -L "$library" "$start/lib/x86_64-linux-gnu/" ;;
	esac
done
version=$(ls "$root/lib/modules")
modules=lib/modules/$version
for part in arch/x86/crypto crypto drivers/net/veth.ko fs/overlayfs lib net; do
	mkdir -p "$start/$modules/kernel/$(dirname "$part")"
	cp -r "$root/$modules/kernel/$part" "$start/$modules/kernel/$part"
done
cp "$root/$modules"/modules.{order,builtin,builtin.modinfo} "$start/$modules/"
LD_LIBRARY_PATH=$libraries "$start/bin/depmod" -b "$start" "$version"

export CGO_ENABLED=0
go test -c -o "$start/netfault.test" ./local/netfault
go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=e2e' -o "$start/built/ecs-local" .
(cd e2e && go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$start/built/probe" ./probe)
(cd e2e && go test -c -o "$start/e2e/e2e.test" .)
cp Dockerfile "$start/"
echo 'root:x:0:0:root:/:/bin/sh' >"$start/etc/passwd"
echo 'root:x:0:' >"$start/etc/group"

# The tests of e2e build the programs that they start: there, these are built.
cat >"$start/bin/go" <<'GO'
#!/bin/busybox sh
for package; do :; done
while test "$1" != -o; do shift; done
case $package in
.) cp /built/ecs-local "$2" ;;
./probe) cp /built/probe "$2" ;;
*) echo "not built: $package" >&2; exit 1 ;;
esac
GO
# DOCKER_RAMDISK: no pivot_root, which there is not from where a machine starts.
cat >"$start/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin DOCKER_RAMDISK=1 ECS_LOCAL_REQUIRE_DOCKER=1 ECS_LOCAL_REQUIRE_NETEM=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for folder in /dev/shm /run /tmp /var/lib/docker; do mount -t tmpfs tmpfs $folder; done
ip link set lo up
modprobe -a overlay br_netfilter veth nf_tables nft_hash nft_numgen sch_prio sch_netem

failed=0
/netfault.test -test.v || failed=1

dockerd >/tmp/dockerd.log 2>&1 &
seconds=0
until grep -q 'API listen on' /tmp/dockerd.log || test $seconds = 120; do
	sleep 1
	seconds=$((seconds + 1))
done
(cd /e2e && ./e2e.test -test.v -test.run '^TestFaultsAreRealInContainers$') || { failed=1; tail -n 20 /tmp/dockerd.log; }
echo "the tests ended with $failed"
poweroff -f
INIT
chmod +x "$start/init" "$start/bin/go"
(cd "$start" && find . | "$busybox" cpio -o -H newc | gzip -1) >"$dir/start.gz"

LD_LIBRARY_PATH=$libraries timeout "$limit" "$root/usr/bin/qemu-system-x86_64" \
	-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -M pc -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
	-nographic -no-reboot -net none -kernel "$(find "$root/boot" -name 'vmlinuz-*' | head -n 1)" -initrd "$dir/start.gz" \
	-append 'console=ttyS0 panic=-1 quiet' </dev/null | tee "$dir/log" | sed -u 's/\r$//; /^=== /d'
grep -a -q $'^the tests ended with 0\r*$' "$dir/log"
