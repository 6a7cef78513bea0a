"""A secret is found as shells, programs and languages print it; real ones where they are here."""

from __future__ import annotations

import html
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

CORES = [f"q{number}Zx{number}k" for number in range(40)]


def with_cores(specials: str) -> str:
    """Put a word that nothing quotes around each special character; each must be gone."""
    words = iter(CORES)
    return next(words) + "".join(char + next(words) for char in specials)


SPECIALS = " '\"$`\\!~#=%&|;<>(){}[]*?^,:@+/."
VALUES = {
    "specials": with_cores(SPECIALS),
    "quotes": f"{CORES[0]}''{CORES[1]}'",
    "one kind of quote": f"{CORES[0]} {CORES[1]}'{CORES[2]}",
    "tilde": f"~{CORES[0]}#{CORES[1]}",
    "hash": f"#{CORES[0]}~{CORES[1]}",
    "controls": with_cores(" '\"$\\!\t\n\r\x01\x1b\x07\x7f"),
    "not ascii": with_cores("é'\"€$😀\\"),
    "controls, not ascii": with_cores("é'\"\n€\x1b "),
    "not utf-8": with_cores("\udce9' \udcff\""),
}
PROGRAMS = {
    "bash": [
        *("bash -c 'export -p'", "bash -c 'declare -p V'", "bash -c 'W=$V; set'"),
        *('bash -c \'printf "%q\\n" "$V"\'', "bash -c 'echo \"${V@Q} ${V@A}\"'"),
        *("bash -xc ': \"$V\"'", "LC_ALL=C bash -c 'declare -p V; printf %q \"$V\"'"),
    ],
    "dash": ["dash -c 'export -p'", "dash -c 'set'", "dash -xc ': \"$V\"'"],
    "zsh": [
        *("zsh -fc 'export -p'", "zsh -fc 'typeset -p V'", "zsh -fc 'set'", "zsh -fxc ': \"$V\"'"),
        *('zsh -fc \'printf "%q\\n" "$V"\'', "zsh -fc 'print -r -- ${(q)V}'"),
        *(
            f"zsh -fc 'print -r -- \"${{({flag})V}}\"'"
            for flag in ("qq", "qqq", "qqqq", "q-", "q+")
        ),
    ],
    "fish": [
        *("fish --no-config -c 'set -xL'", "fish --no-config -c 'set --show V'"),
        *(
            "fish --no-config -c 'string escape -- $V'",
            "fish --no-config -c 'string escape -n -- $V'",
        ),
        "fish --no-config -c 'string escape --style=url -- $V'",
    ],
    "mksh": ["mksh -c 'export -p'", "mksh -c 'set'"],
    "busybox": ["busybox ash -c 'export -p'", "busybox env"],
    "env": ["env", "env -0", "env -v printf x", "/usr/bin/printf '%q' \"$V\""],
    "python3": [
        "python3 -S -c 'import os; print(os.environ, repr(os.environ[\"V\"]), os.environb)'",
        'python3 -S -c \'import os; v = os.environ["V"]; print(ascii(v), [v + chr(39) + "\\42"])\'',
        "python3 -S -c 'import os, json; print(json.dumps(dict(os.environ)))'",
        "python3 -S -c 'import os, shlex; print(shlex.quote(os.environ[\"V\"]))'",
        "python3 -S -c 'import os, urllib.parse as u; print(u.quote(os.environb[b\"V\"]))'",
    ],
    "node": [
        "node -e 'const v = process.env.V; console.log([v], {v}, [v + String.fromCharCode(39)])'",
        "node -e 'console.log([process.env.V + String.fromCharCode(39, 34)])'",
        "node -e 'console.log(process.env)'",
        "node -e 'console.log(JSON.stringify(process.env))'",
        "node -e 'const v = process.env.V; console.log(encodeURIComponent(v), encodeURI(v))'",
        "node -e 'const v = process.env.V; console.log(escape(v), `${new URLSearchParams({v})}`)'",
    ],
    "git": ["git -c alias.v='!printf %s \"$V\"' v", 'git rev-parse --sq-quote "$V"'],
}
GO = """
package main
import ("fmt"; "os"; "net/url"; "encoding/json"; "strconv")
func main() {
    v := os.Getenv("V")
    j, _ := json.Marshal(v)
    fmt.Printf("%q %+q %#v %s %s\\n", v, v, v, j, url.QueryEscape(v))
    fmt.Println(strconv.QuoteToASCII(v), url.PathEscape(v))
}
"""


