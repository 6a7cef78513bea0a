"""The harnesses of the scenarios, one entry for each: `CLIS`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import real_acp
import real_gemini
import real_pi_cli
import real_targets
from clis import Cli
from harnesses import SCRIPTED
from pi_env import SHELL, pi_env
from real_claude import MORE, hermetic_env
from real_codex import TRANSPORTS, codex_env

_CODEX_LIMIT = "the CLI's own limit is 1,048,576 characters with the worker's; 300,000 arrive"
_WRAPPED = '{"name": "mcp__agent-swarm__NAME", "arguments": ARGS}'
_CALL = "return await tools.mcp_agent_swarm.SNAKE(QUOTED)"
_NO_PROCESS = "it runs inside the worker: its crash is that of the worker"
_ANY_PROGRAM = "the program is the operator's: it asks a model, and continues a session, or not"

_OPENCODE = Cli(
    name="opencode",
    env=real_acp.opencode_env,
    shell="bash",
    call="[[tool:agent-swarm_NAME ARGS]]",
)
PINNED = (
    Cli(
        name="claude",
        env=partial(hermetic_env, HARNESS_PROVIDER="claude", CLAUDE_CODE_MAX_RETRIES="0"),
        quick=("500",),
    ),
    *(
        Cli(
            name=name,
            env=partial(codex_env, HARNESS_PROVIDER="codex", CODEX_TRANSPORT=transport),
            is_variant=name != "codex",
            quick=("500",),
            cannot={"long": _CODEX_LIMIT},
        )
        for name, transport in zip(("codex", "codex-exec"), TRANSPORTS, strict=True)
    ),
    Cli(
        name="gemini",
        env=partial(real_gemini.gemini_env, HARNESS_PROVIDER="gemini"),
        shell=real_gemini.SHELL,
        call="[[tool:mcp_agent-swarm_NAME ARGS]]",
    ),
    Cli(
        name="pi-cli",
        env=partial(real_pi_cli.pi_cli_env, HARNESS_PROVIDER="pi-cli"),
        shell=real_pi_cli.SHELL,
    ),
    _OPENCODE,
    Cli(
        name="qwen",
        env=real_acp.qwen_env,
        shell="run_shell_command",
        call=f'[[tool:tool_search {{"query": "NAME"}}]] [[tool:tool_call {_WRAPPED}]]',
        cannot={"long": "the CLI refuses what it takes for more than 177,000 tokens"},
    ),
    Cli(
        name="grok",
        env=real_acp.grok_env,
        shell="run_terminal_command",
        shell_arguments={"description": "scripted"},
        call='[[tool:use_tool {"tool_name": "agent-swarm__NAME", "tool_input": ARGS}]]',
        cannot={"long": "the CLI shortens a prompt of more than 180,000 characters"},
    ),
)
"""The command lines of `make e2e`."""

_DROID = Cli(
    name="droid",
    env=real_acp.droid_env,
    program=MORE / "bin/droid",
    shell="Execute",
    shell_arguments={"riskLevelReason": "scripted", "riskLevel": "low", "summary": "x"},
    call="[[tool:agent-swarm___NAME ARGS]]",
)
OTHERS = (
    Cli(
        name="copilot",
        env=real_acp.copilot_env,
        program=MORE / "bin/copilot",
        shell="bash",
        call="[[tool:agent-swarm-NAME ARGS]]",
    ),
    _DROID,
    replace(_DROID, name="factory", env=partial(real_acp.droid_env, HARNESS_PROVIDER="factory")),
    Cli(
        name="pi",
        env=partial(pi_env, api="anthropic", HARNESS_PROVIDER="pi"),
        shell=SHELL,
        has_no={"crash": _NO_PROCESS},
    ),
    Cli(
        name="subprocess",
        env=SCRIPTED.env,
        has_no=dict.fromkeys(("refused", "cut", "resume", "lost"), _ANY_PROGRAM),
    ),
    replace(_OPENCODE, name="acp", env=real_targets.custom_env),
)
TARGETS = (
    Cli(
        name="acp-claude-agent-acp",
        env=real_targets.claude_env,
        program=MORE / "bin/claude-agent-acp",
    ),
    Cli(
        name="acp-codex-acp",
        env=real_targets.codex_env,
        program=MORE / "bin/codex-acp",
        cannot={"long": _CODEX_LIMIT},
    ),
    Cli(
        name="acp-cline",
        env=real_targets.cline_env,
        program=MORE / "bin/cline",
        shell="run_commands",
        shell_arguments={"commands": ["COMMAND"]},
        call="[[tool:agent-swarm__NAME ARGS]]",
    ),
    Cli(name="acp-kimi", env=real_targets.kimi_env, program=MORE / "bin/kimi"),
    replace(_OPENCODE, name="acp-kilo", env=real_targets.kilo_env, program=MORE / "bin/kilo"),
    Cli(
        name="acp-mistral-vibe",
        env=real_targets.vibe_env,
        program=MORE / "bin/vibe-acp",
        shell="bash",
        call=f'[[tool:run_typescript {{"code": "async function main() {{ {_CALL} }}"}}]]',
    ),
    Cli(
        name="acp-fast-agent",
        env=real_targets.fast_agent_env,
        program=MORE / "bin/fast-agent",
        shell="bash",
        call="[[tool:agent-swarm__NAME ARGS]]",
    ),
    Cli(
        name="acp-deepagents",
        env=real_targets.deepagents_env,
        program=MORE / "bin/deepagents",
        shell="execute",
        cannot={
            "mcp": "a library: only the script on it can give the tools to its graph",
            "resume": "it keeps its sessions in memory only",
        },
    ),
    Cli(
        name="acp-pi-acp",
        env=real_targets.pi_acp_env,
        program=MORE / "bin/pi-acp",
        shell="bash",
        call="[[tool:mcp__agent_swarm__SNAKE ARGS]]",
    ),
    Cli(
        name="acp-gemini",
        env=real_targets.gemini_env,
        shell=real_gemini.SHELL,
        call="[[tool:mcp_agent-swarm_NAME ARGS]]",
        cannot={"resume": "loading a session damages its record, so the worker never does"},
    ),
)
"""The rows of ``ACP_TARGET``."""

CLIS = {
    cli.name: cli for cli in (*(replace(cli, is_pinned=True) for cli in PINNED), *OTHERS, *TARGETS)
}
