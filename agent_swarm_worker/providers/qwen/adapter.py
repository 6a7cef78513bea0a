"""Make sessions of Qwen Code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.acp.adapter import AcpAdapter
from agent_swarm_worker.providers.acp.target import Target
from agent_swarm_worker.providers.qwen.spec import SPEC, QwenOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


class QwenAdapter(AcpAdapter):
    """Runs each task in a process of ``qwen --acp``."""

    spec = SPEC
    # By default a second model judges each call (measured with 0.24.4).
    target = Target(
        name="Qwen Code",
        env={"QWEN_CODE_NO_RELAUNCH": "true"},
        modes=("yolo",),
        model_variable="OPENAI_MODEL",
        steering="queue",
        session_files=((".qwen/projects", "*/chats/{id}.jsonl"),),
    )

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        return (*QwenOptions.load(env).program, "--acp")
