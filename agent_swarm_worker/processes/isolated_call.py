"""Call a function in a child process that is killed at a time limit.

For calculations that may never end, such as matching a regular expression from outside: it holds
the interpreter, so no thread, timer or cancellation in this process could interrupt it.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.processes import subreaper

if TYPE_CHECKING:
    from collections.abc import Callable


class IsolatedCallFailed(Exception):
    """The call exceeded its time limit, or failed; the message says which."""


async def call_isolated(function: Callable[[Any], Any], argument: Any, *, limit_s: float) -> Any:
    """Return ``function(argument)``, calculated by a child process; both values are JSON.

    The child imports the function by its name, from the top level of its module.

    Raises:
        IsolatedCallFailed: there is no result, or none within `limit_s`.
    """
    try:
        # The child is in no session that is watched: nobody else may reap it.
        with subreaper.starting(), anyio.fail_after(limit_s):
            done = await anyio.run_process(
                _argv(function, limit_s),
                input=_encoded(argument),
                env=_env(),
                check=False,
                start_new_session=True,
            )
    except (TimeoutError, OSError) as error:
        raise _failure(error, limit_s) from error
    return _decoded(done.returncode, done.stdout, done.stderr)


def call_isolated_blocking(function: Callable[[Any], Any], argument: Any, *, limit_s: float) -> Any:
    """Do the same in synchronous code, blocking the caller."""
    try:
        done = subprocess.run(
            _argv(function, limit_s),
            input=_encoded(argument),
            env=_env(),
            capture_output=True,
            check=False,
            timeout=limit_s,
            start_new_session=True,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise _failure(error, limit_s) from error
    return _decoded(done.returncode, done.stdout, done.stderr)


def _failure(error: Exception, limit_s: float) -> IsolatedCallFailed:
    if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return IsolatedCallFailed(f"it takes longer than {limit_s:g} s")
    return IsolatedCallFailed(str(error))


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


def _decoded(code: int, out: bytes, err: bytes) -> Any:
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
