"""Shell commands that hide what they run or write."""

from __future__ import annotations

import pytest
from permission_call import judged
from test_shell_commands import RULES, verdict

from agent_swarm_worker.guards.permissions.policy import Policy, Rule

READ_ONLY = Policy(mode="read-only")
ARITHMETIC = "x='a[$'; y='(touch p)]'; "
EXPRESSION = "+ $x$y"


@pytest.mark.parametrize(
    "command",
    [
        # `--` that is the value of an option
        "git grep -e -- '-Otouch p;'",
        "git diff --no-index -S -- --output=p f /etc/passwd",
        "git blame -L -- --output=p f",
        "git log --grep -- -- --output=p",
        "git log -e -- $X",
        'git log --grep -- "$X"',
        "sort --random-source -- -o p f",
        "sort -k1 -- f --output=p",
        "rg -e -- --pre ./evil.sh f",
        "file -F -- -C -m m",
        # operators and expansions on two lines
        f"{ARITHMETIC}(\\\n(echo {EXPRESSION}))",
        f"{ARITHMETIC}echo $(\\\n(1 {EXPRESSION}))",
        f'{ARITHMETIC}echo "$(\\\n\\\n(1 {EXPRESSION}))"',
        f"{ARITHMETIC}echo `(\\\n(1 {EXPRESSION}))`",
        f"{ARITHMETIC}for (\\\n(i=0; $x$y; ));do :; done",
        "cat <\\\n(touch p)",
        "cat <\\\n<-E\n\tE\n",
        "cat <<\\\n-E\nx\n\tE\ntouch p\n-E\n",
        # reserved words behind a program
        "time [[ $x$y -eq 1 ]]",
        "time -p [[ $x$y -eq 1 ]]",
        "time { touch p; }",
        "time -p { touch p; }",
        "time ! touch p",
        "time time ! touch p",
        "time if true; then touch p; fi",
        "time until touch p; do :; done",
        "time while touch p; do :; done",
        "time for x in a; do touch p; done",
        "time coproc touch p",
        "time case x in x) touch p;; esac",
        "time function cat { touch p; }",
        "! time { touch p; }",
        "bash -c - 'touch p'",
        "bash -c + 'touch p'",
        "bash -lc - 'touch p'",
        "bash -c -l - 'touch p'",
        # files that are open
        "cat x > /dev/fd/3 3< f",
        "cat x > /dev/stdin < f",
        "cat x > /dev/stderr",
        "cat x > /dev/stdout",
        "cat x >> /dev/fd/0",
        "cat x &> /proc/self/fd/0",
        "cat x > /dev/../dev/fd/0",
        # words of find that are not known
        "x=-exec; find . -maxdepth 0 $x touch p \\;",
        'x=-exec; find . -maxdepth 0 "$x" touch p \\;',
        "x=-exec; find $x touch p \\;",
        "find $(echo -exec) touch p \\;",
        "find . $(echo -exec) touch p \\;",
        "find . -na`echo x` -e$x touch p",
        "echo . -exec touch p ';' | xargs find",
        "echo x | xargs -I{} find . {} touch p",
        "find -e* touch p \\;",
        "find * -name x",
        "find . {-exec,touch,p,\\;}",
    ],
)
def test_never_allowed(command: str) -> None:
    known = Rule(effect="allow", commands=("git", "sort", "rg", "cat", "echo", "find", "file"))
    assert verdict(command, READ_ONLY) == "deny"
    if not command.startswith(("git", "sort", "rg", "file")):
        assert verdict(command, Policy(mode="rules", rules=(known,))) == "deny"


def test_a_find_whose_command_may_end_sooner() -> None:
    known = Policy(mode="rules", rules=(Rule(effect="allow", commands=("cat", "find")),))
    for end in ('"$x"', '"$x;"', "?"):
        command = f"x=';'; find . -exec cat {end} -exec touch p \\;"
        assert verdict(command, known) == "deny", command


@pytest.mark.parametrize(
    "command",
    [
        "git log -n 5 -- src",
        "git log -- src",
        'git log -n 5 -- "$f"',
        "git log HEAD -- *.py",
        "git grep x -- a b",
        "git log |\\\n  cat",
        "git log &&\\\ncat x",
        "git log &&\\\n\\\ncat x",
        "git log 2>&1",
        "cat x >&2",
        "cat x > /dev/null 2>&1",
        "cat '\\\n('",
        "time -p git log",
        "time cat if",
        "find ./src -name '*.py' -newer x",
        'find src/"$x" -type f',
        'find . -name "x$y"',
        "find src/*.d -type f",
    ],
)
def test_still_allowed(command: str) -> None:
    assert verdict(command, READ_ONLY) == "allow"


def test_the_value_of_a_test_of_find_may_be_unknown() -> None:
    for command in ('find . -name "$x"', "find . -name *.py", "find . -name x\\*"):
        assert verdict(command, Policy(mode="rules", rules=RULES)) == "allow", command
    assert judged("Bash", {"command": "find . -name"}, READ_ONLY).effect == "allow"
