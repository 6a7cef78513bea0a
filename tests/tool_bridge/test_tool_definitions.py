"""The operator's file of tools: what is taken, and how a fault in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_swarm_worker.errors import BadSetting, UnreadableFile
from agent_swarm_worker.tool_bridge.definitions import load_tools

GOOD = """
[tools.status]
description = "Tells how the deployment goes."
command = "deploy-status --of '{service name}' --service {service}"
input = { type = "object", properties = { service = { type = "string" } } }

[tools.ticket]
description = "Reads a ticket."
url = "http://tickets.internal/api/{id}"
method = "GET"
input = { type = "object", properties = { id = { type = "integer" } }, required = ["id"] }
headers = { Authorization = "Bearer ${TICKETS_TOKEN}" }
offered = "selected"
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "tools.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_file(tmp_path: Path):
    status, ticket = load_tools(written(tmp_path, GOOD))
    assert status.name == "status"
    assert status.command == (
        *("deploy-status", "--of", "{service name}", "--service", "{service}"),
    )
    assert status.placeholders == {"service"}  # one with a blank is no placeholder
    assert (ticket.variables, ticket.placeholders) == ({"TICKETS_TOKEN"}, {"id"})
    assert ticket.offered == "selected"
    assert load_tools(written(tmp_path, "")) == ()


TOOL = '[tools.t]\ndescription = "d"\ncommand = "true"\n'
FAULTS = {
    "tools =": "end of document",
    "[tool.t]": "tool: unknown key; did you mean tools?",
    '[tools.t]\ncommand = "true"': "tools.t.description: Field required",
    '[tools.t]\ndescription = "d"': "tools.t: expected either `command` or `url`",
    TOOL + 'url = "http://x/"': "tools.t: expected either `command` or `url`",
    TOOL + 'comand = "x"': "tools.t.comand: unknown key; did you mean command?",
    TOOL + "timeout_s = 0": "tools.t.timeout_s",
    TOOL + 'timeout_s = "long"': "tools.t.timeout_s",
    TOOL + 'offered = "often"': "tools.t.offered",
    TOOL + 'input = "none"': "tools.t.input",
    TOOL + 'input = { type = "text" }': "tools.t.input is no JSON Schema",
    TOOL + 'input = { type = "array" }': "its type is `object`",
    TOOL + 'input = { type = "object", properties = 5 }': "properties of `input` are no table",
    TOOL + 'headers = { A = "b" }': "`headers` are for a `url`",
    TOOL.replace('"true"', '"./run {x}"'): "must be an absolute path or a name on the PATH",
    TOOL.replace('"true"', '"{x} y"'): "the program of `command` must be a fixed name",
    TOOL.replace('"true"', '"run {x}"'): "`input` has no property x",
    TOOL.replace('"true"', '"run \'x"'): "tools.t.command",
    TOOL.replace('command = "true"', 'url = "ftp://x/"'): "tools.t.url",
    TOOL.replace('command = "true"', 'url = "http://{x}/"'): "the host of `url` must be fixed",
    TOOL.replace(".t", '."a b"'): "tools.a b: a name begins with a letter",
    TOOL + TOOL: "line 4",
}


@pytest.mark.parametrize(("text", "why"), FAULTS.items(), ids=range(len(FAULTS)))
def test_a_fault_is_one_line_that_names_the_key(tmp_path: Path, text: str, why: str):
    with pytest.raises(BadSetting) as caught:
        load_tools(written(tmp_path, text))
    assert why in caught.value.why
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path):
    with pytest.raises(BadSetting):
        load_tools(written(tmp_path, b"\xff\xfe"))
    with pytest.raises(UnreadableFile):
        load_tools(tmp_path / "missing.toml")
    with pytest.raises(UnreadableFile):
        load_tools(tmp_path)
