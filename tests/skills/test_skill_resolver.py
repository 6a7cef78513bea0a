"""Skill commands in prompts, for harnesses without commands."""

from __future__ import annotations

import os

import pytest

from agent_swarm_worker.providers.registry import known_specs
from agent_swarm_worker.skills.folders import ResolvedPrompt, is_installed, resolve_command


@pytest.fixture
def skills(tmp_path):
    folder = tmp_path / "work-on-task"
    folder.mkdir()
    (folder / "SKILL.md").write_text("# How to work\n")
    return tmp_path


@pytest.mark.parametrize(
    ("prompt", "request_"),
    [
        ("/work-on-task 12", "12"),
        ("  /work-on-task  12 now \nTask: x\n\ny", "12 now\nTask: x\n\ny"),
        ("/work-on-task", ""),
        ("/work-on-task\n\nTask", "\nTask"),
    ],
)
def test_a_command_is_replaced_by_its_skill(skills, prompt, request_):
    resolved = resolve_command(prompt, skills)
    assert resolved.prompt == f"# How to work\n\n---\n\nUser request: {request_}"
    assert resolved.warning is None


@pytest.mark.parametrize(
    "prompt",
    ["text", "", "text\n/work-on-task", "/Work-on-task", "/../secret", "/work-on-task/x", "// x"],
)
def test_anything_else_stays(skills, prompt):
    assert resolve_command(prompt, skills) == ResolvedPrompt(prompt)


def test_a_missing_skill_leaves_the_prompt_with_a_warning(skills):
    resolved = resolve_command("/gone 12", skills)
    assert resolved.prompt == "/gone 12"
    assert "gone cannot be read: there is none" in resolved.warning


def test_the_first_folder_that_has_the_skill_counts(skills, tmp_path):
    first = tmp_path / "first"
    (first / "work-on-task").mkdir(parents=True)
    assert "# How to work" in resolve_command("/work-on-task 1", first, skills).prompt
    (first / "work-on-task" / "SKILL.md").write_text("# Better")
    assert "# Better" in resolve_command("/work-on-task 1", first, skills).prompt


def test_a_lower_case_skill_md_is_none(skills):
    (skills / "work-on-task" / "SKILL.md").rename(skills / "work-on-task" / "skill.md")
    assert resolve_command("/work-on-task 1", skills).prompt == "/work-on-task 1"


def test_a_pipe_in_the_place_of_a_skill_is_not_waited_for(skills):
    path = skills / "work-on-task" / "SKILL.md"
    path.unlink()
    os.mkfifo(path)
    assert resolve_command("/work-on-task 1", skills).prompt == "/work-on-task 1"


def test_a_long_skill_is_cut_with_a_warning(skills):
    (skills / "work-on-task" / "SKILL.md").write_text("é" * 200)
    resolved = resolve_command("/work-on-task x", skills, max_chars=100)
    assert resolved.prompt.startswith("é" * 100 + "\n\n---")
    assert "was cut to 100 characters" in resolved.warning


def test_pis_form_of_a_command_means_the_same_skill(skills):
    assert resolve_command("/skill:work-on-task 1", skills).prompt.startswith("# How to work")


@pytest.mark.parametrize(
    ("prompt", "place", "known"),
    [
        ("/work-on-task 1", None, False),
        ("/skill:work-on-task 1", None, False),
        ("no command", None, True),
        ("/work-on-task 1\nx", ".claude/skills/work-on-task/SKILL.md", True),
        ("/skill:work-on-task 1", ".pi/agent/skills/work-on-task/SKILL.md", True),
        ("/work-on-task 1", ".claude/commands/work-on-task.md", True),
        ("/work-on-task 1", ".claude/skills/work-on-task/skill.md", False),
    ],
)
def test_which_commands_a_harness_may_know(tmp_path, prompt, place, known):
    if place:
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        path.touch()
    assert is_installed(prompt, tmp_path, known_specs()) == known
