"""List agents that speak ACP and need no package of their own: the rows of ``ACP_TARGET``.

Each row is what was measured with the version in the comment.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agent_swarm_worker.providers.acp.target import CUSTOM, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS: Final[Mapping[str, Target]] = MappingProxyType({"custom": CUSTOM})
