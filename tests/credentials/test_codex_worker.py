"""A worker whose codex sessions use the swarm's login pool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

import pytest
from notes_credentials import GIVEN, RESULTS
from oauth_server import ACCOUNT, OAuthServer, stored
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, Rig, running_worker

from agent_swarm_worker.contract import ProviderResult, RateLimitWindow
from agent_swarm_worker.credentials.codex import write_auth_json
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers import registry

pytestmark = pytest.mark.anyio

KEY = "sk-openai-key-of-the-tests-KKKKK"
CODEX = {"HARNESS_PROVIDER": "codex"}
LONG = "2999-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def providers_are_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def found(group: str, _path: object) -> EntryPoints:
        ours = [
            EntryPoint("codex", "notes_credentials:CodexLike", group),
            EntryPoint("pi", "notes_credentials:PiLike", group),
        ]
        return EntryPoints([*ours, *entry_points(group=group)])

    monkeypatch.setattr(registry, "_installed", found)
    yield
    GIVEN.clear()
    RESULTS.clear()


def codex(vendor: OAuthServer, **env: str) -> dict[str, str]:
    return {**CODEX, "CODEX_OAUTH_ISSUER": vendor.url, **env}


async def ran(rig: Rig, **task: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Run a task; return its row, and the variables its session was given to log in with."""
    row = await rig.until_ended(await rig.submit(**task))
    await rig.settled(row["id"])
    given = GIVEN.get(row["id"], {})
    return row, {k: v for k, v in given.items() if re.search("oauth|_API_KEY$", k, re.IGNORECASE)}


async def slot(rig: Rig, number: int, *, serial: int | None = None, **more: Any) -> str:
    value = stored(number if serial is None else serial, **more)
    await rig.set_row(f"codex_oauth_{number}", value, is_secret=True)
    return value


async def limit(rig: Rig, key_type: str, index: int, suffix: str) -> None:
    body = {"keyType": key_type, "keySuffix": suffix, "keyIndex": index, "rateLimitedUntil": LONG}
    await rig.post("/api/keys/report-rate-limit", body, **{"X-Agent-ID": AGENT})


async def reports(
    rig: Rig, proxy: RecordingProxy, *, count: int = 1
) -> list[tuple[str, dict[str, Any]]]:
    """What was reported about keys, in order."""

    async def look() -> Any:
        seen = [v for v in proxy.seen("POST /api/keys/") if v.status]
        return seen if len(seen) >= count else None

    return [(v.path.rpartition("/")[2], v.json()) for v in await rig.until(look)]


