"""Run every measurement and print one JSON document."""

from __future__ import annotations

import json
import os
import platform
import sys

from benchmarks import crowd, idle, pipeline, round_trips, scrubber, session_path


def main() -> None:
    usual = ["pipeline", "session_path", "round_trips", "idle", "crowd", "scrubber"]
    wanted = sys.argv[1:] or usual
    measurements = {
        "pipeline": pipeline.measure,
        "session_path": session_path.measure,
        "round_trips": round_trips.measure,
        "idle": idle.measure,
        "crowd": crowd.measure,
        "scrubber": scrubber.measure,
    }
    report = {
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
        },
        **{name: measurements[name]() for name in wanted},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
