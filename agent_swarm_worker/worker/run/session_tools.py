"""Offer the operator's tools to a session (docs/tools.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.to_thread

from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.tool_bridge.calls import ToolContext
from agent_swarm_worker.tool_bridge.definitions import ToolSettings, load_tools
from agent_swarm_worker.tool_bridge.serving import served_tools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from contextlib import AsyncExitStack

    from agent_swarm_worker.contract import ProviderAdapter, ProviderSessionConfig
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.tool_bridge.definitions import ToolDefinition
    from agent_swarm_worker.worker.boot.parts import SessionParts

TAG = "tool:"
"""Begins the tag of a task that selects a tool: ``tool:NAME``."""


async def with_tools(
    worker: SessionParts,
    adapter: ProviderAdapter,
    config: ProviderSessionConfig,
    *,
    tags: Iterable[str],
    of_profile: Collection[str] | None,
    stack: AsyncExitStack,
) -> ProviderSessionConfig:
    """Return the configuration with the server of the session's tools; `stack` ends it.

    Args:
        worker: its parts.
        adapter: of the session.
        config: of the session.
        tags: of the task.
        of_profile: the tools that the harness profile names; ``None`` if it does not say.
        stack: of the session.

    Raises:
        ConfigError: the file of tools cannot be used.
        ProviderError: they cannot be served.
    """
    settings = ToolSettings.load(worker.environment.values())
    if settings.tools_file is None:
        return config
    log = worker.log.bind(task=config.task_id)
    defined = await anyio.to_thread.run_sync(load_tools, settings.tools_file)
    chosen = _chosen(tags, settings.task_choices, log)
    for name in sorted(set(of_profile or ()) - {tool.name for tool in defined}):
        log.warning(
            Event.MCP_CONFIG, tool=name, why="the harness profile names no tool of the file"
        )
    variables = worker.environment.values()
    selected = tuple(
        tool
        for tool in _selected(defined, of_profile=of_profile, of_task=chosen)
        if _is_usable(tool, variables, log)
    )
    if not selected:
        return config
    can = adapter_spec(adapter).capabilities
    if not can.has_local_environment or "http" not in can.mcp_transports:
        log.warning(Event.MCP_CONFIG, why=f"{adapter.name} cannot use the operator's tools")
        return config
    for name in sorted({name for tool in selected for name in tool.variables}):
        config.redactor.add(name, variables[name])
    context = ToolContext(
        guest=config.guest,
        cwd=config.cwd,
        env=config.env,
        variables=variables,
        redactor=config.redactor,
        log=log,
    )
    server = await stack.enter_async_context(served_tools(selected, context))
    return replace(config, mcp_servers=(*config.mcp_servers, server))


def _chosen(tags: Iterable[str], choices: Collection[str], log: Log) -> frozenset[str]:
    """Return the tools that the tags select, as far as the operator lets tasks select them."""
    names = {tag.removeprefix(TAG).strip() for tag in tags if tag.startswith(TAG)}
    for name in sorted(names - set(choices)):
        log.warning(Event.MCP_CONFIG, tool=name, why="no task may select it")
    return frozenset(names & set(choices))


def _selected(
    defined: Iterable[ToolDefinition],
    *,
    of_profile: Collection[str] | None,
    of_task: Collection[str],
) -> Iterator[ToolDefinition]:
    for tool in defined:
        is_usual = tool.offered == "always" if of_profile is None else tool.name in of_profile
        if is_usual or tool.name in of_task:
            yield tool


def _is_usable(tool: ToolDefinition, variables: Mapping[str, str], log: Log) -> bool:
    if unset := tool.unset(variables):
        log.warning(Event.MCP_CONFIG, tool=tool.name, why=f"{unset} is not set")
    return not unset
