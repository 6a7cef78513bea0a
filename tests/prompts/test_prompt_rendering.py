"""The source of a part's text: the server, the package, or none."""

from __future__ import annotations

import anyio
import pytest
from prompts_doubles import RenderServer

from agent_swarm_worker.errors import ApiRefused, ApiUnreachable, RouteMissing
from agent_swarm_worker.prompts.render import Part, Renderer

pytestmark = pytest.mark.anyio

DOWN = ApiUnreachable("http://api", "refused", ambiguous=False)
MENTIONS = Part("task.trigger.unread_mentions", {"mention_count": "3"})
MEMORY = Part("system.agent.memory")


def renderer(library, clock, server, **changes):
    return Renderer(library, clock=clock, server=server, agent_id="agent-1", **changes)


async def test_the_servers_text_wins_and_is_asked_for_in_the_agents_scope(library, clock):
    server = RenderServer({MENTIONS.template_id: "customised"})
    text = (
        await renderer(library, clock, server)
        .build()
        .text(MENTIONS.template_id, MENTIONS.variables)
    )
    assert text == "customised"
    assert server.asked == [(MENTIONS.template_id, {"mention_count": "3"}, "agent-1")]


async def test_a_template_the_server_does_not_know_is_ours(library, clock):
    text = await renderer(library, clock, RenderServer()).build().texts([MENTIONS, MEMORY])
    assert text[0].startswith("You have 3 mentions")
    assert text[1].startswith("## Memory")


async def test_a_part_that_is_switched_off_is_left_out(library, clock):
    server = RenderServer(skipped=[MEMORY.template_id])
    assert await renderer(library, clock, server).build().texts([MEMORY]) == [""]


async def test_without_a_server_all_texts_are_ours(local):
    assert "## Memory" in await local.text(MEMORY.template_id)


async def test_parts_are_rendered_at_the_same_time_and_keep_their_order(library, clock):
    server = RenderServer({f"p{index}": f"text {index}" for index in range(7)})
    parts = [Part(f"p{index}") for index in range(7)]
    texts = await renderer(library, clock, server).build().texts(parts)
    assert texts == [f"text {index}" for index in range(7)]
    assert server.most_at_once == 7


async def test_a_dead_server_costs_one_time_limit_for_the_whole_prompt(library, clock):
    server = RenderServer(hangs=True)
    build = renderer(library, clock, server, timeout_s=0.05).build()
    with anyio.fail_after(1):
        first = await build.texts([MENTIONS, MEMORY, Part("system.agent.slack")])
        assert all(first)
        asked = len(server.asked)
        assert await build.text("system.agent.secrets")
    assert len(server.asked) == asked == 3


@pytest.mark.parametrize("error", [DOWN, ApiRefused("u", 503, "down"), RouteMissing("u", 404, "-")])
async def test_after_a_failure_the_rest_of_the_build_is_local_and_the_next_one_asks_again(
    library, clock, error
):
    server = RenderServer({MEMORY.template_id: "customised"}, error=error)
    source = renderer(library, clock, server)
    build = source.build()
    assert "## Memory" in await build.text(MEMORY.template_id)
    server.error = None
    assert "## Memory" in await build.text(MEMORY.template_id)
    assert len(server.asked) == 1
    assert await source.build().text(MEMORY.template_id) == "customised"


async def test_a_refusal_of_one_part_leaves_the_others_to_the_server(library, clock):
    bad = {MENTIONS.template_id: ApiRefused("u", 400, "Validation error")}
    server = RenderServer({MEMORY.template_id: "customised"}, error=bad)
    build = renderer(library, clock, server).build()
    assert (await build.text(MENTIONS.template_id, {"mention_count": "3"})).startswith("You have 3")
    assert await build.text(MEMORY.template_id) == "customised"


@pytest.mark.parametrize("error", [None, ApiRefused("u", 404, "Template not found")])
async def test_a_template_that_the_server_lacks_is_asked_for_once_in_a_while(library, clock, error):
    server = RenderServer(error={MEMORY.template_id: error} if error else None)
    source = renderer(library, clock, server, unknown_s=600)
    for _ in range(3):
        assert "## Memory" in await source.build().text(MEMORY.template_id)
        clock.elapsed_s += 100
    assert len(server.asked) == 1
    server.error, server.texts = None, {MEMORY.template_id: "customised"}
    clock.elapsed_s += 301
    assert await source.build().text(MEMORY.template_id) == "customised"


async def test_an_answer_is_used_again_for_a_while_and_only_for_the_same_variables(library, clock):
    server = RenderServer({MENTIONS.template_id: "customised"}, skipped=[MEMORY.template_id])
    source = renderer(library, clock, server, cache_s=60)
    for _ in range(3):
        await source.build().texts([MENTIONS, MEMORY])
    assert len(server.asked) == 2
    await source.build().text(MENTIONS.template_id, {"mention_count": "4"})
    assert len(server.asked) == 3
    clock.elapsed_s += 61
    assert await source.build().texts([MENTIONS, MEMORY]) == ["customised", ""]
    assert len(server.asked) == 5


async def test_texts_as_large_as_a_task_are_not_kept(library, clock):
    server = RenderServer({MENTIONS.template_id: "x" * 1_000_000})
    source = renderer(library, clock, server)
    for _ in range(2):
        await source.build().texts([MENTIONS])
    assert len(server.asked) == 2
