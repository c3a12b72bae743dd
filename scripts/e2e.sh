#!/bin/sh
# Runs the tests of the module e2e, with a Docker engine and Compose, and with
# other people's clients. Without an engine, and without the right to start one,
# it says which tests are left out; with ECS_LOCAL_REQUIRE_DOCKER=1 that is a
# failure. So it is with clients and ECS_LOCAL_REQUIRE_CLIENTS=1.
set -eu

cd "$(dirname "$0")/.."
export ECS_LOCAL_BUILD="${ECS_LOCAL_BUILD:-$PWD/build}"

if ! scripts/docker-engine.sh start; then
	if test "${ECS_LOCAL_REQUIRE_DOCKER-}" = 1; then
		echo 'e2e: no Docker engine, and ECS_LOCAL_REQUIRE_DOCKER=1 asks for one' >&2
		exit 1
	fi
	echo 'e2e: no Docker engine. Those of these tests that need one are left out:' >&2
	(cd e2e && go test -list . ./... | sed -n 's/^Test/  Test/p') >&2
else
	make --no-print-directory compose
fi

scripts/e2e-clients.sh

PATH="$ECS_LOCAL_BUILD/bin:$PATH"
cd e2e
# Not from the cache of tests: that knows neither the program, which the tests
# build, nor the engine.
exec go test -race -count=1 -timeout 45m ./...
