"""Which environment variables hold secrets, by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from agent_swarm_worker.guards.needles import url_passwords

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SUFFIXES: Final = (
    "_API_KEY",
    "_ACCESS_KEY",
    "_PRIVATE_KEY",
    "_SECRET_KEY",
    "_SIGNING_KEY",
    "_ENCRYPTION_KEY",
    "_INGESTION_KEY",
    "_SSH_KEY",
    "_TOKEN",
    "_AUTHTOKEN",
    "_SECRET",
    "_PASSWORD",
    "_PASSWD",
    "_PASSPHRASE",
    "_CONNECTION_STRING",
    "_OAUTH",
)
_NAMES: Final = frozenset(
    {
        "API_KEY",
        "APIKEY",
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PGPASSWORD",
        "MYSQL_PWD",
        "REDISCLI_AUTH",
        "GSC_SERVICE_ACCOUNT_BASE64",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "ANTHROPIC_CUSTOM_HEADERS",
    }
)
_NEVER: Final = frozenset({"MCP_BASE_URL", "APP_URL", "API_URL", "TEMPLATE_REGISTRY_URL"})
_NUMBERED: Final = re.compile(r"[A-Z0-9_]+_OAUTH_\d+")
"""One of several logins in a pool."""
_CONNECTION_PASSWORD: Final = re.compile(
    r"\b(?:password|pwd|accountkey|sharedaccesskey|sharedaccesssignature)\s*=\s*([^;\s]+)",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """True if a variable of this name holds a secret (docs/secrets.md), in any case."""
    upper = name.upper()
    if upper in _NEVER:
        return False
    return upper in _NAMES or upper.endswith(_SUFFIXES) or _NUMBERED.fullmatch(upper) is not None


def secret_values_of(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield ``(name, value)`` for every secret in an environment.

    A variable with a secret's name gives its whole value, and the credentials inside a list of
    headers or a connection string. Any other one gives only the passwords of URLs in it, so a
    ``DATABASE_URL`` or a DSN stays readable except for that part. The base URLs of the swarm
    are never touched.
    """
    for name, value in env.items():
        if name.upper() in _NEVER or not value:
            continue
        if not is_secret_name(name):
            yield from ((name, password) for password in url_passwords(value))
            continue
        yield name, value
        if name.upper().endswith("_HEADERS"):
            yield from ((name, part) for part in _header_values(value))
        yield from ((name, part) for part in _CONNECTION_PASSWORD.findall(value))


def _header_values(value: str) -> Iterator[str]:
    """The values of ``name=value,…`` (OpenTelemetry) or of ``Name: value`` lines."""
    for header in re.split(r"[,\n]", value):
        _, separator, content = header.partition(":" if ": " in header else "=")
        if separator:
            yield unquote(content.strip())
