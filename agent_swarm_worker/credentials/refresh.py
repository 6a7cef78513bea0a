"""Refresh a shared login exactly once across all workers (docs/api.md 13.4).

A refresh token is valid for one exchange; a second one makes the vendor revoke the login. The
refresher therefore holds two locks, one of this machine and one of the swarm, reads the stored
login again once it has them, and stores the new login before it is used.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.api.configuration import NO_LOCKS
from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.credentials.store import entry_key
from agent_swarm_worker.errors import (
    ApiError,
    CredentialNotStored,
    CredentialUnreadable,
    LoginError,
    RefreshBusy,
    TokenRefused,
)
from agent_swarm_worker.files import try_lock
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from agent_swarm_worker.api.configuration import RefreshLocks
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.credentials.credential import CodexCredential, LoginState
    from agent_swarm_worker.credentials.store import LoginPool, PoolEntry
    from agent_swarm_worker.credentials.vendor import Vendor

MARGIN_MS = 12 * 3600 * 1000
"""A login is refreshed this long before its expiry, so that no session outlives it."""
STILL_GOOD_MS = 10 * 60 * 1000
"""With this much left, a login that cannot be refreshed now is used unchanged."""
LOCK_TTL_MS = 120_000
LOCK_WAIT_S = 30.0
LOCK_RETRY_S = 0.25
RENEWAL_S = 100.0
"""Limit for exchange and storing together; less than the lock's time to live."""
RELEASE_S = 5.0
STORE_TRIES = 3
STORE_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    """Returns logins of the pool, refreshed if they are about to expire."""

    pool: LoginPool
    locks: RefreshLocks
    vendor: Vendor
    clock: Clock
    lock_dir: Path
    on_secret: Callable[[str, str], None]
    """Registers every new token with the scrubber, before it is used."""
    state: LoginState
    log: Log

    async def usable(self, number: int, known: CodexCredential) -> CodexCredential:
        """Return the login of a pool entry, `known` as last read, refreshed if about to expire.

        Raises:
            LoginError: it cannot be refreshed; `RefreshBusy` and `VendorFailed` are transient, and
                after `CredentialNotStored` the entry has been deleted.
            ApiError: the swarm cannot be reached.
        """
        if not self._is_due(known):
            return known
        try:
            return await self._refresh_with_locks(number)
        except (CredentialNotStored, CredentialUnreadable):
            raise
        except (ApiError, LoginError) as error:
            if self._left_ms(known) < STILL_GOOD_MS:
                raise
            self.log.warning(Event.CREDENTIAL_REFUSED, slot=number, why=str(error), used="as it is")
            return known

    def _left_ms(self, credential: CodexCredential) -> int:
        return credential.expires_ms - epoch_ms(self.clock.now())

    def _is_due(self, credential: CodexCredential) -> bool:
        return self._left_ms(credential) <= MARGIN_MS

    async def _refresh_with_locks(self, number: int) -> CodexCredential:
        key = entry_key(number)
        started_at_s = self.clock.monotonic()
        try:
            async with file_lock(
                self.lock_dir / f"{key}.lock", clock=self.clock, timeout_s=LOCK_WAIT_S
            ):
                _, stored = await self._entry(number)
                if not self._is_due(stored):
                    return stored
                waited_s = self.clock.monotonic() - started_at_s
                async with self._server_lock(key, LOCK_WAIT_S - waited_s):
                    return await self._refresh(number)
        except TimeoutError:
            # The holder of the lock may have just refreshed it.
            _, stored = await self._entry(number)
            if not self._is_due(stored):
                return stored
            raise RefreshBusy(
                f"lock_timeout: another worker has been renewing {key} for {LOCK_WAIT_S:g} s;"
                " this passes by itself"
            ) from None

    async def _entry(self, number: int) -> tuple[PoolEntry, CodexCredential]:
        found = await self.pool.get(number)
        if found is None or found.credential is None:
            raise CredentialUnreadable(f"there is no login in slot {number} any more")
        self.on_secret(found.row.key, found.row.value)
        return found, found.credential

    @asynccontextmanager
    async def _server_lock(self, key: str, timeout_s: float) -> AsyncIterator[None]:
        give_up_at_s = self.clock.monotonic() + timeout_s
        owner: str | None = None
        try:
            while owner is None:
                # Shielded: a lock granted during a cancellation would never be released.
                with anyio.CancelScope(shield=True):
                    owner = await self.locks.acquire(key, ttl_ms=LOCK_TTL_MS)
                if owner is None:
                    if self.clock.monotonic() >= give_up_at_s:
                        raise TimeoutError
                    await self.clock.sleep(LOCK_RETRY_S)
            if owner == NO_LOCKS:
                self.log.debug(Event.FEATURE_OFF, feature="refresh locks", key=key)
            yield
        finally:
            if owner is not None:
                with anyio.move_on_after(RELEASE_S, shield=True), suppress(ApiError):
                    await self.locks.release(key, owner)

    async def _refresh(self, number: int) -> CodexCredential:
        """Exchange and store, shielded from cancellation: a spent token must be replaced."""
        found, spent = await self._entry(number)
        if not self._is_due(spent):
            return spent
        try:
            with anyio.fail_after(RENEWAL_S, shield=True):
                fresh = await self._exchange(number, spent)
                self.on_secret(found.row.key, fresh.to_value())
                await self._store(found, fresh)
        except TimeoutError:
            raise CredentialNotStored(f"slot {number} could not be stored in time") from None
        self.log.info(Event.CREDENTIAL_REFRESHED, slot=number)
        return fresh

    async def _exchange(self, number: int, credential: CodexCredential) -> CodexCredential:
        """Spend the refresh token, unless the vendor has refused it before."""
        digest = hashlib.sha256(credential.refresh.encode()).hexdigest()
        if not credential.refresh or digest in self.state.refused:
            raise TokenRefused(f"refresh_rejected: the refresh token of slot {number}", 400, "")
        try:
            return await self.vendor.refresh(credential)
        except TokenRefused:
            self.state.refused.add(digest)
            raise

    async def _store(self, found: PoolEntry, fresh: CodexCredential) -> None:
        """Store a new login; delete the entry if that fails, since its refresh token is spent."""
        number = found.number
        for tries_left in reversed(range(STORE_TRIES)):
            try:
                await self.pool.put(number, fresh, instead_of=found.row)
            except CredentialNotStored as error:
                if await self._was_stored(number, fresh):
                    return
                if tries_left:
                    await self.clock.sleep(STORE_PAUSE_S)
                    continue
                self.log.error(
                    Event.CREDENTIAL_REFUSED, slot=number, why=str(error), slot_emptied=True
                )
                with suppress(ApiError):
                    await self.pool.delete(number)
                raise
            else:
                return

    async def _was_stored(self, number: int, fresh: CodexCredential) -> bool:
        try:
            found = await self.pool.get(number)
        except ApiError:
            return False
        return found is not None and found.credential == fresh


@asynccontextmanager
async def file_lock(path: Path, *, clock: Clock, timeout_s: float) -> AsyncIterator[None]:
    """Hold an exclusive file lock; raises `TimeoutError` if another process holds it for too long.

    Where no lock is possible (a read-only directory, some network file systems) the block runs
    without it: it is one of two locks.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        give_up_at_s = clock.monotonic() + timeout_s
        while not _try_lock(fd):
            if clock.monotonic() >= give_up_at_s:
                raise TimeoutError
            # Polled: a thread blocked in flock could not be cancelled.
            await clock.sleep(LOCK_RETRY_S)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        return try_lock(fd)
    except OSError:
        return True
