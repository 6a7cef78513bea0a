"""Files of harness profiles for these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent_swarm_worker.errors import BadHarnessProfiles
from agent_swarm_worker.harness_profiles.profiles import HarnessProfiles


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write files by name; returns the first, which is the operator's."""

    def write(text: str | bytes, **others: str) -> Path:
        for name, content in (("profiles", text), *others.items()):
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / f"{name}.toml").write_bytes(data)
        return tmp_path / "profiles.toml"

    return write


@pytest.fixture
def problems(write: Callable[..., Path], tmp_path: Path) -> Callable[..., list[str]]:
    """Return what is wrong with files, without the folder."""

    def problems(text: str | bytes, **others: str) -> list[str]:
        path = write(text, **others)
        with pytest.raises(BadHarnessProfiles) as caught:
            HarnessProfiles.load(path)
        assert caught.value.exit_code == 78
        assert "\n" not in str(caught.value)
        return [line.replace(f"{tmp_path}/", "") for line in caught.value.problems]

    return problems
