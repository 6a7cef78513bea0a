"""A calculation that may never end, done by a child that can be killed.

A regular expression of somebody else's can run for longer than anybody lives, and it holds the
interpreter all the while: no thread, timer or cancellation gets through. A process of its own does.
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

if TYPE_CHECKING:
    from collections.abc import Callable


class NoAnswer(Exception):
    """The calculation took too long, or broke; the message says which."""


async def run_apart(function: Callable[[Any], Any], argument: Any, *, limit_s: float) -> Any:
    """Return ``function(argument)``, worked out by a child process.

    Args:
        function: of a module's top level; it and `argument` are found and passed by value.
        argument: JSON, as is what the function returns.
        limit_s: wall-clock seconds after which the child is killed.

    Raises:
        NoAnswer: there is none.
    """
    try:
        with anyio.fail_after(limit_s):
            done = await anyio.run_process(
                _argv(function, limit_s),
                input=_encoded(argument),
                env=_env(),
                check=False,
                start_new_session=True,
            )
    except TimeoutError:
        raise NoAnswer(f"it takes longer than {limit_s:g} s") from None
    except OSError as error:
        raise NoAnswer(str(error)) from error
    return _decoded(done.returncode, done.stdout, done.stderr)


def run_apart_blocking(function: Callable[[Any], Any], argument: Any, *, limit_s: float) -> Any:
    """Do the same where nothing can be awaited; the caller stands still meanwhile.

    Raises:
        NoAnswer: there is none.
    """
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
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"it takes longer than {limit_s:g} s") from None
    except OSError as error:
        raise NoAnswer(str(error)) from error
    return _decoded(done.returncode, done.stdout, done.stderr)


def _argv(function: Callable[[Any], Any], limit_s: float) -> list[str]:
    name = f"{function.__module__}:{function.__qualname__}"
    return [sys.executable, "-P", "-m", __name__, name, str(math.ceil(limit_s))]


def _env() -> dict[str, str]:
    # Nothing of the worker's: the calculation has no business with its secrets.
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _encoded(argument: Any) -> bytes:
    try:
        return json.dumps(argument).encode()
    except (RecursionError, TypeError, ValueError) as error:
        raise NoAnswer(f"the question cannot be put: {error}") from None


def _decoded(code: int, out: bytes, err: bytes) -> Any:
    if code != 0:
        *_, last = err.decode("utf-8", "replace").strip().splitlines() or ["no word of why"]
        raise NoAnswer(f"its process ended with code {code}: {last}")
    return json.loads(out)


def _main() -> None:
    name, limit_s = sys.argv[1:]
    # Should the one who asked be killed, nobody else ends this.
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 1))
    module, _, function = name.partition(":")
    answer = getattr(importlib.import_module(module), function)(json.loads(sys.stdin.buffer.read()))
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
