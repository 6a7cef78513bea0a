"""Make sessions of opencode: its configuration goes with the environment, beside the user's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.providers.acp.adapter import AcpAdapter
from agent_swarm_worker.providers.acp.launch import SYSTEM_PROMPT, text_file
from agent_swarm_worker.providers.acp.target import Asking, Target
from agent_swarm_worker.providers.kit.native import items
from agent_swarm_worker.providers.opencode.spec import SPEC, OpencodeOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.acp.launch import Plan

CONFIG_VARIABLE = "OPENCODE_CONFIG_CONTENT"
NOTES = "AGENTS.md"


class OpencodeAdapter(AcpAdapter):
    """Runs each task in a process of ``opencode acp``."""

    spec = SPEC
    # It asks for no permission unless its configuration says so (measured with 1.18.33).
    target = Target(
        name="opencode",
        env={"OPENCODE_DISABLE_AUTOUPDATE": "1"},
        steering="prompt",
        tool_names="title",
        usage="last",
        system_prompt="launch",
        asking=Asking(
            env={
                "OPENCODE_PERMISSION": '{"*": "ask"}',
                "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
            },
            modes=(),
            # Loaded even with the switch above, and with that against plug-ins (measured with
            # 1.18.33).
            code_places=(
                *(".opencode/plugin", ".opencode/plugins"),
                *(".opencode/tool", ".opencode/tools"),
                *(".opencode/opencode.json", ".opencode/opencode.jsonc"),
                *("opencode.json", "opencode.jsonc"),
            ),
        ),
    )
    login_variables = (CONFIG_VARIABLE, "OPENCODE_CONFIG")

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        return (*OpencodeOptions.load(env).program, "acp")

    async def plan(self, config: ProviderSessionConfig) -> Plan:
        """Return the choices for one session; raises `BadSetting`."""
        plan = self.plan_of(config, self.target)
        settings = own_settings(config.env)
        settings |= {"autoupdate": False, "share": "disabled"}
        if "/" in config.model:
            settings["model"] = config.model
        files = plan.files
        if config.system_prompt:
            path = config.private_dir / SYSTEM_PROMPT
            files = (*files, text_file(path, config.system_prompt))
            settings["instructions"] = [*items(settings.get("instructions")), str(path)]
        notes = config.cwd / NOTES
        if config.permissions is not None and await config.guest.exists(notes):
            # They belong to the repository's configuration, which is not read then.
            settings["instructions"] = [*items(settings.get("instructions")), str(notes)]
        env = {**plan.env, CONFIG_VARIABLE: orjson.dumps(settings).decode()}
        return replace(plan, env=env, files=files, has_system_prompt=bool(config.system_prompt))


def own_settings(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the operator's configuration in the environment; raises `BadSetting`."""
    content = OpencodeOptions.load(env).config_content
    try:
        found = orjson.loads(content) if content else {}
    except ValueError as error:
        raise BadSetting(CONFIG_VARIABLE, content, str(error)) from None
    if not isinstance(found, dict):
        raise BadSetting(CONFIG_VARIABLE, content, "expected a JSON object")
    return found
