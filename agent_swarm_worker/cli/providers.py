"""``swarm-worker providers``: the harnesses that are installed, and what one declares."""

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
from agent_swarm_worker.worker.boot.credentials import with_lent_login
from agent_swarm_worker.worker.boot.environment import check_harness, make_sandbox

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.contract import HarnessSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="show what this harness declares")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List each harness, whether it could start now, and where it comes from."""
    logs.configure(level="error")
    if args.name:
        return _show(args.name, as_json=args.json)
    rows = anyio.run(_describe_all)
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


async def what_is_missing(name: str, env: Mapping[str, str]) -> SwarmWorkerError | None:
    """Return why no session of this harness could start with `env`, or nothing."""
    try:
        adapter = create_provider(name)
        await check_harness(make_sandbox(), adapter, with_lent_login(adapter_spec(adapter), env))
    except SwarmWorkerError as error:
        return error
    except Exception as error:  # one that breaks its promise is of no use either
        return UnusableProvider(name, distribution_of(name), repr(error))
    return None


async def _describe_all() -> list[dict[str, str | bool]]:
    return [await _describe(name) for name in supported_providers()]


async def _describe(name: str) -> dict[str, str | bool]:
    missing = await what_is_missing(name, process_env())
    return {
        "name": name,
        "ready": missing is None,
        "from": distribution_of(name),
        "why": str(missing or ""),
    }


def _show(name: str, *, as_json: bool) -> int:
    """Print the whole spec of one harness.

    Raises:
        UnknownProvider: there is none of this name.
    """
    if name not in supported_providers():
        raise UnknownProvider(name, list(supported_providers()))
    declared = _declared(spec_of(name))
    if as_json:
        print_json(declared)
    else:
        print_table(["WHAT", "VALUE"], [[key, value] for key, value in _flat(declared)])
    return 0


def _declared(spec: HarnessSpec) -> dict[str, Any]:
    """Return a spec as plain values, with the variables of its options and how to install it."""
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
    """Yield a line for each value that says something, nested ones by dotted names."""
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
