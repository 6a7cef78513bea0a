"""Variables of code hosts: who commits, and where a clone comes from."""

from __future__ import annotations

from agent_swarm_worker.settings import SettingsModel, boot, live


class GitSettings(SettingsModel):
    """What the worker itself reads; git and the hosts' own tools read more."""

    # --- git and code hosts
    github_token: str = boot("GITHUB_TOKEN", default="", is_native=True)
    """In a container: git logs in at GitHub with it, and commits get the agent's name."""
    github_name: str = live("GITHUB_NAME", default="", is_native=True)
    """Name in the commits of an agent, whatever the host; ``GIT_AUTHOR_NAME`` and
    ``GIT_COMMITTER_NAME`` win over it."""
    github_email: str = live("GITHUB_EMAIL", default="", is_native=True)
    """Address in the commits of an agent, like ``GITHUB_NAME``."""
    gitlab_token: str = boot("GITLAB_TOKEN", default="", is_native=True)
    """In a container: git logs in at GitLab with it."""
    gitlab_name: str = boot("GITLAB_NAME", default="", is_native=True)
    """In a container without ``GITHUB_TOKEN``: like ``GITHUB_NAME``, and wins over it."""
    gitlab_email: str = boot("GITLAB_EMAIL", default="", is_native=True)
    """In a container without ``GITHUB_TOKEN``: like ``GITHUB_EMAIL``, and wins over it."""
    gitlab_url: str = boot("GITLAB_URL", default="", is_native=True)
    """Address of GitLab; ``https://gitlab.com`` by default."""
