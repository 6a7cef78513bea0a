"""Declare the launch of a command-line harness; the bases of its adapter and its translator."""

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
    """How to start the harness for one session. Paths are inside the guest."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The complete environment; the session adds its tag."""
    cwd: PurePath
    stdin: bytes = b""
    """Written to standard input, which is then closed. Empty: standard input is /dev/null.
    With a `Conversation` it stays open, and the conversation's output follows."""
    files: tuple[PrivateFile, ...] = ()
    """Written before the start and removed afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliHarness:
    """A launch with its translator, as an adapter passes them to `CliSession`."""

    launch: Launch
    translator: Translator
    stays_after_result: bool = False
    """It is known not to exit by itself: soon after its result it is ended, and nothing is said."""
    stale_resume: tuple[str, ...] = ()
    """Error categories of a resumed session that does not exist: a fresh one is started."""


class SpecAdapter:
    """Base of an adapter: what follows from its specification."""

    spec: HarnessSpec

    @property
    def name(self) -> str:
        """As in ``HARNESS_PROVIDER``."""
        return self.spec.name

    def format_command(self, command_name: str) -> str:
        """Return a swarm command in the form in which the harness finds its skills."""
        return self.spec.skills.command_form.format(name=command_name)


class JsonTranslator:
    """Base of a translator for JSON lines; other lines are only in the journal."""

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip the line."""
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip the line; the end of standard error is in `Ending`."""
        return ()
