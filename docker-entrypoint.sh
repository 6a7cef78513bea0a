#!/bin/sh
# Starts the worker in a container. It prepares nothing that the worker cannot prepare itself:
# the worker waits for the API, fetches its configuration and checks its credentials.
set -eu

if [ -z "${AGENT_SWARM_API_KEY:-}" ] && [ -z "${API_KEY:-}" ]; then
	echo "docker-entrypoint: API_KEY is not set; the worker cannot talk to the swarm without it" >&2
	exit 1
fi

# Commands given to `docker run IMAGE …` run instead of the worker.
if [ "$#" -gt 0 ]; then
	exec "$@"
fi
exec agent-swarm-worker "${AGENT_ROLE:-worker}"
