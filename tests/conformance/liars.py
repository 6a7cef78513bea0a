"""Adapters that each break one promise; everything else they leave to the subprocess harness."""

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


class Liar(SubprocessAdapter):
    """The honest one: a place to break things."""

    def twisted(self, config: ProviderSessionConfig) -> ProviderSessionConfig:
        return config

    async def create_session(self, config: ProviderSessionConfig) -> Any:
        return self.wrapped(await super().create_session(self.twisted(config)))

    def wrapped(self, session: Any) -> Any:
        return session


class Wrapper:
    """A session that passes everything on."""

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


def session_liar(**methods: Any) -> type[Liar]:
    """A liar whose sessions have other methods."""
    kind = type("Lying", (Wrapper,), methods)

    class SessionLiar(Liar):
        def wrapped(self, session: Any) -> Any:
            return kind(session)

    return SessionLiar


def config_liar(change: Callable[[ProviderSessionConfig], ProviderSessionConfig]) -> type[Liar]:
    """A liar that gives its sessions another configuration than it was given."""

    class ConfigLiar(Liar):
        def twisted(self, config: ProviderSessionConfig) -> ProviderSessionConfig:
            return change(config)

    return ConfigLiar


def event_liar(change: Callable[[ProviderEvent], list[ProviderEvent]]) -> type[Liar]:
    """A liar whose listeners hear other events than there were."""

    def on_event(self: Wrapper, listener: EventListener) -> None:
        def hear(event: ProviderEvent) -> None:
            for told in change(event):
                listener(told)

        self.inner.on_event(hear)

    return session_liar(on_event=on_event)


def result_liar(**changes: Any) -> type[Liar]:
    """A liar whose sessions end otherwise than they did."""

    async def wait_for_completion(self: Wrapper) -> ProviderResult:
        return replace(await self.inner.wait_for_completion(), **changes)

    return session_liar(wait_for_completion=wait_for_completion)


class CallsItselfOtherwise(Liar):
    name = "somebody-else"


class ModesNobodyKnows(Liar):
    spec = replace(SPEC, capabilities=Capabilities(steer_modes=("shout",)))  # type: ignore[arg-type]


class NameTheServerRefuses(Liar):
    spec = replace(SPEC, wire_name="nonsense")


class FolderOutsideHome(Liar):
    spec = replace(SPEC, skills=Skills(folders=("../elsewhere",)))


class OtherSpecThanInstalled(Liar):
    spec = replace(SPEC, models=Models(default="another"))


class CommandOfTwoLines(Liar):
    def format_command(self, command_name: str) -> str:
        return f"please\n{command_name}"


class CheckWithATraceback(Liar):
    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        env["HARNESS_COMMAND"]


class ResumesAnything(Liar):
    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return ".." in session_id


class ChokesOnAnId(Liar):
    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        if "\0" in session_id:
            raise ValueError("embedded null byte")
        return False


class StartsWithATraceback(Liar):
    async def create_session(self, config: ProviderSessionConfig) -> Any:
        if config.env["PATH"] == "/nonexistent":
            raise FileNotFoundError("foo")
        return await super().create_session(config)


class FailsWithoutAReason(Liar):
    def twisted(self, config: ProviderSessionConfig) -> ProviderSessionConfig:
        return replace(config, env={**config.env, "HARNESS_COMMAND": "no-such-program"})

    def wrapped(self, session: Any) -> Any:
        return result_liar(failure_reason=None)().wrapped(session)


class SaysQueueAndMeansNothing(Liar):
    spec = replace(SPEC, capabilities=Capabilities(steer_modes=("queue",)))


async def _ignored(self: Wrapper, reason: str = "cancelled") -> None:
    """Abort as one that does nothing."""


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


def _deaf_to_the_past(self: Wrapper, listener: EventListener) -> None:
    self.inner._backlog.clear()
    self.inner.on_event(listener)


def _everyone_hears_the_past(self: Wrapper, listener: EventListener) -> None:
    past = self.__dict__.setdefault("past", [])
    self.inner.on_event(listener)
    if past:
        listener(past[0])
    past.append(SessionInit("again"))


def _twice(event: ProviderEvent) -> list[ProviderEvent]:
    return [event, event] if isinstance(event, SessionInit) else [event]


def _late(event: ProviderEvent) -> list[ProviderEvent]:
    return [] if isinstance(event, SessionInit) else [event]


