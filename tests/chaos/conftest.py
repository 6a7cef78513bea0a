"""Makes `chaos` and the fixtures of the worker's tests importable."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("", "tests/worker"):
    sys.path.insert(0, str(Path(__file__).parents[2] / folder))
