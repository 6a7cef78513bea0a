"""The installer of the pinned harnesses, without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SCRIPT = HERE / "install-clis.sh"


def run(*args: str | Path, path: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell
    return subprocess.run(
        [shell, SCRIPT, *args], env={"PATH": path}, capture_output=True, text=True, check=False
    )


def path_without_npm(folder: Path) -> str:
    for name in ("cmp", "cp", "dirname", "ln", "mkdir", "rm"):
        program = shutil.which(name)
        assert program
        (folder / name).symlink_to(program)
    return str(folder)


def test_it_says_how_to_call_it(tmp_path: Path) -> None:
    done = run(path=path_without_npm(tmp_path))
    assert (done.returncode, done.stderr) == (2, "usage: install-clis.sh DIR\n")


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


def test_the_pins_are_exact_have_checksums_and_name_no_address() -> None:
    pins = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pins.values())
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == pins
    for package in locked.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package
