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
        *("PATH", "SHELL", "SHELLOPTS", "USER", "ZDOTDIR", "CC", "CDPATH", "CLASSPATH", "CXX"),
        *("EXINIT", "FPATH", "GTK_MODULES", "IFS", "JULIA_LOAD_PATH", "LESSCLOSE", "LESSOPEN"),
        *("BROWSER", "MAKEFLAGS", "PROMPT_COMMAND", "PS4", "TCLLIBPATH", "VIMINIT"),
        # where they keep their files, and whom they trust
        *("CURL_HOME", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT"),
        *("DOCKER_HOST", "DOCKER_TLS_VERIFY", "GH_CONFIG_DIR", "GH_HOST", "GITLAB_HOST"),
        *("GLAB_CONFIG_DIR", "GNUPGHOME", "GOOGLE_APPLICATION_CREDENTIALS", "HOSTALIASES"),
        *("INPUTRC", "KUBECONFIG", "LOCALDOMAIN", "LOCPATH", "NETRC", "OLDPWD", "PWD"),
        *("RES_OPTIONS", "SSLKEYLOGFILE", "TEMP", "TERMINFO", "TERMINFO_DIRS", "TMP", "TMPDIR"),
        *("WGETRC",),
        # the server's own key, and the marks of sessions and their pipe holders
        *("SECRETS_ENCRYPTION_KEY", "SECRETS_ENCRYPTION_KEY_FILE"),
        *("AGENT_SWARM_KEEPER", "AGENT_SWARM_SESSION"),
    }
)
OPERATORS_PREFIXES = (
    *("BASH_FUNC_", "DYLD_", "GIT_", "LD_", "OPENSSL_", "PYTHON", "XDG_"),
    *("ASPNETCORE_HOSTINGSTARTUP", "AWS_ENDPOINT_URL", "BUNDLE_", "CARGO_"),
    *("CLOUDSDK_API_", "CLOUDSDK_CONFIG"),
    *("CLOUDSDK_PROXY_", "CLOUDSDK_PYTHON", "COREPACK_", "CORECLR_", "COR_", "DENO_", "DOTNET_"),
    *("ELECTRON_", "ERL_", "GEM_", "GIO_", "GLIBC_", "GRADLE_", "JAVA_", "LUA_", "MAGICK_"),
    *("MALLOC_", "MAVEN_", "NODE_", "NPM_CONFIG_", "PERL5", "PHPRC", "PHP_INI", "PIP_", "QT_"),
    *("RUBY", "RUSTC", "RUSTUP_", "R_ENVIRON", "R_PROFILE", "SSH_", "SUDO_", "UV_", "YARN_"),
)
SESSIONS_OWN = frozenset(
    {
        *("GIT_AUTHOR_EMAIL", "GIT_AUTHOR_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_NAME"),
        "NODE_ENV",
    }
)
"""Names with such a prefix that rows may set: who signs the commits of an agent, and the like."""
_CREDENTIAL = re.compile(
    r"(?:BUNDLE|CARGO|CLOUDSDK|DENO|GEM|GRADLE|NPM_CONFIG|PIP|UV|YARN)_\w*"
    r"(?:TOKENS?|PASSWORD|USERNAME|_AUTH|API_KEY)"
)
"""What package managers log in with, which rows may set as well."""
_KINDS = re.compile(
    r"_SKILLS_DIR$|(?:^|_)(?:ALL|FTP|GRPC|HTTPS?|NO|RSYNC|SOCKS[45]?H?|WSS?)_PROXY$"
    r"|(?:^|_)CA_?(?:BUNDLE|CERT|CERTIFICATE|DIR|FILE|INFO|PATH)S?$"
    r"|^SOCKS[45]?_SERVER$|(?:^|_)SSL_C(?:ERT_(?:FILE|DIR)|LIENT_CERT)$|_USE_ENV_PROXY$"
    r"|(?:^|_)(?:ASKPASS|EDITOR|PAGER|VISUAL)$|^MANPAGER$|^AWS_\w*_FILE$|^NETRC_FILE$"
    r"|(?:^|_)(?:JAVA|JDK|JVM|NODE|TOOL)_(?:JAVA_)?OPT(?:ION)?S$"
    r"|^GO(?:AUTH|BIN|ENV|FLAGS|INSECURE|NOPROXY|NOSUMCHECK|NOSUMDB|PATH|PRIVATE|PROXY|ROOT|SUMDB"
    r"|TOOLCHAIN|VCS)$"
)
"""Where a harness's commands are; proxies, certificates, editors and options of runtimes, whichever
program reads them."""


def operators_names(
    models: Iterable[type[SettingsModel]], prefixes: Iterable[str] = ()
) -> Callable[[str], bool]:
    """Return a function that tells whether only the operator may set a variable, in any case.

    `prefixes` are those of variables that single harnesses read.
    """
    guarded = (*OPERATORS_PREFIXES, *prefixes)
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
            or (
                name.startswith(guarded)
                and name not in SESSIONS_OWN
                and not _CREDENTIAL.fullmatch(name)
            )
            or _KINDS.search(name) is not None
        )

    return is_operators
