from __future__ import annotations

import pytest

from agent_swarm_worker.contract import Helper
from agent_swarm_worker.reporting.labels import MAX_LABEL_CHARS, canonical_name, label


@pytest.mark.parametrize(
    ("tool", "args", "expected"),
    [
        ("Read", {"file_path": "/srv/app/src/main.py"}, "📖 Reading src/main.py"),
        ("Edit", {"file_path": "main.py"}, "✏️ Editing main.py"),
        ("MultiEdit", {"file_path": "/a/b/c/"}, "✏️ Editing b/c"),
        ("Write", {"file_path": "C:\\x\\y\\z.txt"}, "📝 Writing y/z.txt"),
        ("Read", {}, "📖 Reading a file"),
        ("Bash", {"command": "rm -rf /", "description": "Run the tests"}, "⚡ Run the tests"),
        ("Bash", {"command": "curl -H 'token: abc'"}, "⚡ Running a command"),
        ("bash", {"command": "ls"}, "⚡ Running a command"),
        ("Grep", {"pattern": "def main"}, '🔍 Searching for "def main"'),
        ("Glob", {"pattern": "**/*.py"}, "📁 Looking for **/*.py"),
        ("find", {"pattern": "*.md"}, "📁 Looking for *.md"),
        ("ls", {"path": "."}, "📁 Listing the directory"),
        ("ls", {}, "📁 Listing the directory"),
        ("ls", {"path": "/srv/app/src"}, "📁 Listing app/src"),
        ("Agent", {"description": "Review it"}, "🤖 Review it"),
        ("Task", {}, "🤖 Starting a helper"),
        ("Skill", {"skill": "review-pr"}, "⚙️ Using /review-pr"),
        ("WebFetch", {"url": "http://u:p@x.org:8080/a?key=b"}, "🌐 Fetching x.org"),
        ("WebFetch", {"url": "http://[::1"}, "🌐 Fetching a page"),
        ("WebSearch", {"query": "how"}, '🌐 Searching the web for "how"'),
        ("WebSearch", {}, "🌐 Searching the web"),
        ("AskUserQuestion", {"questions": [{"question": "Which?"}]}, "❓ Which?"),
        ("AskUserQuestion", {"questions": 7}, "❓ Asking a question"),
        ("read_file", {}, "🔧 Read file"),
        ("get_api_url_by-id", {}, "🔧 Get API URL by ID"),
        ("mcp__linear__create_issue", {}, "🔌 linear: Create issue"),
        ("mcp__linear", {}, "🔌 Linear"),
        ("mcp__agent-swarm__get-swarm", {}, "👥 Seeing who is in the swarm"),
        ("mcp__agent_swarm__memory_search", {}, "🧠 Searching memory"),
        ("mcp__agent-swarm__brand-new-kv-tool", {}, "🔌 Brand new KV tool"),
        ("kv-get", {}, "🔑 Reading a stored value"),
        ("tool", {"server": "linear", "tool": "create_issue"}, "🔌 linear: Create issue"),
        ("x", {"server": "agent-swarm", "tool": "send-task"}, "📤 Handing a task to another agent"),
    ],
)
def test_a_tool_call_becomes_a_line(tool, args, expected):
    assert label(tool, args) == expected


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("ToolSearch", {}),
        ("TodoRead", {}),
        ("TodoWrite", {"todos": []}),
        ("mcp__agent-swarm__store-progress", {"progress": "x"}),
        ("mcp__agent_swarm__store_progress", {}),
        ("store-progress", {}),
        ("x", {"server": "agent-swarm", "tool": "store-progress"}),
    ],
)
def test_housekeeping_is_not_told(tool, args):
    assert label(tool, args) is None


def test_another_servers_store_progress_is_told():
    assert label("mcp__other__store-progress", {}) == "🔌 other: Store progress"


@pytest.mark.parametrize(
    "args", [None, 7, "text", ["a"], {"file_path": 3}, {"file_path": None}, {1: 2}]
)
def test_arguments_of_any_shape_are_survived(args):
    assert label("Read", args) == "📖 Reading a file"


def test_control_characters_line_breaks_and_surrogates_are_taken_out():
    told = label("Bash", {"description": "one\x1b[31m\ntwo\x00\u202ethree\ud800\u2028four"})
    assert told == "⚡ one two three four"
    told.encode()


def test_a_huge_text_is_cut():
    told = label("Bash", {"description": "x" * 1_000_000})
    assert len(told) == MAX_LABEL_CHARS
    assert told.endswith("…")


def test_a_secret_is_scrubbed_before_the_cut_so_that_no_half_remains(redactor):
    padding = "x" * (MAX_LABEL_CHARS - len("⚡ ") - 8)
    told = label("Bash", {"description": padding + redactor.SECRET}, scrub=redactor.text)
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("tool", "args", "expected"),
    [
        ("read", {}, "Read"),
        ("mcp__a__b", {}, "mcp__a__b"),
        ("read_file", {}, "read_file"),
        ("call", {"server": "s", "tool": "t"}, "mcp__s__t"),
        ("call", {"server": "s", "tool": 5}, "Call"),
        ("bash", {"server": "s", "tool": "t"}, "Bash"),
        ("", {}, ""),
    ],
)
def test_one_spelling_for_tools(tool, args, expected):
    assert canonical_name(tool, args) == expected


def test_a_label_says_which_helper_calls():
    args = {"file_path": "/srv/a.py"}
    named, unnamed = Helper("toolu_1", "review\nthe tests"), Helper("toolu_2")
    assert label("Read", args, helper=named) == "🤖 review the tests: 📖 Reading srv/a.py"
    assert label("Read", args, helper=unnamed) == "🤖 helper: 📖 Reading srv/a.py"
    assert label("TodoRead", {}, helper=named) is None
    hidden = label("Read", args, helper=Helper("x", "use s3cret"), scrub=_without_secret)
    assert hidden == "🤖 use ***: 📖 Reading srv/a.py"


def _without_secret(text):
    return text.replace("s3cret", "***")
