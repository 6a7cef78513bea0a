"""Rules, their file, and the decisions about calls that are no shell commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from permission_call import judged

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.guards.permissions.policy import (
    PermissionSettings,
    Policy,
    Rule,
    operator_policy,
    read_settings,
)

SWARM = "mcp__agent-swarm__store-progress"


def decided(tool: str, args: Any, *rules: Rule, mode: str = "rules", **more: Any) -> str:
    policy = Policy.model_validate({"mode": mode, "rules": rules})
    return judged(tool, args, policy, **more).effect


@pytest.mark.parametrize(
    ("tool", "args", "read_only", "asks"),
    [
        ("Read", {"file_path": "/etc/hosts"}, "allow", "allow"),
        ("Grep", {"pattern": "x"}, "allow", "allow"),
        ("Glob", {"pattern": "*"}, "allow", "allow"),
        ("LS", {"path": "."}, "allow", "allow"),
        ("TodoWrite", {}, "allow", "allow"),
        ("AskUserQuestion", {}, "allow", "allow"),
        ("Skill", {"skill": "x"}, "allow", "allow"),
        ("Task", {}, "allow", "allow"),
        ("ToolSearch", {}, "allow", "allow"),
        (SWARM, {}, "allow", "allow"),
        ("Edit", {"file_path": "x"}, "deny", "ask"),
        ("Write", {"file_path": "x"}, "deny", "ask"),
        ("WebFetch", {"url": "https://example.com"}, "deny", "ask"),
        ("WebSearch", {"query": "x"}, "deny", "ask"),
        ("mcp__github__get_issue", {}, "deny", "ask"),
        ("SomethingNew", {}, "deny", "ask"),
        ("Bash", {"command": "make", "server": "agent-swarm", "tool": "x"}, "deny", "ask"),
        ("Anything", {"server": "agent-swarm", "tool": "x"}, "deny", "ask"),
    ],
)
def test_what_only_reads(tool: str, args: Any, read_only: str, asks: str) -> None:
    assert decided(tool, args, mode="read-only") == read_only
    assert decided(tool, args, mode="ask") == asks
    assert decided(tool, args) == ("allow" if tool == SWARM else "deny")


def test_no_argument_makes_a_tool_another_one() -> None:
    rule = Rule(effect="allow", tools=("mcp__github__*",))
    named = {"command": "make", "server": "github", "tool": "get_issue"}
    assert decided("Bash", named, rule) == "deny"
    assert decided("call_tool", named, rule) == "deny"
    assert decided("call_tool", named, Rule(effect="allow", actions=("mcp",))) == "deny"
    rest = Rule(effect="allow")
    for rule in (
        Rule(effect="deny", tools=("mcp__github__*",)),
        Rule(effect="ask", actions=("mcp",)),
    ):
        assert decided("call_tool", named, rule, rest) == rule.effect
    assert decided("call_tool", {}, rule, rest) == "allow"


def test_the_first_rule_that_applies_decides() -> None:
    allow = Rule(effect="allow", tools=("mcp__github__*",))
    deny = Rule(effect="deny", tools=("MCP__github__delete_*",))
    assert decided("mcp__github__delete_repo", {}, deny, allow) == "deny"
    assert decided("mcp__github__delete_repo", {}, allow, deny) == "allow"
    assert decided("mcp__github__get_issue", {}, deny, allow) == "allow"
    assert decided(SWARM, {}, Rule(effect="deny", tools=("mcp__*",))) == "deny"
    assert decided("Read", {"file_path": "x"}, Rule(effect="ask")) == "ask"
    edits = Rule(effect="allow", actions=("edit",), tools=("Edit",), paths=("src/",))
    assert decided("Edit", {"file_path": "src/x"}, edits) == "allow"
    assert decided("MultiEdit", {"file_path": "src/x"}, edits) == "deny"


@pytest.mark.parametrize(
    ("path", "pattern", "allows", "denies"),
    [
        ("src/a.py", "src/", True, True),
        ("src/a.py", "src", True, True),
        ("src/b/a.py", "src/**", True, True),
        ("src/b/a.py", "src/*", False, True),
        ("src/a.py", "src/*.py", True, True),
        ("a.py", "**/*.py", True, True),
        ("b/a.py", "*.py", False, False),
        ("b/a.py", "**", True, True),
        ("/work/a.py", "a.py", True, True),
        ("/etc/a.py", "**", False, False),
        ("../etc/a.py", "**", False, False),
        ("src/../../etc/x", "src/", False, False),
        ("/etc/x", "/etc/", True, True),
        ("/etcetera", "/etc", False, False),
        (".env", "[.]env", True, True),
        ("srcs/x", "src", False, False),
        ("~/x", "**", False, True),
        ("a\0b", "**", False, True),
    ],
)
def test_paths_are_matched_for_sure_or_perhaps(
    path: str, pattern: str, allows: bool, denies: bool
) -> None:
    allow = Rule(effect="allow", actions=("edit",), paths=(pattern,))
    assert decided("Edit", {"file_path": path}, allow) == ("allow" if allows else "deny")
    deny = Rule(effect="deny", actions=("edit",), paths=(pattern,))
    rest = Rule(effect="ask")
    assert decided("Edit", {"file_path": path}, deny, rest) == ("deny" if denies else "ask")


def test_every_path_of_a_call_has_to_be_allowed() -> None:
    rule = Rule(effect="allow", paths=("src/",))
    patch = "*** Begin Patch\n*** Update File: src/a\n@@\n*** End Patch"
    moved = "*** Begin Patch\n*** Update File: src/a\n*** Move to: ../b\n*** End Patch"
    for args, effect in (
        ({"changes": [{"path": "src/a"}, {"path": "src/b"}]}, "allow"),
        ({"changes": [{"path": "src/a"}, {"path": "b"}]}, "deny"),
        ({"changes": {"src/a": {}, "/b": {}}}, "deny"),
        ({"changes": {"src/a": {"move_path": "/b"}}}, "deny"),
        ({"changes": {"src/a": {}}}, "allow"),
        ({"path": "src/a", "file_path": "b"}, "deny"),
        ({"path": "src/a", "filePath": ["x"]}, "deny"),
        ({"path": 7}, "deny"),
        ({"input": patch}, "allow"),
        ({"patch": moved}, "deny"),
        (patch, "allow"),
        ({"path": "file:///work/src/a"}, "allow"),
        ({"path": "file:///work/src/%2e%2e/a"}, "deny"),
        ({}, "deny"),
    ):
        assert decided("Edit", args, rule) == effect, args
    assert decided("mcp__db__delete", {"path": "src/a"}, rule) == "deny"


@pytest.mark.parametrize(
    ("args", "effect"),
    [
        ({"file_path": "src/a", "target": "/etc/passwd"}, "deny"),
        ({"file_path": "src/a", "destination_path": "b"}, "deny"),
        ({"file_path": "src/a", "OutputDir": "b"}, "deny"),
        ({"file_path": "src/a", "where": "/etc/passwd"}, "deny"),
        ({"file_path": "src/a", "where": ["src/../../x"]}, "deny"),
        ({"file_path": "src/a", "more": {"to_write": "~/.bashrc"}}, "deny"),
        ({"file_path": "src/a", "target": "src/b", "where": "/work/src/c"}, "allow"),
        ({"file_path": "src/a", "content": "/etc/passwd", "mode": "w"}, "allow"),
        ({"file_path": "src/a", "old_string": "// a", "new_string": "/* b */"}, "allow"),
        ({"notebook_path": "src/a", "new_source": "/etc/passwd"}, "allow"),
    ],
)
def test_every_argument_that_may_be_a_path_has_to_be_allowed(args: Any, effect: str) -> None:
    assert decided("Write", args, Rule(effect="allow", paths=("src/",))) == effect
    moving = Rule(effect="allow", tools=("move_thing",), paths=("src/",))
    assert decided("move_thing", args, moving) == effect
    inside = Rule(effect="allow", actions=("write",))
    leaves = any("/etc" in str(one) or ".." in str(one) or "~" in str(one) for one in args.values())
    if effect == "deny":
        assert decided("Write", args, inside) == ("deny" if leaves else "allow")


def test_an_edit_outside_needs_a_rule_with_its_path() -> None:
    anywhere = Rule(effect="allow", actions=("edit", "write"))
    assert decided("Write", {"file_path": "deep/x"}, anywhere) == "allow"
    assert decided("Write", {"file_path": "/etc/x"}, anywhere) == "deny"
    assert decided("Write", {"file_path": "../x"}, Rule(effect="allow")) == "deny"
    there = Rule(effect="allow", actions=("write",), paths=("/etc/x",))
    assert decided("Write", {"file_path": "/etc/x"}, there) == "allow"


def test_a_denied_file_is_denied_to_a_command_as_well() -> None:
    deny, allow = Rule(effect="deny", paths=(".env", "secrets/")), Rule(effect="allow")
    for command, effect in (
        ("cat .env", "deny"),
        ("cat ./.env", "deny"),
        ("cat x/../secrets/a", "deny"),
        ("grep --file=.env x", "deny"),
        ("cat .environment", "allow"),
    ):
        assert decided("Bash", {"command": command}, deny, allow) == effect, command


def test_hosts() -> None:
    rule = Rule(effect="allow", hosts=("*.example.com", "example.org"))
    for url, effect in (
        ("https://docs.example.com/x", "allow"),
        ("https://EXAMPLE.org:8443", "allow"),
        ("example.org/x", "allow"),
        ("https://example.com", "deny"),
        ("https://example.org.evil.net", "deny"),
        ("https://example.org@evil.net", "deny"),
        ("https://evil.net\\@example.org", "deny"),
        ("https://evil.net/https://example.org", "deny"),
        ("http://[x", "deny"),
        ("", "deny"),
    ):
        assert decided("WebFetch", {"url": url}, rule) == effect, url
    two = {"url": "https://example.org", "uri": "https://evil.net"}
    assert decided("WebFetch", two, rule) == "deny"
    assert decided("Bash", {"command": "curl https://example.org"}, rule) == "deny"
    deny = Rule(effect="deny", hosts=("evil.net",))
    rest = Rule(effect="allow")
    assert decided("Bash", {"command": "curl https://evil.net/x"}, deny, rest) == "deny"
    assert decided("WebFetch", {"url": 7}, deny, rest) == "deny"


def test_hosts_that_fit_are_taken() -> None:
    for host in ("*.example.com", "a-b.c", "::1", "[ab]x.org", "127.0.0.*", "2001:db8::1", "*"):
        assert Rule(effect="deny", hosts=(host,)).hosts == (host,)
    rule = Rule(effect="deny", hosts=("::1",))
    assert decided("WebFetch", {"url": "http://[::1]:80/x"}, rule, Rule(effect="ask")) == "deny"


# --- the file
def problem(tmp_path: Path, text: str) -> str:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(BadSetting) as caught:
        read_settings(path)
    assert str(path) in str(caught.value)
    return caught.value.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[rules]]\nefect = 'deny'", "rules[0].efect: unknown key; did you mean effect?"),
        ("polcy = 'ask'", "polcy: unknown key; did you mean policy?"),
        ("zzz = 1", "zzz: unknown key; known are policy, rules, approval_timeout_s"),
        ("policy = 'asks'", "did you mean ask?"),
        ("[[rules]]\neffect = 'alow'", "did you mean allow?"),
        ("[[rules]]\neffect = 'deny'\nactions = ['shel']", "did you mean shell?"),
        ("[[rules]]\neffect = 'deny'\ncommands = 'rm'", "expected a list, such as ['rm']"),
        ("[[rules]]\neffect = 'deny'\ncommands = []", "rules[0].commands: "),
        ("[[rules]]\neffect = 'deny'\ncommands = ['git *']", "plain words"),
        ("[[rules]]\neffect = 'deny'\ncommands = ['git; rm']", "plain words"),
        ("[[rules]]\neffect = 'deny'\ncommands = [' ']", "at least one word"),
        ("[[rules]]\neffect = 'deny'\ncommands = [\"'\"]", "No closing quotation"),
        ("[[rules]]\neffect = 'allow'\ncommands = ['a']\npaths = ['b']", "cannot have paths"),
        ("[[rules]]\neffect = 'deny'\ncommands = ['a']\nactions = ['edit']", "shell only"),
        ("[[rules]]\neffect = 'deny'\npaths = ['../x']", ".. cannot be used"),
        ("[[rules]]\neffect = 'deny'\npaths = ['[z-a]']", "is no pattern"),
        ("rules = 1", "rules: "),
        ("rules = [1]", "rules[0]: "),
        ("approval_timeout_s = 0", "approval_timeout_s: "),
        ("approval_timeout_s = 'soon'", "approval_timeout_s: "),
        ("approval_timeout_s = true", "approval_timeout_s: expected a number of seconds"),
        (f"approval_timeout_s = {'9' * 5000}", "it is no TOML"),
        ("policy = 'bypass'\n[[rules]]\neffect = 'deny'", "the policy bypass has no rules"),
        ("[[rules]]\neffect = 'deny'\ncommands = ['VAR=1 rm']", "'VAR=1' is none"),
        ("[[rules]]\neffect = 'deny'\ncommands = ['#rm']", "fits no command"),
        ("[[rules]]\neffect = 'deny'\ncommands = ['-x rm']", "fits no command"),
        ("[[rules]]\neffect = 'deny'\ncommands = [\"'' rm\"]", "fits no command"),
        ("[[rules]]\neffect = 'deny'\nhosts = ['http://x']", "hosts: 'http://x' fits no host"),
        ("[[rules]]\neffect = 'deny'\nhosts = ['x:80']", "fits no host"),
        ("[[rules]]\neffect = 'deny'\nhosts = ['x/y']", "fits no host"),
        ("[[rules]]\neffect = 'deny'\nhosts = ['a@x']", "fits no host"),
        ("[[rules]", "it is no TOML"),
        ("x = " + "[" * 5000, "it is no TOML"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, why: str) -> None:
    assert why in problem(tmp_path, text)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(BadSetting, match=why):
            read_settings(path)
    with pytest.raises(BadSetting, match="null byte"):
        read_settings(Path("a\0b"))
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (1 << 21))
    with pytest.raises(BadSetting, match="larger than"):
        read_settings(big)
    big.write_bytes(b"\xff")
    with pytest.raises(BadSetting, match="no TOML"):
        read_settings(big)


def test_what_the_environment_makes_of_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rules]]\neffect = 'allow'\ncommands = ['git log']\n")
    rules = {"SWARM_PERMISSION_RULES": str(path)}
    assert operator_policy({}).mode == "bypass"
    assert operator_policy(rules).mode == "rules"
    assert operator_policy({**rules, "SWARM_PERMISSIONS": "ask"}).mode == "ask"
    assert operator_policy({**rules, "SWARM_PERMISSIONS": "bypass"}).mode == "bypass"
    assert operator_policy({"SWARM_APPROVAL_TIMEOUT_S": "5"}).approval_timeout_s == 5
    with pytest.raises(BadSetting, match="SWARM_PERMISSION_RULES"):
        operator_policy({"SWARM_PERMISSIONS": "rules"})
    with pytest.raises(BadSetting, match="SWARM_PERMISSIONS"):
        operator_policy({"SWARM_PERMISSIONS": "none"})
    path.write_text("policy = 'ask'\napproval_timeout_s = 60\n")
    found = operator_policy(rules)
    assert (found.mode, found.approval_timeout_s, found.rules) == ("ask", 60, ())


def test_a_profile_says_something_else() -> None:
    base = Policy(mode="ask", rules=(Rule(effect="deny", commands=("rm",)),))
    assert base.overridden(None) == base
    assert base.overridden(PermissionSettings(policy="read-only")).rules == base.rules
    given = base.overridden(PermissionSettings(rules=(), approval_timeout_s=3))
    assert (given.mode, given.rules, given.approval_timeout_s) == ("ask", (), 3)
    rules = (Rule(effect="allow", commands=("ls",)),)
    assert Policy().overridden(PermissionSettings(rules=rules)).mode == "rules"


@pytest.mark.parametrize(
    "name",
    [
        "mcp__agent-swarm__x__run",
        "mcp__Agent-Swarm__store-progress",
        "mcp__agent-swarm__",
        "mcp__agent-swarm2__x",
    ],
)
def test_a_server_called_like_the_swarms_is_another(name: str):
    assert judged(name, {}, Policy(mode="read-only")).effect == "deny"
    assert judged(SWARM, {}, Policy(mode="read-only")).effect == "allow"


def test_an_allowed_command_after_an_assignment_has_a_reason():
    decision = judged("Bash", {"command": "x=a; ls"}, Policy(mode="read-only"))
    assert decision.effect == "allow"
    assert decision.reason
