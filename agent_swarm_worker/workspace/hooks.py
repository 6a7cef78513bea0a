"""Installing a repository's own commit hooks, where the swarm asks for them.

They run when the agent commits, never in our own git calls. A repository that has set
``core.hooksPath`` is left as it is; nothing is downloaded.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from agent_swarm_worker.workspace.commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.workspace.git import Git


async def install(git: Git, clone: Path) -> list[str]:
    """Install the hooks found in `clone`; return warnings."""
    configured = await git("config", "--local", "--get", "core.hooksPath", cwd=clone)
    if configured.ok:
        return []
    if (clone / ".githooks").is_dir():
        set_up = await git("config", "--local", "core.hooksPath", ".githooks", cwd=clone)
        return [] if set_up.ok else [f"the repository's hooks are not installed: {set_up.why}"]
    uses_prek = any((clone / name).is_file() for name in (".pre-commit-config.yaml", "prek.toml"))
    if uses_prek and shutil.which("prek", path=git.env.get("PATH")):
        installed = await run(["prek", "install"], env=git.env, cwd=clone, timeout_s=git.timeout_s)
        return [] if installed.ok else [f"prek could not install the hooks: {installed.why}"]
    return []
