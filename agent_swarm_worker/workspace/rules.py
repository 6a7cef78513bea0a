"""Read the operator's rules for commands and uncommitted work around a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agent_swarm_worker.errors import BadSetting, UnreadableFile
from agent_swarm_worker.settings import SettingsModel, operator_only
from agent_swarm_worker.workspace.clone_config import repository_name

if TYPE_CHECKING:
    from collections.abc import Mapping

Uncommitted: TypeAlias = Literal["leave", "commit", "aside"]
_FILE = "SWARM_REPOSITORIES_FILE"
_MAX_FILE_BYTES = 1024 * 1024


class WorkspaceSettings(SettingsModel):
    """Commands around a session, and what becomes of uncommitted work."""

    # --- before and after a session
    setup_command: str = operator_only("SWARM_SETUP_COMMAND", default="")
    """Shell command that runs before each session, in its directory, sandbox and environment. If it
    fails, the session begins all the same, and its prompt says why."""
    cleanup_command: str = operator_only("SWARM_CLEANUP_COMMAND", default="")
    """The same after the session; its failure is in the worker's log and in the session's."""
    setup_timeout_s: float = operator_only("SWARM_SETUP_TIMEOUT_S", default=600.0, gt=0, le=86400)
    """Time limit of ``SWARM_SETUP_COMMAND``; it is ended with all that it started."""
    cleanup_timeout_s: float = operator_only("SWARM_CLEANUP_TIMEOUT_S", default=60.0, gt=0, le=3600)
    """Time limit of ``SWARM_CLEANUP_COMMAND``; at a shutdown at most 10 seconds."""
    uncommitted: Uncommitted = operator_only("SWARM_UNCOMMITTED", default="leave")
    """What becomes of changes that an agent has not committed in a clone: ``leave`` keeps them for
    the tasks that continue, and the next independent one stashes them; ``commit`` commits them on
    the branch that is checked out; ``aside`` stashes them at once."""
    repositories_file: Path | None = operator_only(_FILE)
    """YAML file with other values for single repositories: a mapping from ``owner/name`` to
    ``setup``, ``cleanup`` and ``uncommitted``, each optional."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    setup: str | None = None
    cleanup: str | None = None
    uncommitted: Uncommitted | None = None


_ENTRIES = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """The rules for one session; an empty command does not run."""

    setup: str
    cleanup: str
    setup_timeout_s: float
    cleanup_timeout_s: float
    uncommitted: Uncommitted


def rules_for(env: Mapping[str, str], repository: str | None) -> SessionRules:
    """Return the rules for a session in `repository`, if any.

    Raises:
        UnreadableFile: the file of the repositories cannot be read.
        BadSetting: it, or a setting, cannot be used.
    """
    settings = WorkspaceSettings.load(env)
    entry = _entry(settings.repositories_file, repository)
    setup, cleanup = entry.setup, entry.cleanup
    return SessionRules(
        setup=settings.setup_command if setup is None else setup,
        cleanup=settings.cleanup_command if cleanup is None else cleanup,
        setup_timeout_s=settings.setup_timeout_s,
        cleanup_timeout_s=settings.cleanup_timeout_s,
        uncommitted=entry.uncommitted or settings.uncommitted,
    )


def _entry(path: Path | None, repository: str | None) -> _Entry:
    if path is None:
        return _Entry()
    import yaml  # noqa: PLC0415 - only a worker with such a file needs it

    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise BadSetting(_FILE, str(path), "the file is larger than 1 MiB")
        document = yaml.safe_load(content) or {}
        entries = _ENTRIES.validate_python(document)
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise BadSetting(_FILE, str(path), f"{where}: {problem['msg']}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadSetting(_FILE, str(path), " ".join(str(error).split())) from None
    if repository is None:
        return _Entry()
    named = {repository_name(name): entry for name, entry in entries.items()}
    return named.get(repository_name(repository), _Entry())
