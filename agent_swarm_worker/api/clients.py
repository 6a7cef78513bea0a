"""Makes the HTTP clients for other servers than the API: vendors, models, tools, registries."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx2

from agent_swarm_worker.api.address import Address
from agent_swarm_worker.api.network import proxy_for, ssl_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def http_client(
    url: str,
    *,
    name: str = "url",
    event_hooks: Mapping[str, Sequence[Callable[..., Any]]] | None = None,
    **options: Any,
) -> httpx2.AsyncClient:
    """Return a client for one server, with the proxy and certificates of the environment.

    Redirects to another host are refused, wherever they are followed: the request has a key, which
    is not always in a header that a library knows.

    Args:
        url: of the server.
        name: of the setting that names the server, for the error.
        event_hooks: as of `httpx2.AsyncClient`.
        options: others of `httpx2.AsyncClient`.

    Raises:
        ConfigError: the URL, the proxy or a file of certificates cannot be used.
    """
    address = Address.parse(url.partition("?")[0].partition("#")[0], has_key=True, name=name)
    proxy = proxy_for(address)
    hooks = dict(event_hooks or {})

    async def stay(response: httpx2.Response) -> None:
        if response.has_redirect_location:
            target = response.request.url.join(response.headers["location"])
            is_downgrade = address.is_encrypted and target.scheme != "https"
            if target.host != response.request.url.host or is_downgrade:
                host = f"{target.scheme}://{target.host}"
                msg = f"{address.shown} redirects to {host}, which is not followed"
                raise httpx2.RemoteProtocolError(msg, request=response.request)

    hooks["response"] = [stay, *hooks.get("response", ())]
    return httpx2.AsyncClient(
        trust_env=False,
        proxy=proxy and httpx2.Proxy(proxy.url, auth=proxy.login, ssl_context=proxy.ssl_context),
        # Loading the certificates takes long.
        verify=ssl_context() if address.is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        event_hooks=hooks,
        **options,
    )
