"""Validation of skills and of the paths of their files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.front_matter import front_matter
from agent_swarm_worker.local_swarm.tools import TOOLS
from agent_swarm_worker.prompts.render import shipped_texts
from agent_swarm_worker.skills.writer import folder_name, is_safe_path, text_fault

GOOD = "---\nname: x\ndescription: does x\n---\n\nbody"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD, {"name": "x", "description": "does x"}),
        ('---\r\nname: "a\\"b"\r\n---\r\n', {"name": 'a"b'}),
        ("\ufeff---\nname: x\n---\n", {"name": "x"}),
        (
            "---\ndescription: >\n  folded\n  text\nname: x\n---\n",
            {"description": "folded text", "name": "x"},
        ),
        ("---\ndescription:\n  below\n---\n", {"description": "below"}),
        ("---\nallowed-tools: Bash(git:*)\n---\n", {"allowed-tools": "Bash(git:*)"}),
        ("no front matter", {}),
        ("---\nname: never closed", {}),
        ("\n---\nname: late\n---\n", {}),
    ],
)
def test_front_matter(text, found):
    assert front_matter(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD, ""),
        ("", "empty"),
        ("plain", "no name and no description"),
        ("---\nname: x\n---\n", "no description"),
        (GOOD + "x" * 10_000_000, "larger than"),
        (GOOD + "é" * 260_000, "larger than"),
    ],
)
def test_what_is_refused(text, why):
    assert text_fault(text) == why or (why and why in text_fault(text))


@pytest.mark.parametrize("path", ["a.md", "ref/a.md", "a b/ü.txt", "..a", "a..b", "x/SKILL.md"])
def test_paths_inside(path):
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "C:x",
        "a\0b",
        "a\nb",
        "SKILL.md",
        "skill.md",
        ".swarm-managed",
        "a/" * 300,
        "x" * 241,
    ],
)
def test_paths_that_lead_elsewhere(path):
    assert not is_safe_path(path)


@given(st.text(max_size=40))
def test_a_folder_is_one_plain_name(name):
    assert set(folder_name(name)) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    )


OURS = sorted(shipped_texts("skills").glob("*/SKILL.md"))


COMMANDS = {
    "close-issue",
    "create-pr",
    "implement-issue",
    "investigate-sentry-issue",
    "respond-github",
    "review-offered-task",
    "review-pr",
    "start-leader",
    "start-worker",
    "swarm-chat",
    "todos",
    "user-management",
    "work-on-task",
}
OF_THE_PUBLIC_SERVER_ONLY = {"resolve-user", "manage-user"}
OTHER_PROGRAMS = {"sentry-cli"}


def test_all_the_swarms_commands_are_there():
    assert {path.parent.name for path in OURS} == COMMANDS


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.parent.name)
def test_our_own_skills_name_only_tools_that_exist(path):
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", path.read_text(encoding="utf-8")))
    assert named <= {*TOOLS, *COMMANDS, *OF_THE_PUBLIC_SERVER_ONLY, *OTHER_PROGRAMS}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.parent.name)
def test_our_own_skills_are_fit(path):
    text = path.read_text(encoding="utf-8")
    assert text_fault(text) == ""
    assert front_matter(text)["name"] == path.parent.name
    assert len(text) < 3000
    assert "\u2014" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.parent.name)
def test_the_front_matter_of_our_own_skills_is_yaml_to_any_parser(path):
    block = path.read_text(encoding="utf-8").split("---\n")[1]
    for line in block.splitlines():
        value = line.partition(": ")[2]
        assert re.fullmatch(r'"[^"\\]*"|(?!.*: )(?!.* #)[A-Za-z][^"]*', value), line
