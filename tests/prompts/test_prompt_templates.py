"""The package's templates, and the replacement of their tokens."""

from __future__ import annotations

import re

import pytest
from structlog.testing import capture_logs

from agent_swarm_worker.prompts.render import TemplateLibrary, interpolate, shipped_texts

SYSTEM_VARIABLES = {
    "system.session": {"name", "role", "agentId", "persona"},
    "system.agent.role": {"name", "role", "agentId", "persona"},
    "system.agent.tools_skills": {"skills", "mcp_servers"},
    "system.agent.repository": {
        "clone_note",
        "warning",
        "repo_claude_md",
        "auto_stashes",
        "guidelines",
        "code_quality",
    },
    "system.agent.steering.delivery": {"steeringMessageId", "body"},
    "system.agent.scripts_only_mode.slack": {"slackChannelId", "slackThreadTs"},
    "task.trigger.assigned": {
        "work_on_task_cmd",
        "task_id",
        "task_desc_section",
        "attachments_section",
        "output_instructions",
    },
    "task.trigger.offered": {"review_offered_task_cmd", "task_id", "task_desc_section"},
    "task.trigger.unread_mentions": {"mention_count"},
    "task.trigger.pool_available": {"task_count"},
    "task.trigger.channel_activity": {"message_count", "messages_detail"},
    "task.resumption.with_progress": {
        "work_on_task_cmd",
        "task_id",
        "task_description",
        "progress",
        "completion_instructions",
    },
    "task.resumption.no_progress": {
        "work_on_task_cmd",
        "task_id",
        "task_description",
        "completion_instructions",
    },
    "task.requester.profile": {
        "requester_name",
        "requester_role_suffix",
        "requester_comms_section",
        "requester_notes_section",
    },
    "task.profile_sync_rejection": {
        "timestamp",
        "field_label",
        "disk_size",
        "db_size",
        "budget",
        "delta",
        "event_id",
        "recovery_guidance",
    },
}

TEXTS = {
    path: path.read_text(encoding="utf-8") for path in sorted(shipped_texts("prompts").glob("*.md"))
}


def write(directory, **bodies):
    for name, body in bodies.items():
        (directory / f"{name}.md").write_text(body, encoding="utf-8")
    return TemplateLibrary(directory)


def test_a_shipped_text_uses_only_the_variables_the_server_knows():
    for path, body in TEXTS.items():
        names = set(re.findall(r"\{\{(?!@template)([^}]+)\}\}", body))
        assert names <= SYSTEM_VARIABLES.get(path.name.removesuffix(".md"), set()), path


def test_a_shipped_text_refers_only_to_texts_that_exist(library):
    for path, body in TEXTS.items():
        for target in re.findall(r"@template\[([^\]]+)\]", body):
            assert library.render(target, {}), path


def test_a_shipped_text_follows_its_own_rules_of_style():
    for path, body in TEXTS.items():
        assert "\u2014" not in body, path
        assert "\n\n\n" not in body, path
        for heading in re.findall(r"^## (.+)$", body, re.MULTILINE):
            assert heading[0].isupper(), (path, heading)
            assert heading[1:] == heading[1:].lower(), (path, heading)


@pytest.mark.parametrize("name", ["worker", "lead", "worker.managed", "lead.managed"])
def test_a_composite_expands_to_all_its_parts(library, name):
    text = library.render(f"system.session.{name}", {"name": "Ada", "role": "tester"})
    assert "{{" not in text
    assert "You are Ada, a tester" in text
    for heading in ("## How you", "## Workspace", "## Memory", "## How you write", "## Secrets"):
        assert heading in text


def test_an_unknown_template_is_empty(library):
    assert library.render("no.such.template", {}) == ""


def test_references_expand_three_deep_and_stay_as_they_are_below(tmp_path):
    library = write(
        tmp_path,
        a="a {{@template[b]}}",
        b="b {{@template[c]}}",
        c="c {{@template[d]}}",
        d="d {{@template[e]}}",
        e="too deep",
    )
    text = library.render("a", {})
    assert text.split() == ["a", "b", "c", "d", "{{@template[e]}}"]


def test_a_cycle_and_an_empty_or_missing_target_stay_as_they_are(tmp_path):
    library = write(
        tmp_path,
        a="{{@template[b]}} {{@template[empty]}} {{@template[gone]}}",
        b="{{@template[a]}}",
        empty="",
    )
    with capture_logs() as logged:
        for _ in range(3):
            assert library.render("a", {}).split() == [
                "{{@template[a]}}",
                "{{@template[empty]}}",
                "{{@template[gone]}}",
            ]
    assert [line["reference"] for line in logged] == ["a", "empty", "gone"]
    assert "circle" in logged[0]["why"]


def test_values_are_never_scanned_again(tmp_path):
    library = write(tmp_path, a="{{task}} / {{secret}}", b="expanded")
    text = library.render("a", {"task": "{{secret}} {{@template[b]}}", "secret": "x"})
    assert text == "{{secret}} {{@template[b]}} / x"


def test_dotted_paths_and_missing_values():
    variables = {"a": {"b": "deep", "n": 7, "list": ["x"]}, "none": None}
    assert interpolate("{{a.b}}|{{ a.n }}|{{a.list}}", variables) == 'deep|7|["x"]'
    assert interpolate("{{none}}|{{a.gone}}|{{a.b.c}}|{{gone}}", variables) == "|||"


def test_the_texts_of_an_installed_wheel_go_before_a_folder_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "agent_swarm_worker"
    (package / "_texts" / "prompts").mkdir(parents=True)
    (package.parent / "skills").mkdir()
    monkeypatch.setattr("importlib.resources.files", lambda _: package)
    assert shipped_texts("prompts") == package / "_texts" / "prompts"
    assert shipped_texts("skills") == package.parent / "skills"
