"""The installer of the pinned harnesses, without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MORE = HERE / "more"
SCRIPT = HERE / "install-clis.sh"


def run(*args: str | Path, path: str, **env: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell
    return subprocess.run(
        [shell, SCRIPT, *args],
        env={"PATH": path, "HOME": "/nonexistent", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def path_without_npm(folder: Path) -> str:
    for name in ("cat", "chmod", "cmp", "cp", "dirname", "head", "ln", "mkdir", "rm", "sed"):
        program = shutil.which(name)
        assert program
        (folder / name).symlink_to(program)
    return str(folder)


def test_it_says_how_to_call_it(tmp_path: Path) -> None:
    done = run(path=path_without_npm(tmp_path))
    assert (done.returncode, done.stderr) == (2, "usage: install-clis.sh DIR [more]\n")


def test_without_npm_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = run(tmp_path / "tools", path=path_without_npm(tmp_path / "bin"))
    assert done.returncode == 1
    assert "npm is needed" in done.stderr


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "tools").mkdir()
    shutil.copy(HERE / "package-lock.json", tmp_path / "tools/installed.json")
    done = run(tmp_path / "tools", path=path_without_npm(tmp_path / "bin"))
    assert (done.returncode, done.stderr) == (0, "")
    programs = tmp_path / "tools/bin"
    names = ("claude", "codex", "gemini", "grok", "opencode", "pi", "qwen")
    assert done.stdout == "".join(f"{name} {programs}/{name}\n" for name in names)


def test_without_a_registry_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin/npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\necho more >&2\nexit 1\n")
    npm.chmod(0o755)
    done = run(tmp_path / "tools", path=path_without_npm(tmp_path / "bin"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "install-clis.sh: npm cannot install the harnesses (code ENOTFOUND); "
        f"{tmp_path}/tools/npm.log says more"
    ]


def test_a_program_without_its_interpreter_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    more = tmp_path / "tools/more"
    more.mkdir(parents=True)
    shutil.copy(HERE / "package-lock.json", tmp_path / "tools/installed.json")
    shutil.copy(MORE / "package-lock.json", more / "installed.json")
    (more / "fast-agent").mkdir()
    shutil.copy(MORE / "fast-agent.txt", more / "fast-agent/installed.txt")
    before = tmp_path / "python"
    before.write_text("an interpreter")
    (more / "bin").mkdir()
    (more / "bin/fast-agent").symlink_to(before)
    path = path_without_npm(tmp_path / "bin")
    done = run(tmp_path / "tools", "more", path=path, HOME=str(tmp_path))
    assert done.returncode == 0
    assert f"fast-agent {more}/bin/fast-agent\n" in done.stdout
    assert "vibe-acp" not in done.stdout
    why = "it needs Python 3.12, which is not here"
    assert f"install-clis.sh: mistral-vibe is left out: {why}\n" in done.stderr
    assert (more / "missing/mistral-vibe").read_text() == f"{why}\n"
    script = f'#!/bin/sh\nexec "{more}/fast-agent/bin/fast-agent" "$@"\n'
    assert (more / "bin/fast-agent").read_text() == script
    assert before.read_text() == "an interpreter", "a link is not written through"


@pytest.mark.parametrize("place", [HERE, MORE], ids=["pinned", "more"])
def test_the_pins_are_exact_have_checksums_and_name_no_address(place: Path) -> None:
    pins = json.loads((place / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pins.values())
    locked = json.loads((place / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == pins
    for package in locked.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


@pytest.mark.parametrize("lock", sorted(MORE.glob("*.txt")), ids=lambda path: path.stem)
def test_a_python_program_is_pinned_with_checksums(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for requirement in text.replace("\\\n", "").splitlines():
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:", requirement), requirement
