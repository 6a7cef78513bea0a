"""The conversation with the person who logs in: address, browser, paste, and the exchange."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.cli.output import notice, print_line
from agent_swarm_worker.cli.terminal import Lines
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import CodeUnusable
from agent_swarm_worker.login.answer import MISSING, code_of_paste
from agent_swarm_worker.login.authorization import REGISTERED_PORT, begin
from agent_swarm_worker.login.browser import open_browser
from agent_swarm_worker.login.callback import listening
from agent_swarm_worker.login.vendor import Vendor, issuer_of
from agent_swarm_worker.login.waiting import first_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.login.authorization import Authorization
    from agent_swarm_worker.login.callback import Callback
    from agent_swarm_worker.login.credential import CodexCredential
    from agent_swarm_worker.login.waiting import Source

_AGAIN = "Paste the authorization code (or the full redirect URL):"


async def obtain_credential(
    *, port: int, opens_browser: bool, timeout_s: float, env: Mapping[str, str]
) -> CodexCredential:
    """Lead a person through a login.

    Args:
        port: of this machine, where the browser comes back to; 0 for any free one.
        opens_browser: try to, rather than only print the address.
        timeout_s: for the person.
        env: of the browser, and of our settings.

    Raises:
        LoginError: it did not come about, for the reason the error tells.
        BadSetting: the vendor's address cannot be used.
    """
    issuer = issuer_of(env)
    vendor = Vendor(issuer, clock=SystemClock())
    async with AsyncExitStack() as held:
        question = begin(issuer, port)
        callback: Callback | None = None
        try:
            callback, bound = await held.enter_async_context(listening(port, question.state))
        except OSError as error:
            why = error.strerror or str(error)
            notice(f"Port {port} of this machine cannot be listened on ({why}).")
            notice(_without_listener(port))
        else:
            question = replace(question, port=bound)
        code = await _code(question, callback, opens_browser, timeout_s, env)
        return await vendor.redeem(
            code, verifier=question.verifier, redirect_uri=question.redirect_uri
        )


def _without_listener(port: int) -> str:
    stays = "The vendor sends people to no other one, so it stays in the address. "
    return (
        f"{stays if port == REGISTERED_PORT else ''}When the browser shows an error, or somebody"
        " else's page, copy its address and paste it here."
    )


async def _code(
    question: Authorization,
    callback: Callback | None,
    opens_browser: bool,
    timeout_s: float,
    env: Mapping[str, str],
) -> str:
    print_line(f"\nOpen this address in a browser:\n\n  {question.url}\n")
    browser = _Browser()

    async def opening() -> None:
        why = await open_browser(question.url, env) if opens_browser else ""
        browser.is_open = opens_browser and not why
        if why:
            notice(f"(Could not open a browser by itself: {why})")
        browser.looked_for.set()

    async def pasted() -> str | None:
        print_line("Or paste the authorization code, or the address the browser ended at:")
        code = await _paste(question.state)
        if code is None:
            await browser.looked_for.wait()
            if callback is None or not browser.is_open:
                raise CodeUnusable(_nobody(callback is not None))
        return code

    sources: list[Source] = [opening, pasted]
    if callback is not None:
        sources.append(callback.code)
    return await first_code(sources, timeout_s=timeout_s)


@dataclass(slots=True)
class _Browser:
    is_open: bool = False
    looked_for: anyio.Event = field(default_factory=anyio.Event)


def _nobody(can_come_back: bool) -> str:
    lacking = "no browser could be opened" if can_come_back else "the browser cannot come back"
    return (
        f"nobody can answer: there is no terminal to paste into, and {lacking};"
        " run this in a terminal (docker exec -it)"
    )


async def _paste(state: str) -> str | None:
    """Return the code that is pasted; ``None`` if nothing can be any more.

    Raises:
        CodeUnusable: it belongs to another login, or there is none, twice.
        LoginDenied: the pasted address says no.
    """
    lines = Lines()
    for is_last in (False, True):
        line = await lines.next()
        if line is None:
            return None
        if line.strip():
            return code_of_paste(line, state)
        if not is_last:
            print_line(_AGAIN)
    raise CodeUnusable(MISSING)
