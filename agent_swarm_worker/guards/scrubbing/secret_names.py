"""Find the secrets among environment variables, configuration rows and headers by their names.

A name is read as words, whatever its spelling (``GITHUB_TOKEN_2``, ``githubTokens``, ``api-key``);
the last one, without numbers and words such as ``OLD``, decides. Rules: docs/secrets.md.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote

from agent_swarm_worker.guards.scrubbing.needles import url_passwords
from agent_swarm_worker.settings import SettingsModel, operator_only, process_env
from agent_swarm_worker.settings.base import CommaList  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_Rules: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Patterns of names that are secret, and of names that are not, in upper case."""


class SecretNameSettings(SettingsModel):
    """The operator's own rules."""

    # --- secrets
    secret_names: CommaList = operator_only("SWARM_SECRET_NAMES", default=())
    """Comma-separated patterns of further variables whose values are secrets: ``CORP_*, *_SEED``;
    case does not matter ([secrets.md](secrets.md))."""
    not_secret: CommaList = operator_only("SWARM_NOT_SECRET", default=())
    """Comma-separated patterns of variables whose values are not secrets in spite of their names.
    They do not apply to the API key of the swarm and the passwords in URLs."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text: the names of a table."""
    return frozenset(text.split())


_WORDS: Final = words(
    """
    TOKEN SECRET PASSWORD PASSWD PASSPHRASE PASSCODE PASS PWD PW PAT DSN OAUTH COOKIE CREDENTIAL
    CRED APIKEY JWT PSK MNEMONIC WEBHOOK AUTHORIZATION BEARER NETRC CONNSTR CONNECTIONSTRING
    """
)
_ENDINGS: Final = tuple(
    words(
        """
        TOKEN SECRET PASSWORD PASSWD PASSPHRASE APIKEY ACCESSKEY SECRETKEY PRIVATEKEY PRIVKEY
        AUTHKEY MASTERKEY SIGNINGKEY
        """
    )
)
"""Of a word that is two words written together."""
_TOGETHER: Final = re.compile(
    r"(?:AD|ADMIN|APP|AZURE|BIND|BITBUCKET|DB|DATABASE|DEVOPS|DOCKER|E?MAIL|FTP|GH|GIT|GITHUB"
    r"|GITLAB|GL|HTTP|IMAP|JIRA|KEY(?:STORE)?|LDAP|LOGIN|MARIADB|MONGO(?:DB)?|(?:MS|MY)?SQL|NPM"
    r"|ORACLE|PG|PGSQL|POP3|POSTGRES(?:QL)?|PROXY|RABBIT(?:MQ)?|REDIS|ROOT|SA|SFTP|SMTP|SSH|STORE"
    r"|SUDO|TRUSTSTORE|USER|VNC|VPN|WEB|WIFI)(?:PASS|PWD|PW|PAT)"
)
"""The same with an ending that ordinary words have, too (``COMPASS``)."""
_KEYS: Final = words(
    """
    API ACCESS PRIVATE SECRET SIGNING ENCRYPTION DECRYPTION INGESTION SSH AUTH SERVICE MASTER
    LICENSE DEPLOY ACCOUNT STORAGE SUBSCRIPTION SHARED HMAC JWT SESSION COOKIE WEBHOOK ADMIN ROOT
    APP APPLICATION SAS WRITE INTEGRATION ROUTING CLIENT
    """
)
_PAIRS: Final = {
    "KEY": _KEYS,
    "STRING": words("CONNECTION CONN"),
    "STR": words("CONNECTION CONN"),
    "PHRASE": words("SEED RECOVERY PASS"),
    "AUTH": words("BASIC HTTP PROXY REDISCLI NPM CONFIG REGISTRY"),
    "URL": words("WEBHOOK HOOK"),
    "URI": words("WEBHOOK HOOK"),
    "ENDPOINT": words("WEBHOOK"),
    "HEADER": words("OTLP CUSTOM AUTH METRICS TRACES LOGS"),
    "CONFIG": words("AUTH"),
}
"""Last word → the words of which one must precede it."""
_NAMES: Final = words("PGPASSWORD SSHPASS GSC_SERVICE_ACCOUNT_BASE64 DOCKERCONFIGJSON")
_EDITIONS: Final = words(
    """
    OLD NEW NEXT PREV PREVIOUS CURRENT PRIMARY SECONDARY BACKUP PROD PRODUCTION DEV STAGING TEST
    LIVE VALUE RAW BASE64 B64 PEM HEX JSON BASE CI QA UAT LOCAL DEFAULT FALLBACK SANDBOX DEMO GLOBAL
    EU US UK DE FR AP EMEA APAC EAST WEST NORTH SOUTH CENTRAL READONLY READWRITE WRITEONLY RO RW FOR
    """
)
_COUNTS: Final = words("MAX MIN LIMIT NUM COUNT BUDGET TOTAL")
"""Beside these a token is a unit of text."""
_PUBLIC_KEYS: Final = words("PUBLIC PUB GPG HOST PRIMARY FOREIGN SORT CACHE PARTITION IDEMPOTENCY")
_NEVER: Final = words(
    """
    MCP_BASE_URL APP_URL API_URL TEMPLATE_REGISTRY_URL PWD OLDPWD OLD_PWD
    GOOGLE_APPLICATION_CREDENTIALS SWARM_SECRET_NAMES SWARM_NOT_SECRET
    """
)
_ALWAYS: Final = words("API_KEY AGENT_SWARM_API_KEY SECRETS_ENCRYPTION_KEY")

