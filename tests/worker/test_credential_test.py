"""The credential is tested at its vendor when the worker starts, and the server is told."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_api import Hang, Reply, Request
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENTS, Rig, harness, running_worker
from test_session_summary import rest
from vendor import KEYS, Vendor, vendor

from agent_swarm_worker.credentials import services
from agent_swarm_worker.providers.pi.bedrock import AwsKeys, signed_headers

pytestmark = pytest.mark.anyio

OAUTH = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-of-the-tests-0123456789"}
PROGRAM = shlex.join([sys.executable, "-S", "-B", str(AGENTS / "says_hi.py")])
REPORTS = "PUT /api/agents/.*/credential-status"


def of(name: str, **env: str) -> dict[str, str]:
    programs = {"CLAUDE_BINARY": PROGRAM, "CODEX_BINARY": PROGRAM, "CLAUDE_QUEUE_STEERING": "off"}
    return {"HARNESS_PROVIDER": name, **programs, **env}


@asynccontextmanager
async def vendor_rig(tmp_path: Path) -> AsyncIterator[tuple[Rig, RecordingProxy, Vendor]]:
    async with proxy_rig(tmp_path) as (rig, proxy), vendor() as it:
        yield rig, proxy, it


async def until_tested(rig: Rig) -> dict[str, Any]:
    async def look() -> Any:
        status = ((await rig.agent_row()) or {}).get("credStatus") or {}
        return status if status.get("liveTest") else None

    return dict(await rig.until(look))


def quiet(it: Vendor, *variables: str) -> dict[str, str]:
    return it.env(*variables) | {"SKIP_SESSION_SUMMARY": "1"}


@pytest.mark.parametrize(
    ("name", "variable", "path", "header"),
    [
        ("claude", "ANTHROPIC_API_KEY", "/v1/models", "x-api-key"),
        ("codex", "OPENAI_API_KEY", "/openai/models", "authorization"),
        ("pi", "OPENROUTER_API_KEY", "/router/models", "authorization"),
    ],
)
async def test_a_key_is_tried_at_its_vendor(
    tmp_path: Path, name: str, variable: str, path: str, header: str
):
    async with vendor_rig(tmp_path) as (rig, proxy, it):
        async with running_worker(rig, of(name) | quiet(it, variable)):
            status = await until_tested(rig)
        assert (status["ready"], status["missing"], status["hint"]) == (True, [], None)
        assert (status["satisfiedBy"], status["reportKind"]) == ("env", "boot")
        test = status["liveTest"]
        assert (test["ok"], test["error"]) == (True, None)
        assert test["latency_ms"] >= 0
        assert test["testedAt"] > 1_600_000_000_000
        (asked,) = it.tests
        assert asked.path == path
        assert KEYS[variable] in asked.headers[header]
        assert it.questions == []
        first, second = (visit.json() for visit in proxy.seen(REPORTS))
        assert first["ready"]
        assert "liveTest" not in first["cred_status"]
        assert set(second) == {"cred_status"}  # `ready` would call a busy agent idle


async def test_what_the_vendor_says_is_passed_on_without_the_key(tmp_path: Path):
    async with vendor_rig(tmp_path) as (rig, _, it):
        key = KEYS["ANTHROPIC_API_KEY"]
        it.reply = Reply(401, f"invalid x-api-key {key} " + "x" * 5000)
        async with running_worker(rig, of("claude") | quiet(it, "ANTHROPIC_API_KEY")):
            test = (await until_tested(rig))["liveTest"]
            assert not test["ok"]
            assert test["error"].startswith("HTTP 401: invalid x-api-key ")
            assert key not in test["error"]
            assert len(test["error"]) < 300
            task_id = await rig.submit()  # a test that fails keeps nobody from working
            assert (await rig.until_ended(task_id))["status"] == "completed"


@pytest.mark.long
@pytest.mark.parametrize("is_there", [True, False])
async def test_a_vendor_that_says_nothing_delays_no_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
):
    monkeypatch.setattr(services, "TEST_S", 1.0)
    async with vendor_rig(tmp_path) as (rig, proxy, it):
        it.reply = Hang()
        env = of("claude") | quiet(it, "ANTHROPIC_API_KEY")
        if not is_there:
            env["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:1"
        async with running_worker(rig, env):
            await until(lambda: proxy.seen("/api/poll"))
            test = (await until_tested(rig))["liveTest"]
        assert not test["ok"]
        assert test["error"].startswith("no answer")


async def test_a_key_that_rests_is_not_tried(tmp_path: Path):
    async with vendor_rig(tmp_path) as (rig, proxy, it):
        key = KEYS["ANTHROPIC_API_KEY"]
        await rest(rig, "ANTHROPIC_API_KEY", "first", 0)
        pool = {"ANTHROPIC_API_KEY": f"{key}-first,{key}-other"}
        async with running_worker(rig, of("claude") | quiet(it) | pool):
            assert (await until_tested(rig))["liveTest"]["ok"]
        assert [asked.headers["x-api-key"] for asked in it.tests] == [f"{key}-other"]
        await rest(rig, "ANTHROPIC_API_KEY", "other", 1)
        before = len(proxy.seen("/api/keys/available"))
        async with running_worker(rig, of("claude") | quiet(it) | pool):
            await until(lambda: len(proxy.seen("/api/keys/available")) > before)
            await until(lambda: proxy.seen("/api/poll"))
        assert len(it.tests) == 1


@pytest.mark.parametrize(
    ("env", "satisfied_by"),
    [
        (of("claude", **OAUTH, ANTHROPIC_API_KEY=KEYS["ANTHROPIC_API_KEY"]), "env"),
        (of("codex"), "file"),
    ],
)
async def test_of_a_login_only_the_presence_is_tested(
    tmp_path: Path, env: dict[str, str], satisfied_by: str
):
    async with vendor_rig(tmp_path) as (rig, _, it):
        home = tmp_path / "home" / ".codex"
        home.mkdir(parents=True)
        (home / "auth.json").write_text('{"tokens": {"access_token": "a", "account_id": "b"}}')
        async with running_worker(rig, env | {**quiet(it), **env}):
            status = await until_tested(rig)
        assert status["satisfiedBy"] == satisfied_by
        assert (status["liveTest"]["ok"], status["liveTest"]["latency_ms"]) == (True, 0)
        assert it.tests == []


async def test_a_harness_without_credentials_has_nothing_to_test(tmp_path: Path):
    async with vendor_rig(tmp_path) as (rig, proxy, it):
        async with running_worker(rig, harness("says_hi") | quiet(it, *KEYS)):
            await until(lambda: proxy.seen("/api/poll"))
        (report,) = (visit.json()["cred_status"] for visit in proxy.seen(REPORTS))
        assert not {"satisfiedBy", "liveTest"} & set(report)
        assert it.tests == []


async def test_the_operator_may_want_no_checks(tmp_path: Path):
    async with vendor_rig(tmp_path) as (rig, proxy, it):
        env = of("claude", CRED_CHECK_DISABLE="1") | quiet(it, "ANTHROPIC_API_KEY")
        async with running_worker(rig, env):
            task_id = await rig.submit()
            await rig.until_ended(task_id)
            await until(lambda: proxy.seen(REPORTS))
        assert all("cred_status" not in visit.json() for visit in proxy.seen(REPORTS))
        assert it.tests == []


# --- Amazon Bedrock
AWS = {
    "MODEL_OVERRIDE": "amazon-bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "session-token-of-the-tests",
}


def bedrock(request: Request) -> Reply:
    if request.path == "/foundation-models":
        assert request.query == {"byInferenceType": "ON_DEMAND", "byOutputModality": "TEXT"}
        models = [
            {"modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0", "modelName": "Sonnet 4.5"},
            {"modelId": "acme.nobody-knows-it", "modelName": "Unknown"},
        ]
        active = {"modelLifecycle": {"status": "ACTIVE"}}
        return Reply(body={"modelSummaries": [model | active for model in models]})
    name = {"inferenceProfileName": "EU Haiku"}
    row = {"inferenceProfileId": "eu.anthropic.claude-haiku-4-5-20251001-v1:0", **name}
    return Reply(body={"inferenceProfileSummaries": [row]})


async def test_the_login_of_a_vendors_sdk_is_tested_by_its_list_of_models(tmp_path: Path):
    async with vendor_rig(tmp_path) as (rig, _, it):
        it.script = bedrock  # type: ignore[method-assign]
        assert it.server is not None
        it.server.script = bedrock
        env = of("pi", **AWS, AWS_ENDPOINT_URL_BEDROCK=it.url) | quiet(it)
        async with running_worker(rig, env):
            status = await until_tested(rig)
        assert (status["satisfiedBy"], status["liveTest"]["ok"]) == ("sdk-delegated", True)
        found = status["bedrock"]
        assert (found["region"], found["ready"]) == ("eu-central-1", True)
        assert found["probedAt"] > 1_600_000_000_000
        assert found["models"] == [
            {"id": "anthropic.claude-sonnet-4-5-20250929-v1:0", "name": "Sonnet 4.5"},
            {"id": "eu.anthropic.claude-haiku-4-5-20251001-v1:0", "name": "EU Haiku"},
        ]
        for asked in it.server.requests:
            assert "Credential=AKIDEXAMPLE/" in asked.headers["authorization"]
            assert asked.headers["x-amz-security-token"] == AWS["AWS_SESSION_TOKEN"]


async def test_a_refused_login_of_an_sdk_is_told(tmp_path: Path):
    async with vendor_rig(tmp_path) as (rig, _, it):
        it.reply = Reply(403, {"message": "User is not authorized to perform this"})
        env = of("pi", **AWS, AWS_ENDPOINT_URL_BEDROCK=it.url) | quiet(it)
        async with running_worker(rig, env):
            status = await until_tested(rig)
        assert not status["liveTest"]["ok"]
        assert status["bedrock"]["models"] == []
        assert not status["bedrock"]["ready"]
        assert "403: User is not authorized" in status["bedrock"]["error"]


def test_the_signature_is_that_of_the_published_example():
    """``get-vanilla`` of the test suite of AWS Signature Version 4."""
    keys = AwsKeys("AKIDEXAMPLE", AWS["AWS_SECRET_ACCESS_KEY"])
    now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    url = "https://example.amazonaws.com/"
    headers = signed_headers(url, {}, keys, scope="us-east-1/service", now=now)
    signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    assert headers["Authorization"].endswith(f"Signature={signature}")
