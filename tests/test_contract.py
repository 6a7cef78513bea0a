"""The interface for other distributions: names, shape, and the cost of importing it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
import typing

import pytest
from patience import WAIT_S

from agent_swarm_worker import contract

NAMES = (
    "ActionKind AppendFile AskSmallModel Capabilities Command Compaction Completed"
    " ContextUsage CostData Credentials CredentialsByModel Custom DEFAULT_GRACE EndReport"
    " Ending Error EventListener FileInfo Grace Guest GuestCapabilities GuestFiles HangTexts"
    " HarnessSpec Helper Installation Listing LoginTest McpServer Message ModelCost Models"
    " NO_GRACE OpenFile OptionsModel Output PermissionDecided PermissionGate PermissionRequest"
    " PermissionSupport Plan PlanStep PolicyMode PrivateFile Process Program"
    " Progress Prompt ProviderAdapter ProviderEvent ProviderResult ProviderSession"
    " ProviderSessionConfig ProviderTraits RateLimitWindow RawLog RawStderr Reasoning"
    " Redactor RemoteSessions ReplayableAdapter Result SdkLogin Service SessionInit Skills"
    " SmallAnswer SmallQuestion SteerDelivery SteerMode SteerableSession StreamRedactor"
    " TextTranslator ToolEnd ToolStart Translator Verdict"
)
CLASSES = [
    value
    for value in vars(contract).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]
HEAVY = {
    "anyio", "httpx2", "jsonschema", "mcp", "orjson", "pydantic", "sqlite3", "starlette",
    "structlog", "tenacity", "uvicorn", "ahocorasick_rs",
}  # fmt: skip


def test_the_exported_names():
    tree = ast.parse(inspect.getsource(contract))
    aliases = [one for node in tree.body if isinstance(node, ast.ImportFrom) for one in node.names]
    assert all(one.asname == one.name for one in aliases)
    assert " ".join(sorted(one.name for one in aliases)) == NAMES


def test_data_is_frozen_and_documented():
    for cls in CLASSES:
        assert cls.__dataclass_params__.frozen, cls
        assert hasattr(cls, "__slots__"), cls
        assert inspect.getdoc(cls), cls


def test_every_event_has_a_type_of_its_own():
    events = typing.get_args(contract.ProviderEvent)
    assert len({event.type for event in events}) == len(events) == 15


def test_secrets_of_a_session_are_not_shown():
    shown = {f.name for f in dataclasses.fields(contract.ProviderSessionConfig) if f.repr}
    assert {"api_key", "env"}.isdisjoint(shown)


def modules_after(statement: str) -> set[str]:
    """Return what is imported in a fresh interpreter after this statement."""
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=WAIT_S
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import agent_swarm_worker", "import agent_swarm_worker.contract"]
)
def test_the_contract_costs_nothing(statement: str):
    loaded = modules_after(statement)
    assert not loaded & HEAVY
    ours = {name for name in loaded if name.startswith("agent_swarm_worker")}
    assert all(
        name.startswith("agent_swarm_worker.contract") for name in ours - {"agent_swarm_worker"}
    )


def test_a_worker_does_not_load_what_only_the_local_swarm_needs():
    loaded = modules_after("import agent_swarm_worker.cli.run")
    assert not loaded & {"mcp", "starlette", "uvicorn", "google", "google.genai"}
    assert not any(name.startswith("agent_swarm_worker.local_swarm") for name in loaded)
    # Harnesses come by their entry points, one at a time; schemas when a task has one.
    assert "jsonschema" not in loaded


def test_version_and_help_are_quick():
    loaded = modules_after("from agent_swarm_worker.cli.app import main; main(['version'])")
    assert not loaded & (HEAVY - {"orjson"})
