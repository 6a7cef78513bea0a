"""The worker's own settings, and the base of every harness's options.

The names are those of the public worker, so that its containers and charts keep working; names that
only this worker has start with ``SWARM_``. ``docs/configuration.md`` has the fields, the texts
below them, and the comments that group them.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from agent_swarm_worker.settings.base import (
    CommaList,
    Durations,
    Flag,
    MaybeFlag,
    SettingsModel,
    Stripped,
    Truthy,
    boot,
    json_of,
    live,
    operator_only,
)

MAX_NAME_BYTES = 200
"""For the name of a folder; file systems take 255."""


class Settings(SettingsModel):
    """The worker's settings."""

    # --- the swarm API
    agent_swarm_api_key: str | None = operator_only("AGENT_SWARM_API_KEY", keeps_blank=True)
    """The API key. Wins over ``API_KEY`` even when it is empty (docs/api.md 1.1)."""
    plain_api_key: str = operator_only("API_KEY", default="")
    """The API key under its other name."""
    base_url: str | None = operator_only("MCP_BASE_URL")
    """Base URL of the swarm API; REST and MCP share it. ``http://localhost:<PORT>`` by default."""
    port: int = operator_only("PORT", default=3013, ge=1, le=65535)
    """Only used to build the default base URL."""
    api_timeout_s: float = boot("SWARM_API_TIMEOUT_S", default=15.0, gt=0, le=600)
    """Time limit of every API call."""
    api_ready_timeout_s: int = boot("WORKER_API_READY_TIMEOUT_SECONDS", default=90, ge=1, le=86400)
    """How long boot waits for the API before it gives up with exit code 1."""

    # --- who this worker is
    agent_id: str | None = operator_only("AGENT_ID")
    """Stable identity. Without it one is made up once and kept in the state directory."""
    agent_name: str | None = live("AGENT_NAME")
    """What people see. By default the template's name, else role and the start of the id."""
    agent_role: Stripped = operator_only("AGENT_ROLE", default="worker", max_length=100)
    """The role this agent is registered with, such as ``coder``. ``lead`` delegates to workers;
    with any other ``swarm-worker run`` runs a worker."""
    capabilities: CommaList = live("CAPABILITIES", default=())
    """Comma-separated tags that leads route by."""
    template_id: str | None = boot("TEMPLATE_ID")
    """Persona template that a new agent's profile starts from."""
    template_registry_url: str = boot("TEMPLATE_REGISTRY_URL", default="")
    """Where ``TEMPLATE_ID`` is fetched from; no registry is asked unless this is set."""

    # --- the harness
    harness_provider: str | None = live("HARNESS_PROVIDER")
    """Which harness runs the sessions: ``claude`` by default, ``subprocess``, any installed one."""
    pass_env: CommaList = operator_only("SWARM_PASS_ENV", default=())
    """Comma-separated names of variables that children get although they are withheld by rule
    ([secrets.md](secrets.md))."""
    model_override: str = live("MODEL_OVERRIDE", default="")
    """Model of this agent's sessions; a task that names one has the last word."""
    reasoning_effort_override: str | None = live("REASONING_EFFORT_OVERRIDE")
    """Reasoning effort of this agent's sessions: ``off``, ``low``, ``medium``, ``high``, ``xhigh``
    or ``max``; a task that names one has the last word."""
    model_tier_map: str | None = live("MODEL_TIER_MAP")
    """JSON object from tier to model; ``MODEL_TIER_SMOL`` and its siblings win over it."""
    model_tier_smol: str | None = live("MODEL_TIER_SMOL")
    """Model for tasks of the tier ``smol``."""
    model_tier_regular: str | None = live("MODEL_TIER_REGULAR")
    """Model for tasks of the tier ``regular``."""
    model_tier_smart: str | None = live("MODEL_TIER_SMART")
    """Model for tasks of the tier ``smart``."""
    model_tier_ultra: str | None = live("MODEL_TIER_ULTRA")
    """Model for tasks of the tier ``ultra``."""
    resume_mode: Literal["auto", "native", "fork", "preamble"] = live("RESUME_MODE", default="auto")
    """How a follow-up continues its parent: the harness's own session, a copy of it where the
    harness can make one (``fork``; else the session itself), or a preamble."""
    max_concurrent_tasks: int | None = live("MAX_CONCURRENT_TASKS", ge=1, le=1000)
    """Sessions at once; a worker runs 1 and a lead 2 by default."""
    codex_credits_exhausted_cooldown_ms: int = live(
        "CODEX_CREDITS_EXHAUSTED_COOLDOWN_MS", default=7_200_000
    )
    """Milliseconds for which a credential rests that has no credit left and does not say until
    when; kept between five minutes and seven days. Holds for every harness."""
    yolo: Flag = live("YOLO", default=False)
    """Noted in the session's journal, for compatibility; it changes nothing else."""

    # --- prompts
    system_prompt: str = live("SYSTEM_PROMPT", default="")
    """Appended to every system prompt; ``--system-prompt`` wins over it."""
    system_prompt_file: Path | None = operator_only("SYSTEM_PROMPT_FILE")
    """The same from a file; ``SYSTEM_PROMPT`` wins over it."""
    max_skill_chars: int = live("MAX_SKILL_CHARS", default=100_000, ge=1)
    """How much of a skill goes into the prompt of a harness that has no commands of its own."""
    context_preamble_max_tokens: int = live("CONTEXT_PREAMBLE_MAX_TOKENS", default=2000, ge=1)
    """Length of the story so far in the prompt of a follow-up."""
    context_preamble_resume_max_tokens: int = live(
        "CONTEXT_PREAMBLE_RESUME_MAX_TOKENS", default=4000, ge=1
    )
    """The same for a task that goes on after an interruption."""
    memory_raters: CommaList = live("MEMORY_RATERS", default=())
    """Comma-separated; with ``explicit-self`` the agent is asked to rate the memories it is
    shown."""
    skip_session_summary: Truthy = live("SKIP_SESSION_SUMMARY", default=False)
    """Make no summaries of sessions: any value but ``0``, ``false``, ``off`` and ``no``. Otherwise
    a small model summarises each session that ended by itself, and the summary becomes a memory
    ([api.md](api.md), 15.5)."""
    memory_rater_model: Stripped = live("MEMORY_RATER_MODEL", default="")
    """The model of these summaries, instead of the small one of the credential's vendor."""
    scripts_only_mcp: Flag = live("SCRIPTS_ONLY_MCP", default=False)
    """Prompts for a swarm whose tools are called from scripts."""
    slack_disable: Flag = live("SLACK_DISABLE", default=False)
    """Leave the Slack part out of the prompts although there are tokens."""
    slack_bot_token: str = live("SLACK_BOT_TOKEN", default="")
    """With ``SLACK_APP_TOKEN``: the prompts explain how to use Slack."""
    slack_app_token: str = live("SLACK_APP_TOKEN", default="")
    """See ``SLACK_BOT_TOKEN``."""
    agent_fs_api_url: str = live("AGENT_FS_API_URL", default="")
    """Address of the shared drive; the prompts explain it if it is set."""
    app_url: str = live("APP_URL", "DASHBOARD_URL", default="")
    """Address of the dashboard, for links in prompts."""

    # --- where things lie, and how much of it
    state_dir: Path | None = operator_only("SWARM_STATE_DIR")
    """The worker's own directory; one per agent, locked while it runs. By default
    ``<SWARM_WORKSPACE_DIR>/personal/.swarm-worker`` if that can be written, else
    ``swarm-worker`` under ``XDG_STATE_HOME``."""
    log_dir: Path | None = operator_only("LOG_DIR")
    """Root of the session journals; ``<state dir>/logs`` by default."""
    log_session_id: str | None = operator_only("SESSION_ID")
    """Name of this process's folder under the log root; a random one by default."""
    workspace_dir: Path = operator_only("SWARM_WORKSPACE_DIR", default=Path("/workspace"))
    """Where identity files and clones live, if it exists."""
    home: Path = operator_only("HOME", default=Path("/"))
    """Where harnesses keep their skills and sessions."""
    xdg_state_home: Path | None = operator_only("XDG_STATE_HOME")
    """``<HOME>/.local/state`` by default."""
    journal_max_mb: int = live("SWARM_JOURNAL_MAX_MB", default=1024, ge=1, le=1_000_000)
    """MiB one session may record; debug lines are left out from half of it on, then others."""
    journals_total_mb: int = live("SWARM_JOURNALS_TOTAL_MB", default=10_240, ge=0)
    """MiB of all journals; above it the oldest whose lines have arrived are deleted. 0 = any."""
    journals_max_days: float = live("SWARM_JOURNALS_MAX_DAYS", default=30.0, ge=0)
    """Age at which a journal whose lines have arrived is deleted. 0 = never."""
    outbox_max_mb: int = boot("SWARM_OUTBOX_MAX_MB", default=64, ge=1, le=1_000_000)
    """MiB of writes that may wait; above it context, tool events, logs and progress give way."""

    # --- timing
    poll_interval_s: float = live("SWARM_POLL_INTERVAL_S", default=2.0, gt=0, le=300)
    """How often the swarm is asked for work while a slot is free."""
    heartbeat_interval_s: float = live("SWARM_HEARTBEAT_INTERVAL_S", default=3.0, gt=0, le=60)
    """How often the swarm is told that a session is alive."""
    cancel_check_interval_s: float = live("SWARM_CANCEL_CHECK_INTERVAL_S", default=1.0, gt=0, le=60)
    """How often the swarm is asked whether a running task was cancelled."""
    reconfigure_interval_s: float = live(
        "SWARM_RECONFIGURE_INTERVAL_S", default=10.0, gt=0, le=3600
    )
    """How often the swarm's configuration rows are read."""
    events_flush_interval_s: float = live("SWARM_EVENTS_FLUSH_INTERVAL_S", default=5.0, gt=0, le=60)
    """How often a session's tool events are sent."""
    log_flush_interval_s: float = live("SWARM_LOG_FLUSH_INTERVAL_S", default=1.0, gt=0, le=60)
    """How often a session's log lines are sent."""
    shutdown_timeout_ms: int = live("SHUTDOWN_TIMEOUT", default=25_000, ge=0, le=86_400_000)
    """Milliseconds from the first signal to the exit; keep the container's grace above it."""
    boot_initial_backoff_ms: int = boot("BOOT_INITIAL_BACKOFF_MS", default=2000, ge=1)
    """Milliseconds before the second look for a credential; doubled each time."""
    boot_max_backoff_ms: int = boot("BOOT_MAX_BACKOFF_MS", default=30_000, ge=1)
    """The most milliseconds between two looks for a credential."""
    boot_max_wait_s: int = boot("BOOT_MAX_WAIT_SECONDS", default=0, ge=0)
    """How long to wait for a credential; 0 waits for ever, else exit code 78."""
    session_timeout_s: float = live("SWARM_SESSION_TIMEOUT_S", default=0.0, ge=0)
    """Wall-clock limit of a session; 0 = none."""
    session_silence_s: float = live("SWARM_SESSION_SILENCE_S", default=1800.0, ge=0)
    """A session that says nothing for this long is ended; 0 = never. It is reported as stalled
    after half of it."""
    session_timeout_by_harness: Durations = live("SWARM_SESSION_TIMEOUT_BY_HARNESS", default={})
    """Wall-clock limits that differ by harness, such as ``claude=45m,codex=2h``, or a JSON object;
    durations in seconds or with ``h``, ``m``, ``s``; ``off`` = none."""
    session_silence_by_harness: Durations = live("SWARM_SESSION_SILENCE_BY_HARNESS", default={})
    """The same for how long a session may say nothing."""
    task_limit_max_s: float = live("SWARM_TASK_LIMIT_MAX_S", default=14_400.0, ge=0)
    """The most that a task's own tags (``timeout:2h``, ``silence:1h``) may ask for, unless every
    session of its harness may have more; 0 = tasks may ask for anything, and for no limit."""
    result_grace_s: float = live("SWARM_RESULT_GRACE_S", default=10.0, gt=0, le=3600)
    """How long a harness may stay after its final event before it is ended."""

    # --- switches
    sync_skills: MaybeFlag = operator_only("SWARM_SYNC_SKILLS")
    """Keep the harnesses' skill directories under ``HOME`` equal to what the swarm has installed.
    By default where there is a workspace directory, that is in a container, and not in a person's
    home."""
    cred_check_disable: bool = boot("CRED_CHECK_DISABLE", default=False)
    """Exactly ``1``: start without waiting for a credential, and do not report its state."""
    steering_enabled: Flag = live("STEERING_ENABLED", default=False)
    """Deliver messages to running sessions, where the harness can take them."""
    log_level: Literal["debug", "info", "warning", "error"] = boot(
        "SWARM_LOG_LEVEL", default="info"
    )
    """The least severe lines of the worker's own log that are shown."""
    log_format: Literal["auto", "human", "json"] = boot("SWARM_LOG_FORMAT", default="auto")
    """Readable lines or JSON; ``auto`` is readable on a terminal."""

    @field_validator("agent_role")
    @classmethod
    def _known_role_in_lower_case(cls, value: str) -> str:
        if not value.isprintable():
            msg = "control characters cannot be part of a role"
            raise ValueError(msg)
        return value.lower() if value.lower() in {"worker", "lead"} else value

    @field_validator("model_tier_map")
    @classmethod
    def _a_table_of_models(cls, value: str | None) -> str | None:
        table = json_of(value) if value else {}
        if not isinstance(table, dict) or not all(
            model is None or isinstance(model, str) for model in table.values()
        ):
            msg = "expected a JSON object from tier to model"
            raise ValueError(msg)
        return value

    @field_validator("log_session_id")
    @classmethod
    def _name_of_a_folder(cls, value: str | None) -> str | None:
        name = value or "x"
        is_plain = name.isprintable() and "/" not in name and name not in {".", ".."}
        if not is_plain or len(name.encode()) > MAX_NAME_BYTES:
            msg = f"expected the name of a folder, at most {MAX_NAME_BYTES} bytes"
            raise ValueError(msg)
        return value

    @field_validator("cred_check_disable", mode="before")
    @classmethod
    def _only_one_disables(cls, value: object) -> object:
        return value == "1" if isinstance(value, str) else value

    @field_validator("reasoning_effort_override")
    @classmethod
    def _known_effort(cls, value: str | None) -> str | None:
        if value is not None and value not in EFFORTS:
            msg = f"expected one of {', '.join(EFFORTS)}"
            raise ValueError(msg)
        return value

    @property
    def api_key(self) -> str:
        """The API key to use."""
        return self.plain_api_key if self.agent_swarm_api_key is None else self.agent_swarm_api_key

    @property
    def api_url(self) -> str:
        """Base URL without a trailing slash."""
        return (self.base_url or f"http://localhost:{self.port}").strip().rstrip("/")

    @property
    def slack_enabled(self) -> bool:
        """True if prompts explain Slack."""
        return not self.slack_disable and bool(self.slack_bot_token and self.slack_app_token)

    @property
    def drain_s(self) -> float:
        """Seconds from the first signal to the exit."""
        return self.shutdown_timeout_ms / 1000

    @property
    def human_logs(self) -> bool | None:
        """Whether log lines are for people; ``None``: if the output is a terminal."""
        return {"human": True, "json": False}.get(self.log_format)

    def slots(self, role: str) -> int:
        """Return how many sessions may run at once."""
        return self.max_concurrent_tasks or (2 if role == "lead" else 1)

    def state_root(self) -> Path:
        """Return the directory above the agents' state directories."""
        if self.state_dir:
            return self.state_dir
        container_home = self.workspace_dir / "personal"
        if container_home.is_dir() and os.access(container_home, os.W_OK):
            return container_home / ".swarm-worker"
        return (self.xdg_state_home or self.home / ".local" / "state") / "swarm-worker"


