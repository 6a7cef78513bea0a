"""The two pure parts of a CLI harness: how it is launched, and what its words mean.

A provider for a command-line harness is a function that builds a `Launch` and an object that is a
`Translator`; `cli_session.CliSession` does the rest for all of them. Neither does any I/O, so
recorded streams test them.

The base of translators for a harness that prints JSON lines and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.contract.translator import (
    Ending,
    ReplayableAdapter,
    TextTranslator,
    Translator,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import ProviderEvent

__all__ = [
    "MAX_ARG_BYTES",
    "CliHarness",
    "Ending",
    "Launch",
    "PrivateFile",
    "ReplayableAdapter",
    "TextTranslator",
    "Translator",
]

__all__ = [
    "MAX_ARG_BYTES",
    "CliHarness",
    "Ending",
    "Launch",
    "PrivateFile",
    "ReplayableAdapter",
    "TextTranslator",
    "Translator",
]

MAX_ARG_BYTES = 100 * 1024
"""Longest argument we pass: Linux refuses one of 128 KiB (``MAX_ARG_STRLEN``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the harness for one session."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The complete environment; the session adds its tag."""
    cwd: PurePath
    """Inside the guest."""
    stdin: bytes = b""
    """Written to standard input, which is then closed. Empty: standard input is /dev/null.
    With a `conversation.Conversation` it stays open, and what that has to say follows."""
    files: tuple[PrivateFile, ...] = ()
    """Written before the start and removed afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliHarness:
    """A launch with its translator: what an adapter hands to the shared CLI session."""

    launch: Launch
    translator: Translator
    stale_resume: tuple[str, ...] = field(default=())
    """Error categories that mean: the resumed session does not exist, start a fresh one."""


class JsonTranslator:
    """Passes over lines that are not JSON, and over standard error.

    Both are in the journal all the same, and the end of standard error is in `Ending`.
    """

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line that is not JSON."""
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line of standard error."""
        return ()
