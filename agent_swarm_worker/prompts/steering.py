"""The envelope around a message that reaches an agent in the middle of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.prompts.texts import clean

if TYPE_CHECKING:
    from agent_swarm_worker.prompts.render import PromptBuild


async def delivery_text(build: PromptBuild, message_id: str, body: str) -> str:
    """Return the message as the agent reads it.

    If an operator switched the envelope off, or left nothing in it, the bare message is delivered:
    what somebody wrote must arrive.
    """
    text = clean(body)
    variables = {"steeringMessageId": message_id, "body": text}
    return (await build.text("system.agent.steering.delivery", variables)).strip() or text
