"""The runner is a tool at the top of the tree; what the tests of workers use is used here too."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("", "tests/worker"):
    sys.path.insert(0, str(Path(__file__).parents[2] / folder))
