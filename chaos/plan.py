"""Draw a schedule of faults from a seed; the same seed gives the same schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from chaos import faults
from chaos.api import QUIET_AFTER_BOOT_S
from chaos.faults import Fault

WRITE_BACK_S = 32.0
"""After a full disk a worker goes on in memory for so long; it says so, and must not be killed."""
LONGEST_DRAIN_S = 10.0
"""A worker that leaves beats no more, and may take so long until the next one starts."""
QUIET_EVERY = 25
QUIET_S = 4.0


class Action(StrEnum):
    """What is done to whom."""

    REQUEST = "request"
    """The next requests that match are harmed."""
    OUTAGE = "outage"
    """Every request is harmed for a while."""
    API_KILL = "api killed"
    """The API is killed and started again on its database."""
    WORKER_KILL = "worker killed"
    WORKER_TERM = "worker terminated"
    WORKER_STOP = "worker stopped"
    """SIGSTOP for a while, then SIGCONT."""
    CHILD_KILL = "session killed"
    DISK_FULL = "disk full"
    CLOCK = "clock jumps"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that goes wrong."""

    at_s: float
    action: Action
    for_s: float = 0.0
    """How long it lasts; of a process that ends, how long until it is started again."""
    fault: Fault | None = None
    pattern: str = ""
    """What is harmed: a regular expression for ``METHOD /path``."""
    times: int = 0
    jump_s: float = 0.0

    def __str__(self) -> str:
        details = [
            str(self.fault or ""),
            f"{self.times} times {self.pattern}" if self.times else "",
            f"{self.jump_s:+.0f} s" if self.jump_s else "",
            f"for {self.for_s:.1f} s" if self.for_s else "",
        ]
        return " ".join([str(self.action), *filter(None, details)])


WEIGHTS = {
    Action.REQUEST: 58,
    Action.OUTAGE: 14,
    Action.API_KILL: 6,
    Action.WORKER_KILL: 7,
    Action.WORKER_TERM: 3,
    Action.WORKER_STOP: 4,
    Action.CHILD_KILL: 5,
    Action.DISK_FULL: 1,
    Action.CLOCK: 2,
}
WRITES = (
    "POST /api/session-logs",
    "POST /api/session-costs",
    "POST /api/events/batch",
    "POST /api/tasks/[^/]+/(finish|progress|context|supersede)",
    "PUT /api/tasks/[^/]+/",
    "(POST|PUT|DELETE) /api/active-sessions",
)
READS = (
    "GET /api/poll",
    "GET /api/tasks/",
    "GET /api/session-costs",
    "GET /api/config",
)
REPEATABLE = (
    "GET /api/(poll|tasks/)",
    "POST /api/tasks/[^/]+/finish",
    "PUT /api/active-sessions/heartbeat",
    "POST /ping",
)
"""What a network may send twice: the worker cannot know of it, so the server has to bear it."""


def make_plan(
    seed: int, count: int, seconds: float, *, scale: float = 1.0, has_disk: bool = True
) -> list[Step]:
    """Return `count` steps in the order of their times, at most a little over `seconds`.

    Args:
        seed: of everything that is drawn.
        count: how many steps.
        seconds: over which they are spread.
        scale: of what lasts: outages, stops, down times.
        has_disk: a full disk can be made.
    """
    rng = random.Random(seed)
    actions = [action for action in Action if has_disk or action != Action.DISK_FULL]
    # One of each, then by weight: even a short run sees everything.
    deck = actions[:count]
    deck += rng.choices(actions, [WEIGHTS[a] for a in actions], k=count - len(deck))
    rng.shuffle(deck)
    rests = count // QUIET_EVERY
    pace_s = max(0.05, (seconds - rests * QUIET_S) / max(1, count))
    steps: list[Step] = []
    at_s = 0.5
    while deck:
        at_s += rng.uniform(0, 2 * pace_s)
        if (len(steps) + 1) % QUIET_EVERY == 0:
            at_s += QUIET_S
        drawn = [_draw(rng, at_s, action, scale) for action in deck]
        # The first that can be now; what cannot waits for its turn, or for another moment.
        fitting = (n for n, step in enumerate(drawn) if not _is_too_much(step, steps))
        if (chosen := next(fitting, None)) is not None:
            steps.append(drawn[chosen])
            del deck[chosen]
    return steps


