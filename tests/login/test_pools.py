"""One key per session, the limited ones left alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent_swarm_worker.login.pools import pool_members, select_credentials, with_selection

ENV = {
    "CLAUDE_CODE_OAUTH_TOKEN": "tok-aaaaaaa, tok-bbbbbbb,,tok-ccccccc",
    "ANTHROPIC_API_KEY": "sk-only",
}
NAMES = ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "UNSET")


def answering(*indices: int):
    async def available(_: str, __: int) -> Sequence[int]:
        return indices

    return available


async def silent(_: str, __: int) -> None:
    return None


@pytest.mark.anyio
async def test_only_an_available_key_is_chosen():
    chosen = await select_credentials(NAMES, ENV, answering(1))
    assert next((s.key_type, s.index, s.suffix) for s in chosen) == (
        "CLAUDE_CODE_OAUTH_TOKEN",
        1,
        "bbbbb",
    )
    assert not chosen[0].is_fallback


@pytest.mark.anyio
async def test_all_limited_takes_one_and_says_so():
    chosen = await select_credentials(NAMES, ENV, answering())
    assert all(selection.is_fallback for selection in chosen)


@pytest.mark.anyio
async def test_indices_out_of_range_count_as_limited():
    chosen = await select_credentials(NAMES[:1], ENV, answering(7, -1))
    assert chosen[0].is_fallback


@pytest.mark.anyio
async def test_a_server_that_does_not_say_leaves_all_keys_usable():
    seen: list[int] = []
    await select_credentials(NAMES[:1], ENV, silent, choose=lambda usable: seen.extend(usable) or 0)
    assert seen == [0, 1, 2]


@pytest.mark.anyio
async def test_the_child_never_sees_the_whole_pool():
    env = with_selection(ENV, await select_credentials(NAMES, ENV, answering(2, 0)))
    assert "," not in env["CLAUDE_CODE_OAUTH_TOKEN"]
    assert env["ANTHROPIC_API_KEY"] == "sk-only"


def test_blank_members_do_not_count():
    assert pool_members(" , a ,,b") == ["a", "b"]
