"""From a tool result to the text a model is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.limits import clipped, size_of

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from agent_swarm_worker.contract import Redactor


def outcome_of(result: CallToolResult, redactor: Redactor) -> ToolOutcome:
    """Return the texts of a result, scrubbed and then cut; what is no text is named."""
    text = "\n\n".join(filter(None, map(_text_of, result.content)))
    if not text and result.structured_content is not None:
        text = orjson.dumps(result.structured_content, default=str).decode()
    return ToolOutcome(clipped(redactor.text(text)) or "(no output)", bool(result.is_error))


def _text_of(block: Any) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return f"[image, {block.mime_type}, {_size(block.data)}]"
        case AudioContent():
            return f"[audio, {block.mime_type}, {_size(block.data)}]"
        case ResourceLink():
            return f"[resource {block.name}: {block.uri}]"
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return f"[resource {resource.uri}]\n{resource.text}"
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return f"[resource {resource.uri}, {_size(resource.blob)}]"
    return "[something that is no text]"


def _size(base64: str) -> str:
    return size_of(len(base64) * 3 // 4)
