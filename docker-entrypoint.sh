#!/bin/sh
# Starts the worker in a container. All there is to do is done, and tested, in
# `agent-swarm-worker prepare`; this only says what is to be run.
#
#   docker run IMAGE                      the lead if AGENT_ROLE says so, else the worker
#   docker run IMAGE --yolo               the same, with options
#   docker run IMAGE worker|lead|run ...  the same, said out loud
#   docker run IMAGE COMMAND ...          any other command, as the worker's user
set -eu

# Somebody has to reap what tools leave behind, however this script was started.
if [ "$$" -eq 1 ] && command -v tini >/dev/null; then
	exec tini -- "$0" "$@"
fi

case ${1-} in
'' | -*)
	case ${AGENT_ROLE:-worker} in
	worker | lead) set -- "${AGENT_ROLE:-worker}" "$@" ;;
	*) set -- run "$@" ;; # every other role is a worker with a name
	esac
	;;
esac

case $1 in
worker | lead | run) exec agent-swarm-worker prepare -- agent-swarm-worker "$@" ;;
esac
exec agent-swarm-worker prepare --offline -- "$@"
