"""Declare the two pure parts of a CLI harness: its launch and the translation of its lines.

A provider for a command-line harness is a function that builds a `Launch` and an object that is a
`Translator`; `cli_session.CliSession` does the rest. Neither does any I/O, so recorded streams test
them. `SpecAdapter` is the base of an adapter, `JsonTranslator` that of a translator of JSON lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import (
        HarnessSpec,
        PrivateFile,
        ProviderEvent,
        Translator,
    )


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
    With a `conversation.Conversation` it stays open, and the conversation's output follows."""
    files: tuple[PrivateFile, ...] = ()
    """Written before the start and removed afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliHarness:
    """A launch with its translator, as an adapter passes them to `CliSession`."""

    launch: Launch
    translator: Translator
    stale_resume: tuple[str, ...] = ()
    """Error categories of a resumed session that does not exist: a fresh one is started."""


class SpecAdapter:
    """Base of an adapter: everything that follows from its specification."""

    spec: HarnessSpec

    @property
    def name(self) -> str:
        """The name of the harness, as in ``HARNESS_PROVIDER``."""
        return self.spec.name

    def format_command(self, command_name: str) -> str:
        """Return a swarm command in the form in which the harness finds its skills."""
        return self.spec.skills.command_form.format(name=command_name)


class JsonTranslator:
    """Base of a translator for JSON lines: skips other lines, and standard error.

    Both are in the journal all the same, and the end of standard error is in `Ending`.
    """

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line that is not JSON."""
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line of standard error."""
        return ()
