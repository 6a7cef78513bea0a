"""The APIs of the vendors of models on loopback, and a worker's variables for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fake_api import Answer, Reply, Request, Server, serving

LEARNED = "The build needs `make lock` before `make test`, or the pins of the lock file are old."
KEYS = {
    "OPENROUTER_API_KEY": "sk-or-v1-0123456789abcdef-ORKEY",
    "ANTHROPIC_API_KEY": "sk-ant-api03-0123456789abcdef-ANKEY",
    "OPENAI_API_KEY": "sk-proj-0123456789abcdef-OAKEY",
}
ASKED = "/(chat/completions|v1/messages)$"


def answer(text: str = LEARNED, request: Request | None = None, **usage: Any) -> Reply:
    """Return a model's answer in the language of the API that was asked."""
    if request is not None and request.path.endswith("/v1/messages"):
        counted = {"input_tokens": 1000, "output_tokens": 100, **usage}
        return Reply(body={"content": [{"type": "text", "text": text}], "usage": counted})
    counted = {"prompt_tokens": 1000, "completion_tokens": 100, **usage}
    message = {"role": "assistant", "content": text}
    return Reply(body={"choices": [{"message": message}], "usage": counted})


def is_question(request: Request) -> bool:
    return request.method == "POST"


class Vendor:
    """One server for all vendors; what it answers can be changed."""

    def __init__(self) -> None:
        self.text = LEARNED
        self.reply: Answer | None = None
        """Instead of an answer."""
        self.usage: dict[str, Any] = {}
        self.server: Server | None = None

    def script(self, request: Request) -> Answer:
        if self.reply is not None:
            return self.reply
        if is_question(request):
            return answer(self.text, request, **self.usage)
        return Reply(body={"data": [{"id": "m-1"}]})

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    @property
    def questions(self) -> list[Request]:
        assert self.server is not None
        return [request for request in self.server.requests if is_question(request)]

    @property
    def tests(self) -> list[Request]:
        assert self.server is not None
        return [request for request in self.server.requests if not is_question(request)]

    def env(self, *variables: str) -> dict[str, str]:
        """Return the addresses of all vendors, and the keys of some."""
        return {
            "ANTHROPIC_BASE_URL": self.url,
            "OPENAI_BASE_URL": f"{self.url}/openai",
            "OPENROUTER_BASE_URL": f"{self.url}/router",
            "SKIP_SESSION_SUMMARY": "",
            **{name: KEYS[name] for name in variables},
        }


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    """Run the vendors."""
    it = Vendor()
    async with serving(it.script) as it.server:
        yield it
