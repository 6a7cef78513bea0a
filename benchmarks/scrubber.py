"""Measure the scrubber on JSON lines without secrets: prose, source code, and expensive texts.

Expensive are prefixes of token patterns that are not tokens, and escapes that JSON does not need.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber

LINES = 20_000


SOURCE = r"""
import { readFile } from "../lib/files.js";
const ITEMS = "https://api.example.com/v1/items?key=";  // asked for at most once
export async function load(path: string, token?: string): Promise<Map<string, string>> {
    const answer = await fetch(ITEMS + encodeURIComponent(path), { headers: headersOf(token) });
    if (!answer.ok) throw new Error(`cannot load ${path}: ${answer.status}\n`);
    return new Map(Object.entries(await answer.json()));
}
"""
TEXTS = {
    "source_code": SOURCE,
    "regular_expressions": r"const URL_RE = /^https?:\/\/([^\s\"'\/]+)\/(\d+)\/?$/g; ",
    "words_in_sk": "a task-risk of disk-mask, sk-name and sk-or ",
    "urls": "see https://example.com/a/b?key=value and http://localhost:8080/x ",
    "bearers": "The bearer of the Authorization: token, and Bearer tokens ",
    "dotted_names": "a.eyJ b.eyJabc key.eyJx ",
    "windows_paths": r"C:\\Users\\me\\src and \\\\server\\share ",
}
"""What a tool result consists of, over and over."""


def measure() -> dict[str, Any]:
    """Scrub lines of 500 bytes and of 8 KiB with 20 and with 200 secrets in all encodings."""
    return {
        **{
            f"{secrets}_secrets_{size}_byte_lines": _words(secrets, size)
            for secrets in (20, 200)
            for size in (500, 8192)
        },
        **{f"20_secrets_8192_byte_lines_{name}": _tool_results(name) for name in TEXTS},
    }


def _words(secrets: int, size: int) -> dict[str, float]:
    rng = random.Random(3)
    words = " ".join(f"word{rng.randrange(1000)}" for _ in range(size // 8))
    line = json.dumps({"type": "assistant", "text": words})[: size - 2].rstrip('"}') + '"}'
    return _one(_scrubber(secrets), line.encode(), LINES * 500 // size)


def _tool_results(name: str) -> dict[str, float]:
    text = (TEXTS[name] * (8192 // len(TEXTS[name]) + 1))[:8192]
    line = json.dumps({"type": "user", "content": [{"type": "tool_result", "content": text}]})
    return _one(_scrubber(20), line.encode(), 200)


def _scrubber(secrets: int) -> Scrubber:
    rng = random.Random(3)
    scrubber = Scrubber()
    for n in range(secrets):
        scrubber.add(f"S{n}", "".join(rng.choices("abcdefGHIJKL0123456789", k=30)))
    return scrubber


def _one(scrubber: Scrubber, data: bytes, count: int) -> dict[str, float]:
    scrubber.json_line(data)
    count = max(200, count)
    started_s = time.process_time()
    for _ in range(count):
        scrubber.json_line(data)
    spent_s = time.process_time() - started_s
    return {
        "us_per_line": round(spent_s / count * 1e6, 2),
        "mb_per_second": round(len(data) * count / spent_s / 1e6),
    }
