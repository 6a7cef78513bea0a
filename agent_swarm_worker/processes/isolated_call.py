"""Call a function in a child process that is killed at a limit of CPU time.

For calculations that may never end, such as matching a regular expression from outside: it holds
the interpreter, so no thread, timer or cancellation in this process could interrupt it.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.processes import subreaper

if TYPE_CHECKING:
    from collections.abc import Callable


BUSY_FACTOR = 12
"""How much longer than its limit of CPU time a call may take on a busy machine."""


class IsolatedCallFailed(Exception):
    """The call exceeded its limit of CPU time, or failed; the message says which."""


class IsolatedCallUndecided(IsolatedCallFailed):
    """The machine did not let the call end: nothing is known of its argument."""


async def call_isolated(function: Callable[[Any], Any], argument: Any, *, limit_s: float) -> Any:
    """Return ``function(argument)``, calculated by a child process; both values are JSON.

    The child imports the function by its name, from the top level of its module.

    Raises:
        IsolatedCallFailed: there is no result, or none within `limit_s` of CPU time.
    """
    try:
        # The child is in no session that is watched: nobody else may reap it.
        with subreaper.starting(), anyio.fail_after(limit_s * BUSY_FACTOR):
            done = await anyio.run_process(
                _argv(function, limit_s),
                input=_encoded(argument),
                env=_env(),
                check=False,
                start_new_session=True,
            )
    except (TimeoutError, OSError) as error:
        raise IsolatedCallUndecided(str(error) or "the machine is too busy") from error
    return _decoded(done.returncode, done.stdout, done.stderr, limit_s)


def call_isolated_blocking(function: Callable[[Any], Any], argument: Any, *, limit_s: float) -> Any:
    """Do the same in synchronous code, blocking the caller."""
    try:
        done = subprocess.run(
            _argv(function, limit_s),
            input=_encoded(argument),
            env=_env(),
            capture_output=True,
            check=False,
            timeout=limit_s * BUSY_FACTOR,
            start_new_session=True,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise IsolatedCallUndecided(str(error) or "the machine is too busy") from error
    return _decoded(done.returncode, done.stdout, done.stderr, limit_s)


def _argv(function: Callable[[Any], Any], limit_s: float) -> list[str]:
    name = f"{function.__module__}:{function.__qualname__}"
    return [sys.executable, "-P", "-m", __name__, name, str(math.ceil(limit_s))]


def _env() -> dict[str, str]:
    # Nothing of the worker's environment: it contains secrets.
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _encoded(argument: Any) -> bytes:
    try:
        return json.dumps(argument).encode()
    except (RecursionError, TypeError, ValueError) as error:
        raise IsolatedCallFailed(f"the argument cannot be encoded: {error}") from None


def _decoded(code: int, out: bytes, err: bytes, limit_s: float) -> Any:
    if code == -signal.SIGXCPU:
        raise IsolatedCallFailed(f"it takes longer than {limit_s:g} s")
    if code < 0:
        raise IsolatedCallUndecided(f"its process was ended by signal {-code}")
    if code != 0:
        *_, last = err.decode("utf-8", "replace").strip().splitlines() or ["no error message"]
        raise IsolatedCallFailed(f"its process ended with code {code}: {last}")
    return json.loads(out)


def _main() -> None:
    name, limit_s = sys.argv[1:]
    # Ends the child by itself if the caller was killed.
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 1))
    module, _, function = name.partition(":")
    result = getattr(importlib.import_module(module), function)(json.loads(sys.stdin.buffer.read()))
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    _main()
