"""Store the messages of channels, and claim unread mentions for a poll (docs/api.md 4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import found
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import AGENTS, CHANNELS, MESSAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.local_swarm.store import Document, Store

DEFAULT_CHANNEL = "general"

_UNREAD = (
    "agentId != ? AND rowid > IFNULL((SELECT lastReadRow FROM channel_reads"
    " WHERE agentId = ? AND channelId = channel_messages.channelId), 0)"
)
_MENTIONS = "EXISTS (SELECT 1 FROM json_each(mentions) WHERE value = ?)"
_NOT_CLAIMED = (
    "NOT EXISTS (SELECT 1 FROM channel_reads WHERE agentId = ?"
    " AND channelId = channel_messages.channelId AND processingSince IS NOT NULL)"
)


def channels(store: Store) -> list[Document]:
    """Return all channels, of which ``general`` always exists."""
    if not store.first(CHANNELS, "name = ?", DEFAULT_CHANNEL):
        row = {"name": DEFAULT_CHANNEL, "description": "For everybody", "createdAt": store.now()}
        store.insert(CHANNELS, row)
    return store.find(CHANNELS, "1 ORDER BY rowid")


def post(
    store: Store,
    agent_id: str,
    channel: str,
    content: str,
    *,
    reply_to: str | None = None,
    mentions: Sequence[str] = (),
) -> Document:
    """Add a message; the next poll of each mentioned agent returns a trigger for it."""
    return store.insert(
        MESSAGES,
        {
            "channelId": _require(store, channel)["id"],
            "agentId": agent_id,
            "content": scrub(store, content),
            "replyToId": reply_to,
            "mentions": list(mentions),
            "createdAt": store.now(),
        },
    )


def read(
    store: Store,
    agent_id: str,
    channel: str | None,
    *,
    limit: int,
    since: str = "",
    unread_only: bool = False,
    mentions_only: bool = False,
    mark_as_read: bool = True,
) -> list[Document]:
    """Return the newest messages of a channel, or all unread ones if it is ``None``, oldest first.

    Marking as read also releases the claim of a poll on the channel's mentions.
    """
    where, values = "createdAt > ?", [since]
    if channel is not None:
        where, values = f"{where} AND channelId = ?", [*values, _require(store, channel)["id"]]
    if unread_only or channel is None:
        where, values = f"{where} AND {_UNREAD}", [*values, agent_id, agent_id]
    if mentions_only:
        where, values = f"{where} AND {_MENTIONS}", [*values, agent_id]
    page = f"{where} ORDER BY rowid DESC LIMIT ?"
    messages = store.find(MESSAGES, page, *values, limit)[::-1]
    if mark_as_read:
        _mark_as_read(store, agent_id, {message["channelId"] for message in messages})
    return [_with_names(store, message) for message in messages]


def unread(store: Store, agent_id: str) -> list[Document]:
    """Return the unread messages of other agents, without channels whose mentions are claimed."""
    where = f"{_UNREAD} AND {_NOT_CLAIMED} ORDER BY rowid"
    messages = store.find(MESSAGES, where, agent_id, agent_id, agent_id)
    return [_with_names(store, message) for message in messages]


def _mark_as_read(store: Store, agent_id: str, channel_ids: set[str]) -> None:
    for channel_id in channel_ids:
        store.run(
            "INSERT INTO channel_reads (agentId, channelId, lastReadRow) VALUES (?, ?,"
            " (SELECT MAX(rowid) FROM channel_messages WHERE channelId = ?))"
            " ON CONFLICT DO UPDATE SET lastReadRow = excluded.lastReadRow, processingSince = NULL",
            *(agent_id, channel_id, channel_id),
        )


def claim_mentions(store: Store, agent_id: str) -> Document | None:
    """Claim the channels with unread mentions of the agent and return the trigger for them."""
    claimed = [
        row["channelId"]
        for row in store.rows(
            "SELECT DISTINCT channelId FROM channel_messages WHERE"  # noqa: S608 - constants
            f" {_UNREAD} AND {_MENTIONS} AND {_NOT_CLAIMED}",
            *(agent_id, agent_id, agent_id, agent_id),
        )
    ]
    for channel_id in claimed:
        store.run(
            "INSERT INTO channel_reads (agentId, channelId, processingSince) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET processingSince = excluded.processingSince",
            *(agent_id, channel_id, store.now()),
        )
    if not claimed:
        return None
    # The public server counts after the claim has hidden the channels, so the count is always 0.
    return {"type": "unread_mentions", "mentionsCount": 0, "claimedChannels": claimed}


def release_stale_claims(store: Store, older_than: str) -> int:
    """Release claims made before `older_than`, whose messages were never read."""
    sql = "UPDATE channel_reads SET processingSince = NULL WHERE processingSince < ?"
    return store.run(sql, older_than)


def _require(store: Store, name: str) -> Document:
    matching = (row for row in channels(store) if name in {row["name"], row["id"]})
    return found(next(matching, None), f'Channel "{name}"')


def _with_names(store: Store, message: Document) -> Document:
    agent = store.get(AGENTS, message["agentId"] or "")
    channel = store.get(CHANNELS, message["channelId"])
    return {
        **message,
        "agentName": agent["name"] if agent else "unknown",
        "channelName": channel["name"] if channel else "unknown",
    }
