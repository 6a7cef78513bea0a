"""Which variables a child process gets: the rule of docs/secrets.md, as tables.

A harness gets what the operator and the server's configuration set, as it does in the public
worker: agents are meant to use a ``GITHUB_TOKEN`` or a cloud role they are given. Withheld is what
was set for somebody else: for the worker as a process, for the server, for another harness.

A helper of the worker's own (git and its like) gets no secret but those of code hosts: filters and
credential helpers that an agent wrote into a clone run with its environment.

What has to get through all the same is named in ``SWARM_PASS_ENV``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_swarm_worker.guards.secret_env import is_secret_name, secret_values_of
from agent_swarm_worker.guards.settings import ChildEnvSettings
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

PASS: Final = "SWARM_PASS_ENV"  # noqa: S105 - the name of a variable

GIT_POINTERS: Final = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_QUARANTINE_PATH",
        "GIT_SHALLOW_FILE",
        "GIT_GRAFT_FILE",
    }
)
"""Which repository git works on (``git rev-parse --local-env-vars``): a worker may itself have been
started from within a git hook."""
OF_THE_SERVER: Final = frozenset({"SECRETS_ENCRYPTION_KEY", "SECRETS_ENCRYPTION_KEY_FILE"})
"""Would open the server's database; is here only if both are configured from one file."""
OF_THE_INTERPRETER: Final = frozenset(
    {
        "LD_PRELOAD",
        "LD_AUDIT",
        "DYLD_INSERT_LIBRARIES",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONEXECUTABLE",
        "PYTHONUSERBASE",
        "__PYVENV_LAUNCHER__",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
    }
)
"""How this very interpreter was started: the agent's own would load our libraries, and install what
it needs into our environment."""
OF_THE_SUPERVISOR: Final = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "MAINPID",
        "MANAGERPID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "CREDENTIALS_DIRECTORY",
    }
)
"""What systemd tells the service it started: a child could speak to it in the worker's name."""
TRACING_HEADERS: Final = frozenset(
    {
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    }
)
"""The key of the operator's collector; for a harness only if it is to report there itself."""
_YES: Final = frozenset({"1", "true", "on", "yes"})
_WITHHELD: Final = OF_THE_SERVER | OF_THE_INTERPRETER | OF_THE_SUPERVISOR | GIT_POINTERS

_CODE_HOSTS: Final = ("GH_", "GL_", "GLAB_", "SSH_", "BITBUCKET_", "GITEA_", "FORGEJO_")
"""How variables begin with which git and its companions log in, besides those with a word
in them that begins with ``GIT``."""


def harness_env(
    env: Mapping[str, str], *, tracing_switches: Collection[str] = ()
) -> dict[str, str]:
    """Return what of `env` the processes of a session may see.

    Args:
        env: the environment to choose from.
        tracing_switches: further variables with which this harness reports traces itself.
    """
    reports_itself = ChildEnvSettings.load(env).harness_reports_itself or any(
        named(env, name).strip().lower() in _YES for name in tracing_switches
    )
    withheld = _WITHHELD if reports_itself else _WITHHELD | TRACING_HEADERS
    passed = _passed(env)
    return {
        name: value for name, value in env.items() if name in passed or name.upper() not in withheld
    }


def helper_env(
    env: Mapping[str, str], *, scrub: Callable[[str], str] | None = None
) -> dict[str, str]:
    """Return what of `env` git, gh, glab and other helpers of the worker may see.

    Args:
        env: the environment to choose from.
        scrub: knows secrets whose names do not tell, and changes what has one in it.
    """
    passed = _passed(env)

    def is_secret(name: str, value: str) -> bool:
        has_telling_name = is_secret_name(name) or any(secret_values_of({name: value}))
        return has_telling_name or (scrub is not None and scrub(value) != value)

    return {
        name: value
        for name, value in harness_env(env).items()
        if name in passed or _is_of_a_code_host(name) or not is_secret(name, value)
    }


def _is_of_a_code_host(name: str) -> bool:
    upper = name.upper()
    # Proxies may need a password to let git through.
    is_gits = any(word.startswith("GIT") for word in upper.split("_"))
    return is_gits or upper.startswith(_CODE_HOSTS) or upper.endswith("_PROXY")


def _passed(env: Mapping[str, str]) -> frozenset[str]:
    return frozenset(ChildEnvSettings.load(env).pass_env)
