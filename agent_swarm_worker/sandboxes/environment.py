"""The environment inside a guest that is not this machine.

On this machine a session gets the worker's environment but for what was set for somebody else
(`guards.child_env`). Elsewhere nothing of the worker's environment has a meaning by itself: paths
lead nowhere and every secret in it is one more that can get out. So the environment is built from
an allow-list and from what the session needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALLOWED: Final = frozenset(
    {
        *("LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CI"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("MCP_BASE_URL", "AGENT_ID", "SWARM_RUNTIME_INSTANCE_ID"),
    }
)
"""Variables that mean the same everywhere, or that the worker sets for each session."""
ALLOWED_PREFIXES: Final = ("LC_", "AGENT_SWARM_", "GIT_AUTHOR_", "GIT_COMMITTER_")


def guest_environment(
    env: Mapping[str, str],
    needed: Iterable[str] = (),
    *,
    own: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment for a session's processes in a guest.

    Args:
        env: what a session on the worker's machine would get.
        needed: names of variables that this session needs: its credentials, the settings of its
            harness, and what the operator wants passed on (``SWARM_PASS_ENV``).
        own: what the guest sets itself, such as ``PATH`` and ``HOME``; it wins.
    """
    names = ALLOWED | set(needed)
    chosen = {
        name: value
        for name, value in env.items()
        if name in names or name.startswith(ALLOWED_PREFIXES)
    }
    return {**chosen, **own}
