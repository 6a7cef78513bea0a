"""The parts of a system prompt, their order and their limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prompts_doubles import RenderServer

from agent_swarm_worker.api.wire.resources import Guidelines, Skill
from agent_swarm_worker.api.wire.tasks import Requester
from agent_swarm_worker.errors import ApiUnreachable, UnreadableFile
from agent_swarm_worker.prompts.render import Renderer
from agent_swarm_worker.prompts.system import TaskContext, operator_prompt, system_prompt
from agent_swarm_worker.prompts.user import directory_note
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.workspace.profiles import AgentDetails, default_profile

pytestmark = pytest.mark.anyio

SLACK = {"SLACK_BOT_TOKEN": "xoxb", "SLACK_APP_TOKEN": "xapp"}
NO_RULES = Guidelines()
SKILLS = (
    Skill(id="1", name="deploy", description="Ship it.\nSafely."),
    Skill(id="2", name="triage", description="Sort issues."),
)


@dataclass(frozen=True)
class Repo:
    clone_path: Path | None = Path("/work tree/api")
    warning: str | None = None
    claude_md: str = ""
    auto_stashes: dict[str, str] = field(default_factory=dict)
    guidelines: Guidelines | None = NO_RULES


def assert_order(text, *needles):
    places = [text.index(needle) for needle in needles]
    assert places == sorted(places), dict(zip(needles, places, strict=True))


async def test_a_fresh_worker_prompt_is_short_and_has_its_parts_in_order(local, make_agent):
    soul = default_profile(AgentDetails(name="Ada"))["soulMd"]
    text = await system_prompt(local, make_agent(soul_md=soul), TaskContext())
    assert len(text) < 5000
    assert "\n\n\n" not in text
    assert "\u2014" not in text
    assert_order(
        text,
        "You are Ada, a worker",
        "## How you work",
        "## Workspace",
        "## Memory",
        "## How you write",
        "## Secrets",
        "## Outputs",
        "## Tools and skills",
    )
    for absent in ("## Slack", "## Repository", "## Messages while", "{{", "None"):
        assert absent not in text


async def test_a_fresh_lead_prompt_is_short_and_leads_whatever_its_role_is_called(
    local, make_agent
):
    text = await system_prompt(local, make_agent(is_lead=True, role="architect"), TaskContext())
    assert len(text) < 5200
    assert "## How you lead" in text
    assert "a architect" in text


async def test_everything_at_once_comes_in_the_contracts_order(local, make_agent):
    agent = make_agent(
        {**SLACK, "STEERING_ENABLED": "true", "AGENT_FS_API_URL": "http://fs"},
        harness="another",
        traits={"native_skill_discovery": False},
        skills=SKILLS,
        mcp_servers=("github", " ", "linear"),
        claude_md="my notes",
        soul_md="my soul",
    )
    task = TaskContext(
        repository=Repo(warning="fetch failed", claude_md="repo notes"),
        requester=Requester(name="Grace", role="CTO"),
        additional_prompt="additional text",
        missing_dir="/gone",
        cwd=Path("/work tree/api"),
    )
    text = await system_prompt(local, agent, task, operator_prompt="operator text")
    assert_order(
        text,
        "my soul",
        "## Secrets",
        "agent-fs, the shared drive",
        "## Slack",
        "## Messages while you work",
        "## Tools and skills",
        "- /deploy: Ship it. Safely.",
        "Connected MCP servers: github, linear.",
        "## Your notes (CLAUDE.md)\n\nmy notes",
        "## Repository",
        "cloned at `/work tree/api`",
        "WARNING: fetch failed",
        "repo notes",
        "`code-quality`",
        "## Requester profile",
        "operator text",
        "additional text",
        "`/gone`",
    )
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("traits", "is_lead", "expected", "absent"),
    [
        ({"has_mcp": False, "has_local_environment": False}, True, "final message", "## Tools"),
        ({"has_local_environment": False}, False, "## How you work", "/workspace/personal"),
        ({"has_local_environment": False}, True, "## How you lead", "/workspace/personal"),
    ],
)
async def test_the_composite_follows_the_traits(
    local, make_agent, traits, is_lead, expected, absent
):
    text = await system_prompt(local, make_agent(traits=traits, is_lead=is_lead), TaskContext())
    assert expected in text
    assert absent not in text


@pytest.mark.parametrize(
    ("env", "capabilities", "present", "absent"),
    [
        (SLACK, None, "## Slack", "## Scripts only"),
        (SLACK, {"slack", "pages"}, "## Slack", "## Scripts only"),
        (SLACK, {"pages"}, "## Outputs", "## Slack"),
        ({**SLACK, "SLACK_DISABLE": "1"}, None, "## Outputs", "## Slack"),
        ({"STEERING_ENABLED": "1"}, {"core"}, "## Messages while", "## Outputs"),
        ({"STEERING_ENABLED": "1"}, {"pages"}, "## Outputs", "## Messages while"),
        ({"SCRIPTS_ONLY_MCP": "true", **SLACK}, None, "## Scripts only", "## Slack"),
        ({"SCRIPTS_ONLY_MCP": "1", "STEERING_ENABLED": "1"}, None, "## Scripts", "## Messages"),
    ],
)
async def test_parts_depend_on_settings_and_on_what_the_server_can_do(
    local, make_agent, env, capabilities, present, absent
):
    known = None if capabilities is None else frozenset(capabilities)
    text = await system_prompt(local, make_agent(env, server_capabilities=known), TaskContext())
    assert present in text
    assert absent not in text


async def test_steering_is_not_promised_for_a_harness_that_cannot(local, make_agent):
    agent = make_agent({"STEERING_ENABLED": "1"}, traits={"steer_modes": ()})
    assert "## Messages while" not in await system_prompt(local, agent, TaskContext())


async def test_scripts_only_with_a_slack_thread_says_how_to_answer(local, make_agent):
    agent = make_agent({"SCRIPTS_ONLY_MCP": "1", **SLACK})
    task = TaskContext(slack_channel_id="C1", slack_thread_ts="17.5")
    text = await system_prompt(local, agent, task)
    assert "channel `C1`, thread `17.5`" in text
    lead = make_agent({"SCRIPTS_ONLY_MCP": "1", **SLACK}, is_lead=True)
    assert "channel `C1`" not in await system_prompt(local, lead, task)


async def test_skills_are_counted_or_listed(local, make_agent):
    counted = await system_prompt(local, make_agent(skills=SKILLS), TaskContext())
    assert "2 skills are installed in your harness's skills directory" in counted
    assert "Ship it" not in counted
    agent = make_agent(
        skills=SKILLS, traits={"native_skill_discovery": False, "has_local_environment": False}
    )
    listed = await system_prompt(local, agent, TaskContext())
    assert "- deploy: Ship it. Safely." in listed


@pytest.mark.parametrize("harness", ["claude", "codex", "subprocess"])
async def test_agent_notes_go_to_harnesses_that_do_not_read_them(local, make_agent, harness):
    text = await system_prompt(
        local, make_agent(harness=harness, claude_md="my notes"), TaskContext()
    )
    assert ("my notes" in text) == (harness != "claude")


@pytest.mark.parametrize(("cwd", "finds"), [("/workspace/personal/repos/x", True), ("/srv", False)])
async def test_agent_notes_go_to_claude_where_it_would_not_come_upon_them(
    local, make_agent, cwd, finds
):
    agent = make_agent(claude_md="my notes")
    text = await system_prompt(local, agent, TaskContext(cwd=Path(cwd)))
    assert ("my notes" in text) != finds


async def test_caps_count_bytes(local, make_agent):
    wide = "🐝" * 50_000
    agent = make_agent(harness="another", soul_md=wide, identity_md=wide, claude_md=wide)
    task = TaskContext(repository=Repo(claude_md=wide))
    text = await system_prompt(local, agent, task)
    bees = text.count("🐝") * 4
    assert bees <= 20_000 * 3 + 12_000
    assert bees > 65_000
    assert "[...truncated, see /workspace/CLAUDE.md for full content]" in text
    assert "[...truncated, see /work tree/api/CLAUDE.md for full content]" in text
    assert len(text.encode()) < 120_000


async def test_notes_are_dropped_when_the_prompt_is_full(library, clock, make_agent):
    server = RenderServer({"system.agent.secrets": "x", "system.session.worker": "y" * 119_980})
    build = Renderer(library, clock=clock, server=server).build()
    agent = make_agent(harness="codex", claude_md="my notes")
    assert "Your notes" not in await system_prompt(build, agent, TaskContext())


async def test_guidelines(local, make_agent):
    async def of(rules):
        task = TaskContext(repository=Repo(guidelines=rules))
        return await system_prompt(local, make_agent(), task)

    assert "Ask the lead before you push" in await of(None)
    assert "Repository Guidelines" not in await of(Guidelines())
    full = await of(
        Guidelines(
            pr_checks=("make test", "make\nlint"), merge_checks=("CI green",), review=("kind",)
        )
    )
    assert_order(
        full,
        "(MANDATORY)",
        "1. `make test`",
        "2. `make lint`",
        "Not allowed",
        "- CI green",
        "- kind",
    )
    assert "Auto-merge: Allowed" in await of(Guidelines(allow_merge=True))


async def test_stashes_of_earlier_sessions_are_shown(local, make_agent):
    repo = Repo(auto_stashes={"stash@{0}": "swarm-autostash main 2026"})
    text = await system_prompt(local, make_agent(), TaskContext(repository=repo))
    assert "- stash@{0}: swarm-autostash main 2026" in text
    assert "git stash pop" in text


async def test_a_failed_clone_leaves_a_warning_and_no_path(local, make_agent):
    repo = Repo(clone_path=None, warning="cannot clone", guidelines=None)
    text = await system_prompt(local, make_agent(), TaskContext(repository=repo))
    assert "WARNING: cannot clone" in text
    assert "cloned at" not in text


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        (Requester(name="Grace", email="g@x"), None),
        (Requester(name="Grace", role="CTO"), "Grace (CTO) asked for this."),
        (Requester(name="Grace", tone="dry", language="French"), "Tone: dry, language: French."),
        (Requester(name="Grace", notes="  likes tables\n"), "Notes:\nlikes tables"),
    ],
)
async def test_the_requester_is_described_if_there_is_anything_to_say(
    local, make_agent, person, expected
):
    text = await system_prompt(local, make_agent(), TaskContext(requester=person))
    assert ("## Requester profile" in text) == (expected is not None)
    assert expected is None or expected in text


async def test_hostile_profile_text_cannot_bring_in_tokens_or_control_characters(local, make_agent):
    agent = make_agent(
        name="A\x1b]0;x\x07da", soul_md="{{agentId}} {{@template[system.agent.slack]}}\0"
    )
    text = await system_prompt(local, agent, TaskContext())
    assert "{{agentId}} {{@template[system.agent.slack]}}" in text
    assert "\x1b" not in text
    assert "\0" not in text


async def test_a_switched_off_part_leaves_no_gap(library, clock, make_agent):
    server = RenderServer(skipped=["system.agent.outputs.no_agent_fs"])
    build = Renderer(library, clock=clock, server=server).build()
    text = await system_prompt(build, make_agent(), TaskContext())
    assert "## Outputs" not in text
    assert "\n\n\n" not in text


async def test_an_api_that_is_down_leaves_the_prompt_whole(library, clock, local, make_agent):
    server = RenderServer(error=ApiUnreachable("u", "refused", ambiguous=False))
    build = Renderer(library, clock=clock, server=server).build()
    text = await system_prompt(build, make_agent(), TaskContext())
    assert text == await system_prompt(local, make_agent(), TaskContext())
    assert_order(text, "## How you work", "## Memory", "## Secrets", "## Tools and skills")


def test_the_operators_prompt(tmp_path):
    path = tmp_path / "prompt.md"
    path.write_text("from a file")
    assert operator_prompt(Settings.load({})) == ""
    assert operator_prompt(Settings.load({"SYSTEM_PROMPT_FILE": str(path)})) == "from a file"
    both = {"SYSTEM_PROMPT": "from env", "SYSTEM_PROMPT_FILE": str(tmp_path / "gone")}
    assert operator_prompt(Settings.load(both)) == "from env"
    with pytest.raises(UnreadableFile) as caught:
        operator_prompt(Settings.load({"SYSTEM_PROMPT_FILE": str(tmp_path / "gone")}))
    assert caught.value.exit_code == 78


async def test_what_others_wrote_has_a_limit_each(local, make_agent):
    skills = tuple(
        Skill(id=f"s{number}", name=f"skill-{number}", description="é" * 5000)
        for number in range(1000)
    )
    huge = "é" * 300_000
    agent = make_agent(
        traits={"native_skill_discovery": False},
        skills=skills,
        mcp_servers=(huge, "files"),
        description=huge,
        soul_md=huge,
        identity_md=huge,
        claude_md=huge,
        harness="codex",
    )
    task = TaskContext(requester=Requester(name="Grace", notes=huge))
    text = await system_prompt(local, agent, task)
    assert len(text.encode()) < 150_000
    assert "- /skill-0: é" in text
    assert "[... 1000 skills in all]" in text
    assert "`skill-list` shows them all" in text
    assert "files. Their tools" in text
    assert "Grace asked for this" in text


async def test_a_value_that_no_json_can_hold_reaches_the_prompt_all_the_same(
    library, clock, make_agent
):
    server = RenderServer({"system.session.worker": "hello"})
    build = Renderer(library, clock=clock, server=server).build()
    path = Path("/work\udcff/api")
    repo = Repo(clone_path=path, claude_md="x" * 20_000)
    task = TaskContext(repository=repo, missing_dir="/gone\udcff", cwd=path)
    text = await system_prompt(build, make_agent(harness="another"), task)
    assert "cloned at `/work\ufffd/api`" in text
    assert text.encode()
    assert directory_note(path, "clone").encode()
