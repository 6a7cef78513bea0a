"""``swarm-worker providers``: list the installed harnesses, or show the spec of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import print_json, print_table
from agent_swarm_worker.errors import SwarmWorkerError, UnknownProvider, UnusableProvider
from agent_swarm_worker.providers.registry import (
    adapter_spec,
    create_provider,
    distribution_of,
    spec_of,
    supported_providers,
)
from agent_swarm_worker.settings import process_env
from agent_swarm_worker.worker.boot.environment import check_harness, make_sandbox, with_lent_login

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.contract import HarnessSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show what this harness declares")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print each harness, whether it could start now, and its distribution."""
    logs.configure(level="error")
    if args.name:
        return _show(args.name, as_json=args.json)
    rows = anyio.run(_describe_all, process_env())
    if args.json:
        print_json(rows)
        return 0
    print_table(
        ["HARNESS", "READY", "FROM", "WHAT IS MISSING"],
        [
            [str(row["name"]), "yes" if row["ready"] else "no", str(row["from"]), str(row["why"])]
            for row in rows
        ],
    )
    return 0


async def missing_requirement(name: str, env: Mapping[str, str]) -> SwarmWorkerError | None:
    """Return why no session of this harness could start with `env`; ``None`` if one could."""
    try:
        adapter = create_provider(name)
        await check_harness(make_sandbox(), adapter, with_lent_login(adapter_spec(adapter), env))
    except SwarmWorkerError as error:
        return error
    except Exception as error:  # an adapter with a bug is not usable either
        return UnusableProvider(name, distribution_of(name), repr(error))
    return None


async def _describe_all(env: Mapping[str, str]) -> list[dict[str, str | bool]]:
    rows: list[dict[str, str | bool]] = []
    for name in supported_providers():
        missing = await missing_requirement(name, env)
        origin, why = distribution_of(name), str(missing or "")
        rows.append({"name": name, "ready": missing is None, "from": origin, "why": why})
    return rows


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
        elif isinstance(value, list) and value:
            yield f"{prefix}{key}", "\n".join(map(_cell, value))
        elif value not in (None, "", []):
            yield f"{prefix}{key}", _cell(value)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
