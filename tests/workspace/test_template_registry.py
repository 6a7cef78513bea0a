"""Role templates and their copy on disk."""

from __future__ import annotations

import os

import httpx2
import pytest

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.workspace.profiles import MAX_BYTES, fetch_template

pytestmark = pytest.mark.anyio

TEMPLATE = {
    "config": {
        "displayName": "Coder",
        "agentDefaults": {
            "role": "coder",
            "capabilities": ["git", 3],
            "maxTasks": 3,
            "isLead": True,
        },
    },
    "files": {"soulMd": "soul", "toolsMd": "", "claudeMd": None},
}
URL = "http://registry/"


class Registry(httpx2.MockTransport):
    def __init__(self, answer):
        self.answer, self.asked = answer, []
        super().__init__(self._handle)

    def _handle(self, request):
        self.asked.append(str(request.url))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ok(**changes):
    return httpx2.Response(200, json={**TEMPLATE, **changes})


async def fetch(registry, tmp_path, *, url=URL, template_id="official/coder"):
    return await fetch_template(url, template_id, tmp_path, SystemClock(), transport=registry)


async def test_a_template_is_read_tolerantly(tmp_path):
    registry = Registry(ok())
    template = await fetch(registry, tmp_path)
    assert registry.asked == ["http://registry/api/templates/official/coder"]
    assert (template.display_name, template.role, template.max_tasks) == ("Coder", "coder", 3)
    assert template.capabilities == ("git",)
    assert template.is_lead
    assert template.files == {"soulMd": "soul"}
    assert [path.name for path in tmp_path.iterdir()] == ["official_coder.json"]


async def test_a_copy_serves_for_a_day(tmp_path):
    registry = Registry(ok())
    await fetch(registry, tmp_path)
    await fetch(registry, tmp_path)
    assert len(registry.asked) == 1
    age(tmp_path / "official_coder.json", hours=25)
    await fetch(registry, tmp_path)
    assert len(registry.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.ConnectError("refused"),
        httpx2.Response(500),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json=[]),
        ok(padding="x" * MAX_BYTES),
    ],
)
async def test_an_old_copy_serves_when_the_registry_does_not(tmp_path, answer):
    assert await fetch(Registry(answer), tmp_path) is None
    await fetch(Registry(ok()), tmp_path)
    age(tmp_path / "official_coder.json", hours=1000)
    assert (await fetch(Registry(answer), tmp_path)).role == "coder"


async def test_a_broken_copy_is_fetched_again(tmp_path):
    (tmp_path / "official_coder.json").write_text("{")
    assert (await fetch(Registry(ok()), tmp_path)).role == "coder"


@pytest.mark.parametrize("template_id", ["../../etc/passwd", "", "a b", "a/", "a?b", "a//b"])
async def test_an_odd_name_is_not_asked_for(tmp_path, template_id):
    registry = Registry(ok())
    assert await fetch(registry, tmp_path, template_id=template_id) is None
    assert registry.asked == []


async def test_without_a_registry_nothing_is_asked(tmp_path):
    registry = Registry(ok())
    assert await fetch(registry, tmp_path, url=" ") is None
    assert registry.asked == []


def age(path, *, hours):
    then = path.stat().st_mtime - hours * 3600
    os.utime(path, (then, then))
