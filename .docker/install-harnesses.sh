#!/bin/sh
# Installs the programs of harnesses while an image is built; no package's install script is run.
#
#   CLAUDE_VERSION=… CODEX_VERSION=… install-harnesses.sh DIR [claude] [codex]
#
# Each must answer --version from DIR/bin, or the build fails.
set -eu

dir=$1
shift
mkdir -p "$dir/bin"
if [ $# -eq 0 ]; then
	exit 0
fi

if [ -e /run/build-ca.crt ]; then
	export NODE_EXTRA_CA_CERTS=/run/build-ca.crt
fi
command -v npm >/dev/null || {
	apt-get update
	apt-get install -y --no-install-recommends npm
}
# Each has a folder of its own: npm takes away what it finds beside the package it is asked for.
fetch() {
	npm install --prefix "$dir/$harness" --ignore-scripts --no-audit --no-fund --no-save --cache /tmp/npm "$@"
}

# An old npm unpacks the programs of all C libraries; the one that answers is this machine's.
keep_the_one_that_runs() {
	name=$1
	shift
	for program; do
		if "$program" --version; then
			ln -sf "$program" "$dir/bin/$name"
			return
		fi
		rm -rf "$(dirname "$program")"
	done
	echo "install-harnesses.sh: $name has no program for this machine" >&2
	exit 1
}

for harness; do
	case $harness in
	claude)
		fetch "@anthropic-ai/claude-code@$CLAUDE_VERSION"
		keep_the_one_that_runs claude "$dir"/claude/node_modules/@anthropic-ai/claude-code-*/claude
		;;
	codex)
		fetch "@openai/codex@$CODEX_VERSION"
		keep_the_one_that_runs codex "$dir"/codex/node_modules/@openai/codex-*/vendor/*/*/codex
		;;
	*)
		echo "install-harnesses.sh: no such harness: $harness" >&2
		exit 2
		;;
	esac
done
# In the end, when nothing can take one of them away any more.
for harness; do
	"$dir/bin/$harness" --version
done
rm -rf /tmp/npm
