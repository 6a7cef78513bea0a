"""``swarm-worker harness-profiles``: list, explain and check harness profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import print_json, print_line, print_table
from agent_swarm_worker.errors import EXIT_CONFIG, BadHarnessProfiles, UsageError
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.guards.scrubbing.secret_names import is_secret_name
from agent_swarm_worker.harness_profiles.names import (
    HarnessProfileSettings,
    ProfileName,
    check_choice,
    chosen_name,
    parse_name,
)
from agent_swarm_worker.harness_profiles.profiles import (
    HarnessProfiles,
    Setting,
    check_names,
    settings_of,
)
from agent_swarm_worker.settings import process_env
from agent_swarm_worker.worker.boot.harness import harness_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

ACTIONS = ("list", "explain", "validate")
HIDDEN = "(secret)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        metavar="ACTION",
        help="list (default), explain AGENT:VARIANT, or validate [FILE]",
    )
    parser.add_argument("of", nargs="?", metavar="NAME", help="a harness profile, or a file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run one action; exit code 78 if the files cannot be used."""
    logs.configure(level="error")
    env = process_env()
    if args.action not in ACTIONS:
        raise UsageError(f"no action {args.action!r}; there are {', '.join(ACTIONS)}")
    if args.action == "validate":
        return _validate(env, args.of, as_json=args.json)
    if (args.action == "explain") != bool(args.of):
        raise UsageError("`explain` needs the name of a harness profile, and `list` takes none")
    check_choice(env)
    profiles = HarnessProfiles.load(HarnessProfileSettings.load(env).file)
    if args.action == "explain":
        return _explain(profiles, env, args.of, as_json=args.json)
    return _list(profiles, env, as_json=args.json)


def _list(profiles: HarnessProfiles, env: Mapping[str, str], *, as_json: bool) -> int:
    own = chosen_name(env) or ProfileName(harness_name(env))
    choices = HarnessProfileSettings.load(env).task_choices
    for_tasks = {parse_name(text, harness=own.harness) for text in choices}
    rows = []
    for name in profiles.names():
        profile, tree = profiles.resolve(name), profiles.tree(name).value
        sources = {str(node.source) for _, node in profiles.tree(name).leaves()}
        used = "worker" if name == own else "tasks" if name in for_tasks else ""
        rows.append(
            {
                "name": str(name),
                "used_by": used,
                "model": tree["model"].value if "model" in tree else None,
                "effort": tree["effort"].value if "effort" in tree else None,
                "permissions": profile.permissions and profile.permissions.policy,
                "sandbox": profile.sandbox,
                "mcp": list(profile.mcp),
                "tools": profile.tools,
                "files": sorted({source.partition(": ")[0] for source in sources}),
            }
        )
    if as_json:
        print_json(rows)
        return 0
    shown = ("used_by", "model", "effort", "permissions")
    table = [[str(row["name"]), *(_cell(row[key]) for key in shown), _from(row)] for row in rows]
    print_table(["NAME", "USED BY", "MODEL", "EFFORT", "PERMISSIONS", "FROM"], table)
    return 0


def _from(row: Mapping[str, Any]) -> str:
    return ", ".join(row["files"]) or "nothing set"


def _explain(profiles: HarnessProfiles, env: Mapping[str, str], text: str, *, as_json: bool) -> int:
    try:
        name = profiles.find(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    hide = _Hider(profiles, name, env)
    rows = [
        {"key": one.key, "value": hide(one), "from": one.source}
        for one in settings_of(profiles, name, env)
    ]
    if as_json:
        print_json({"name": str(name), "settings": rows})
        return 0
    print_line(str(name))
    print_table(
        ["KEY", "FROM", "VALUE"], [[row["key"], row["from"], _cell(row["value"])] for row in rows]
    )
    return 0


class _Hider:
    """Hides the values of secrets."""

    def __init__(
        self, profiles: HarnessProfiles, name: ProfileName, env: Mapping[str, str]
    ) -> None:
        self._scrubber = Scrubber(on_too_short=lambda _: None)
        self._scrubber.add_env(env)
        self._scrubber.add_env(profiles.resolve(name).variables)

    def __call__(self, one: Setting) -> Any:
        if one.variable and is_secret_name(one.variable) and one.value not in ("", None):
            return HIDDEN
        return self._scrubber.leaves(one.value)


def _validate(env: Mapping[str, str], of: str | None, *, as_json: bool) -> int:
    path = Path(of) if of else HarnessProfileSettings.load(env).file
    problems: Sequence[str] = ()
    count = 0
    try:
        profiles = HarnessProfiles.load(path)
    except BadHarnessProfiles as error:
        problems = error.problems
    else:
        count = len(profiles.names())
        problems = () if of else check_names(profiles, env)
    if as_json:
        print_json({"file": str(path) if path else None, "problems": problems})
    for line in () if as_json else problems:
        print_line(line)
    if not problems and not as_json:
        what = path or "SWARM_HARNESS_PROFILES is not set; the shipped file"
        print_line(f"{what}: {count} harness profiles, no mistakes")
    return EXIT_CONFIG if problems else 0


def _cell(value: object) -> str:
    if value in (None, "", [], {}):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_cell, value))
    return str(value)
