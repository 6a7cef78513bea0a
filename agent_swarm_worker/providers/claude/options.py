"""Variables of the harness ``claude``."""

from __future__ import annotations

from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.kinds import (  # noqa: TC001 - pydantic reads them
    Lowered,
    ShellWords,
    Stripped,
    YesFlag,
)


class ClaudeOptions(HarnessOptions):
    """What the harness reads; everything else in a session's environment is the CLI's."""

    # --- the harness claude
    program: ShellWords = live(
        "CLAUDE_BINARY", default=("claude",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    queue_steering: Lowered = live("CLAUDE_QUEUE_STEERING", default="auto")
    """Start the CLI so that it takes messages while it runs: ``on``, ``off``, or ``auto``, which
    asks the CLI for its version."""
    oauth_token: Stripped = live("CLAUDE_CODE_OAUTH_TOKEN", default="", is_native=True)
    """Token of a subscription; may be a pool. With it the CLI is not given an API key."""
    api_key: Stripped = live("ANTHROPIC_API_KEY", default="", is_native=True)
    """API key; may be a pool."""
    telemetry: YesFlag = live("CLAUDE_CODE_ENABLE_TELEMETRY", default=False, is_native=True)
    """The CLI sends traces by itself; then it sees ``OTEL_EXPORTER_OTLP_*HEADERS``, too."""
    config_dir: str = live("CLAUDE_CONFIG_DIR", default="", is_native=True)
    """Where the CLI keeps its sessions; ``<HOME>/.claude`` by default."""

    @property
    def sessions_home(self) -> str:
        """The CLI's own folder; empty if nothing says where it is."""
        return self.config_dir or (self.home and f"{self.home}/.claude")
