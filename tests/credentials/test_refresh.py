"""One refresh across all workers: real HTTP on both sides, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from oauth_server import DAY_S, OAuthServer, stored
from recording_proxy import QuickClock, RecordingProxy, behind_proxy
from refresh_rig import KEY, SECRETS, refresher_of

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.credentials.credential import CodexCredential
from agent_swarm_worker.credentials.refresh import Refresher, file_lock
from agent_swarm_worker.errors import (
    CredentialNotStored,
    CredentialUnreadable,
    RefreshBusy,
    TokenRefused,
    VendorFailed,
)
from agent_swarm_worker.local_swarm.serve import LocalSwarm

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).parent / "refreshes.py"
HEADERS = {"Authorization": f"Bearer {KEY}"}


class Swarm:
    """The swarm, as the test sees it."""

    def __init__(self, url: str, proxy: RecordingProxy) -> None:
        self.url, self.proxy = url, proxy

    async def call(self, method: str, path: str, **body: Any) -> Any:
        async with httpx2.AsyncClient(base_url=self.url, headers=HEADERS, verify=False) as api:
            answer = await api.request(method, path, json=body or None)
            return answer.json() if answer.content else None

    async def put(self, key: str, value: str, **more: Any) -> None:
        row = {"scope": "global", "key": key, "value": value, "isSecret": True, **more}
        await self.call("PUT", "/api/config", **row)

    async def row(self, key: str = "codex_oauth_0") -> dict[str, Any] | None:
        rows = await self.call("GET", "/api/config?includeSecrets=true")
        return next((row for row in rows["configs"] if row["key"] == key), None)

    async def lock(self, ttl_ms: int) -> str:
        answer = await self.call("POST", "/api/oauth/refresh-locks/codex_oauth_0", ttlMs=ttl_ms)
        return str(answer["owner"])

    async def is_locked(self) -> bool:
        answer = await self.call("POST", "/api/oauth/refresh-locks/codex_oauth_0", ttlMs=1)
        return "owner" not in answer


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    proxy = RecordingProxy()
    with behind_proxy(proxy):
        async with LocalSwarm(tmp_path / "swarm.sqlite", KEY) as running:
            yield Swarm(running.url, proxy)


@asynccontextmanager
async def due(
    swarm: Swarm, vendor: OAuthServer, place: Path, *, left_s: float = -60, **more: Any
) -> AsyncIterator[tuple[Refresher, CodexCredential]]:
    """A slot whose login is about to end, or over, and who renews it."""
    value = stored(left_s=left_s)
    login = CodexCredential.parse(value)
    vendor.valid_refresh.add(login.refresh)
    await swarm.put("codex_oauth_0", value)
    async with refresher_of(swarm.url, vendor.url, place / "locks", **more) as refresher:
        yield refresher, login


async def test_a_login_is_renewed_twelve_hours_before_its_end_and_stored_before_it_is_used(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path, left_s=12 * 3600 - 5) as (refresher, known):
        SECRETS.clear()
        login = await refresher.usable(0, known)
        row = await swarm.row()
        assert row is not None
        assert CodexCredential.parse(row["value"]) == login
        assert login.access == vendor.issued[-2]
        assert (row["isSecret"], row["scope"]) == (True, "global")
        assert vendor.exchanges == [
            {
                "grant_type": "refresh_token",
                "refresh_token": known.refresh,
                "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
            }
        ]
        assert any(login.refresh in secret for secret in SECRETS)
        assert await refresher.usable(0, login) == login
        assert len(vendor.exchanges) == 1
        assert not await swarm.is_locked()


async def test_a_login_that_is_good_for_longer_is_left_alone(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path, left_s=12 * 3600 + 60) as (refresher, known):
        assert await refresher.usable(0, known) == known
        assert not vendor.exchanges
        assert not swarm.proxy.visits


@pytest.mark.parametrize("same_machine", [True, False])
async def test_two_processes_with_one_expired_slot_make_one_exchange(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path, same_machine: bool
):
    vendor.delay_s = 0.5  # both are there before the first one has it
    value = stored(left_s=-60)
    vendor.valid_refresh.add(CodexCredential.parse(value).refresh)
    await swarm.put("codex_oauth_0", value)
    start_at_s = time.time() + 2.5
    paths = [str(PROGRAM.parent), str(PROGRAM.parents[2])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    workers = [
        subprocess.Popen(  # noqa: ASYNC220 - starts, and does not wait
            [sys.executable, str(PROGRAM), swarm.url, vendor.url,
             str(tmp_path / ("locks" if same_machine else f"locks-{i}")), str(start_at_s), value],
            stdout=subprocess.PIPE, env=env,
        )
        for i in range(3)
    ]  # fmt: skip
    said = [
        (await anyio.to_thread.run_sync(worker.communicate))[0].decode().strip()
        for worker in workers
    ]
    assert len(vendor.exchanges) == 1, said
    assert said == [vendor.issued[0]] * 3
    assert vendor.valid_refresh == {vendor.issued[1]}


async def test_a_holder_that_died_is_waited_for_until_its_lock_ends(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        await swarm.lock(1500)
        begin_s = time.monotonic()
        login = await refresher.usable(0, known)
        assert login.access == vendor.issued[0]
        assert 1.2 < time.monotonic() - begin_s < 6


async def test_a_lock_that_is_never_given_back_is_an_error_of_its_own_that_passes(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path, clock=QuickClock(20)) as (refresher, known):
        await swarm.lock(60_000)
        with pytest.raises(RefreshBusy, match="lock_timeout") as caught:
            await refresher.usable(0, known)
        assert caught.value.is_transient
        assert not vendor.exchanges
        polls = swarm.proxy.seen("POST /api/oauth/refresh-locks")
        assert 20 < len(polls) <= 121
        assert {visit.json()["ttlMs"] for visit in polls} == {120_000}


async def test_the_lock_of_this_machine_has_a_limit_as_well(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path, clock=QuickClock(50)) as (refresher, known):
        path = tmp_path / "locks" / "codex_oauth_0.lock"
        async with file_lock(path, clock=SystemClock(), timeout_s=1):
            with pytest.raises(RefreshBusy):
                await refresher.usable(0, known)
        assert (await refresher.usable(0, known)).access == vendor.issued[0]


async def test_who_comes_too_late_for_the_lock_takes_what_the_other_one_stored(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        owner = await swarm.lock(60_000)
        async with anyio.create_task_group() as group:

            async def other() -> None:
                await anyio.sleep(0.6)
                await swarm.put("codex_oauth_0", stored(7))
                path = "/api/oauth/refresh-locks/codex_oauth_0"
                await swarm.call("DELETE", path, owner=owner)

            group.start_soon(other)
            login = await refresher.usable(0, known)
        assert login == replace(CodexCredential.parse(stored(7)), expires_ms=login.expires_ms)
        assert not vendor.exchanges


async def test_a_login_that_cannot_be_stored_empties_its_slot(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path, clock=QuickClock(20)) as (refresher, known):
        swarm.proxy.refuse("PUT /api/config", 500, '{"error": "disk full"}')
        with pytest.raises(CredentialNotStored, match="disk full"):
            await refresher.usable(0, known)
        assert await swarm.row() is None
        assert len(swarm.proxy.seen("PUT /api/config")) == 3
        assert not await swarm.is_locked()
        with pytest.raises(CredentialUnreadable, match="no login in slot 0"):
            await refresher.usable(0, known)
        assert len(vendor.exchanges) == 1


async def test_a_hiccup_while_storing_costs_nothing(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path, clock=QuickClock(20)) as (refresher, known):
        swarm.proxy.refuse("PUT /api/config", 503, times=2)
        login = await refresher.usable(0, known)
        row = await swarm.row()
        assert row is not None
        assert json.loads(row["value"])["refresh"] == login.refresh


async def test_cancelling_does_not_lose_a_spent_token_nor_keep_the_lock(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    vendor.delay_s = 0.5
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        async with anyio.create_task_group() as group:
            group.start_soon(refresher.usable, 0, known)
            with anyio.fail_after(10):
                while not vendor.exchanges:
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        row = await swarm.row()
        assert row is not None
        assert json.loads(row["value"])["refresh"] == vendor.issued[1]
        assert not await swarm.is_locked()


async def test_cancelling_while_the_lock_is_being_granted_gives_it_back(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        held = swarm.proxy.hold_answer("POST /api/oauth/refresh-locks", containing=b"owner")
        async with anyio.create_task_group() as group:
            group.start_soon(refresher.usable, 0, known)
            await held.reached.wait()
            group.cancel_scope.cancel()
            held.open.set()
        assert not await swarm.is_locked()


async def test_a_refused_refresh_token_is_never_presented_again(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        vendor.valid_refresh.clear()
        for _ in range(3):
            with pytest.raises(TokenRefused, match="refresh_rejected") as caught:
                await refresher.usable(0, known)
            assert known.refresh not in str(caught.value)
        assert len(vendor.exchanges) == 1
        await swarm.put("codex_oauth_0", stored(9, left_s=-60))  # somebody logged in again
        vendor.valid_refresh.add("refresh-token-of-the-tests-9")
        assert (await refresher.usable(0, known)).access == vendor.issued[0]


@pytest.mark.parametrize("how", ["hang", "html", "500", "lacking"])
async def test_a_vendor_that_fails_is_told_apart_from_one_that_refuses(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path, how: str
):
    vendor.misbehave = how
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        if how == "lacking":
            with pytest.raises(VendorFailed, match="expires_in"):
                await refresher.usable(0, known)
        else:
            with pytest.raises(VendorFailed) as caught:
                await refresher.usable(0, known)
            assert caught.value.is_transient
            assert known.refresh not in str(caught.value)
        assert await swarm.row() is not None
        assert not await swarm.is_locked()


async def test_a_login_that_is_still_good_is_used_if_it_cannot_be_renewed_now(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    vendor.misbehave = "500"
    async with due(swarm, vendor, tmp_path, left_s=3600) as (refresher, known):
        assert await refresher.usable(0, known) == known
        assert len(vendor.exchanges) == 1


async def test_a_row_keeps_its_name_and_scope(swarm: Swarm, vendor: OAuthServer, tmp_path: Path):
    value = stored(left_s=-60)
    known = CodexCredential.parse(value)
    vendor.valid_refresh.add(known.refresh)
    await swarm.put("codex_oauth", value, scope="agent", scopeId="a")
    async with refresher_of(swarm.url, vendor.url, tmp_path) as refresher:
        login = await refresher.usable(0, known)
    row = await swarm.row("codex_oauth")
    assert row is not None
    assert (row["scope"], row["scopeId"]) == ("agent", "a")
    assert json.loads(row["value"])["refresh"] == login.refresh
    assert await swarm.row("codex_oauth_0") is None


async def test_a_server_without_locks_leaves_the_one_of_this_machine(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    swarm.proxy.lack("refresh-locks")
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(refresher.usable, 0, known)
        assert len(vendor.exchanges) == 1


async def test_a_directory_that_takes_no_lock_leaves_the_one_of_the_swarm(
    swarm: Swarm, vendor: OAuthServer, tmp_path: Path
):
    (tmp_path / "locks").write_text("a file where the directory should be")
    async with due(swarm, vendor, tmp_path) as (refresher, known):
        assert (await refresher.usable(0, known)).expires_ms > (time.time() + 9 * DAY_S) * 1000
