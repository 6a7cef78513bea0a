"""Build the ASGI app: the routes of the public API that a worker uses, and those to set it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route as StarletteRoute

from agent_swarm_worker.local_swarm import (
    access,
    agents,
    approvals,
    budgets,
    config,
    credentials,
    files,
    finish,
    mcp_servers,
    memory,
    poll,
    sessions,
    skills,
    steering,
    stub_routes,
    supersede,
    sweeps,
    task_changes,
    task_views,
    tasks,
    telemetry,
)
from agent_swarm_worker.local_swarm.access import AccessControl
from agent_swarm_worker.local_swarm.endpoint import json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from agent_swarm_worker.local_swarm.endpoint import Route
    from agent_swarm_worker.local_swarm.store import Document, Store
    from agent_swarm_worker.local_swarm.sweeps import SweepSettings

ROUTE_MODULES = (
    agents,
    credentials,
    poll,
    tasks,
    task_changes,
    task_views,
    finish,
    supersede,
    sessions,
    steering,
    telemetry,
    memory,
    config,
    access,
    budgets,
    mcp_servers,
    skills,
    files,
    approvals,
    stub_routes,
)


def build_app(store: Store, api_key: str, settings: SweepSettings, mcp: ASGIApp) -> ASGIApp:
    """Return the API on `store`, with access control and the MCP endpoint."""
    routes = [route for module in ROUTE_MODULES for route in module.ROUTES] + [
        *sweeps.routes(settings)
    ]

    async def openapi(_: Request) -> Response:
        return json_response(200, _document(routes))

    app = Starlette(
        routes=[
            *(route.bound_to(store) for route in routes),
            StarletteRoute("/mcp", mcp),
            StarletteRoute("/openapi.json", openapi),
        ],
        exception_handlers={404: _no_route, 405: _no_route, Exception: _server_error},
    )
    app.router.redirect_slashes = False
    return AccessControl(app, api_key)


def _document(routes: Sequence[Route]) -> Document:
    """Describe the bodies that the routes take, as an OpenAPI document."""
    paths: Document = {}
    for route in routes:
        content = {"application/json": {"schema": route.body.schema()}} if route.body else None
        operation = {"requestBody": {"content": content}} if content else {}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {"openapi": "3.1.0", "info": {"version": tasks.API_VERSION}, "paths": paths}


async def _no_route(_: Request, __: Exception) -> Response:
    # Plain text distinguishes "no such route" from "no such task", which is JSON.
    return PlainTextResponse("Not Found", 404)


async def _server_error(_: Request, __: Exception) -> Response:
    # Starlette re-raises the error after this response, so that it is logged.
    return json_response(500, {"error": "Internal server error"})
