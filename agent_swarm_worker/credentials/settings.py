"""Declare the variables of login commands and of sessions' logins."""

from __future__ import annotations

from pathlib import Path

from agent_swarm_worker.settings import SettingsModel, live
from agent_swarm_worker.settings.base import Stripped  # noqa: TC001 - pydantic reads it


class LoginSettings(SettingsModel):
    """Variables read besides the login pool."""

    # --- logins
    issuer: Stripped = live("CODEX_OAUTH_ISSUER", default="")
    """Base URL of the OAuth server that makes and renews the logins, if it is not the vendor's;
    HTTPS, or loopback."""
    display: str = live("DISPLAY", default="", is_native=True)
    """With this, ``WAYLAND_DISPLAY`` or ``BROWSER``, ``swarm-worker login`` opens a browser."""
    wayland_display: str = live("WAYLAND_DISPLAY", default="", is_native=True)
    """See ``DISPLAY``."""
    browser: str = live("BROWSER", default="", is_native=True)
    """See ``DISPLAY``."""
    codex_oauth: str = live("CODEX_OAUTH", default="", is_native=True, is_shared=True)
    openai_api_key: str = live("OPENAI_API_KEY", default="", is_native=True, is_shared=True)
    codex_home: Stripped = live("CODEX_HOME", default="", is_native=True, is_shared=True)
    home: str = live("HOME", default="/", is_native=True, is_shared=True)

    @property
    def has_screen(self) -> bool:
        """Whether there is a display for a browser."""
        return bool(self.display or self.wayland_display or self.browser)

    @property
    def login_dir(self) -> Path:
        """Directory of the codex program's own login."""
        return Path(self.codex_home) if self.codex_home else Path(self.home) / ".codex"
