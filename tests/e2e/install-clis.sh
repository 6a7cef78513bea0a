#!/bin/sh
# Installs the command-line harnesses of the end-to-end tests into DIR, outside the source tree.
#
#   install-clis.sh DIR [more]
#
# Versions and checksums are pinned by package.json and package-lock.json next to this script; no
# package's install script is run. Prints one line "name path" per program. When the pinned
# versions are there already it does nothing else. With `more` it then does the same for more/,
# into DIR/more: what only `make e2e-all` drives. A Python program that this machine cannot have
# is named, and the reason kept in DIR/more/missing/.
set -eu

if [ $# -lt 1 ] || [ "${2:-more}" != more ]; then
    echo "usage: install-clis.sh DIR [more]" >&2
    exit 2
fi
mkdir -p "$1"
tools=$(cd "$1" && pwd)
pins=$(cd "$(dirname "$0")" && pwd)

stop() {
    echo "install-clis.sh: $*" >&2
    exit 1
}

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
    stop "$package has no program for this machine"
}

# script NAME PROGRAM [ARGUMENT]: what is there may be a link, which must not be written through.
script() {
    rm -f "$place/bin/$1"
    printf '#!/bin/sh\nexec "%s" %s"$@"\n' "$2" "${3:+\"$3\" }" >"$place/bin/$1"
    chmod +x "$place/bin/$1"
}

# Other programs are scripts, for a newer Node.js than many machines have.
node_program() {
    script "$1" "$node" "$packages/$2"
}

# Installs the packages that $from pins into $place.
install_packages() {
    command -v npm >/dev/null || stop "npm is needed to install the harnesses; install Node.js first"
    echo "installing the pinned harnesses into $place (once, about $1 GB)" >&2
    mkdir -p "$place/bin"
    rm -f "$place/installed.json"
    cp "$from/package.json" "$from/package-lock.json" "$place/"
    # --loglevel=error: npm's engine warning is about a wrapper that is not used here.
    # Not `npm ci`: it fails where the registry lacks an optional package for another machine.
    npm install --prefix "$place" --ignore-scripts --no-audit --no-fund --loglevel=error \
        --fetch-retry-maxtimeout=10000 2>"$place/npm.log" >&2 ||
        stop "npm cannot install the harnesses ($(sed -n 's/^npm error //p' "$place/npm.log" | head -n 1)); $place/npm.log says more"
}

from=$pins place=$tools packages=$tools/node_modules
if ! cmp -s "$from/package-lock.json" "$place/installed.json"; then
    install_packages 1.9
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
    cp "$from/package-lock.json" "$place/installed.json"
fi

for name in claude codex gemini grok opencode pi qwen; do
    echo "$name $tools/bin/$name"
done
if [ $# -eq 1 ]; then
    exit
fi

from=$pins/more place=$tools/more packages=$tools/more/node_modules
mkdir -p "$place/bin" "$place/missing"
if ! cmp -s "$from/package-lock.json" "$place/installed.json"; then
    install_packages 2.2
    node=$(native_program node "$tools"/node_modules/node-linux-*/bin/node)
    cline=$(native_program cline "$packages"/@cline/cli-linux-*/bin/cline)
    copilot=$(native_program @github/copilot "$packages"/@github/copilot-linux-*/copilot)
    droid=$(native_program droid "$packages"/@factory/cli-linux-*/bin/droid)
    kilo=$(native_program @kilocode/cli "$packages"/@kilocode/cli-linux-*/bin/kilo)
    ln -sf "$cline" "$copilot" "$droid" "$kilo" "$place/bin/"
    node_program claude-agent-acp @agentclientprotocol/claude-agent-acp/dist/index.js
    node_program codex-acp @agentclientprotocol/codex-acp/dist/index.js
    node_program kimi @moonshot-ai/kimi-code/dist/main.mjs
    node_program pi @earendil-works/pi-coding-agent/dist/bundle/cli.js
    node_program pi-acp pi-acp/dist/index.js
    cp "$from/package-lock.json" "$place/installed.json"
fi

# The machine's own interpreter, one of pyenv's, or one that uv has.
python_of() {
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$python" -c '' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    uv python find --no-python-downloads "$1" 2>/dev/null || true
}

# python_program NAME VERSION COMMAND [PROGRAM]: in a virtual environment of its own.
python_program() {
    if ! cmp -s "$from/$1.txt" "$place/$1/installed.txt"; then
        rm -rf "${place:?}/$1" "$place/missing/$1"
        python=$(python_of "$2")
        if [ -z "$python" ]; then
            echo "it needs Python $2, which is not here" >"$place/missing/$1"
        elif ! { "$python" -m venv "$place/$1" && "$place/$1/bin/python" -m pip install -qq \
            --disable-pip-version-check --no-deps --require-hashes -r "$from/$1.txt"; } >"$place/pip.log" 2>&1; then
            echo "pip cannot install it; $place/pip.log says why" >"$place/missing/$1"
        else
            cp "$from/$1.txt" "$place/$1/installed.txt"
        fi
    fi
    if [ -e "$place/missing/$1" ]; then
        echo "install-clis.sh: $1 is left out: $(cat "$place/missing/$1")" >&2
    else
        script "$3" "$place/$1/bin/${4:-$3}"
        echo "$3 $place/bin/$3"
    fi
}

for name in claude-agent-acp cline codex-acp copilot droid kilo kimi pi pi-acp; do
    echo "$name $place/bin/$name"
done
python_program deepagents 3.11 deepagents python
python_program fast-agent 3.13 fast-agent
python_program mistral-vibe 3.12 vibe-acp