def _draw(rng: random.Random, at_s: float, action: Action, scale: float) -> Step:
    short_s = rng.uniform(0.1, 8.0) * scale
    match action:
        case Action.REQUEST:
            return _request(rng, at_s, action)
        case Action.OUTAGE:
            chosen = rng.choice(
                [
                    faults.REFUSE,
                    faults.HANG,
                    faults.ANSWER_500,
                    faults.HTML_502,
                    faults.HTML_200,
                    faults.HALF_BODY,
                    faults.drip(1.0),
                    faults.LOSE_ANSWER,
                    faults.LATE_500,
                ]
            )
            return Step(at_s, action, short_s * 0.6, fault=chosen)
        case Action.API_KILL:
            face = rng.choice([faults.REFUSE, None])  # else its gateway answers
            return Step(at_s, action, short_s, fault=face)
        case Action.WORKER_KILL | Action.WORKER_TERM:
            return Step(at_s, action, rng.uniform(0.05, 2.0) * scale)
        case Action.WORKER_STOP:
            longest = 30.0 if rng.random() < 0.1 else 6.0
            return Step(at_s, action, rng.uniform(0.2, longest) * scale)
        case Action.DISK_FULL:
            return Step(at_s, action, rng.uniform(1.0, 6.0) * scale)
        case Action.CLOCK:
            return Step(at_s, action, jump_s=rng.choice([-86400, -3600, -60, 60, 3600, 86400]))
        case _:
            return Step(at_s, action)


def _request(rng: random.Random, at_s: float, action: Action) -> Step:
    is_write = rng.random() < 0.75
    kinds = [
        faults.REFUSE,
        faults.HANG,
        faults.ANSWER_500,
        faults.HTML_502,
        faults.HALF_BODY,
        faults.drip(rng.uniform(0.2, 2.0)),
        faults.delay(rng.uniform(0.2, 2.0)),
        *[faults.LOSE_ANSWER, faults.LATE_500] * (3 if is_write else 1),
    ]
    if rng.random() < 0.1:
        pattern, chosen = rng.choice(REPEATABLE), faults.DUPLICATE
    else:
        pattern, chosen = rng.choice(WRITES if is_write else READS), rng.choice(kinds)
    return Step(at_s, action, fault=chosen, pattern=pattern, times=rng.choice([1, 1, 1, 2, 3]))


DEATHS = {Action.WORKER_KILL, Action.WORKER_TERM, Action.WORKER_STOP}


def _is_too_much(step: Step, before: list[Step]) -> bool:
    """True for what would ask more of a worker than is promised."""
    return any(_clashes(step, other, step.at_s - other.at_s - other.for_s) for other in before)


def _clashes(step: Step, other: Step, since_s: float) -> bool:
    now, then = step.action, other.action
    if then == Action.API_KILL and now in {*DEATHS, Action.OUTAGE, Action.API_KILL}:
        # It must be able to beat between the server's start and its first sweep.
        return since_s < QUIET_AFTER_BOOT_S
    if now == Action.API_KILL and then in {*DEATHS, Action.OUTAGE}:
        drain_s = LONGEST_DRAIN_S if then == Action.WORKER_TERM else 0.0
        return since_s < drain_s - step.for_s
    if now in DEATHS and then in DEATHS:
        return since_s < 0.5
    if then == Action.DISK_FULL and now in {Action.WORKER_KILL, Action.DISK_FULL}:
        return since_s < WRITE_BACK_S
    return now == then == Action.OUTAGE and since_s < 0.2
