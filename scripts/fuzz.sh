#!/bin/sh
# Runs each fuzz test of the module for the given time (1m). All of them run;
# one that fails makes this fail at the end. The input that did it is then below
# testdata/fuzz of its package, where `go test` runs it from then on.
set -eu

cd "$(dirname "$0")/.."
each=${1:-1m}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz runs one. Up to Go 1.26 the end of the time itself can look like a failure
# on a busy machine, one without an input: https://go.dev/issue/75804
fuzz() {
	{ go test -run '^$' -fuzz "^$2\$" -fuzztime "$each" "$1" 2>&1 || echo "exit of go test: $?"; } | tee "$log"
	grep -q '^exit of go test: ' "$log" || return 0
	if grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"; then
		echo "fuzz: $2: its time was over (go.dev/issue/75804); that is no failure"
		return 0
	fi
	return 1
}

packages=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
ran=0 failed=
for package in $packages; do
	tests=$(go test -list '^Fuzz' "$package") # fails when it does not compile
	for name in $(echo "$tests" | grep '^Fuzz' || true); do
		echo "fuzz: $name in $package, $each"
		fuzz "$package" "$name" || failed="$failed $name"
		ran=$((ran + 1))
	done
done
if test -n "$failed"; then
	echo "fuzz: failed:$failed" >&2
	exit 1
fi
echo "fuzz: $ran tests, $each each, none failed"
test "$ran" -gt 0
