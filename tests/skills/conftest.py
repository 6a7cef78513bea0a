from __future__ import annotations

import pytest


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def tree(home):
    """Everything below home, by relative path; a link shows where it leads."""

    def read():
        return {
            str(path.relative_to(home)): f"-> {path.readlink()}"
            if path.is_symlink()
            else path.read_text(errors="replace")
            for path in sorted(home.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    return read
