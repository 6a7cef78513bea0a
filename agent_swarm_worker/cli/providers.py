"""``swarm-worker providers``: list the harnesses and what each lacks, or describe one.

With ``schema`` it prints the options of one harness as JSON Schema.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import print_json, print_table
from agent_swarm_worker.errors import (
    ConfigError,
    SwarmWorkerError,
    UnknownProvider,
    UnusableProvider,
    UsageError,
)
from agent_swarm_worker.harness_profiles.names import HarnessProfile, ProfileName
from agent_swarm_worker.providers.registry import (
    adapter_spec,
    create_provider,
    distribution_of,
    installed_options,
    spec_of,
    supported_providers,
)
from agent_swarm_worker.settings import HarnessOptions, process_env
from agent_swarm_worker.settings.schema import json_schema
from agent_swarm_worker.worker.boot.availability import find_program
from agent_swarm_worker.worker.boot.environment import check_harness, make_sandbox, with_lent_login
from agent_swarm_worker.worker.boot.harness import profile_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.contract import HarnessSpec

SCHEMA = "schema"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show what this harness declares")
    parser.add_argument(
        "of", nargs="?", metavar="NAME", help="after `schema`: print this harness's options"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print each harness, whether it could start now, its program and its distribution."""
    logs.configure(level="error")
    if args.name == SCHEMA:
        return _print_schema(args.of)
    if args.of:
        raise UsageError(f"`providers {args.name}` takes no {args.of!r}; see `providers --help`")
    if args.name:
        return _show(args.name, as_json=args.json)
    rows = anyio.run(_describe_all, process_env())
    if args.json:
        print_json(rows)
        return 0
    print_table(
        ["HARNESS", "READY", "FROM", "STATUS", "VERSION", "WHAT IS MISSING"],
        [
            [
                str(row["name"]),
                "yes" if row["ready"] else "unknown" if row["is_slow"] else "no",
                str(row["from"]),
                str(row["status"]),
                str(row["version"]) or "-",
                str(row["why"]) or "-",
            ]
            for row in rows
        ],
    )
    return 0


async def missing_requirement(name: str, env: Mapping[str, str]) -> SwarmWorkerError | None:
    """Return why no session of this harness could start with `env`; ``None`` if one could."""
    try:
        adapter = create_provider(name)
        profile = profile_of(name, env)
        env = with_lent_login(adapter_spec(adapter), {**env, **profile.variables})
        await check_harness(make_sandbox(), adapter, env, profile.permissions)
    except SwarmWorkerError as error:
        return error
    except Exception as error:  # an adapter with a bug is not usable either
        return UnusableProvider(name, distribution_of(name), repr(error))
    return None


async def _describe_all(env: Mapping[str, str]) -> list[dict[str, str | bool]]:
    rows: dict[str, dict[str, str | bool]] = {}

    # A program takes longer to answer if all are started at once.
    probes = anyio.CapacityLimiter(max(2, os.cpu_count() or 1))

    async def describe(name: str) -> None:
        async with probes:
            missing = await missing_requirement(name, env)
            profile = HarnessProfile(name=ProfileName(name))
            with suppress(ConfigError):  # `missing` says it
                profile = profile_of(name, env)
            found = await find_program(name, {**env, **profile.variables}, make_sandbox())
        rows[name] = {
            "name": name,
            "ready": missing is None and found.works,
            "is_slow": missing is None and found.is_slow,
            "from": distribution_of(name),
            "why": str(missing or ("" if found.works else found.reason)),
            "status": found.status,
            "version": found.version,
            "reason": found.reason,
            "todo": found.todo,
            "harness_profile": str(profile.name),
        }

    async with anyio.create_task_group() as group:
        for name in supported_providers():
            group.start_soon(describe, name)
    return [rows[name] for name in supported_providers()]


def _print_schema(name: str | None) -> int:
    if not name:
        raise UsageError("`providers schema` needs the name of a harness")
    if name not in supported_providers():
        raise UnknownProvider(name, list(supported_providers()))
    options = installed_options().get(name, HarnessOptions)
    print_json(json_schema(options, f"Options of the harness {name}"))
    return 0


def _show(name: str, *, as_json: bool) -> int:
    if name not in supported_providers():
        raise UnknownProvider(name, list(supported_providers()))
    declared = _declared(spec_of(name))
    if as_json:
        print_json(declared)
    else:
        print_table(["WHAT", "VALUE"], [[key, value] for key, value in _flat(declared)])
    return 0


def _declared(spec: HarnessSpec) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: _plain(getattr(spec, key))
        for key in spec.__dataclass_fields__
        if key not in {"options", "home_files"}
    }
    variables = spec.options.variables() if spec.options is not None else {}
    values["options"] = [names[0] for names in variables.values()]
    values["home_files"] = sorted(spec.home_files)
    if spec.program is not None and spec.program.install is not None:
        values["program"]["install"] = spec.program.install.command
    return values


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {key: _plain(getattr(value, key)) for key in value.__dataclass_fields__}
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of each value that is not empty; nested names are dotted."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value, 1):
                yield from _flat(item, f"{prefix}{key}.{item.get('name', number)}.")
        elif isinstance(value, list) and value:
            yield f"{prefix}{key}", "\n".join(map(_cell, value))
        elif value not in (None, "", []):
            yield f"{prefix}{key}", _cell(value)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