_ANY_CASE: Final = re.IGNORECASE
_WORD_BORDER: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NUMBER: Final = re.compile(r"V?\d+\Z")
"""Of an edition: a word, or the end of one."""
_SWITCH: Final = re.compile(r"true|false|yes|no|on|off|none|null|enabled|disabled|\d", _ANY_CASE)
_PATH: Final = re.compile(r"(?:\.{0,2}|~)/[\w./~-]+")
_RANDOM: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+=.~-][A-Za-z0-9_+/=.~-]{15,}")
_PART: Final = re.compile(r"[\s,;|]+")
_TOKEN: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+/=.~-]{10,}")
_URL_TOKEN: Final = re.compile(
    r"\bhttps?://(?=[^\s/:@]*[0-9])((?=[^\s/:@]*[a-z])(?=[^\s/:@]*[A-Z])[^\s/:@]{12,}|[^\s/:@]{24,})@"
)
"""The user of a URL that is a token."""
_QUERY_PASSWORD: Final = re.compile(
    r"[?&](?:password|passwd|pwd|pass|(?:\w+_)?token|(?:\w+_)?secret|api_?key|sig|signature)"
    r"=([^&\s#;]+)",
    _ANY_CASE,
)
_NETRC_PASSWORD: Final = re.compile(r"\bpassword\s+(\S+)")
_NO_VALUE: Final = ("${", "{{", "<", "***", "%(")
"""How a value begins that is filled in later."""
_URL_USER: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}://([^\s/:@]{6,})@", _ANY_CASE)
_URL_PATH: Final = re.compile(r"https?://[^\s/]+/(\S{16,})", _ANY_CASE)
_PLAIN_LOGIN: Final = re.compile(r"[^\s:/@]+:([^\s@]+)@[a-z]*\(")
"""The password of ``user:password@tcp(host)/db``."""
_CONNECTION_PASSWORD: Final = re.compile(
    r"\b(?:password|pwd|accountkey|sharedaccesskey|sharedaccesssignature)\s*=\s*"
    r"(?:'([^']+)'|\"([^\"]+)\"|([^;\s]+))",
    _ANY_CASE,
)


def is_secret_name(name: str) -> bool:
    """True if a variable of this name holds a secret, in any case."""
    return _is_secret(name, _operators_rules())


def _is_secret(name: str, rules: _Rules) -> bool:
    upper = name.upper()
    if upper in _NEVER or upper in _ALWAYS:
        return upper in _ALWAYS
    names, exceptions = rules
    if _matches(name, exceptions):
        return False
    if upper in _NAMES or _matches(name, names):
        return True
    *before, last = _words_of(name) or [""]
    if last == "TOKEN" and not _COUNTS.isdisjoint(before):
        return False
    if last in _WORDS or last.endswith(_ENDINGS) or _TOGETHER.fullmatch(last):
        return True
    if last == "KEY" and not _PUBLIC_KEYS.isdisjoint(before[-1:]):
        return False
    return not _PAIRS.get(last, frozenset()).isdisjoint(before[-2:])


