#!/bin/sh
# Installs the programs of harnesses while an image is built; no package's install script is run.
#
#   install-harnesses.sh DIR [HARNESS…]        those of harnesses.txt, next to this script
#
# <HARNESS>_VERSION in the environment wins over the version of the table. Each program must answer
# --version from DIR/bin, or the build fails.
set -eu

dir=$1
shift
table=$(dirname "$0")/harnesses.txt
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

# An old npm unpacks the programs of all C libraries; the one that answers is this machine's.
keep_the_one_that_runs() {
	for found; do
		if "$found" --version; then
			ln -sf "$found" "$dir/bin/$program"
			return
		fi
		rm -rf "$(dirname "$found")"
	done
	echo "install-harnesses.sh: $harness has no program for this machine" >&2
	exit 1
}

# Programs of the kind `node` are scripts: the image that they go into needs the interpreter, too.
with_node() {
	[ -e "$dir/bin/node" ] || cp "$(command -v node)" "$dir/bin/node"
	printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$dir/bin/node" "$1" >"$dir/bin/$program"
	chmod +x "$dir/bin/$program"
}

for harness; do
	row=$(grep -E "^$harness +" "$table") || {
		echo "install-harnesses.sh: no such harness: $harness" >&2
		exit 2
	}
	set -f
	# shellcheck disable=SC2086
	set -- $row # its columns
	set +f
	program=$2 package=$3 version=$4 kind=$5 pattern=$6
	name=$(echo "$harness" | tr 'a-z-' 'A-Z_')_VERSION
	eval "version=\${$name:-$version}"
	# Each has a folder of its own: npm takes away what it finds beside the package it is asked for.
	npm install --prefix "$dir/$harness" --ignore-scripts --no-audit --no-fund --no-save \
		--cache /tmp/npm "$package@$version"
	# shellcheck disable=SC2086
	set -- "$dir/$harness/node_modules/"$pattern
	case $kind in
	native) keep_the_one_that_runs "$@" ;;
	node) with_node "$1" ;;
	brotli)
		node -e 'const { createReadStream, createWriteStream } = require("fs");
			createReadStream(process.argv[1]).pipe(require("zlib").createBrotliDecompress())
				.pipe(createWriteStream(process.argv[2], { mode: 0o755 }))' "$1" "$dir/bin/$program"
		;;
	esac
	# In the end, when nothing can take it away any more.
	"$dir/bin/$program" --version
done
rm -rf /tmp/npm
