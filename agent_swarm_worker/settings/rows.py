"""Decide which variables a configuration row of the server may set.

A swarm may configure sessions, but not load code into the worker, redirect it, or lift what guards
its operator. The worker's own settings say it beside each field (`operator_only`); the variables
here are those of the programs and libraries that it runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.settings.base import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent_swarm_worker.settings.base import SettingsModel

OPERATORS_NAMES = frozenset(
    {
        # which programs run, and which code is loaded into them
        *("BASHOPTS", "BASH_ENV", "ENV", "GCONV_PATH", "LOGNAME", "NODE_OPTIONS", "NODE_PATH"),
        *("PATH", "SHELL", "SHELLOPTS", "SSH_ASKPASS", "USER", "ZDOTDIR"),
        # where they keep their files, and whom they trust
        *("GH_CONFIG_DIR", "GLAB_CONFIG_DIR", "TEMP", "TMP", "TMPDIR"),
        *("NODE_TLS_REJECT_UNAUTHORIZED", "NPM_CONFIG_NOPROXY", "NPM_CONFIG_PROXY"),
        *("NPM_CONFIG_STRICT_SSL", "SSLKEYLOGFILE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
        # the server's own key, and the marks of sessions and their pipe holders
        *("SECRETS_ENCRYPTION_KEY", "SECRETS_ENCRYPTION_KEY_FILE"),
        *("AGENT_SWARM_KEEPER", "AGENT_SWARM_SESSION"),
    }
)
OPERATORS_PREFIXES = ("BASH_FUNC_", "DYLD_", "GIT_", "LD_", "OPENSSL_", "PYTHON", "XDG_")
SESSIONS_OWN = frozenset(
    {"GIT_AUTHOR_EMAIL", "GIT_AUTHOR_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_NAME"}
)
"""Names with such a prefix that rows may set: who signs the commits of an agent."""
_KINDS = re.compile(
    r"_SKILLS_DIR$|(?:^|_)(?:ALL|FTP|GRPC|HTTPS?|NO|RSYNC|SOCKS[45]?H?|WSS?)_PROXY$"
    r"|(?:^|_)CA_?(?:BUNDLE|CERT|CERTIFICATE|DIR|FILE|INFO|PATH)S?$"
)
"""Where a harness's commands are; proxies and certificates, whichever program reads them."""


def operators_names(models: Iterable[type[SettingsModel]]) -> Callable[[str], bool]:
    """Return a function that tells whether only the operator may set a variable, in any case."""
    declared = {
        name.upper()
        for model in models
        for it in model.declarations().values()
        if it.effect is Effect.OPERATOR
        for name in it.names
    }

    def is_operators(name: str) -> bool:
        name = name.upper()
        return (
            name in declared
            or name in OPERATORS_NAMES
            or (name.startswith(OPERATORS_PREFIXES) and name not in SESSIONS_OWN)
            or _KINDS.search(name) is not None
        )

    return is_operators
