"""Makes the stages of the harnesses that talk to a model importable here."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
for _folder in ("e2e", "worker", "providers/pi"):
    sys.path.append(str(_TESTS / _folder))
