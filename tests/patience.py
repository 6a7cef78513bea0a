"""How long a test waits before it calls something hung."""

from __future__ import annotations

from typing import Final

HANG_S: Final = 30.0
"""Seconds. A busy machine may need a tenth of it; what a test takes for wrong takes twice as long,
or never ends."""