def scrubber_of(value: str) -> Scrubber:
    scrubber = Scrubber()
    scrubber.add("V", value)
    return scrubber


def assert_hidden(value: str, printed: bytes) -> None:
    """Check the text, and the same as a JSON string, also inside another one."""
    scrubber = scrubber_of(value)
    shown = printed.decode("utf-8", "replace")
    once = json.dumps({"out": shown}, ensure_ascii=False)
    texts = [scrubber.data(printed), scrubber.json_line(once.encode())[0]]
    for text in (shown, once, json.dumps({"out": shown})):
        for ascii_only in (False, True):
            line = json.dumps({"out": text}, ensure_ascii=ascii_only)
            texts.append(scrubber.json_line(line.encode())[0])
    for clean in texts:
        assert b"[REDACTED:V]" in clean
        left = [core for core in CORES if core.encode() in clean]
        assert not left, clean[-600:]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(
    "command", [c for p, cs in PROGRAMS.items() if shutil.which(p) for c in cs]
)
def test_what_real_programs_print(command: str, name: str) -> None:
    program = next(p for p, commands in PROGRAMS.items() if command in commands)
    value = VALUES[name]
    if program == "node" and name == "not utf-8":
        pytest.skip("node replaces what is not UTF-8 as the scrubber does; see test_stream")
    printed = run(command, value)
    if not any(core.encode() in printed for core in CORES):
        pytest.skip("this program prints no such value")
    assert_hidden(value, printed)


