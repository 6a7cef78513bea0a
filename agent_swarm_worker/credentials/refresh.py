"""Renewing a shared login, exactly once for the whole fleet.

A refresh token is good for one exchange; presenting it a second time makes the vendor revoke the
login. So whoever renews holds two locks, one of this machine and one of the swarm, looks again at
what is stored once it has them, and stores the new login before anybody uses it (docs/api.md
13.4).

A lock between the processes of one machine, waited for in a way that can be cancelled.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.api.configuration import NO_LOCKS
from agent_swarm_worker.clock import epoch_ms
from agent_swarm_worker.credentials.store import slot_key
from agent_swarm_worker.errors import (
    ApiError,
    CredentialNotStored,
    CredentialUnreadable,
    LoginError,
    RefreshBusy,
    TokenRefused,
)
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from agent_swarm_worker.api.configuration import RefreshLocks
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.credentials.credential import CodexCredential, LoginMemory
    from agent_swarm_worker.credentials.store import SlotStore, StoredSlot
    from agent_swarm_worker.credentials.vendor import Vendor

MARGIN_MS = 12 * 3600 * 1000
"""A login is renewed so long before its end, that no session outlives it."""
STILL_GOOD_MS = 10 * 60 * 1000
"""With so much left a login is used as it is if it cannot be renewed right now."""
LOCK_TTL_MS = 120_000
LOCK_WAIT_S = 30.0
LOCK_RETRY_S = 0.25
RENEWAL_S = 100.0
"""Less than the lock lives: exchange and storing together."""
RELEASE_S = 5.0
STORE_TRIES = 3
STORE_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    """Hands out logins that are good for a while."""

    store: SlotStore
    locks: RefreshLocks
    vendor: Vendor
    clock: Clock
    lock_dir: Path
    """Common to the workers of this user, so that they meet here first."""
    on_secret: Callable[[str, str], None]
    """Is told every new token, by name, before it goes anywhere."""
    memory: LoginMemory
    log: Log

    async def usable(self, slot: int, known: CodexCredential) -> CodexCredential:
        """Return the login of a slot, renewed if it is about to end.

        Args:
            slot: its number.
            known: what is thought to be in it.

        Raises:
            RefreshBusy: somebody else has been renewing it for too long; transient.
            TokenRefused: the vendor does not renew it: log in again.
            VendorFailed: the vendor does not answer; transient.
            CredentialNotStored: it was renewed and could not be stored; the slot was emptied.
            CredentialUnreadable: there is no login in the slot any more.
            ApiError: the swarm cannot be asked.
        """
        if not self._is_due(known):
            return known
        try:
            return await self._renewed(slot)
        except (CredentialNotStored, CredentialUnreadable):
            raise
        except (ApiError, LoginError) as error:
            if self._left_ms(known) < STILL_GOOD_MS:
                raise
            self.log.warning(Event.CREDENTIAL_REFUSED, slot=slot, why=str(error), used="as it is")
            return known

    def _left_ms(self, credential: CodexCredential) -> int:
        return credential.expires_ms - epoch_ms(self.clock.now())

    def _is_due(self, credential: CodexCredential) -> bool:
        return self._left_ms(credential) <= MARGIN_MS

    async def _renewed(self, slot: int) -> CodexCredential:
        key = slot_key(slot)
        started_at_s = self.clock.monotonic()
        try:
            async with file_lock(
                self.lock_dir / f"{key}.lock", clock=self.clock, timeout_s=LOCK_WAIT_S
            ):
                stored = await self._stored(slot)
                if not self._is_due(stored):
                    return stored
                waited_s = self.clock.monotonic() - started_at_s
                async with self._server_lock(key, LOCK_WAIT_S - waited_s):
                    return await self._renew(slot)
        except TimeoutError:
            # Whoever had the lock may have done it in the last moment.
            stored = await self._stored(slot)
            if not self._is_due(stored):
                return stored
            raise RefreshBusy(
                f"lock_timeout: another worker has been renewing {key} for {LOCK_WAIT_S:g} s;"
                " this passes by itself"
            ) from None

    async def _stored(self, slot: int) -> CodexCredential:
        credential = (await self._row(slot)).credential
        assert credential is not None
        return credential

    async def _row(self, slot: int) -> StoredSlot:
        found = await self.store.get(slot)
        if found is None or found.credential is None:
            raise CredentialUnreadable(f"there is no login in slot {slot} any more")
        self.on_secret(found.row.key, found.row.value)
        return found

    @asynccontextmanager
    async def _server_lock(self, key: str, timeout_s: float) -> AsyncIterator[None]:
        give_up_at_s = self.clock.monotonic() + timeout_s
        owner: str | None = None
        try:
            while owner is None:
                # A lock that is granted while we are being cancelled would stay for its whole life.
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

    async def _renew(self, slot: int) -> CodexCredential:
        """Exchange and store. Not to be cancelled: a token that is spent has to be replaced."""
        found = await self._row(slot)
        assert found.credential is not None
        if not self._is_due(found.credential):
            return found.credential
        try:
            with anyio.fail_after(RENEWAL_S, shield=True):
                fresh = await self._exchange(slot, found.credential)
                self.on_secret(found.row.key, fresh.to_value())
                await self._keep(found, fresh)
        except TimeoutError:
            raise CredentialNotStored(f"slot {slot} could not be stored in time") from None
        self.log.info(Event.CREDENTIAL_REFRESHED, slot=slot)
        return fresh

    async def _exchange(self, slot: int, credential: CodexCredential) -> CodexCredential:
        """Spend a refresh token, unless the vendor has refused this very one before."""
        digest = hashlib.sha256(credential.refresh.encode()).hexdigest()
        if not credential.refresh or digest in self.memory.refused:
            raise TokenRefused(f"refresh_rejected: the refresh token of slot {slot}", 400, "")
        try:
            return await self.vendor.refresh(credential)
        except TokenRefused:
            self.memory.refused.add(digest)
            raise

    async def _keep(self, found: StoredSlot, fresh: CodexCredential) -> None:
        """Store a renewed login; empty the slot if that cannot be, since what is in it is spent."""
        slot = found.number
        for tries_left in reversed(range(STORE_TRIES)):
            try:
                await self.store.put(slot, fresh, instead_of=found.row)
            except CredentialNotStored as error:
                if await self._arrived(slot, fresh):
                    return
                if tries_left:
                    await self.clock.sleep(STORE_PAUSE_S)
                    continue
                self.log.error(
                    Event.CREDENTIAL_REFUSED, slot=slot, why=str(error), slot_emptied=True
                )
                with suppress(ApiError):
                    await self.store.delete(slot)
                raise
            else:
                return

    async def _arrived(self, slot: int, fresh: CodexCredential) -> bool:
        """True if a write whose answer was lost was carried out all the same."""
        try:
            found = await self.store.get(slot)
        except ApiError:
            return False
        return found is not None and found.credential == fresh


RETRY_S = 0.25


@asynccontextmanager
async def file_lock(path: Path, *, clock: Clock, timeout_s: float) -> AsyncIterator[None]:
    """Hold an exclusive lock while the block runs; the kernel frees it if the process dies.

    Where no lock can be had at all (a directory that cannot be written, some network file
    systems) the block runs without: it is one of two locks.

    Raises:
        TimeoutError: somebody else held it for `timeout_s` seconds.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        give_up_at_s = clock.monotonic() + timeout_s
        while not _taken(fd):
            if clock.monotonic() >= give_up_at_s:
                raise TimeoutError
            # There is no event to wait for, and a thread inside flock cannot be stopped.
            await clock.sleep(RETRY_S)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EACCES, errno.EINTR}
    return True
