"""How fast secrets are found, on lines without any: what nearly every line is."""

from __future__ import annotations

import json
import random
import time
from typing import Any

from agent_swarm_worker.guards.scrubber import Scrubber

LINES = 20_000


def measure() -> dict[str, Any]:
    """Scrub lines of 500 bytes and of 8 KiB with 20 and with 200 secrets in all encodings."""
    return {
        f"{secrets}_secrets_{size}_byte_lines": _one(secrets, size)
        for secrets in (20, 200)
        for size in (500, 8192)
    }


def _one(secrets: int, size: int) -> dict[str, float]:
    rng = random.Random(3)
    scrubber = Scrubber()
    for n in range(secrets):
        scrubber.add(f"S{n}", "".join(rng.choices("abcdefGHIJKL0123456789", k=30)))
    words = " ".join(f"word{rng.randrange(1000)}" for _ in range(size // 8))
    line = json.dumps({"type": "assistant", "text": words})[: size - 2].rstrip('"}') + '"}'
    data = line.encode()
    scrubber.json_line(data)
    count = max(200, LINES * 500 // size)
    started_s = time.process_time()
    for _ in range(count):
        scrubber.json_line(data)
    spent_s = time.process_time() - started_s
    return {
        "us_per_line": round(spent_s / count * 1e6, 2),
        "mb_per_second": round(len(data) * count / spent_s / 1e6),
    }
