from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from prompts_doubles import SECRET, ManualClock

from agent_swarm_worker.contract import ProviderTraits
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.prompts.render import Renderer, TemplateLibrary, shipped_texts
from agent_swarm_worker.prompts.system import AgentContext
from agent_swarm_worker.prompts.user import PromptHarness
from agent_swarm_worker.providers.registry import adapter_spec, spec_of
from agent_swarm_worker.settings import Settings


@pytest.fixture
def library():
    return TemplateLibrary(shipped_texts("prompts"))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def local(library, clock):
    """A build that has no server to ask."""
    return Renderer(library, clock=clock).build()


@pytest.fixture
def redactor():
    scrubber = Scrubber()
    scrubber.add("OPERATOR_KEY", SECRET)
    return scrubber


def spec_like(name, **traits):
    """The spec of an installed harness, or of one that is not, with these traits."""
    spec = spec_of(name)
    as_traits = ProviderTraits(**{"has_mcp": True, **traits})
    return replace(adapter_spec(SimpleNamespace(name=name, traits=as_traits)), prompt=spec.prompt)


@pytest.fixture
def make_agent():
    def make(env=None, *, harness="claude", traits=None, **changes):
        values = {
            "agent_id": "agent-1",
            "name": "Ada",
            "spec": spec_like(harness, **{"steer_modes": ("queue",), **(traits or {})}),
            "settings": Settings.load(env or {}),
        }
        return AgentContext(**{**values, **changes})

    return make


@pytest.fixture
def harness(tmp_path):
    return PromptHarness(format_command=lambda name: f"/{name}", download_dir=tmp_path / "files")