def _contrary(event: ProviderEvent) -> list[ProviderEvent]:
    return [replace(event, is_error=True)] if isinstance(event, Result) else [event]


def _leaves_the_key(config: ProviderSessionConfig) -> ProviderSessionConfig:
    (Path(config.cwd) / "settings.json").write_text(config.api_key)
    return config


def _is_readable_by_all(config: ProviderSessionConfig) -> ProviderSessionConfig:
    path = Path(config.private_dir) / "mcp-too.json"
    path.write_text("{}")
    path.chmod(0o644)
    return config


LIARS: list[tuple[str, type[Liar]]] = [
    ("it-is-an-adapter", CallsItselfOtherwise),
    ("its-spec-is-sane", ModesNobodyKnows),
    ("its-spec-is-sane", NameTheServerRefuses),
    ("its-spec-is-sane", FolderOutsideHome),
    ("its-spec-is-the-one-that-is-installed", OtherSpecThanInstalled),
    ("a-command-is-one-line", CommandOfTwoLines),
    ("check-says-what-is-missing", CheckWithATraceback),
    ("no-made-up-session-can-be-resumed", ResumesAnything),
    ("no-made-up-session-can-be-resumed", ChokesOnAnId),
    ("without-a-program-there-is-no-traceback", StartsWithATraceback),
    ("without-a-program-there-is-no-traceback", FailsWithoutAReason),
    ("an-abort-before-the-start-is-heeded", session_liar(abort=_ignored)),
    ("an-abort-ends-it-and-all-it-started", session_liar(abort=_ignored)),
    ("an-abort-ends-it-and-all-it-started", session_liar(abort=_slow_abort)),
    ("an-abort-ends-it-and-all-it-started", result_liar(error_category="killed")),
    ("an-abort-can-be-repeated", session_liar(abort=_once)),
    ("an-abort-after-the-end-changes-nothing", session_liar(abort=_slow_abort)),
    ("a-secret-is-said-to-nobody", config_liar(lambda c: replace(c, redactor=Scrubber()))),
    ("no-key-is-left-behind", config_liar(_leaves_the_key)),
    ("private-files-are-private", config_liar(_is_readable_by_all)),
    (
        "arguments-hold-no-secret",
        config_liar(lambda c: replace(c, additional_args=(f"--key={c.api_key}",))),
    ),
    (
        "the-environment-is-the-given-one",
        config_liar(lambda c: replace(c, env={**os.environ, **c.env})),
    ),
    ("it-answers", result_liar(output="something else")),
    ("it-answers", result_liar(is_error=True)),
    ("it-introduces-itself-once-and-first", event_liar(_twice)),
    ("it-introduces-itself-once-and-first", event_liar(_late)),
    ("it-introduces-itself-once-and-first", result_liar(session_id="another")),
    (
        "what-is-told-is-on-disk",
        config_liar(lambda c: replace(c, log_file=c.log_file.with_name("elsewhere"))),
    ),
    ("a-late-listener-hears-it-all", session_liar(on_event=_deaf_to_the_past)),
    ("a-late-listener-hears-it-all", session_liar(on_event=_everyone_hears_the_past)),
    (
        "a-broken-listener-breaks-nothing",
        session_liar(wait_for_completion=_fails_of_the_listener),
    ),
    ("its-events-and-its-result-agree", event_liar(_contrary)),
    ("its-end-can-be-awaited-again", session_liar(wait_for_completion=_another_each_time)),
    ("a-long-prompt-arrives-whole", config_liar(lambda c: replace(c, prompt=c.prompt[-100_000:]))),
    ("an-empty-prompt-ends", result_liar(is_error=True, failure_reason=" ")),
    ("an-unknown-model-is-no-riddle", result_liar(is_error=True, failure_reason=None)),
    (
        "two-sessions-do-not-mix",
        config_liar(lambda c: replace(c, prompt="answer: This is one.")),
    ),
    ("a-session-takes-what-the-spec-says", SaysQueueAndMeansNothing),
    ("a-session-takes-what-the-spec-says", session_liar(deliver_steering=_always_delivered)),
    ("a-session-that-has-ended-takes-none", session_liar(deliver_steering=_always_delivered)),
    (
        "a-session-that-has-ended-takes-none",
        session_liar(deliver_steering=_refused_without_reason),
    ),
    ("an-abort-answers-who-waits", session_liar(deliver_steering=_never_answers)),
]
"""The check that has to find it, and the liar."""
