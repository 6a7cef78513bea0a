#!/bin/sh
# Installs the command-line harnesses of the end-to-end tests into DIR, outside the source tree.
#
#   install-clis.sh DIR
#
# Versions and checksums are pinned by package.json and package-lock.json next to this script; no
# package's install script is run. Prints one line "name path" per program. When the pinned
# versions are there already it does nothing else.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: install-clis.sh DIR" >&2
    exit 2
fi
mkdir -p "$1"
tools=$(cd "$1" && pwd)
pins=$(cd "$(dirname "$0")" && pwd)

# npm unpacks the native program of this machine only, so each pattern has one match.
native_program() {
    package=$1
    shift
    for program in "$@"; do
        if [ -x "$program" ]; then
            echo "$program"
            return
        fi
    done
    echo "install-clis.sh: $package has no program for this machine" >&2
    exit 1
}

# Other programs are scripts, for a newer Node.js than many machines have.
node_program() {
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node" "$packages/$2" >"$tools/bin/$1"
    chmod +x "$tools/bin/$1"
}

if ! cmp -s "$pins/package-lock.json" "$tools/installed.json"; then
    if ! command -v npm >/dev/null; then
        echo "install-clis.sh: npm is needed to install the harnesses; install Node.js first" >&2
        exit 1
    fi
    echo "installing the pinned harnesses into $tools (once, about 1.9 GB)" >&2
    rm -f "$tools/installed.json"
    cp "$pins/package.json" "$pins/package-lock.json" "$tools/"
    # --loglevel=error: npm's engine warning is about a wrapper that is not used here.
    # Not `npm ci`: it fails where the registry lacks an optional package for another machine.
    npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    mkdir -p "$tools/bin"
    packages="$tools/node_modules"
    claude=$(native_program @anthropic-ai/claude-code "$packages"/@anthropic-ai/claude-code-*/claude)
    codex=$(native_program @openai/codex "$packages"/@openai/codex-*/vendor/*/bin/codex)
    ln -sf "$claude" "$tools/bin/claude"
    ln -sf "$codex" "$tools/bin/codex"
    node=$(native_program node "$packages"/node-linux-*/bin/node)
    node_program gemini @google/gemini-cli/bundle/gemini.js
    node_program qwen @qwen-code/qwen-code/cli-entry.js
    opencode=$(native_program opencode-ai "$packages"/opencode-linux-*/bin/opencode)
    ln -sf "$opencode" "$tools/bin/opencode"
    # Its own script, which is not run, would unpack it.
    "$node" -e 'const { createReadStream, createWriteStream } = require("fs");
        createReadStream(process.argv[1]).pipe(require("zlib").createBrotliDecompress())
            .pipe(createWriteStream(process.argv[2], { mode: 0o755 }))' \
        "$(echo "$packages"/@xai-official/grok-*/bin/grok.br)" "$tools/bin/grok"
    node_program pi @earendil-works/pi-coding-agent/dist/bundle/cli.js
    # Written last: a run that was interrupted starts over.
    cp "$pins/package-lock.json" "$tools/installed.json"
fi

echo "claude $tools/bin/claude"
echo "codex $tools/bin/codex"
echo "gemini $tools/bin/gemini"
echo "grok $tools/bin/grok"
echo "opencode $tools/bin/opencode"
echo "pi $tools/bin/pi"
echo "qwen $tools/bin/qwen"
