"""Checks that processing hostile texts of 100,000 characters takes linear time.

These texts come from outside: the API, a harness, a model. Twice the length may cost twice the
time; an expression that tries every beginning with every end would take minutes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker.api import http
from agent_swarm_worker.cli import follow, output
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.front_matter import MAX_CHARS, front_matter
from agent_swarm_worker.guards import error_classes, rate_limits
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.prompts import render, user
from agent_swarm_worker.providers.kit import outcome
from agent_swarm_worker.reporting import labels, output_schema
from agent_swarm_worker.skills import folders, writer
from agent_swarm_worker.text import one_line
from agent_swarm_worker.workspace import clone_config, git, repository

CHARS = 100_000
LIMIT_S = 1.0
PIECES = (
    *(
        "a",
        " ",
        "\n",
        "\r\n",
        "---\n",
        "a:\n ",
        "k: v\n  v\n",
        "<script ",
        "```",
        "{",
        "[{",
        '{"a":',
    ),
    *('\\"', '"', "://a:", "://a@", "eyJ.eyJ", "-----BEGIN ", "Bearer ", "12:00 ", "retry after 1"),
    *(
        "not found",
        "429 ",
        "rate limit ",
        "password = ",
        "_",
        "🔑",
        "\u202e",
        "\x1b[",
        "/a:",
        "../",
    ),
)
SCRUBBER = Scrubber()
SCRUBBER.add("A_KEY", "a-secret-0123456789")


def _answer(status: int) -> Callable[[str], Any]:
    def read(text: str) -> None:
        try:
            http.read_answer("u", status, "", text.encode("utf-8", "replace"))
        except ApiError:
            return

    return read


READERS: dict[str, Callable[[str], Any]] = {
    "scrubbing": SCRUBBER.text,
    "scrubbing JSON": lambda text: SCRUBBER.json_line(text.encode("utf-8", "replace")),
    "the class of an error": error_classes.classify_error,
    "an AWS error": error_classes.classify_aws,
    "its end": lambda text: rate_limits.parse_reset_time(text, datetime(2026, 1, 1, tzinfo=UTC)),
    "front matter": lambda text: front_matter(f"---\n{text[:MAX_CHARS]}\n---\n"),
    "a command": lambda text: folders.resolve_command(f"/{text}", Path("/nowhere")),
    "a skill": lambda text: (writer.folder_name(text), writer.is_safe_path(text)),
    "an attachment": user.safe_name,
    "a prompt": lambda text: (render.clean(text), render.squeeze(text)),
    "a label": lambda text: labels.label("Bash", {"command": text, "description": text}),
    "a tool": lambda text: labels.label(text, {}),
    "a line": lambda text: one_line(text, 100),
    "a result": lambda text: list(output_schema._values_within(text)),
    "a page of an error": lambda text: one_line(text, outcome.MAX_REASON_CHARS),
    "a repository": lambda text: (repository._name_of(text), clone_config.repository_name(text)),
    "a branch": lambda text: (git.is_safe_ref(text), git.is_safe_url(text)),
    "a URL": git.without_credentials,
    "an answer": _answer(200),
    "a 404": _answer(404),
    "a terminal": lambda text: (output.fit_line(text, 80), list(follow.render_line(text))),
}


@pytest.mark.parametrize("name", READERS)
def test_no_text_is_slow(name: str) -> None:
    for piece in PIECES:
        text = (piece * (CHARS // len(piece))) + "!"
        began_s = time.thread_time()
        READERS[name](text)
        used_s = time.thread_time() - began_s
        assert used_s < LIMIT_S, f"{used_s:.1f} s for many {piece!r}"
