"""Adapters that each break one promise, based on the subprocess harness."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from agent_swarm_worker.contract import (
    Capabilities,
    EventListener,
    Guest,
    Models,
    ProviderEvent,
    ProviderResult,
    ProviderSessionConfig,
    Result,
    SessionInit,
    Skills,
    SteerDelivery,
)
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.providers.subprocess.adapter import SubprocessAdapter
from agent_swarm_worker.providers.subprocess.spec import SPEC


class FaultyAdapter(SubprocessAdapter):
    """The subprocess adapter with hooks; it breaks nothing itself."""

    def changed_config(self, config: ProviderSessionConfig) -> ProviderSessionConfig:
        return config

    async def create_session(self, config: ProviderSessionConfig) -> Any:
        return self.wrapped(await super().create_session(self.changed_config(config)))

    def wrapped(self, session: Any) -> Any:
        return session


class Wrapper:
    """A session that delegates everything."""

    def __init__(self, session: Any) -> None:
        self.inner = session

    @property
    def session_id(self) -> str | None:
        return self.inner.session_id

    def on_event(self, listener: EventListener) -> None:
        self.inner.on_event(listener)

    async def wait_for_completion(self) -> ProviderResult:
        return await self.inner.wait_for_completion()

    async def abort(self, reason: str = "cancelled") -> None:
        await self.inner.abort(reason)

    async def deliver_steering(self, mode: Any, text: str) -> SteerDelivery:
        return await self.inner.deliver_steering(mode, text)


def faulty_session(**methods: Any) -> type[FaultyAdapter]:
    """Return an adapter whose sessions have these methods instead."""
    kind = type("Lying", (Wrapper,), methods)

    class FaultySession(FaultyAdapter):
        def wrapped(self, session: Any) -> Any:
            return kind(session)

    return FaultySession


def faulty_config(
    change: Callable[[ProviderSessionConfig], ProviderSessionConfig],
) -> type[FaultyAdapter]:
    """Return an adapter that changes the configuration of its sessions."""

    class FaultyConfig(FaultyAdapter):
        def changed_config(self, config: ProviderSessionConfig) -> ProviderSessionConfig:
            return change(config)

    return FaultyConfig


def faulty_events(change: Callable[[ProviderEvent], list[ProviderEvent]]) -> type[FaultyAdapter]:
    """Return an adapter that changes the events of its sessions."""

    def on_event(self: Wrapper, listener: EventListener) -> None:
        def hear(event: ProviderEvent) -> None:
            for changed in change(event):
                listener(changed)

        self.inner.on_event(hear)

    return faulty_session(on_event=on_event)


def faulty_result(**changes: Any) -> type[FaultyAdapter]:
    """Return an adapter that changes the results of its sessions."""

    async def wait_for_completion(self: Wrapper) -> ProviderResult:
        return replace(await self.inner.wait_for_completion(), **changes)

    return faulty_session(wait_for_completion=wait_for_completion)


class OtherName(FaultyAdapter):
    name = "somebody-else"


class UnknownSteerModes(FaultyAdapter):
    spec = replace(SPEC, capabilities=Capabilities(steer_modes=("shout",)))  # type: ignore[arg-type]


class UnknownWireName(FaultyAdapter):
    spec = replace(SPEC, wire_name="nonsense")


class FolderOutsideHome(FaultyAdapter):
    spec = replace(SPEC, skills=Skills(folders=("../elsewhere",)))


class OtherSpecThanInstalled(FaultyAdapter):
    spec = replace(SPEC, models=Models(default="another"))


class CommandOfTwoLines(FaultyAdapter):
    def format_command(self, command_name: str) -> str:
        return f"please\n{command_name}"


class CheckWithATraceback(FaultyAdapter):
    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        env["HARNESS_COMMAND"]


class ResumesAnything(FaultyAdapter):
    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return ".." in session_id


class RaisesForAnId(FaultyAdapter):
    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        if "\0" in session_id:
            raise ValueError("embedded null byte")
        return False


class StartsWithATraceback(FaultyAdapter):
    async def create_session(self, config: ProviderSessionConfig) -> Any:
        if config.env["PATH"] == "/nonexistent":
            raise FileNotFoundError("foo")
        return await super().create_session(config)


class FailsWithoutAReason(FaultyAdapter):
    def changed_config(self, config: ProviderSessionConfig) -> ProviderSessionConfig:
        return replace(config, env={**config.env, "HARNESS_COMMAND": "no-such-program"})

    def wrapped(self, session: Any) -> Any:
        return faulty_result(failure_reason=None)().wrapped(session)


class DeclaresQueueOnly(FaultyAdapter):
    spec = replace(SPEC, capabilities=Capabilities(steer_modes=("queue",)))


async def _ignored(self: Wrapper, reason: str = "cancelled") -> None:
    """Ignore an abort."""


async def _slow_abort(self: Wrapper, reason: str = "cancelled") -> None:
    await self.inner.abort(reason)
    await anyio.sleep(60)


async def _once(self: Wrapper, reason: str = "cancelled") -> None:
    if getattr(self, "was_asked", False):
        raise RuntimeError("twice")
    self.was_asked = True  # type: ignore[attr-defined]
    await self.inner.abort(reason)


async def _always_delivered(self: Wrapper, mode: Any, text: str) -> SteerDelivery:
    return SteerDelivery(True, "queue")


async def _never_answers(self: Wrapper, mode: Any, text: str) -> SteerDelivery:
    await anyio.sleep_forever()
    raise AssertionError


async def _refused_without_reason(self: Wrapper, mode: Any, text: str) -> SteerDelivery:
    return SteerDelivery(False)


async def _another_each_time(self: Wrapper) -> ProviderResult:
    self.turn = getattr(self, "turn", 0) + 1  # type: ignore[attr-defined]
    result = await self.inner.wait_for_completion()
    return replace(result, exit_code=result.exit_code + self.turn - 1)  # type: ignore[attr-defined]


async def _fails_of_the_listener(self: Wrapper) -> ProviderResult:
    result = await self.inner.wait_for_completion()
    return replace(result, is_error=len(self.inner._listeners) > 1)


def _without_backlog(self: Wrapper, listener: EventListener) -> None:
    self.inner._backlog.clear()
    self.inner.on_event(listener)


def _backlog_for_everyone(self: Wrapper, listener: EventListener) -> None:
    past = self.__dict__.setdefault("past", [])
    self.inner.on_event(listener)
    if past:
        listener(past[0])
    past.append(SessionInit("again"))


def _twice(event: ProviderEvent) -> list[ProviderEvent]:
    return [event, event] if isinstance(event, SessionInit) else [event]


def _late(event: ProviderEvent) -> list[ProviderEvent]:
    return [] if isinstance(event, SessionInit) else [event]


def _inverted(event: ProviderEvent) -> list[ProviderEvent]:
    return [replace(event, is_error=True)] if isinstance(event, Result) else [event]


def _leaves_the_key(config: ProviderSessionConfig) -> ProviderSessionConfig:
    (Path(config.cwd) / "settings.json").write_text(config.api_key)
    return config


def _is_readable_by_all(config: ProviderSessionConfig) -> ProviderSessionConfig:
    path = Path(config.private_dir) / "mcp-too.json"
    path.write_text("{}")
    path.chmod(0o644)
    return config


class AsksNobody(FaultyAdapter):
    """Says that it asks for permission."""

    spec = replace(SPEC, capabilities=replace(SPEC.capabilities, permissions="every"))


FAULTY: list[tuple[str, type[FaultyAdapter]]] = [
    ("it-is-an-adapter", OtherName),
    ("an-allowed-call-runs", AsksNobody),
    ("a-denied-call-does-not-run", AsksNobody),
    ("a-gate-that-fails-denies", AsksNobody),
    ("an-abort-does-not-wait-for-permission", AsksNobody),
    ("its-spec-is-sane", UnknownSteerModes),
    ("its-spec-is-sane", UnknownWireName),
    ("its-spec-is-sane", FolderOutsideHome),
    ("its-spec-is-the-one-that-is-installed", OtherSpecThanInstalled),
    ("a-command-is-one-line", CommandOfTwoLines),
    ("check-says-what-is-missing", CheckWithATraceback),
    ("no-made-up-session-can-be-resumed", ResumesAnything),
    ("no-made-up-session-can-be-resumed", RaisesForAnId),
    ("without-a-program-there-is-no-traceback", StartsWithATraceback),
    ("without-a-program-there-is-no-traceback", FailsWithoutAReason),
    ("an-abort-before-the-start-is-heeded", faulty_session(abort=_ignored)),
    ("an-abort-ends-it-and-all-it-started", faulty_session(abort=_ignored)),
    ("an-abort-ends-it-and-all-it-started", faulty_session(abort=_slow_abort)),
    ("an-abort-ends-it-and-all-it-started", faulty_result(error_category="killed")),
    ("an-abort-can-be-repeated", faulty_session(abort=_once)),
    ("an-abort-after-the-end-changes-nothing", faulty_session(abort=_slow_abort)),
    ("a-secret-is-said-to-nobody", faulty_config(lambda c: replace(c, redactor=Scrubber()))),
    ("no-key-is-left-behind", faulty_config(_leaves_the_key)),
    ("private-files-are-private", faulty_config(_is_readable_by_all)),
    (
        "arguments-hold-no-secret",
        faulty_config(lambda c: replace(c, additional_args=(f"--key={c.api_key}",))),
    ),
    (
        "the-environment-is-the-given-one",
        faulty_config(lambda c: replace(c, env={**os.environ, **c.env})),
    ),
    ("it-answers", faulty_result(output="something else")),
    ("it-answers", faulty_result(is_error=True)),
    ("it-introduces-itself-once-and-first", faulty_events(_twice)),
    ("it-introduces-itself-once-and-first", faulty_events(_late)),
    ("it-introduces-itself-once-and-first", faulty_result(session_id="another")),
    (
        "what-is-told-is-on-disk",
        faulty_config(lambda c: replace(c, log_file=c.log_file.with_name("elsewhere"))),
    ),
    ("a-late-listener-hears-it-all", faulty_session(on_event=_without_backlog)),
    ("a-late-listener-hears-it-all", faulty_session(on_event=_backlog_for_everyone)),
    (
        "a-broken-listener-breaks-nothing",
        faulty_session(wait_for_completion=_fails_of_the_listener),
    ),
    ("its-events-and-its-result-agree", faulty_events(_inverted)),
    ("its-end-can-be-awaited-again", faulty_session(wait_for_completion=_another_each_time)),
    (
        "a-long-prompt-arrives-whole",
        faulty_config(lambda c: replace(c, prompt=c.prompt[-100_000:])),
    ),
    ("an-empty-prompt-ends", faulty_result(is_error=True, failure_reason=" ")),
    ("an-unknown-model-is-no-riddle", faulty_result(is_error=True, failure_reason=None)),
    (
        "two-sessions-do-not-mix",
        faulty_config(lambda c: replace(c, prompt="answer: This is one.")),
    ),
    ("a-session-takes-what-the-spec-says", DeclaresQueueOnly),
    ("a-session-takes-what-the-spec-says", faulty_session(deliver_steering=_always_delivered)),
    ("a-session-that-has-ended-takes-none", faulty_session(deliver_steering=_always_delivered)),
    (
        "a-session-that-has-ended-takes-none",
        faulty_session(deliver_steering=_refused_without_reason),
    ),
    ("an-abort-answers-who-waits", faulty_session(deliver_steering=_never_answers)),
]
"""The check that has to find it, and the faulty adapter."""
