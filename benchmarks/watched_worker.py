"""Run ``swarm-worker worker`` with a report on its objects at SIGUSR2.

The report has the number of objects by type, the lengths of containers (the collector does not
track strings and numbers, so a growing list of them shows only by its length), the memory blocks
of the interpreter, and the bytes allocated by the C library.

With ``--stalls`` it times the steps of its event loop instead, and writes the longest since the
last report at the signal `TELL_STALLS`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import time
from asyncio import Handle, TimerHandle
from collections import Counter, deque
from pathlib import Path

LONG = 30
"""Shorter containers are not reported."""
KEY_CHARS = 60
TELL_STALLS = signal.SIGRTMIN + 1
MANY_STALLS = 5
MALLINFO = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


def _tell(*_: object) -> None:
    """Write the report beside the state directory, then rename it, so that readers see it whole."""
    gc.collect()
    blocks = sys.getallocatedblocks()
    objects = [thing for thing in gc.get_objects() if not _is_swept_later(thing)]
    told = {
        "blocks": blocks,
        "malloc_bytes": _malloc_bytes(),
        "types": Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in objects),
        "lengths": dict(filter(None, map(_length, objects))),
    }
    path = Path(os.environ["SWARM_STATE_DIR"]).with_name("objects.json")
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(told))
    partial.replace(path)


def _is_swept_later(thing: object) -> bool:
    """True for timers that were cancelled: the loop forgets them when it has a hundred."""
    if isinstance(thing, list):
        return bool(thing) and isinstance(thing[0], TimerHandle)
    return isinstance(thing, TimerHandle) and thing.cancelled()


class _MallInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in MALLINFO)


def _malloc_bytes() -> int:
    """Return what the C library has given out; 0 where it does not say (musl, macOS)."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    ask.restype = _MallInfo
    info = ask()
    return int(info.uordblks + info.hblkhd)


def _length(container: object) -> tuple[str, int] | None:
    """Return a name for a long container, and its length; the name is the same the next time."""
    if not isinstance(container, dict | list | set | deque) or len(container) < LONG:
        return None
    first = repr(next(iter(container)))[:KEY_CHARS]
    return f"{type(container).__name__} at {id(container):x}, of {first} and so on", len(container)


def _watch_stalls() -> None:
    """Time each callback of the loop: a stall is one that takes long.

    They are compared by their CPU time, which other processes on a busy machine do not lengthen.
    """
    longest: list[tuple[float, float, str]] = []
    run = vars(Handle)["_run"]

    def timed(handle: Handle) -> None:
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        run(handle)
        cpu_s = time.thread_time() - began_cpu_s
        if len(longest) < MANY_STALLS or cpu_s > longest[-1][0]:
            wall_s = time.perf_counter() - began_s
            callback = repr(vars(Handle)["_callback"].__get__(handle))[:200]
            longest.append((cpu_s, wall_s, callback))
            longest.sort(reverse=True)
            del longest[MANY_STALLS:]

    def tell(*_: object) -> None:
        told = {
            "longest_cpu_ms": round(longest[0][0] * 1000, 1) if longest else 0,
            "its_wall_ms": round(longest[0][1] * 1000, 1) if longest else 0,
            "next_cpu_ms": [round(cpu_s * 1000, 1) for cpu_s, _, _ in longest[1:]],
            "in": longest[0][2] if longest else "",
        }
        longest.clear()
        path = Path(os.environ["SWARM_STATE_DIR"]).with_name("stalls.json")
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(told))
        partial.replace(path)

    setattr(Handle, "_run", timed)  # noqa: B010 - a private method
    signal.signal(TELL_STALLS, tell)


def main(arguments: list[str]) -> int:
    """Run the worker."""
    from agent_swarm_worker.cli.app import main as swarm_worker

    if arguments[:1] == ["--stalls"]:
        _watch_stalls()
        return swarm_worker(arguments[1:])
    signal.signal(signal.SIGUSR2, _tell)
    return swarm_worker(["worker"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