def everything(rig: Rig) -> str:
    """All that left the worker: its log, and every file below its state."""
    files = [path for path in (rig.place / "state").rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    return "\n".join([rig.worker_log.getvalue(), *texts])


# --- what a session is given
async def test_a_session_gets_one_login_without_its_refresh_token(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        value = json.loads(await slot(rig, 5))
        env = codex(vendor, OPENAI_API_KEY=KEY, CODEX_OAUTH=stored(77))
        async with running_worker(rig, env):
            row, given = await ran(rig)
            assert row["status"] == "completed"
            assert given.pop("CODEX_OAUTH_POOLED") == "1"
            assert json.loads(given.pop("CODEX_OAUTH")) == {**value, "refresh": ""}
            # Neither the swarm's rows nor the key that it would use instead.
            assert set(given) == {"CODEX_OAUTH_ISSUER"}
            (use, *_) = await reports(rig, proxy, count=2)
            assert use == (
                "report-usage",
                {
                    "keyType": "CODEX_OAUTH",
                    "keySuffix": "QWERT",
                    "keyIndex": 5,
                    "taskId": row["id"],
                },
            )
            lines = json.dumps(await rig.lines(row["id"]))
        for secret in (value["access"], value["refresh"], KEY):
            assert secret not in everything(rig)
            assert secret not in lines
        assert "REDACTED" in lines


async def test_no_other_harness_sees_the_logins_of_the_swarm(tmp_path: Path, vendor: OAuthServer):
    script = "import json, os; open(os.environ['NOTE'], 'w').write(json.dumps(dict(os.environ)))"
    async with proxy_rig(tmp_path) as (rig, _):
        await slot(rig, 0)
        await rig.set_row("codex_oauth", stored(1), is_secret=True)
        await rig.set_row("CODEX_OAUTH_3", stored(3), is_secret=True)
        env = {**rig.agent(script), "NOTE": str(tmp_path / "note")}
        async with running_worker(rig, env):
            await rig.until_ended(await rig.submit())
    assert not [
        name for name in json.loads((tmp_path / "note").read_text()) if "oauth" in name.lower()
    ]


async def test_a_standalone_login_keeps_its_refresh_token(tmp_path: Path, vendor: OAuthServer):
    value = json.dumps(json.loads(stored(4)), indent=2)
    env = codex(vendor, CODEX_OAUTH=value, OPENAI_API_KEY=KEY)
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        _, given = await ran(rig)
        assert given["CODEX_OAUTH"] == value  # its commas are not those of a pool
        assert not {"CODEX_OAUTH_POOLED", "OPENAI_API_KEY"} & set(given)
        (use, *_) = await reports(rig, proxy, count=2)
        assert (use[1]["keySuffix"], use[1]["keyIndex"]) == ("QWERT", 0)


async def test_a_login_in_the_programs_own_file_is_counted_as_the_one_used(
    tmp_path: Path, vendor: OAuthServer
):
    write_auth_json(tmp_path / "home/.codex/auth.json", stored(4), keep_refresh=True)
    env = codex(vendor, OPENAI_API_KEY=KEY)
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        _, given = await ran(rig)
        assert not {"CODEX_OAUTH", "OPENAI_API_KEY"} & set(given)
        (use, *_) = await reports(rig, proxy, count=2)
        assert (use[1]["keyType"], use[1]["keySuffix"]) == ("CODEX_OAUTH", "QWERT")


async def test_pi_is_not_given_a_claude_token_that_would_choose_its_vendor(
    tmp_path: Path, vendor: OAuthServer
):
    env = {
        "HARNESS_PROVIDER": "pi",
        "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-of-the-tests",
        "OPENROUTER_API_KEY": "sk-or-of-the-tests-11111,sk-or-of-the-tests-22222",
        "OPENAI_API_KEY": KEY,
    }
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        _, given = await ran(rig, model="openai/gpt-5.6-sol")
        assert "CLAUDE_CODE_OAUTH_TOKEN" not in given
        assert "," not in given["OPENROUTER_API_KEY"]
        ((_, use), *_) = await reports(rig, proxy, count=2)
        assert use["keyType"] == "OPENAI_API_KEY"
        _, given = await ran(rig, model="deepseek/deepseek-v4")
        seen = await reports(rig, proxy, count=4)
        assert [body["keyType"] for what, body in seen if what == "report-usage"] == [
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
        ]


async def test_a_login_is_preferred_to_a_key_and_limits_lead_from_one_to_the_other(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await slot(rig, 0)
        async with running_worker(rig, codex(vendor, OPENAI_API_KEY=KEY)):
            _, given = await ran(rig)
            assert "CODEX_OAUTH" in given
            await limit(rig, "CODEX_OAUTH", 0, "QWERT")
            row, given = await ran(rig)
            assert given["OPENAI_API_KEY"] == KEY
            assert not {"CODEX_OAUTH", "CODEX_OAUTH_POOLED"} & set(given)
            uses = [b for what, b in await reports(rig, proxy, count=4) if what == "report-usage"]
            assert [use["keyType"] for use in uses] == ["CODEX_OAUTH", "OPENAI_API_KEY"]
            assert uses[1]["taskId"] == row["id"]
            await limit(rig, "OPENAI_API_KEY", 0, "KKKKK")
            _, given = await ran(rig)
            assert "CODEX_OAUTH" in given
            chosen = rig.logged(Event.CREDENTIAL_SELECTED)
            assert chosen[-1]["all_limited"] is True


async def test_slots_with_gaps_between_them_are_told_apart(tmp_path: Path, vendor: OAuthServer):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await slot(rig, 0)
        await slot(rig, 100, serial=9)
        await limit(rig, "CODEX_OAUTH", 0, "other")
        async with running_worker(rig, codex(vendor)):
            for _ in range(3):
                _, given = await ran(rig)
                assert json.loads(given["CODEX_OAUTH"])["access"] == json.loads(stored(9))["access"]
        assert proxy.seen("GET /api/keys/available.*CODEX_OAUTH.*totalKeys=101")


async def test_a_server_that_cannot_say_what_is_limited_leaves_all_usable(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await slot(rig, 0)
        await limit(rig, "CODEX_OAUTH", 0, "QWERT")
        proxy.refuse("GET /api/keys/available", 500)
        async with running_worker(rig, codex(vendor, OPENAI_API_KEY=KEY)):
            _, given = await ran(rig)
            assert "CODEX_OAUTH" in given
            (chosen,) = rig.logged(Event.CREDENTIAL_SELECTED)
            assert chosen["all_limited"] is None


# --- renewal
async def test_a_login_about_to_end_is_renewed_before_the_session(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, _):
        value = json.loads(await slot(rig, 2, left_s=60))
        vendor.valid_refresh.add(value["refresh"])
        async with running_worker(rig, codex(vendor)):
            row, given = await ran(rig)
            login = json.loads(given["CODEX_OAUTH"])
            assert (login["access"], login["refresh"]) == (vendor.issued[0], "")
            rows = (await rig.get("/api/config", includeSecrets="true"))["configs"]
            assert json.loads(rows[0]["value"])["refresh"] == vendor.issued[1]
            lines = json.dumps(await rig.lines(row["id"]))
        for secret in (*vendor.issued, value["refresh"]):
            assert secret not in everything(rig)
            assert secret not in lines


async def test_a_slot_that_cannot_be_renewed_leaves_the_others_and_the_key(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, _):
        dead = json.loads(await slot(rig, 0, left_s=-60))
        await slot(rig, 1, left_s=-60)
        vendor.valid_refresh.add("refresh-token-of-the-tests-1")
        vendor.misbehave = "500"
        env = codex(vendor, OPENAI_API_KEY=KEY)
        async with running_worker(rig, env):
            row, given = await ran(rig)
            assert given["OPENAI_API_KEY"] == KEY
            assert row["status"] == "completed"
            refused = {line["key"] for line in rig.logged(Event.CREDENTIAL_REFUSED)}
            assert refused == {"codex_oauth_0", "codex_oauth_1"}
        assert dead["refresh"] not in everything(rig)


async def test_a_task_without_any_usable_login_fails_and_says_why(
    tmp_path: Path, vendor: OAuthServer
):
    vendor.misbehave = "echo"
    async with proxy_rig(tmp_path) as (rig, _):
        value = json.loads(await slot(rig, 0, left_s=-60))
        async with running_worker(rig, codex(vendor)):
            row, _ = await ran(rig)
            assert row["status"] == "failed"
            reason = row["failureReason"]
            assert "no login of codex could be used: slot 0: refresh_rejected" in reason
            assert value["refresh"] not in json.dumps(row)


async def test_a_lock_timeout_fails_the_task_with_words_that_say_it_passes(
    tmp_path: Path, vendor: OAuthServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agent_swarm_worker.credentials.refresh.LOCK_WAIT_S", 0.6)
    async with proxy_rig(tmp_path) as (rig, _):
        await slot(rig, 0, left_s=-60)
        await rig.post("/api/oauth/refresh-locks/codex_oauth_0", {"ttlMs": 60_000})
        async with running_worker(rig, codex(vendor)):
            row, _ = await ran(rig)
            assert "lock_timeout" in row["failureReason"]
            assert "passes by itself" in row["failureReason"]


# --- limits
def limited(reason: str, category: str | None, **more: Any) -> ProviderResult:
    return ProviderResult(
        exit_code=1, is_error=True, failure_reason=reason, error_category=category, **more
    )


async def test_a_limit_is_reported_for_the_slot_that_met_it_and_cleared_by_success(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await slot(rig, 3)
        RESULTS.append(limited("You've hit your usage limit. Try again in 2 hours", None))
        async with running_worker(rig, codex(vendor)):
            await ran(rig)
            what, body = (await reports(rig, proxy, count=2))[1]
            assert what == "report-rate-limit"
            assert (body["keyType"], body["keyIndex"], body["keySuffix"]) == (
                "CODEX_OAUTH",
                3,
                "QWERT",
            )
            await ran(rig)  # there is no other, and now it works
            assert (await reports(rig, proxy, count=4))[3][0] == "clear-rate-limit"


async def test_a_successful_run_with_a_rejected_window_is_cleared_and_not_limited(
    tmp_path: Path, vendor: OAuthServer
):
    window = RateLimitWindow(status="rejected", is_using_overage=True, resets_at_s=4102444800)
    async with proxy_rig(tmp_path) as (rig, proxy):
        await slot(rig, 0)
        RESULTS.append(
            ProviderResult(exit_code=0, is_error=False, rate_limit_windows={"five_hour": window})
        )
        async with running_worker(rig, codex(vendor)):
            await ran(rig)
            said = [what for what, _ in await reports(rig, proxy, count=3)]
            assert said == ["report-usage", "report-rate-limit-windows", "clear-rate-limit"]


async def test_how_long_spent_credit_rests_can_be_changed_while_it_runs(
    tmp_path: Path, vendor: OAuthServer
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await slot(rig, 0)
        async with running_worker(rig, codex(vendor)):
            rests: list[float] = []
            for setting in ("", "600000", "1", "99999999999"):
                if setting:
                    body = {
                        "scope": "global",
                        "key": "CODEX_CREDITS_EXHAUSTED_COOLDOWN_MS",
                        "value": setting,
                    }
                    count = len(rig.logged(Event.CONFIG_CHANGED))
                    (await rig.api.put("/api/config", json=body)).raise_for_status()

                    async def changed(before: int = count) -> bool:
                        return len(rig.logged(Event.CONFIG_CHANGED)) > before

                    await rig.until(changed)
                RESULTS.append(limited("Your workspace is out of credits", None))
                await ran(rig)
                seen = await reports(rig, proxy, count=2 * len(rests) + 2)
                line = rig.logged(Event.CREDENTIAL_LIMITED)[-1]
                assert seen[-1][0] == "report-rate-limit"
                rests.append(_seconds_between(line["timestamp"], line["until"]))
        assert [round(rest / 60) for rest in rests] == [120, 10, 5, 7 * 24 * 60]


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


async def test_a_worker_without_a_login_parks_until_somebody_logs_in(
    tmp_path: Path, vendor: OAuthServer
):
    env = codex(vendor, BOOT_INITIAL_BACKOFF_MS="20", BOOT_MAX_BACKOFF_MS="40")
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, env, waits_for_boot=False),
    ):

        async def waits() -> Any:
            agent = await rig.agent_row()
            return agent if agent and agent["status"] == "waiting_for_credentials" else None

        agent = await rig.until(waits)
        assert agent["credentialMissing"] == ["CODEX_OAUTH", "OPENAI_API_KEY"]
        task_id = await rig.submit()
        assert not proxy.seen("/api/poll")
        await slot(rig, 0)
        row = await rig.until_ended(task_id)
        assert row["status"] == "completed"
        assert json.loads(GIVEN[task_id]["CODEX_OAUTH"])["accountId"] == ACCOUNT
        # Logged out again: the worker says so, and goes on once there is another login.
        looks = len(proxy.seen("/api/config/resolved"))
        await until(lambda: len(proxy.seen("/api/config/resolved")) > looks + 2)
        await rig.drop_row("codex_oauth_0")
        await rig.until(waits)
        await slot(rig, 7)

        async def ready() -> Any:
            agent = await rig.agent_row()
            return agent and agent["status"] == "idle"

        await rig.until(ready)
        row, given = await ran(rig)
        assert row["status"] == "completed"
        assert given["CODEX_OAUTH_POOLED"] == "1"
