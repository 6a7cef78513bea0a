"""Generate ``configuration.md`` from all settings models; run it after changing a setting.

A test compares the page with the output of this module, and looks for models that it omits.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from agent_swarm_worker.cli.view import EarlyLogSettings, TerminalSettings
from agent_swarm_worker.container.prepare import ContainerSettings
from agent_swarm_worker.credentials.vendor import LoginSettings
from agent_swarm_worker.guards.child_env import ChildEnvSettings
from agent_swarm_worker.guards.permissions.policy import PermissionOptions
from agent_swarm_worker.guards.scrubbing.secret_names import SecretNameSettings
from agent_swarm_worker.guards.tokens import TokenizerSettings
from agent_swarm_worker.network import NetworkSettings
from agent_swarm_worker.providers.registry import distribution_of, installed_options, known_specs
from agent_swarm_worker.settings import (
    Effect,
    HarnessOptions,
    ModelSettings,
    Settings,
    SettingsModel,
)
from agent_swarm_worker.settings.rows import OPERATORS_NAMES, OPERATORS_PREFIXES, SESSIONS_OWN
from agent_swarm_worker.settings.schema import docstrings
from agent_swarm_worker.worker.boot.harness import HarnessChoice
from agent_swarm_worker.workspace.git import GitSettings
from agent_swarm_worker.workspace.rules import WorkspaceSettings

TARGET = Path(__file__).with_name("configuration.md")
PROJECT = "agent-swarm-worker"

HEAD = """\
# Configuration

<!-- Generated from the settings models by docs/generate_configuration.py; do not edit. -->

All variables of the worker, by package. A blank value counts as unset; only an empty
`AGENT_SWARM_API_KEY` still hides `API_KEY`. An invalid value ends the start with exit code 78 and
a message that names the variable; one marked *checked late* fails the session that uses it.
Switches take `true`/`1` and `false`/`0` unless stated otherwise; other values mean the default.

The swarm's configuration rows overlay these variables, and any other that a harness reads. A row
for a variable marked *live* takes effect while the worker runs: for the next session, or the next
round of a loop. One marked *operator only* is taken from no row, and a session does not get it from
one either. The others are read at the start. A row with an invalid value is ignored.

Of the variables that other programs read, no row sets those that load code, say where files are, or
whom to trust: proxies (`HTTPS_PROXY`, `NO_PROXY` …), files of certificate authorities
(`NODE_EXTRA_CA_CERTS`, `AWS_CA_BUNDLE` …), editors and pagers (`EDITOR`, `GH_PAGER` …), options of
runtimes (`JDK_JAVA_OPTIONS`, `GOFLAGS` …), files of AWS (`AWS_CONFIG_FILE` …), and
{never}; of these, rows may set {own} and the
credentials of package managers (`NPM_CONFIG__AUTHTOKEN`, `UV_PUBLISH_TOKEN` …).

All variables, those of this page and any other, are passed on to the harness. Variables that a
harness's own program reads are listed in [harnesses.md](harnesses.md). `<HARNESS>_SKILLS_DIR`, such
as `CODEX_SKILLS_DIR` (*operator only*), names the folder of commands for a harness without commands
of its own; by default `<HOME>/.<harness>/skills`.
"""
_KINDS: dict[Any, str] = {
    str: "text",
    Path: "path",
    bool: "switch",
    tuple: "list",
    dict: "list",
    int: "number",
    float: "number",
}
_UNITS = {"_ms": "milliseconds", "_s": "seconds", "_tokens": "tokens"}
_BOUNDS = {"gt": "> {}", "ge": "≥ {}", "le": "≤ {}"}


def models() -> list[type[SettingsModel]]:
    """Return all settings models of this distribution."""
    ours = [
        model
        for name, model in installed_options().items()
        if distribution_of(name).split()[0] == PROJECT
    ]
    return [
        Settings,
        *(base for model in ours for base in _with_bases(model)),
        LoginSettings,
        NetworkSettings,
        GitSettings,
        WorkspaceSettings,
        PermissionOptions,
        ContainerSettings,
        ChildEnvSettings,
        SecretNameSettings,
        TokenizerSettings,
        TerminalSettings,
        # Their variables also belong to models above.
        EarlyLogSettings,
        HarnessChoice,
        HarnessOptions,
        ModelSettings,
    ]


def _with_bases(model: type[SettingsModel]) -> list[type[SettingsModel]]:
    """Return a harness's model and its bases below `HarnessOptions`."""
    bases = [base for base in model.__mro__ if issubclass(base, HarnessOptions)]
    return [base for base in bases if base is not HarnessOptions]


def page() -> str:
    """Return the text of the page."""
    prefixes = {*OPERATORS_PREFIXES, *(one for it in known_specs() for one in it.operator_prefixes)}
    never = sorted({*OPERATORS_NAMES, *(f"{prefix}*" for prefix in prefixes)})
    parts = [HEAD.format(never=_listed(never), own=_listed(sorted(SESSIONS_OWN)))]
    for model in models():
        source = inspect.getsource(model)
        texts = docstrings(source)
        for title, names in _groups(model, source):
            rows = "\n".join(_row(model, name, texts.get(name, "")) for name in names)
            heading = f"## {title[0].upper()}{title[1:]}"
            head = "| variable | value | default | |\n|---|---|---|---|"
            parts.append(f"{heading}\n\n{head}\n{rows}\n")
    return "\n".join(parts)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _groups(model: type[SettingsModel], source: str) -> list[tuple[str, list[str]]]:
    """Return the model's own fields by the ``# ---`` comment above them."""
    _, *pieces = re.split(r"^    # --- (.+)$", source, flags=re.MULTILINE)
    own = {name for name, it in model.declarations().items() if not it.is_shared}
    groups = []
    for title, text in zip(pieces[::2], pieces[1::2], strict=True):
        names = re.findall(r"^    (\w+):", text, re.MULTILINE)
        groups.append((title, [name for name in names if name in own]))
    return [(title, names) for title, names in groups if names]


def _row(model: type[SettingsModel], name: str, text: str) -> str:
    declared = model.declarations()[name]
    names = ", ".join(f"`{variable}`" for variable in declared.names)
    marks = [] if declared.effect is Effect.BOOT else [declared.effect.value]
    marks += ["checked late"] if declared.is_checked_late else []
    mark = f"*{', '.join(marks)}*. " if marks else ""
    description = mark + re.sub(
        r"``(.+?)``", r"`\1`", re.sub(r" \(docs/api\.md [\d.]+\)", "", text)
    )
    field = model.model_fields[name]
    cells = (names, _value(model, name), _default(field.default), description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(model: type[SettingsModel], name: str) -> str:
    """Return the accepted values: kind, unit, bounds."""
    field = model.model_fields[name]
    kind = field.annotation
    if NoneType in get_args(kind):
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    base = unit or _KINDS[get_origin(kind) or kind]
    rules = [
        text.format(f"{limit:g}" if limit < 1e6 else f"{limit}")
        for rule in field.metadata
        for attribute, text in _BOUNDS.items()
        if (limit := getattr(rule, attribute, None)) is not None
    ]
    return " ".join([base, *rules])


def _default(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, tuple):
        value = " ".join(value)
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{value}`".lower() if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
