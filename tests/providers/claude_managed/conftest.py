"""Make the fake vendors, the loopback server and the worker's rig importable here."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[2]
for _folder in (_TESTS / "providers", _TESTS / "e2e", _TESTS / "worker"):
    sys.path.insert(0, str(_folder))