def secret_values_of(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield ``(name, value)`` for every secret in an environment.

    A variable with a secret's name has its whole value as a secret, and what is secret inside a
    list, headers, cookies, a connection string or a webhook's URL; one that ends in ``KEY``,
    ``AUTH`` or ``SEED`` if its value looks random. Any other has only the passwords of URLs and
    connection strings in it.
    """
    rules = _operators_rules()
    for name, value in env.items():
        if name.upper() in _NEVER or not value:
            continue
        if not (_is_secret(name, rules) or _is_random_key(name, value, rules)):
            yield from ((name, password) for password in _passwords(value))
        elif not _is_no_secret(name, value):
            yield name, value
            yield from ((name, part) for part in _parts(name, value))


def _words_of(name: str) -> list[str]:
    """Return the words that tell what a variable holds, the last one in the singular."""
    found = [word.upper() for word in _WORD_BORDER.split(name) if word]
    while found and (found[-1] in _EDITIONS or _NUMBER.fullmatch(found[-1])):
        found.pop()
    if found:
        last = _NUMBER.sub("", found[-1])
        is_plural = last.endswith("S") and last not in _WORDS
        found[-1] = last[:-1] if is_plural and not last.endswith("SS") else last
    return found


def _operators_rules() -> _Rules:
    settings = SecretNameSettings.load(process_env())
    return tuple(map(str.upper, settings.secret_names)), tuple(map(str.upper, settings.not_secret))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.upper(), pattern) for pattern in patterns)


def _is_random_key(name: str, value: str, rules: _Rules) -> bool:
    *before, last = _words_of(name) or [""]
    value = value.strip()
    match last:
        case "KEY":
            is_key = _PUBLIC_KEYS.isdisjoint(before) and _RANDOM.fullmatch(value) is not None
        case "AUTH" | "SEED":
            is_key = bool(before) and _TOKEN.fullmatch(value) is not None
        case "HOOK":
            is_key = _URL_PATH.match(value) is not None
        case _:
            is_key = False
    return is_key and not _matches(name, rules[1])


def _passwords(value: str) -> Iterator[str]:
    """Yield the passwords in the URLs and connection strings of a value."""
    yield from url_passwords(value)
    if "://" in value:
        found = [*_QUERY_PASSWORD.findall(value), *_URL_TOKEN.findall(value)]
        yield from (word for text in found for word in (text, unquote(text)))
    if value.count("=") > 1 or "://" in value:
        yield from _connection_passwords(value)


def _connection_passwords(value: str) -> Iterator[str]:
    found = ["".join(quoted) for quoted in _CONNECTION_PASSWORD.findall(value)]
    yield from (password for password in found if not password.startswith(_NO_VALUE))


def _is_no_secret(name: str, value: str) -> bool:
    """True for a switch, a number of tokens, the path of a file, an address without a login."""
    last = (_words_of(name) or [""])[-1]
    if _SWITCH.fullmatch(value):
        return True
    if last == "TOKEN":
        return name.upper().endswith("S") and value.isdigit()
    if last == "DSN":
        return "@" not in value and not _CONNECTION_PASSWORD.search(value)
    return last in {"CREDENTIAL", "CRED", "COOKIE", "NETRC"} and _PATH.fullmatch(value) is not None


def _parts(name: str, value: str) -> Iterator[str]:
    """Yield the secrets inside a secret's value."""
    upper = name.upper()
    last = (_words_of(name) or [""])[-1]
    if last == "HEADER":
        yield from _header_values(value)
    if upper.endswith("S") and last not in {"PASS", "HEADER", "COOKIE"} and "{" not in value:
        yield from (part for part in _PART.split(value) if part != value)
    if last == "COOKIE":
        yield from (part.partition("=")[2].strip() for part in value.split(";"))
    yield from _passwords(value)
    yield from _connection_passwords(value)
    if last == "NETRC":
        yield from _NETRC_PASSWORD.findall(value)
    yield from _PLAIN_LOGIN.findall(value)
    if last == "DSN":
        yield from _URL_USER.findall(value)
    if "HOOK" in upper:
        yield from _URL_PATH.findall(value)


def _header_values(value: str) -> Iterator[str]:
    """Yield the values of ``name=value,…`` (OpenTelemetry) or of ``Name: value`` lines."""
    for header in re.split(r"[,\n]", value):
        _, separator, content = header.partition(":" if ": " in header else "=")
        if separator:
            yield unquote(content.strip())
