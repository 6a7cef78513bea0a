"""Variables that choose the harness when nobody named one."""

from __future__ import annotations

from agent_swarm_worker.settings import SettingsModel, live
from agent_swarm_worker.settings.kinds import Stripped  # noqa: TC001 - pydantic reads it


class HarnessChoice(SettingsModel):
    """The wish, and the credentials that stand for one (API reference 1.2, step 3)."""

    provider: Stripped = live("HARNESS_PROVIDER", default="", is_shared=True)
    openrouter_api_key: str = live("OPENROUTER_API_KEY", default="", is_native=True, is_shared=True)
    anthropic_api_key: str = live("ANTHROPIC_API_KEY", default="", is_native=True, is_shared=True)
    claude_code_oauth_token: str = live(
        "CLAUDE_CODE_OAUTH_TOKEN", default="", is_native=True, is_shared=True
    )

    @property
    def has_only_openrouter(self) -> bool:
        """True if the only vendor that could be logged in at is OpenRouter."""
        others = self.anthropic_api_key or self.claude_code_oauth_token
        return bool(self.openrouter_api_key and not others)
