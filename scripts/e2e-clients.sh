#!/bin/sh
# Fetches what real clients of metadata need into $ECS_LOCAL_BUILD/clients, and
# installs nothing on the machine:
#
#   javascript  the modules of e2e/clients, from npm, as its lock file has them
#   debian      cloud-init, ec2metadata and ec2-metadata, from Debian's packages
#
# What cannot be fetched is said, and the tests that need it are left out. With
# ECS_LOCAL_REQUIRE_CLIENTS=1 that is a failure.
set -eu

cd "$(dirname "$0")/.."
dir=${ECS_LOCAL_BUILD:-$PWD/build}/clients
log=$dir/log
missing=0

# cloud-init's Ec2 data source, with the modules that it imports, and the tools.
packages='cloud-init cloud-guest-utils amazon-ec2-utils
	python3-certifi python3-chardet python3-configobj python3-idna
	python3-requests python3-six python3-urllib3 python3-yaml'

lacking() {
	echo "e2e-clients: $*; see $log" >&2
	missing=1
}

# fetched says whether a folder was made from this version of what it is made of.
fetched() { test -d "$dir/$1" && test "$(cat "$dir/$1.made-from" 2>/dev/null)" = "$2"; }

# keep puts a finished folder into its place.
keep() {
	rm -rf "${dir:?}/$1"
	mv "$dir/$1.new" "$dir/$1"
	echo "$2" >"$dir/$1.made-from"
}

javascript() {
	wanted=$(cksum <e2e/clients/package-lock.json)
	if fetched javascript "$wanted"; then
		return
	fi
	if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
		lacking 'no Node.js with npm, for the clients in JavaScript: install it'
		return
	fi
	rm -rf "$dir/javascript.new"
	mkdir "$dir/javascript.new"
	cp e2e/clients/package.json e2e/clients/package-lock.json "$dir/javascript.new"
	if (cd "$dir/javascript.new" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund) >>"$log" 2>&1; then
		keep javascript "$wanted"
	else
		lacking 'npm could not fetch the clients in JavaScript'
	fi
}

unpack() {
	cd "$dir/debian.new"
	# The lists may be missing or too old: then the first try fails.
	# shellcheck disable=SC2086 # the packages are several words
	timeout 300 apt-get download $packages ||
		{ timeout 300 apt-get update && timeout 300 apt-get download $packages; } || return 1
	for package in ./*.deb; do
		dpkg-deb --extract "$package" . || return 1
		rm "$package"
	done
}

debian() {
	wanted="$(echo $packages) for $(cat /etc/debian_version 2>/dev/null || true)"
	if fetched debian "$wanted"; then
		return
	fi
	if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
		lacking 'no apt-get, for cloud-init and the tools of EC2: these tests run on Debian'
		return
	fi
	rm -rf "$dir/debian.new"
	mkdir "$dir/debian.new"
	if (unpack) >>"$log" 2>&1; then
		keep debian "$wanted"
	else
		lacking 'apt-get could not fetch cloud-init and the tools of EC2'
	fi
}

mkdir -p "$dir"
: >"$log"
javascript
debian
for program in python3 aws moto_server curl ip; do
	command -v $program >/dev/null || lacking "no $program"
done
if command -v python3 >/dev/null; then
	python3 -c 'import boto3' 2>>"$log" || lacking 'no boto3'
fi
if test $missing = 1 && test "${ECS_LOCAL_REQUIRE_CLIENTS-}" = 1; then
	echo 'e2e-clients: clients are missing, and ECS_LOCAL_REQUIRE_CLIENTS=1 asks for them' >&2
	exit 1
fi
