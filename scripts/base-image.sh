#!/bin/sh
# Makes sure that the image the Dockerfile builds in is there: one that is
# there already, else a pulled one, else one made of this machine's own Go
# toolchain and module cache, so that an image can be built without a registry.
#
# A made image holds the modules of go.sum and is made again when they, or Go,
# have changed. It is for building only: nothing of it is in the final image
# but the CA certificates.
set -eu

cd "$(dirname "$0")/.."
image=$(sed -n 's/^FROM \(golang:[^ ]*\) AS build$/\1/p' Dockerfile)
label=ecs-local.base-image # marks an image made here, and from what
work=${ECS_LOCAL_BUILD:-$PWD/build}/base-image

say() { echo "base-image: $*" >&2; }

give_up() {
	say "$*"
	exit 1
}

test -n "$image" || give_up 'the Dockerfile has no line FROM golang:… AS build'

label_of() { docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null; }

present() { docker image inspect "$image" >/dev/null 2>&1; }

# made_of names what a made image consists of.
made_of() {
	{ cat go.mod go.sum "$0" && go version; } | sha256sum | cut -c 1-16
}

# shell prints the path of a static busybox: the shell and the few commands
# that the Dockerfile uses.
shell() {
	for candidate in "$work/busybox" "$(command -v busybox || true)"; do
		if test -x "$candidate" && ! ldd "$candidate" >/dev/null 2>&1; then
			echo "$candidate"
			return
		fi
	done
	command -v apt-get >/dev/null || give_up 'no static busybox, and no apt-get to fetch it with: install busybox-static'
	say 'fetching busybox-static with apt-get'
	mkdir -p "$work/deb"
	(
		cd "$work/deb"
		apt-get -qq download busybox-static >&2 || { apt-get -qq update >&2 && apt-get -qq download busybox-static >&2; } ||
			give_up 'apt-get could not download busybox-static'
		dpkg-deb -x busybox-static_*.deb .
		mv bin/busybox "$work/busybox"
	)
	rm -rf "$work/deb"
	echo "$work/busybox"
}

make_image() {
	test "$(go env GOOS)" = linux || give_up "$image cannot be pulled, and can be made on Linux only"
	mkdir -p "$work"
	busybox=$(shell)
	certificates=
	for candidate in "${SSL_CERT_FILE-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
		if test -s "$candidate"; then
			certificates=$candidate
			break
		fi
	done
	test -n "$certificates" || give_up 'this machine has no CA certificates: install ca-certificates'

	root=$work/root
	rm -rf "$root"
	mkdir -p "$root/bin" "$root/etc/ssl/certs" "$root/usr/local" "$root/root" "$root/go/bin" "$root/go/pkg/mod/cache"
	mkdir -m 1777 "$root/tmp"
	cp "$busybox" "$root/bin/busybox"
	for command in sh cat chmod cp echo env ln ls mkdir mv rm sed test touch; do
		ln -s busybox "$root/bin/$command"
	done
	cp "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"

	# The modules that a build of ours downloads, taken from this machine's
	# cache and, as far as they are not there, from where Go gets modules.
	say 'gathering modules'
	modules=$work/modules
	GOMODCACHE=$modules GOFLAGS=-modcacherw GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" \
		go mod download
	mv "$modules/cache/download" "$root/go/pkg/mod/cache/download"
	rm -rf "$modules" "$root/go/pkg/mod/cache/download/sumdb"

	# The toolchain without what no build needs.
	mkdir "$root/usr/local/go"
	(cd "$(go env GOROOT)" && tar -chf - --exclude=./test --exclude=./api --exclude=./doc --exclude=./misc --exclude=testdata --exclude='*_test.go' .) |
		tar -xf - -C "$root/usr/local/go"

	say "importing $image"
	before=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
	tar -cf - --owner=0 --group=0 -C "$root" . | docker import \
		--change 'ENV PATH=/go/bin:/usr/local/go/bin:/bin' \
		--change 'ENV GOPATH=/go' \
		--change 'ENV GOTOOLCHAIN=local' \
		--change 'ENV GOPROXY=off' \
		--change 'WORKDIR /go' \
		--change 'CMD ["sh"]' \
		--change "LABEL $label=$1" \
		- "$image" >/dev/null
	rm -rf "$root"
	# What was built in the old one still needs its layers; then it stays.
	test -z "$before" || docker image rm "$before" >/dev/null 2>&1 || true
	say "made $image of $(go version | cut -d ' ' -f 3), with the modules of go.sum"
}

docker version >/dev/null 2>&1 || give_up 'no Docker engine answers: start one, or run make engine'

wanted=$(made_of)
if present; then
	have=$(label_of)
	case $have in
	'' | '<no value>')
		say "using $image"
		exit
		;;
	"$wanted")
		say "using $image, made here before"
		exit
		;;
	esac
	say "$image was made here of other modules, or another Go"
elif timeout 120 docker pull --quiet "$image" >/dev/null 2>&1; then
	say "pulled $image"
	exit
fi
say "$image cannot be pulled: making it of this machine's Go"
make_image "$wanted"
