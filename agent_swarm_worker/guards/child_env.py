"""Which variables a child process gets: the rule of docs/secrets.md, as tables.

A harness gets what the operator and the server's configuration set, as it does in the public
worker: agents are meant to use a ``GITHUB_TOKEN`` or a cloud role they are given. Withheld is what
was set for somebody else: for the worker as a process, for the server, for another harness.

A helper of the worker's own (git and its like) gets no secret but those of code hosts: filters and
credential helpers that an agent wrote into a clone run with its environment.

What has to get through all the same is named in ``SWARM_PASS_ENV``.

Variables of `guards`: what children get, and where a tokenizer's table is.

How many tokens a text costs: counted where that needs no network, estimated everywhere else.

``tiktoken`` downloads its tables when they are not in its cache, without a time limit, and deletes
a table it does not like. So it is asked only if the genuine table lies there. The estimate is one
token for four bytes of UTF-8: about right for English and code, and on the safe side for most
other scripts.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from agent_swarm_worker.guards.scrubbing.needles import is_secret_name, secret_values_of
from agent_swarm_worker.settings import SettingsModel, boot, live, named, process_env
from agent_swarm_worker.settings.base import CommaList, YesFlag  # noqa: TC001 - pydantic reads them

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

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


class ChildEnvSettings(SettingsModel):
    """What changes which variables a child process gets."""

    # --- tracing by the harness itself
    harness_otel: YesFlag = live("SWARM_ENABLE_HARNESS_OTEL", default=False)
    """``1``, ``true``, ``on`` or ``yes``: the harness sends traces by itself, and is given the
    ``OTEL_EXPORTER_OTLP_*HEADERS`` of the operator's collector."""
    claude_code_otel: YesFlag = live("SWARM_ENABLE_CLAUDE_CODE_OTEL", default=False)
    """The same under an older name."""
    pass_env: CommaList = live("SWARM_PASS_ENV", default=(), is_shared=True)

    @property
    def harness_reports_itself(self) -> bool:
        """True if the harness is to send traces by itself."""
        return self.harness_otel or self.claude_code_otel


class TokenizerSettings(SettingsModel):
    """Where tiktoken looks for its tables."""

    # --- counting tokens
    cache_dir: str | None = boot(
        "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", is_native=True, keeps_blank=True
    )
    """Folder with the table that counts tokens of prompts; a blank value switches it off."""


BYTES_PER_TOKEN = 4

_ENCODING = "o200k_base"
"""Of the current OpenAI models; other vendors' counts differ from it by less than from a guess."""
_TABLE_FILE = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""What tiktoken calls the table in its cache: the SHA-1 of its address."""
_TABLE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_PIECE_CHARS = 4096
"""Texts are measured in pieces: a tokenizer's time grows faster than a word without spaces."""


class Encoding(Protocol):
    """A tokenizer, as far as counting goes."""

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Return the tokens of a text; what looks like a control token is text as well."""
        ...


def count_tokens(text: str) -> int:
    """Return how many tokens `text` costs, see above for how exact that is."""
    return sum(_measure(piece) for piece in _pieces(text))


def truncate_to_tokens(text: str, max_tokens: int, *, notice: str = "") -> str:
    """Return the beginning of `text` that costs at most `max_tokens` tokens.

    Args:
        text: what is to be shortened.
        max_tokens: the limit, `notice` included.
        notice: put at the end, on a line of its own, if something was cut. Without room for it the
            result is empty.
    """
    if count_tokens(text) <= max_tokens:
        return text
    end = f"\n{notice}" if notice else ""
    # One to spare: joined, the two may be measured in other pieces than apart.
    room = max_tokens - count_tokens(end) - bool(end)
    if room < 0:
        return ""
    kept = text[: _fitting(text, room)].rstrip()
    return f"{kept}{end}" if kept else notice


def _fitting(text: str, max_tokens: int) -> int:
    """Return how many leading characters of `text` cost at most `max_tokens`."""
    start, left = 0, max_tokens
    for piece in _pieces(text):
        cost = _measure(piece)
        if cost > left:
            low, high = 0, len(piece)
            while low < high:
                middle = (low + high + 1) // 2
                if _measure(piece[:middle]) <= left:
                    low = middle
                else:
                    high = middle - 1
            return start + low
        start, left = start + len(piece), left - cost
    return start


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS))


def _measure(piece: str) -> int:
    encoding = _encoding()
    if encoding is not None:
        return len(encoding.encode_ordinary(piece))
    return -(-len(piece.encode(errors="replace")) // BYTES_PER_TOKEN)


@cache
def _encoding() -> Encoding | None:
    """Return the tokenizer if it can be had offline; its table takes memory, so on first use."""
    table = _cache_dir() / _TABLE_FILE
    try:
        if not table.is_file() or hashlib.sha256(table.read_bytes()).hexdigest() != _TABLE_SHA256:
            return None
        import tiktoken  # noqa: PLC0415 - an optional library, and not a small one
    except (OSError, ImportError):
        return None
    return tiktoken.get_encoding(_ENCODING)


def _cache_dir() -> Path:
    """Return where tiktoken looks; a blank variable switches its cache off."""
    chosen = TokenizerSettings.load(process_env()).cache_dir
    if chosen is not None:
        return Path(chosen or os.devnull)
    return Path(tempfile.gettempdir()) / "data-gym-cache"
