"""Make the worker's rig and the fake model importable here."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
for _folder in (_TESTS / "worker", _TESTS / "providers/pi"):
    sys.path.insert(0, str(_folder))
