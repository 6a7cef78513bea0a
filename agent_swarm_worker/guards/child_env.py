"""Choose the environment variables that a child process gets: the rules of docs/secrets.md.

A harness gets what the operator and the server's configuration set, except what is meant for the
worker's own process, the server or another harness. The worker's helper programs (git, gh, glab)
get no secret except those of code hosts: filters and credential helpers that an agent wrote into a
clone run with their environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_swarm_worker.guards.scrubbing.secret_names import secret_values_of, words
from agent_swarm_worker.settings import SettingsModel, named, operator_only
from agent_swarm_worker.settings.base import YES, CommaList, YesFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

GIT_POINTERS: Final = words(
    """
    GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX GIT_COMMON_DIR GIT_NAMESPACE
    GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_QUARANTINE_PATH
    GIT_SHALLOW_FILE GIT_GRAFT_FILE
    """
)
"""The variables by which git finds its repository (``git rev-parse --local-env-vars``); set if the
worker was started from a git hook."""
SERVER_SECRETS: Final = frozenset({"SECRETS_ENCRYPTION_KEY", "SECRETS_ENCRYPTION_KEY_FILE"})
"""The key of the server's database; set here if one file configures both."""
INTERPRETER_SETTINGS: Final = words(
    """
    LD_PRELOAD LD_AUDIT DYLD_INSERT_LIBRARIES PYTHONHOME PYTHONPATH PYTHONSTARTUP
    PYTHONEXECUTABLE PYTHONUSERBASE __PYVENV_LAUNCHER__ VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    """
)
"""Settings of the worker's interpreter; with them the agent's Python would load the worker's
libraries, and install packages into the worker's environment."""
SUPERVISOR_SETTINGS: Final = words(
    """
    NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC LISTEN_PID LISTEN_FDS LISTEN_FDNAMES MAINPID
    MANAGERPID INVOCATION_ID JOURNAL_STREAM CREDENTIALS_DIRECTORY
    """
)
"""Set by systemd for its service; with them a child could act as the service."""
TRACING_HEADERS: Final = words(
    """
    OTEL_EXPORTER_OTLP_HEADERS OTEL_EXPORTER_OTLP_TRACES_HEADERS
    OTEL_EXPORTER_OTLP_METRICS_HEADERS OTEL_EXPORTER_OTLP_LOGS_HEADERS
    """
)
"""The key of the operator's collector; a harness gets it only if it reports traces itself."""
_WITHHELD: Final = SERVER_SECRETS | INTERPRETER_SETTINGS | SUPERVISOR_SETTINGS | GIT_POINTERS

_CODE_HOSTS: Final = ("GH_", "GL_", "GLAB_", "SSH_", "BITBUCKET_", "GITEA_", "FORGEJO_")
"""Prefixes of variables with which git, gh and glab log in, besides those with a word in their
name that begins with ``GIT``."""


def harness_env(
    env: Mapping[str, str], *, tracing_switches: Collection[str] = ()
) -> dict[str, str]:
    """Return the variables of `env` that the processes of a session may see.

    `tracing_switches` are further variables with which this harness reports traces itself.
    """
    reports_itself = ChildEnvSettings.load(env).harness_reports_itself or any(
        named(env, name).strip().lower() in YES for name in tracing_switches
    )
    withheld = _WITHHELD if reports_itself else _WITHHELD | TRACING_HEADERS
    passed = _passed(env)
    return {
        name: value for name, value in env.items() if name in passed or name.upper() not in withheld
    }


def helper_env(
    env: Mapping[str, str], *, scrub: Callable[[str], str] | None = None
) -> dict[str, str]:
    """Return the variables of `env` that git, gh, glab and other helper programs may see.

    A value that `scrub` changes is withheld, whatever its variable's name.
    """
    passed = _passed(env)

    secrets = {name for name, _ in secret_values_of(env)}
    secrets |= {name for name, value in env.items() if scrub and scrub(value) != value}
    return {
        name: value
        for name, value in harness_env(env).items()
        if name in passed or _is_of_a_code_host(name) or name not in secrets
    }


def _is_of_a_code_host(name: str) -> bool:
    upper = name.upper()
    # Proxies may need a password to let git through.
    is_gits = any(word.startswith("GIT") for word in upper.split("_"))
    return is_gits or upper.startswith(_CODE_HOSTS) or upper.endswith("_PROXY")


def _passed(env: Mapping[str, str]) -> frozenset[str]:
    return frozenset(ChildEnvSettings.load(env).pass_env)


class ChildEnvSettings(SettingsModel):
    """Settings that change which variables a child process gets."""

    # --- tracing by the harness itself
    harness_otel: YesFlag = operator_only("SWARM_ENABLE_HARNESS_OTEL", default=False)
    """``1``, ``true``, ``on`` or ``yes``: the harness sends traces by itself, and is given the
    ``OTEL_EXPORTER_OTLP_*HEADERS`` of the operator's collector."""
    claude_code_otel: YesFlag = operator_only("SWARM_ENABLE_CLAUDE_CODE_OTEL", default=False)
    """The same under an older name."""
    pass_env: CommaList = operator_only("SWARM_PASS_ENV", default=(), is_shared=True)

    @property
    def harness_reports_itself(self) -> bool:
        """True if the harness is to send traces by itself."""
        return self.harness_otel or self.claude_code_otel
