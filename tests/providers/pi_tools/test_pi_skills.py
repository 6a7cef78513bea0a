"""Skills: the section in the system prompt, and skill commands."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import anyio
import pytest

from agent_swarm_worker.providers.pi import skills
from agent_swarm_worker.providers.pi.skills import (
    MAX_SECTION_CHARS,
)
from agent_swarm_worker.sandboxes.local import LocalGuest

GUEST = LocalGuest("skills")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def skill(home: Path, name: str, text: str | None = None, *, root: str = ".pi/agent") -> Path:
    path = home / root / "skills" / name / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text(text or f"---\nname: {name}\ndescription: does {name}\n---\n\nDo {name}.\n")
    return path


def env(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), **more}


def skills_section(environment: dict[str, str]) -> str:
    return anyio.run(skills.skills_section, GUEST, environment)


def skill_folders(environment: dict[str, str]) -> tuple[PurePath, ...]:
    return anyio.run(skills.skill_folders, GUEST, environment)


def resolved(prompt: str, environment: dict[str, str]) -> tuple[str, list[str]]:
    warnings: list[str] = []
    text = anyio.run(skills.with_skill, prompt, GUEST, environment, warnings.append)
    return text, warnings


def test_skills_are_listed_with_what_they_are_for(home: Path):
    path = skill(home, "review")
    skill(home, "build", '---\nname: build\ndescription: "quoted \\"x\\""\n---\n')
    section = skills_section(env(home))
    assert f"- review: does review ({os.path.realpath(path)})" in section
    assert '- build: quoted "x" (' in section
    assert section.index("- build") < section.index("- review")


def test_without_skills_there_is_no_section(home: Path):
    assert skills_section(env(home)) == ""
    assert skills_section({}) == ""
    (home / ".pi/agent/skills").mkdir(parents=True)
    assert skills_section(env(home)) == ""


def test_the_folder_can_be_elsewhere(home: Path, tmp_path: Path):
    skill(home, "at-home")
    skill(tmp_path, "elsewhere", root="agent")
    other = env(home, PI_CODING_AGENT_DIR=str(tmp_path / "agent"))
    assert "elsewhere" in skills_section(other)
    assert "at-home" not in skills_section(other)
    assert "at-home" in skills_section(env(home, PI_CODING_AGENT_DIR="~/.pi/agent"))


def test_what_is_no_skill_is_not_listed(home: Path, tmp_path: Path):
    skill(home, "good")
    skill(home, "plain", "no front matter")
    skill(home, "empty", " ")
    skill(home, "nameless", "---\ndescription: x\n---\n")
    for number, yes in enumerate(("true", "True  # never", "'yes'", "on")):
        head = f"name: quiet\ndescription: x\ndisable-model-invocation: {yes}"
        skill(home, f"quiet-{number}", f"---\n{head}\n---\n")
    root = home / ".pi/agent/skills"
    (root / "file").write_text("x")
    (root / "hollow").mkdir()
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe/SKILL.md")
    (root / "loop").symlink_to("loop")
    (root / "device").mkdir()
    (root / "device/SKILL.md").symlink_to("/dev/zero")
    outside = skill(tmp_path / "outside", "outside")
    (root / "outside").symlink_to(outside.parent)
    lines = skills_section(env(home)).splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("- ")] == ["- good"]


def test_a_link_to_where_an_installer_keeps_all_skills_is_followed(home: Path):
    shared = skill(home, "shared", root=".agents")
    root = home / ".pi/agent/skills"
    root.mkdir(parents=True)
    (root / "shared").symlink_to(shared.parent)
    assert "shared" in skills_section(env(home))
    assert skill_folders(env(home)) == (Path(os.path.realpath(shared.parent)),)
    (root / "key").mkdir()
    (home / "id_rsa").write_text("private")
    (root / "key/SKILL.md").symlink_to(home / "id_rsa")
    assert len(skill_folders(env(home))) == 1
    assert "private" not in resolved("/skill:key", env(home))[0]


@pytest.mark.long
def test_a_section_stays_small(home: Path):
    for n in range(300):
        skill(home, f"s{n:03}", f"---\nname: s{n}\ndescription: {'x' * 10_000}\n---\n")
    assert 1000 < len(skills_section(env(home))) < MAX_SECTION_CHARS + 500


@pytest.mark.parametrize(
    ("prompt", "request_"),
    [
        ("/skill:review", ""),
        ("/skill:review 12 34", "12 34"),
        ("  /skill:review\t12  \nmore\nlines", "12\nmore\nlines"),
        ("/skill:review\nmore", "more"),
    ],
)
def test_a_command_becomes_the_skill(home: Path, prompt: str, request_: str):
    text = skill(home, "review").read_text()
    expected = f"{text.strip()}\n\n---\n\nUser request: {request_}"
    assert resolved(prompt, env(home)) == (expected, [])


def test_a_skill_without_front_matter_is_still_a_text(home: Path):
    skill(home, "plain", "Just do it.")
    assert resolved("/skill:plain now", env(home))[0].startswith("Just do it.\n\n---\n\n")


@pytest.mark.parametrize(
    "prompt", ["hello", "say /skill:review", "/work-on-task 1", "text\n/skill:review", ""]
)
def test_other_prompts_stay_as_they_are(home: Path, prompt: str):
    skill(home, "review")
    assert resolved(prompt, env(home)) == (prompt, [])


@pytest.mark.parametrize(
    "name", ["gone", "../x", "..", "/etc/passwd", "", "a\0b", "\ud800", "x" * 5000, "empty", "pipe"]
)
def test_a_skill_that_is_not_there_is_told(home: Path, name: str):
    secret = home / ".pi/agent/x/SKILL.md"
    secret.parent.mkdir(parents=True)
    secret.write_text("outside of the folder")
    skill(home, "empty", "\n")
    (home / ".pi/agent/skills/pipe").mkdir()
    os.mkfifo(home / ".pi/agent/skills/pipe/SKILL.md")
    prompt = f"/skill:{name} do it"
    said, warnings = resolved(prompt, env(home))
    assert said == prompt
    assert len(warnings) == 1
    assert len(warnings[0]) < 300
    assert resolved(prompt, {})[0] == prompt


def test_a_huge_skill_is_cut(home: Path):
    skill(home, "huge", "é" * 10_000_000)
    said, warnings = resolved("/skill:huge x", env(home))
    assert said.startswith("é" * 100_000 + "\n\n---")
    assert "cut to 100000 characters" in warnings[0]
    said, warnings = resolved("/skill:huge x", env(home, MAX_SKILL_CHARS="10"))
    assert said == "é" * 10 + "\n\n---\n\nUser request: x"
    assert len(resolved("/skill:huge x", env(home, MAX_SKILL_CHARS="many"))[0]) > 100_000
