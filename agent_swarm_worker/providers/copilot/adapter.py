"""Make sessions of the Copilot command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.acp.adapter import AcpAdapter
from agent_swarm_worker.providers.acp.launch import text_file
from agent_swarm_worker.providers.acp.target import Asking, Target
from agent_swarm_worker.providers.copilot.spec import SPEC, CopilotOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.acp.launch import Plan

FOLDERS = "COPILOT_CUSTOM_INSTRUCTIONS_DIRS"
HEAD = '---\napplyTo: "**"\n---\n'
"""Without it the file is not read; an ``AGENTS.md`` in such a folder is not, either."""


class CopilotAdapter(AcpAdapter):
    """Runs each task in a process of ``copilot --acp``."""

    spec = SPEC
    # No mode: `autopilot` goes on by itself after the answer (measured with 1.0.102).
    target = Target(
        name="Copilot",
        modes=(),
        tool_names="title",
        # What these would run was not measured.
        asking=Asking(
            code_places=(
                *(".mcp.json", ".github/mcp.json", ".vscode/mcp.json", ".copilot"),
                *(".github/hooks", ".github/copilot", ".github/extensions", ".github/lsp.json"),
                *(".claude/settings.json", ".claude/settings.local.json"),
            )
        ),
        options={"allow_all": "on"},
        model_variable="COPILOT_MODEL",
        system_prompt="launch",
        reports_usage=True,
        has_text_errors=True,
        notices=(r"^Info: ",),
        session_files=(
            (".copilot/session-state", "{id}/*"),
            (".copilot/session-state", "{id}.jsonl"),
        ),
    )
    login_variables = ("COPILOT_PROVIDER_BASE_URL",)

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        options = ("--acp", "--no-auto-update", "--disable-builtin-mcps")
        return (*CopilotOptions.load(env).program, *options)

    async def plan(self, config: ProviderSessionConfig) -> Plan:
        """Return the choices for one session."""
        plan = self.plan_of(config, self.target)
        if not config.system_prompt:
            return plan
        folder = config.private_dir / "instructions"
        file = folder / ".github/instructions/swarm.instructions.md"
        folders = CopilotOptions.load(config.env).instructions_folders
        return replace(
            plan,
            env={**plan.env, FOLDERS: ",".join(filter(None, (folders, str(folder))))},
            files=(*plan.files, text_file(file, f"{HEAD}{config.system_prompt}")),
            has_system_prompt=True,
        )