def run(command: str, value: str) -> bytes:
    # The `python3` of a version manager is a shell script, which takes longer than the program.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "V": value}
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=env, capture_output=True, check=False, timeout=60
    )
    # Without what the program says of itself.
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("go") is None, reason="no go here")
def test_what_go_prints(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("go")
    (place / "v.go").write_text(GO)
    subprocess.run(["go", "build", "-o", "v", "v.go"], cwd=place, check=True, timeout=300)
    for value in VALUES.values():
        assert_hidden(value, run(str(place / "v"), value))


A, B, C = CORES[:3]
PRINTED = {
    f"{A} b'{B}\"d$e`f\\g!h~#=l{{m}}*,:@%^{C}": [
        f"export V='{A} b'\\''{B}\"d$e`f\\g!h~#=l{{m}}*,:@%^{C}'",  # zsh, mksh, bash: set
        f"export V='{A} b'\"'\"'{B}\"d$e`f\\g!h~#=l{{m}}*,:@%^{C}'",  # dash, busybox
        f'declare -x V="{A} b\'{B}\\"d\\$e\\`f\\\\g!h~#=l{{m}}*,:@%^{C}"',  # bash; zsh: (qqq)
        f"{A}\\ b\\'{B}\\\"d\\$e\\`f\\\\g\\!h~#=l\\{{m\\}}\\*\\,:@%\\^{C}",  # bash: %q
        f"{A}\\ b\\'{B}\\\"d\\$e\\`f\\\\g!h~\\#=l\\{{m\\}}\\*,:@%\\^{C}",  # zsh: (q)
        f"$'{A} b\\'{B}\"d$e`f\\\\g\\!h~#=l{{m}}*,:@%^{C}'",  # zsh: (qqqq)
        f"{A}\\ b\\'{B}\\\"d\\$e`f\\\\g!h\\~\\#=l\\{{m\\}}\\*,:@\\%^{C}",  # fish: string escape
        f"$V[1]: |{A} b'{B}\"d$e`f\\\\g!h~#=l{{m}}*,:@%^{C}|",  # fish: set --show
        f"{A}%20b%27{B}%22d%24e%60f%5Cg%21h~%23%3Dl%7Bm%7D%2A%2C%3A%40%25%5E{C}",  # fish: url
        f"V: '{A} b''{B}\"d$e`f\\g!h~#=l{{m}}*,:@%^{C}'",  # YAML
        f"V={A} b'{B}\"d$$e`f\\g!h~#=l{{m}}*,:@%^{C}",  # compose
        f"[ '{A} b\\'{B}\"d$e`f\\\\g!h~#=l{{m}}*,:@%^{C}' ]",  # node
        f"[ `{A} b'{B}\"d$e\\`f\\\\g!h~#=l{{m}}*,:@%^{C}` ]",  # node
    ],
    f"{A}''{B}'{C}'": [
        f"'{A}'\\'\\''{B}'\\''{C}'\\'",  # zsh, mksh
        f"'{A}'\\'''\\''{B}'\\''{C}'\\'''",  # bash
        f"'{A}'\"''\"'{B}'\"'\"'{C}'\"'\"",  # dash, busybox
        f"V {A}\\'\\'{B}\\'{C}\\'",  # fish
    ],
    f"~{A}#{B}": [f"\\~{A}#{B}", f"\\~{A}\\#{B}"],
    f"{A}\t{B}\n'\x01\x1b{C}é": [
        f"$'{A}\\t{B}\\n\\'\\001\\E{C}é'",  # bash
        f"$'{A}\\t{B}\\n\\'\\001\\E{C}\\303\\251'",  # bash without a locale
        f"$'{A}\\t{B}\\n\\'\\C-A\\C-[{C}é'",  # zsh: export -p
        f"$'{A}\\t{B}\\n\\'\\001\\033{C}é'",  # zsh: (qqqq)
        f"{A}$'\\t'{B}$'\\n'\\'$'\\001'$'\\033'{C}é",  # zsh: (q)
        f"{A}\\t{B}\\n\\'\\ca\\e{C}é",  # fish
        f"$'{A}\\t{B}\\n\\047\\001\\E{C}é'",  # mksh
        f"'{A}'$'\\t''{B}'$'\\n'''\\'''$'\\001\\033''{C}é'",  # printf of coreutils
        f"arg[0]= \u2018{A}\\t{B}\\n'\\001\\033{C}é\u2019",  # env -v
        f"'{A}\\t{B}\\n\\'\\x01\\x1b{C}\\xe9'",  # Python: ascii
        f"b'{A}\\t{B}\\n\\'\\x01\\x1b{C}\\xc3\\xa9'",  # Python: bytes
        f"'{A}\\t{B}\\n\\'\\x01\\x1B{C}é'",  # node
        f'"{A}\\t{B}\\n\'\\x01\\x1b{C}\\u00e9"',  # Go: %+q
    ],
    f"{A}\udce9{B}": [f"$'{A}\\351{B}'", f"$'{A}\\M-i{B}'", f"{A}\\Xe9{B}", f"'{A}\\udce9{B}'"],
}


@pytest.mark.parametrize(
    ("value", "printed"), [(value, one) for value, forms in PRINTED.items() for one in forms]
)
def test_the_forms_that_were_seen(value: str, printed: str) -> None:
    assert_hidden(value, printed.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("value", [f"{A}'s-{B}ü{C}", f"{A} ${B}ü{C}", f'{A}"{B}-ü{C}'])
@pytest.mark.parametrize("form", [shlex.quote, html.escape, lambda v: v.replace("'", "''"), repr])
def test_a_quoted_value_is_found_in_json_of_any_encoder(
    value: str, form: Callable[[str], str]
) -> None:
    assert_hidden(value, form(value).encode())
    for escape in (r"\u00FC", r"\u00fc"):
        line = json.dumps({"out": form(value)}).replace(r"\u00fc", escape).replace("/", r"\/")
        assert b"[REDACTED:V]" in scrubber_of(value).json_line(line.encode())[0]


def test_a_plain_value_has_few_needles() -> None:
    scrubber = scrubber_of("plainValue_0123-4567")
    assert len(scrubber._names) <= 6


def test_python_here_is_that_of_the_test() -> None:
    value = VALUES["controls, not ascii"]
    printed = subprocess.run(
        [sys.executable, "-c", "import os; print([os.environ['V']], os.environb[b'V'])"],
        env={"V": value, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )
    assert_hidden(value, printed.stdout)