def default_agent_name(role: str, agent_id: str) -> str:
    """Return the name an unnamed agent registers under."""
    host = socket.gethostname().split(".")[0]
    return f"{role}-{agent_id[:8]}" if agent_id else f"{role}-{host}"


EFFORTS = ("off", "low", "medium", "high", "xhigh", "max")
TIERS = ("smol", "regular", "smart", "ultra")


class ModelSettings(SettingsModel):
    """What `worker.run.model_choice` chooses from besides the task; see the core model."""

    model_override: Stripped = live("MODEL_OVERRIDE", default="", is_shared=True)
    reasoning_effort_override: Stripped = live(
        "REASONING_EFFORT_OVERRIDE", default="", is_shared=True
    )
    model_tier_map: str | None = live("MODEL_TIER_MAP", is_shared=True)
    model_tier_smol: Stripped = live("MODEL_TIER_SMOL", default="", is_shared=True)
    model_tier_regular: Stripped = live("MODEL_TIER_REGULAR", default="", is_shared=True)
    model_tier_smart: Stripped = live("MODEL_TIER_SMART", default="", is_shared=True)
    model_tier_ultra: Stripped = live("MODEL_TIER_ULTRA", default="", is_shared=True)

    def of_tier(self, tier: str) -> str:
        """Return the model of a tier (one of `TIERS`); empty if none is set."""
        return {
            "smol": self.model_tier_smol,
            "regular": self.model_tier_regular,
            "smart": self.model_tier_smart,
            "ultra": self.model_tier_ultra,
        }[tier]


class HarnessOptions(SettingsModel):
    """The settings of one harness, declared in ``spec.py`` of its package.

    They are read from a session's environment, so a configuration row applies to the next session.
    """

    home: str = operator_only("HOME", default="", is_shared=True, is_native=True)
