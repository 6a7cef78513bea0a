"""What a busy machine needs: time for what may take long, and no work that was done before."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

HANG_S: Final = 30.0
"""Seconds. A busy machine may need a tenth of it; what a test takes for wrong takes twice as long,
or never ends."""

WAIT_S: Final = 60.0
"""Seconds. How long a test waits for what has to come, where nothing wrong would bring it too."""

BYTECODE: Final = {
    "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX")
    or str(Path(tempfile.gettempdir()) / f"pycache-{os.getuid()}-{sys.implementation.cache_tag}")
}
"""For the environment of a child that runs our code: it need not compile all of it again, and
writes nothing into the tree."""
