#!/bin/sh
# Makes sure that a Docker engine answers, and ends the one it started.
#
#   docker-engine.sh start   0: an engine answers; 3: none does and none can be started
#   docker-engine.sh stop    ends the engine that start started; no other
#
# DOCKER_HOST names the socket, as for every Docker client; ECS_LOCAL_DOCKERD_FLAGS
# holds further flags for dockerd. Log and record are in $ECS_LOCAL_BUILD/docker.
set -eu

cd "$(dirname "$0")/.."
state=${ECS_LOCAL_BUILD:-$PWD/build}/docker
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
record=$state/started # process id and start time of our dockerd
log=$state/dockerd.log
patience=60 # seconds until a started engine must answer

say() { echo "docker-engine: $*" >&2; }

give_up() {
	say "$*"
	exit 3
}

answers() { command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1; }

# started_at prints when a process started, in clock ticks since boot: with it
# a process id names one process and not a later one with the same id.
started_at() {
	sed -n 's/^.*) //p' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# ours prints the id of the engine that we started, if it still runs.
ours() {
	test -s "$record" || return 1
	read -r pid since <"$record"
	test -n "$since" && test "$(started_at "$pid")" = "$since" && echo "$pid"
}

# Every process of this checkout that finds no engine waits here for the one
# that starts it. The lock ends with the process, and dockerd must not inherit it.
alone() {
	mkdir -p "$state"
	exec 9>"$state/lock"
	flock -w 300 9 || give_up "another process has been starting an engine for 5 minutes; see $log"
}

install() {
	if command -v dockerd >/dev/null && command -v docker >/dev/null && command -v iptables >/dev/null; then
		return
	fi
	say 'installing docker.io and iptables with apt-get'
	apt="apt-get -qq -o DPkg::Lock::Timeout=300"
	export DEBIAN_FRONTEND=noninteractive
	packages='docker.io iptables'
	# The lists may be missing or too old: then the first try fails.
	if ! $apt install -y --no-install-recommends $packages >"$state/apt.log" 2>&1; then
		{ $apt update && $apt install -y --no-install-recommends $packages; } >>"$state/apt.log" 2>&1 ||
			give_up "apt-get could not install $packages; see $state/apt.log"
	fi
	# From Debian 13 on the client is a package of its own.
	command -v docker >/dev/null || $apt install -y --no-install-recommends docker-cli >>"$state/apt.log" 2>&1 ||
		give_up "apt-get could not install docker-cli; see $state/apt.log"
}

# A containerd that is gone can leave its socket, and dockerd would wait for it.
forget_dead_containerd() {
	dead=/run/containerd/containerd.sock
	if test -S $dead && ! grep -q " $dead\$" /proc/net/unix; then
		say "removing $dead: no process listens there"
		rm -f $dead
	fi
}

launch() {
	say "starting dockerd, log in $log"
	# shellcheck disable=SC2086 # the flags are several words
	setsid nohup dockerd --host "$socket" ${ECS_LOCAL_DOCKERD_FLAGS-} </dev/null >"$log" 2>&1 9>&- &
	pid=$!
	left=$((patience * 2))
	until answers; do
		left=$((left - 1))
		if ! kill -0 $pid 2>/dev/null || test $left -le 0; then
			kill $pid 2>/dev/null || true
			tail -n 15 "$log" >&2
			return 1
		fi
		sleep 0.5
	done
	echo "$pid $(started_at $pid)" >"$record"
	say "dockerd $(docker version --format '{{.Server.Version}}') answers at $socket (process $pid)"
}

start() {
	if answers; then
		say "using the engine that answers: $(docker version --format '{{.Server.Version}}')"
		return
	fi
	case $socket in
	unix://*) ;;
	*) give_up "no engine answers at DOCKER_HOST=$socket" ;;
	esac
	test "$(uname -s)" = Linux || give_up 'no engine answers: start Docker Desktop, or another engine'
	test "$(id -u)" = 0 || give_up "no engine answers at $socket, and only root can start one: start Docker, or add yourself to the group docker"
	command -v dockerd >/dev/null || command -v apt-get >/dev/null ||
		give_up 'no engine answers, and there is neither dockerd nor apt-get to install it with: install Docker'
	alone
	if answers; then
		return
	fi
	install
	if answers; then # the package may start it
		return
	fi
	forget_dead_containerd
	# Another engine may have been faster, that of another checkout or of the
	# package: then ours ended, and that one answers soon.
	launch || { sleep 5 && answers; } || give_up "dockerd does not answer; see $log"
}

stop() {
	if ! pid=$(ours); then
		rm -f "$record"
		return
	fi
	say "ending dockerd (process $pid)"
	kill "$pid"
	left=240
	while ours >/dev/null && test $left -gt 0; do
		left=$((left - 1))
		sleep 0.5
	done
	if ours >/dev/null; then
		give_up "process $pid has not ended within 2 minutes; see $log"
	fi
	rm -f "$record"
}

case ${1-} in
start | stop) "$1" ;;
*)
	echo "usage: $0 start|stop" >&2
	exit 2
	;;
esac
