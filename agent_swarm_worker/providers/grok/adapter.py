"""Make sessions of the Grok command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.acp.adapter import AcpAdapter
from agent_swarm_worker.providers.acp.target import Asking, Target
from agent_swarm_worker.providers.grok.spec import SPEC, GrokOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.acp.launch import Plan


ALWAYS = "--always-approve"


class GrokAdapter(AcpAdapter):
    """Runs each task in a process of ``grok agent stdio``."""

    spec = SPEC
    # The flag is ignored in front of `agent` (measured with 1.0.41).
    target = Target(
        name="Grok",
        env={"GROK_DISABLE_AUTOUPDATER": "1", "GROK_TELEMETRY_ENABLED": "0"},
        modes=(),
        # What these would run was not measured.
        asking=Asking(
            code_places=(
                *(".grok/config.toml", ".grok/hooks", ".grok/hooks.json", ".grok/plugins"),
                *(".grok/settings.json", ".grok/settings.local.json", ".grok/lsp.json"),
                *(".mcp.json", ".cursor/mcp.json", ".cursor/hooks.json"),
                *(".claude/settings.json", ".claude/settings.local.json", ".claude/plugins"),
            )
        ),
        system_prompt="rules",
        ready_notification="_x.ai/mcp_initialized",
        session_files=((".grok/sessions", "*/{id}/*"),),
    )
    login_variables = ("GROK_MODELS_BASE_URL",)

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        return (*GrokOptions.load(env).program, "agent", ALWAYS, "stdio")

    async def plan(self, config: ProviderSessionConfig) -> Plan:
        """Return the choices for one session; each service gets its own key only."""
        plan = self.plan_of(config, self.target)
        is_routed = config.model.startswith("openrouter/")
        other = "XAI_API_KEY" if is_routed else "OPENROUTER_API_KEY"
        env = {name: value for name, value in plan.env.items() if name != other}
        *program, last = plan.command
        if config.permissions is not None:
            program.remove(ALWAYS)
        options = ("--model", config.model) if config.model else ()
        return replace(plan, env=env, command=(*program, *options, last), names_model=True)
