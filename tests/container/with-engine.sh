#!/usr/bin/env bash
# Runs a command with a Docker engine: the one that is there, else one of its own for as long as the
# command runs (needs root and `dockerd`; nothing it makes outlives it).
#
#   with-engine.sh [--require] COMMAND …
#
# Where there is none and none can be started: says in one line what is missing, and exits with 0,
# or with 3 if an engine is required. A base image that can be neither found nor pulled is made with
# `debootstrap`. Sets DOCKER (a client that can hand over build secrets) and BASE.
set -euo pipefail

required=0
if [ "${1-}" = --require ]; then
	required=1
	shift
fi

missing() {
	echo "image-test: not run: $1" >&2
	if [ "$required" = 1 ]; then exit 3; fi
	exit 0
}

export DOCKER_BUILDKIT=1
client=
for candidate in docker /usr/bin/docker podman; do
	if "$candidate" build --help 2>/dev/null | grep -q -- --secret; then
		client=$candidate
		break
	fi
done
[ -n "$client" ] || missing "no docker or podman client that can build with secrets (BuildKit) is installed"

place=$(mktemp -d)
engine=
end() {
	if [ -n "$engine" ]; then
		kill "$engine" 2>/dev/null || true
		wait "$engine" 2>/dev/null || true
	fi
	umount "$place"/exec/netns/* 2>/dev/null || true
	rm -rf "$place" 2>/dev/null || true
}
trap end EXIT

start_engine() {
	dockerd --data-root "$place/data" --exec-root "$place/exec" --pidfile "$place/pid" \
		-H "unix://$place/sock" "$@" >"$place/log" 2>&1 &
	engine=$!
	for _ in $(seq 60); do
		if "$client" info >/dev/null 2>&1; then return 0; fi
		kill -0 "$engine" 2>/dev/null || return 1
		sleep 0.5
	done
	kill "$engine" 2>/dev/null || true
	return 1
}

if ! "$client" info >/dev/null 2>&1; then
	[ "$(id -u)" = 0 ] || missing "no engine answers, and only root could start one"
	command -v dockerd >/dev/null || missing "no engine answers, and dockerd is not installed"
	export DOCKER_HOST="unix://$place/sock"
	echo "image-test: starting an engine of its own" >&2
	start_engine || start_engine --storage-driver vfs --iptables=false --bridge=none ||
		missing "dockerd does not start: $(tail -n 1 "$place/log")"
fi

wanted=${BASE:-python:3.13-slim}
if ! "$client" image inspect "$wanted" >/dev/null 2>&1 && ! "$client" pull -q "$wanted" >/dev/null 2>&1; then
	command -v debootstrap >/dev/null || missing "$wanted cannot be pulled, and debootstrap is not installed"
	wanted=swarm-worker-test-base
	if ! "$client" image inspect "$wanted" >/dev/null 2>&1; then
		echo "image-test: the base cannot be pulled; making one with debootstrap" >&2
		debootstrap --variant=minbase bookworm "$place/rootfs" >"$place/debootstrap.log" 2>&1 ||
			missing "debootstrap failed: $(tail -n 1 "$place/debootstrap.log")"
		tar -C "$place/rootfs" -c . | "$client" import - "$wanted" >/dev/null
	fi
fi
export BASE=$wanted DOCKER=$client
"$@"
