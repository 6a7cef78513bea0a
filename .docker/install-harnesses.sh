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
fetch() {
	npm install --prefix "$dir" --ignore-scripts --no-audit --no-fund --no-save --cache /tmp/npm "$@"
}

# Each package unpacks the native program of this machine only, so the patterns have one match.
for harness; do
	case $harness in
	claude)
		fetch "@anthropic-ai/claude-code@$CLAUDE_VERSION"
		program=$(find "$dir"/node_modules/@anthropic-ai/claude-code-*/ -name claude -type f -perm -u+x)
		;;
	codex)
		fetch "@openai/codex@$CODEX_VERSION"
		program=$(find "$dir"/node_modules/@openai -path '*/vendor/*' -name codex -type f -perm -u+x)
		;;
	*)
		echo "install-harnesses.sh: no such harness: $harness" >&2
		exit 2
		;;
	esac
	if [ ! -x "$program" ]; then
		echo "install-harnesses.sh: $harness has no program for this machine: $program" >&2
		exit 1
	fi
	ln -sf "$program" "$dir/bin/$harness"
	"$dir/bin/$harness" --version
done
rm -rf /tmp/npm
