"""Attachments: untrusted names in a command that an agent runs."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.api.wire.tasks import Attachment
from agent_swarm_worker.prompts.user import attachments_section, safe_name

HOSTILE = [
    "../../x",
    "/etc/passwd",
    "$(id)",
    "`id`",
    "a'b\"c",
    "two\nlines",
    "-o/etc/passwd",
    ".bashrc",
    "..",
    "con\\..\\evil.txt",
    "; rm -rf ~",
    "",
    "🐝",
    "x" * 500 + ".pdf",
    "字" * 500 + ".pdf",
    "nul\x00byte",
    "rtl\u202egnp.exe",
]


def named(*names):
    return [Attachment(id=f"att-{index}", name=name) for index, name in enumerate(names)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_safe_name_is_a_plain_file_name(name):
    safe = safe_name(name)
    assert re.fullmatch(r"[\w][\w.-]*", safe)
    assert len(safe.encode()) <= 255


@given(st.text(max_size=150))
def test_any_name_is_made_safe(name):
    safe = safe_name(name)
    assert re.fullmatch(r"\w[\w.-]*", safe)
    assert ".." not in safe.split("/")


def test_ordinary_names_stay():
    assert safe_name("Report 2026.final.pdf") == "Report_2026.final.pdf"
    assert safe_name("отчёт.pdf") == "отчёт.pdf"
    assert safe_name("x" * 500 + ".pdf").endswith("x.pdf")


def test_no_attachments_no_section(tmp_path):
    assert attachments_section("task-1", [], tmp_path) == ""
    assert attachments_section("task-1", named(""), tmp_path) == ""


def test_facts_are_shown_and_names_cannot_break_out_of_their_line(tmp_path):
    rows = [Attachment(id="a", name="x\n- y `z`", mime_type="image/png", size_bytes=12)]
    section = attachments_section("task-1", rows, tmp_path)
    assert "- x - y 'z' (image/png, 12 bytes):" in section


def test_an_agent_without_a_shell_here_is_only_told_the_names():
    section = attachments_section("task-1", named("a.txt"), None)
    assert "- a.txt" in section
    assert "curl" not in section


@pytest.fixture
def file_server():
    """Serves the path it was asked for; remembers the headers."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"], self.headers["X-Agent-ID"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the recipe needs curl")
def test_the_recipes_work_as_shown_and_write_only_where_they_should(tmp_path, file_server):
    url, seen = file_server
    target = tmp_path / "it's here"
    canary = tmp_path / "home"
    canary.mkdir()
    rows = [
        *named("a.txt", "A.TXT", "a.txt", *HOSTILE),
        Attachment(id="$(touch pwned)`id`\"'", name="evil-id.txt"),
    ]
    section = attachments_section("task 1", rows, target)
    recipes = [line.strip().strip("`") for line in section.splitlines() if "curl" in line]
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(canary),
        "MCP_BASE_URL": url,
        "API_KEY": "key-1",
        "AGENT_ID": "agent-1",
    }
    script = "\n".join(recipes)
    subprocess.run(["bash", "-euc", script], env=env, cwd=canary, check=True, timeout=30)
    assert len(list(target.iterdir())) == len(recipes) == len(rows) - 1
    assert list(canary.iterdir()) == []
    assert set(tmp_path.iterdir()) == {target, canary}
    assert {(auth, agent) for _, auth, agent in seen} == {("Bearer key-1", "agent-1")}
    assert (target / "a.txt").read_text() == "/api/fs/tasks/task%201/files/att-0/raw"
