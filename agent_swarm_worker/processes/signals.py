"""Undo what a parent did to the signals of this process, and say which signals end it.

A parent may have ignored or blocked signals, and that is inherited. With SIGCHLD ignored the kernel
discards the exit codes of children; a blocked SIGTERM never arrives. And the default action of most
signals ends a process at once, which would leave its sessions without anyone who watches them.
"""

from __future__ import annotations

import signal
import threading

_KEPT_IGNORED = frozenset(
    {
        *("SIGHUP", "SIGINT", "SIGQUIT"),  # nohup, and a shell's background job
        *("SIGTSTP", "SIGTTIN", "SIGTTOU"),  # a shell without job control
        *("SIGPIPE", "SIGXFSZ"),  # Python itself; it restores them for children
    }
)
_STOPPING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGPWR")
_WITHOUT_MEANING = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGSTKFLT")


def reset_inherited() -> None:
    """Unblock all signals, and restore the default action of those that a parent ignored.

    What ``nohup`` and shells ignore stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only that thread may, and it has
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN and name_of(number) not in _KEPT_IGNORED:
            signal.signal(number, signal.SIG_DFL)


def stopping(*, unless_ignored: bool) -> list[signal.Signals]:
    """Return the signals that ask the process to end.

    Args:
        unless_ignored: leave out every ignored one; else only SIGHUP, as ``nohup`` ignores it.
    """
    return [
        number
        for number in map(_named, _STOPPING)
        if number is not None
        and (
            signal.getsignal(number) is not signal.SIG_IGN
            or not (unless_ignored or number is signal.SIGHUP)
        )
    ]


def without_meaning() -> list[signal.Signals]:
    """Return the signals that would end the process by default, and mean nothing to it.

    These are the real-time signals and those that programs give a meaning of their own.

    They are to be handled, not ignored: children would inherit that. One that has a handler, as
    from a profiler, is left out.
    """
    named = [number for name in _WITHOUT_MEANING if (number := _named(name)) is not None]
    first = getattr(signal, "SIGRTMIN", signal.NSIG)
    real_time = sorted(number for number in signal.valid_signals() if number >= first)
    candidates = [*named, *real_time]
    return [number for number in candidates if signal.getsignal(number) is signal.SIG_DFL]


def name_of(number: int) -> str:
    """Return a signal's name, or its number as text: most real-time signals have no name."""
    return next((known.name for known in signal.Signals if known == number), str(number))


def _named(name: str) -> signal.Signals | None:
    return getattr(signal, name, None)
