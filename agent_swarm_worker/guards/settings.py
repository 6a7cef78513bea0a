"""Variables of `guards`: what children get, and where a tokenizer's table is."""

from __future__ import annotations

from agent_swarm_worker.settings import SettingsModel, boot, live
from agent_swarm_worker.settings.kinds import (  # noqa: TC001 - pydantic reads them
    CommaList,
    YesFlag,
)


class ChildEnvSettings(SettingsModel):
    """What changes which variables a child process gets."""

    # --- tracing by the harness itself
    harness_otel: YesFlag = live("SWARM_ENABLE_HARNESS_OTEL", default=False)
    """``1``, ``true``, ``on`` or ``yes``: the harness sends traces by itself, and is given the
    ``OTEL_EXPORTER_OTLP_*HEADERS`` of the operator's collector."""
    claude_code_otel: YesFlag = live("SWARM_ENABLE_CLAUDE_CODE_OTEL", default=False)
    """The same under an older name."""
    pass_env: CommaList = live("SWARM_PASS_ENV", default=(), is_shared=True)

    @property
    def harness_reports_itself(self) -> bool:
        """True if the harness is to send traces by itself."""
        return self.harness_otel or self.claude_code_otel


class TokenizerSettings(SettingsModel):
    """Where tiktoken looks for its tables."""

    # --- counting tokens
    cache_dir: str | None = boot(
        "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", is_native=True, keeps_blank=True
    )
    """Folder with the table that counts tokens of prompts; a blank value switches it off."""
