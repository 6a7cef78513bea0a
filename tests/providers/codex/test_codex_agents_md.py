"""The block in AGENTS.md, and the file after its removal."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.codex.agents_md import AgentsMd
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio

ORDERS = "Do it.\n$& $' $$ \\1 </swarm_system_prompt>"


def notes(folder: Path, session: str = "s1") -> AgentsMd:
    guest = LocalGuest(session)
    return AgentsMd(guest, folder / "repo", session, folder / "home", clock=SystemClock())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    return tmp_path / "repo/AGENTS.md"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"Notes.\n", b"\nNotes", b"a\r\n\xff\x00", b"<swarm_system_prompt>"]
)
async def test_the_file_comes_back_to_the_byte(content: bytes, file: Path, tmp_path: Path):
    file.write_bytes(content)
    file.chmod(0o640)
    share = notes(tmp_path)
    await share.insert(ORDERS)
    block = f"<swarm_system_prompt>\n{ORDERS}\n</swarm_system_prompt>".encode()
    assert file.read_bytes().startswith(block)
    assert file.read_bytes().endswith(content)
    await share.remove()
    assert file.read_bytes() == content
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


async def test_a_file_that_was_not_there_goes(file: Path, tmp_path: Path):
    share = notes(tmp_path)
    await share.insert(ORDERS)
    assert file.exists()
    await share.remove()
    assert not file.exists()
    await share.remove()


async def test_what_the_agent_wrote_stays(file: Path, tmp_path: Path):
    share = notes(tmp_path)
    await share.insert(ORDERS)
    file.write_bytes(file.read_bytes() + b"Learned: x\n")
    await share.remove()
    assert file.read_bytes() == b"Learned: x\n"


async def test_an_agent_that_edits_the_block_or_takes_it_out(file: Path, tmp_path: Path):
    file.write_bytes(b"Notes.\n")
    share = notes(tmp_path)
    await share.insert("One.\nTwo.")
    file.write_bytes(file.read_bytes().replace(b"Two.", b"Three."))
    await share.remove()
    assert file.read_bytes() == b"Notes.\n"
    await share.insert("One.")
    file.write_bytes(b"All new.\n")
    await share.remove()
    assert file.read_bytes() == b"All new.\n"
    await share.insert("One.")
    file.unlink()
    await share.remove()
    assert not file.exists()


async def test_without_notes_those_for_another_harness_are_shown(file: Path, tmp_path: Path):
    other = file.with_name("CLAUDE.md")
    other.write_bytes(b"Use tabs.\n")
    share = notes(tmp_path)
    await share.insert(ORDERS)
    assert file.read_bytes().endswith(b"\n\nUse tabs.\n")
    await share.remove()
    assert not file.exists()
    assert other.read_bytes() == b"Use tabs.\n"


async def test_a_link_is_written_through_and_stays_a_link(file: Path, tmp_path: Path):
    target = file.with_name("CLAUDE.md")
    target.write_bytes(b"Use tabs.\n")
    file.symlink_to("CLAUDE.md")
    share = notes(tmp_path)
    await share.insert(ORDERS)
    assert b"Do it." in target.read_bytes()
    await share.remove()
    assert file.is_symlink()
    assert target.read_bytes() == b"Use tabs.\n"


@pytest.mark.parametrize("content", [b"Notes.\n", None])
@pytest.mark.parametrize("first_out", [0, 1])
async def test_two_sessions_in_one_directory(
    content: bytes | None, first_out: int, file: Path, tmp_path: Path
):
    if content is not None:
        file.write_bytes(content)
    shares = [notes(tmp_path, "s1"), notes(tmp_path, "s2")]
    await shares[0].insert("One.")
    await shares[1].insert("Two.")
    assert file.read_bytes().count(b"<swarm_system_prompt>") == 1
    await shares.pop(first_out).remove()
    assert b"<swarm_system_prompt>" in file.read_bytes(), "the other one still needs it"
    await shares.pop().remove()
    assert (file.read_bytes() if file.exists() else None) == content


@pytest.mark.parametrize("content", [b"Notes.\n", None])
async def test_what_a_crash_left_is_mended(content: bytes | None, file: Path, tmp_path: Path):
    if content is not None:
        file.write_bytes(content)
    code = (
        "import os, sys; from pathlib import Path; import anyio;"
        "from agent_swarm_worker.clock import SystemClock;"
        "from agent_swarm_worker.providers.codex.agents_md import AgentsMd;"
        "from agent_swarm_worker.sandboxes.local import LocalGuest;"
        "places = Path(sys.argv[1]), 'crashed', Path(sys.argv[2]);"
        "share = AgentsMd(LocalGuest('crashed'), *places, clock=SystemClock());"
        "anyio.run(share.insert, 'Old orders.'); os._exit(9)"
    )
    arguments = [str(file.parent), str(tmp_path / "home")]
    argv = [sys.executable, "-c", code, *arguments]
    done = await anyio.run_process(argv, check=False, stderr=None)
    assert done.returncode == 9
    assert b"Old orders." in file.read_bytes()
    share = notes(tmp_path)
    await share.insert("New orders.")
    assert b"Old orders." not in file.read_bytes()
    await share.remove()
    assert (file.read_bytes() if file.exists() else None) == content


async def test_a_block_of_which_nothing_is_remembered_is_mended(file: Path, tmp_path: Path):
    file.write_bytes(b"<swarm_system_prompt>\nOld.\n</swarm_system_prompt>\n\nNotes.\n")
    share = notes(tmp_path)
    await share.insert("New.")
    await share.remove()
    assert file.read_bytes() == b"Notes.\n"


async def test_a_directory_that_is_not_there_is_a_clear_error(tmp_path: Path):
    with pytest.raises(ProviderError, match="cannot put the system prompt"):
        await notes(tmp_path).insert(ORDERS)
