"""``swarm-worker worker``, which on SIGUSR2 also says how many objects of which type it holds."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path


def _tell(*_: object) -> None:
    """Write the counts beside the state directory, whole: who reads them waits for the name."""
    gc.collect()
    counts = Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.get_objects())
    path = Path(os.environ["SWARM_STATE_DIR"]).with_name("types.json")
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(counts))
    partial.replace(path)


def main() -> int:
    """Run the worker."""
    from agent_swarm_worker.cli.app import main as swarm_worker

    signal.signal(signal.SIGUSR2, _tell)
    return swarm_worker(["worker"])


if __name__ == "__main__":
    sys.exit(main())
