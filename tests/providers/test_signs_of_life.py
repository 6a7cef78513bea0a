"""Each byte is a sign of life, with or without a line end; a progress bar shows its state."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from patience import until
from session_config import session_config

from agent_swarm_worker.contract import Progress, ProviderEvent, Translator
from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit import session as kit_session
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.providers.subprocess.translate import SubprocessTranslator

pytestmark = pytest.mark.anyio

CHILD = """
import os, sys, time
place, stream, said, end = sys.argv[1:]
def say(text):
    os.write(int(stream), text.encode().decode("unicode_escape").encode("latin-1"))
say(said)
while not os.path.exists(place + "/go"):
    time.sleep(0.01)
say(end)
"""


class Heard:
    """A sink that counts what it is told of."""

    def __init__(self) -> None:
        self.times = 0

    def wrote(self, written: ByteRange) -> None: ...

    def switched(self, path: Path, start: int) -> None: ...

    def received(self, lines: Sequence[bytes]) -> None:
        self.times += 1

    def unwritten(self, lines: bytes) -> None: ...


def make_session(
    place: Path, said: str, end: str, *, stream: int = 1, text: bool = False
) -> tuple[CliSession, Heard]:
    heard = Heard()
    config = session_config(place, env={"PATH": "/usr/bin:/bin"}, sink=heard)
    config.redactor.add("TOKEN", "a-secret-of-mine")
    argv = (sys.executable, "-S", "-c", CHILD, str(place), str(stream), said, end)
    launch = Launch(argv=argv, env=config.env, cwd=config.cwd)
    claude = ClaudeTranslator(config)
    translator: Translator = SubprocessTranslator("text", claude) if text else claude
    return CliSession(config, lambda _: CliHarness(launch=launch, translator=translator)), heard


@pytest.mark.parametrize(
    "said", ["...", "10%\\r20%", '{"type": "assistant", "mess', "\\n", " "], ids=range(5)
)
@pytest.mark.parametrize("stream", [1, 2])
async def test_a_part_of_a_line_is_one(stream: int, said: str, tmp_path: Path):
    session, heard = make_session(tmp_path, said, "", stream=stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.wait_for_completion)
        await until(lambda: heard.times)
        (tmp_path / "go").touch()


async def test_standard_error_is_one_when_it_is_recorded_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kit_session, "MAX_STDERR_BYTES", 1)
    session, heard = make_session(tmp_path, "more\\n", "and more\\n", stream=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.wait_for_completion)
        await until(lambda: heard.times)
        before = heard.times
        (tmp_path / "go").touch()
    assert heard.times > before


@pytest.mark.long
async def test_a_bar_without_a_line_end_shows_its_newest_state(tmp_path: Path):
    session, _ = make_session(
        tmp_path,
        "5%\\r\\x1b[K 10%\\r\\x1b[32m 42% of a-secret-of-mine\\x1b[0m",
        "\\r100%\\r\\n",
        text=True,
    )
    told: list[str] = []

    def listen(event: ProviderEvent) -> None:
        if isinstance(event, Progress):
            told.append(event.message)

    session.on_event(listen)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.wait_for_completion)
        await until(lambda: "42% of [REDACTED:TOKEN]" in told)
        (tmp_path / "go").touch()
    result = await session.wait_for_completion()
    assert told[-1] == "100%"
    assert result.output == "100%"
    assert all(message.isprintable() for message in told)
