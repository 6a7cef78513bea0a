"""Shell commands, as the policies judge them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from permission_call import judged

from agent_swarm_worker.guards.permissions.policy import Policy, Rule
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

CASES = tomllib.loads(Path(__file__).with_name("shell_commands.toml").read_text())["verdicts"]
RULES = (
    Rule(effect="deny", commands=("rm", "git push")),
    Rule(effect="ask", commands=("curl",)),
    Rule(effect="allow", commands=("git", "ls", "cat", "make test", "cd", "echo", "find")),
    Rule(effect="allow", commands=("sudo apt-get",)),
    Rule(effect="allow", actions=("write",), paths=("build/",)),
)


def verdict(command: object, policy: Policy) -> str:
    return judged("Bash", {"command": command}, policy).effect


@pytest.mark.parametrize(("command", "read_only", "rules", "asks"), CASES)
def test_verdicts_of_shell_commands(command: str, read_only: str, rules: str, asks: str) -> None:
    assert verdict(command, Policy(mode="read-only")) == read_only
    assert verdict(command, Policy(mode="rules", rules=RULES)) == rules
    assert verdict(command, Policy(mode="ask", rules=RULES)) == asks
    if command:  # a shell without a command does nothing
        in_a_shell = verdict(["sh", "-lc", command], Policy(mode="rules", rules=RULES))
        assert in_a_shell == rules
    assert verdict(command, Policy()) == "allow"


@pytest.mark.parametrize(
    "command",
    [
        "$(" * 5000,
        "`" * 60_001,
        "(" * 60_000,
        '"$(' * 4000,
        "{," * 30_000,
        "a{" * 30_000,
        "git " + "-a push " * 8000,
        "cat " + "x " * 30_000,
        "ls;" * 20_000,
        "cd a;" * 10_000,
        ">a " * 20_000,
        "a=1;" * 10_000,
        "env " * 16_000,
        "bash -c " * 8000,
        "cat <<E\n" * 8000,
        "x" * 70_000,
        "ls \x00",
        "ls\r\nls",
        "\\",
        "<<",
        "$",
        "for",
        "[[",
        [],
        [""],
        ["git", 1],
        {"a": 1},
        None,
        7,
        True,
    ],
    ids=range(30),
)
def test_hostile_commands_are_never_allowed(command: object) -> None:
    rules = (*RULES, Rule(effect="allow", commands=("env", "bash", "x", "cat")))
    many = isinstance(command, str) and command.startswith(("git ", "cat ", "ls;", "cd a"))
    expected = {"allow", "deny", "ask"} if many else {"deny", "ask"}
    assert verdict(command, Policy(mode="rules", rules=rules)) in expected
    assert verdict(command, Policy(mode="ask", rules=rules)) in expected
    if not many:
        assert verdict(command, Policy(mode="read-only")) == "deny"


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"command": ""},
        {"command": "git log", "cmd": "rm x"},
        {"command": ["git", "log"], "args": ["a", 1]},
        {"command": "git log", "args": "; rm x"},
        "rm x",
        None,
        [],
    ],
)
def test_arguments_that_hide_a_command(args: object) -> None:
    assert judged("Bash", args, Policy(mode="rules", rules=RULES)).effect == "deny"


def test_a_command_given_as_words_is_read_as_words() -> None:
    policy = Policy(mode="rules", rules=RULES)
    assert judged("shell", {"command": ["git", "log", "; rm x"]}, policy).effect == "deny"
    assert judged("Bash", {"command": ["git", "log", "; rm x"]}, policy).effect == "allow"
    assert judged("Bash", {"command": "git", "args": ["log"]}, policy).effect == "allow"
    assert judged("Bash", {"command": ["rm", "x"]}, policy).effect == "deny"


def test_an_unreadable_command_needs_a_rule_for_the_whole_shell() -> None:
    anything = Policy(mode="rules", rules=(Rule(effect="allow", actions=("shell",)),))
    assert verdict("eval x", anything) == "allow"
    assert verdict("x > /etc/y", anything) == "deny"
    denied = Rule(effect="deny", commands=("rm",))
    cautious = Policy(mode="rules", rules=(denied, *anything.rules))
    assert verdict("eval x", cautious) == "deny"
    assert verdict("make", cautious) == "allow"


def test_the_directory_of_a_session_moves_with_its_shell() -> None:
    """A shell may be kept, so a file of a later command may be in another directory."""
    policy = Policy(mode="ask", rules=(Rule(effect="allow", actions=("write",), paths=("b/",)),))
    moved = judged("Bash", {"command": "ls; > b/x"}, policy, directories=("/work", "/work/c"))
    assert moved.effect == "ask"
    assert judged("Bash", {"command": "> b/x"}, policy).effect == "allow"
    assert judged("Bash", {"command": "> b/x"}, policy, directories=None).effect == "ask"
    assert judged("Bash", {"command": "> x", "workdir": "b"}, policy).effect == "allow"
    for key in ("workdir", "dir_path", "Directory", "start-path", "cwd"):
        for place in ("/", "/etc", "~", 7):
            assert judged("Bash", {"command": "> b/x", key: place}, policy).effect == "ask"
    two = {"command": "> x", "workdir": "b", "cwd": "c"}
    assert judged("Bash", two, policy).effect == "ask"


def test_redirections_count_as_commands() -> None:
    policy = Policy(mode="rules", rules=(Rule(effect="allow", actions=("write",)),))
    assert verdict(">a " * 900, policy) == "allow"
    assert verdict(">a " * 1100, policy) == "deny"
    assert verdict(">a " * 600 + ";x=1" * 600, policy) == "deny"


def test_git_only_reads_in_the_directory_of_the_session() -> None:
    """Files of a repository may be a repository themselves, with a configuration."""
    policy = Policy(mode="read-only")
    for more, effect in (
        ({}, "allow"),
        ({"workdir": "."}, "allow"),
        ({"workdir": "/work"}, "allow"),
        ({"workdir": "sub"}, "deny"),
        ({"dir_path": "/etc"}, "deny"),
        ({"workdir": "link/.."}, "deny"),
    ):
        assert judged("Bash", {"command": "git status", **more}, policy).effect == effect, more
    for directories in (("/work", "/work/sub"), None):
        moved = judged("Bash", {"command": "git status"}, policy, directories=directories)
        assert moved.effect == "deny"
        named = {"command": "git -C /work status"}
        assert judged("Bash", named, policy, directories=directories).effect == "allow"


@pytest.mark.parametrize(
    "command",
    [
        "echo x://a:b;touch${IFS}hidden;@h",
        "git log x://a:b$(touch${IFS}hidden)@h",
        "ls KEY;touch x",
    ],
)
def test_what_scrubbing_hides_is_not_allowed(command: str) -> None:
    """The harness runs the command as it was: a part of it is behind the mask."""
    scrubber = Scrubber()
    scrubber.add("KEY", "KEY;touch")
    scrubbed = scrubber.leaves(command)
    assert scrubbed != command
    for policy in (Policy(mode="read-only"), Policy(mode="rules", rules=RULES)):
        assert verdict(scrubbed, policy) == "deny"
    assert verdict(scrubbed, Policy(mode="ask")) == "ask"
