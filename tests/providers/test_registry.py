"""Harnesses are found by their entry points, in any distribution."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_swarm_worker.api.wire.resources import ConfigRow
from agent_swarm_worker.contract import ProviderAdapter
from agent_swarm_worker.errors import BadSetting, UnknownProvider, UnusableProvider
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.registry import (
    adapter_spec,
    create_provider,
    distribution_of,
    installed_options,
    known_specs,
    spec_of,
    supported_providers,
)
from agent_swarm_worker.worker.boot.environment import Environment

CODE = """
from agent_swarm_worker.contract import HarnessSpec, ProviderTraits
from agent_swarm_worker.errors import BadSetting

class Adapter:
    name = "{name}"
    spec = HarnessSpec(name="{name}", wire_name="pi")
    async def check(self, env, guest): ...
    async def create_session(self, config): ...
    async def can_resume(self, session_id, config): ...
    def format_command(self, command_name): ...

class Refuses:
    def __init__(self):
        raise BadSetting("THEIR_SETTING", "x", "no such thing")

class Older:
    name = "older"
    traits = ProviderTraits(
        has_mcp=False, steer_modes=("queue",), needs_credential=("OLD_KEY",), wire_name="codex"
    )

def breaks():
    raise ZeroDivisionError
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with these entry points, at the end or the front of the path."""

    def act(dist: str, entries: dict[str, str], *, is_first: bool = False) -> Path:
        site = tmp_path / dist
        info = site / f"{dist}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
        points = "\n".join(f"{name} = {target}" for name, target in entries.items())
        (info / "entry_points.txt").write_text(f"[agent_swarm_worker.providers]\n{points}\n")
        (site / f"{dist}.py").write_text(CODE.format(name=dist))
        path = [str(site), *sys.path] if is_first else [*sys.path, str(site)]
        monkeypatch.setattr(sys, "path", path)
        monkeypatch.delitem(sys.modules, dist, raising=False)
        return site

    return act


def test_each_harness_is_an_extra_of_its_own() -> None:
    """Installing one needs nothing of another; a list of prices where it names no cost."""
    pages = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = pages["project"]["optional-dependencies"]
    for name in pages["project"]["entry-points"]["agent_swarm_worker.providers"]:
        if name == "subprocess":
            continue
        needs_prices = spec_of(name).capabilities.cost_source == "price-table"
        has_prices = any(one.startswith("genai-prices") for one in extras[name])
        assert has_prices or not needs_prices, name


def test_one_that_is_installed_meanwhile_is_found(install: Install):
    """As by ``pip``, into a directory that was read before."""
    site = install("early", {"early": "early:Adapter"})
    assert "late" not in supported_providers()
    info = site / "late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[agent_swarm_worker.providers]\nlate = early:Adapter\n")
    assert {"early", "late"} <= set(supported_providers())


def test_ours_are_there():
    assert {"claude", "codex", "gemini", "pi", "subprocess"} <= set(supported_providers())
    assert list(supported_providers()) == sorted(supported_providers())


@pytest.mark.parametrize("name", supported_providers())
def test_each_keeps_the_contract(name: str):
    adapter = create_provider(name)
    assert isinstance(adapter, ProviderAdapter)
    assert adapter.name == name
    assert distribution_of(name).startswith("agent-swarm-worker ")


@pytest.mark.parametrize("name", ["nonesuch", "", "Claude", "claude "])
def test_an_unknown_name_is_told_with_the_known_ones(name: str):
    with pytest.raises(UnknownProvider) as caught:
        create_provider(name)
    assert caught.value.exit_code == 78
    assert caught.value.supported == supported_providers()
    assert repr(name) in str(caught.value)
    assert ", ".join(supported_providers()) in str(caught.value)


def test_a_provider_of_another_distribution(install: Install):
    install("elsewhere", {"foreign": "elsewhere:Adapter"})
    assert "foreign" in supported_providers()
    adapter = create_provider("foreign")
    assert isinstance(adapter, ProviderAdapter)
    assert adapter.name == "elsewhere"
    assert distribution_of("foreign") == "elsewhere 1.2"


def test_its_spec_is_known_without_its_adapter_being_chosen(install: Install):
    install("elsewhere", {"elsewhere": "elsewhere:Adapter"})
    assert spec_of("elsewhere").wire_name == "pi"
    assert "elsewhere" in [spec.name for spec in known_specs()]


def test_one_that_cannot_be_loaded_is_left_out_of_the_known_ones(install: Install):
    before = known_specs()
    install("elsewhere", {"foreign": "elsewhere:breaks", "others": "absent_module:Adapter"})
    assert known_specs() == before
    assert spec_of("others").name == "others"


UNSOUND = [
    "HarnessSpec(name='elsewhere', options='no class')",
    "HarnessSpec(name='elsewhere', options=int)",
    "HarnessSpec(name='elsewhere', options=Plain)",
    "HarnessSpec(name='elsewhere', skills=None)",
    "HarnessSpec(name='elsewhere', credentials=None)",
    "HarnessSpec(name='elsewhere', credentials=Credentials(withheld=('(',)))",
    "HarnessSpec(name='elsewhere', credentials=Credentials(personal=None))",
    "HarnessSpec(name='elsewhere', error_texts={'network': ('[',)})",
    "sys.exit(3)",
]


@pytest.mark.parametrize("spec", UNSOUND)
def test_a_spec_that_is_none_harms_no_other_harness(install: Install, spec: str):
    before, options = known_specs(), installed_options()
    site = install("elsewhere", {"elsewhere": "elsewhere:Adapter"})
    (site / "elsewhere.py").write_text(
        "import sys\n"
        "from agent_swarm_worker.contract import Credentials, HarnessSpec\n"
        "from agent_swarm_worker.settings import HarnessOptions\n"
        "class Plain(HarnessOptions):\n    a: int = 3\n"
        f"class Adapter:\n    name = 'elsewhere'\n    spec = {spec}\n"
    )
    assert (known_specs(), installed_options()) == (before, options)
    assert spec_of("elsewhere").credentials.variables == ()


def test_a_provider_for_the_previous_contract_has_a_spec_made_of_its_traits(install: Install):
    install("elsewhere", {"older": "elsewhere:Older"})
    spec = adapter_spec(create_provider("older"))
    assert (spec.name, spec.server_name) == ("older", "codex")
    assert spec.credentials.variables == ("OLD_KEY",)
    assert spec.capabilities.steer_modes == ("queue",)
    assert spec.capabilities.mcp_transports == ()
    assert spec in known_specs()


@pytest.mark.parametrize("name", ["claude", "codex", "pi", "subprocess"])
def test_ours_have_the_spec_that_their_entry_point_names(name: str):
    assert create_provider(name).spec is spec_of(name)


def test_only_the_chosen_one_is_imported(install: Install):
    install("elsewhere", {"foreign": "elsewhere:Adapter"})
    assert "foreign" in supported_providers()
    create_provider("subprocess")
    assert "elsewhere" not in sys.modules


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("absent_module:Adapter", "absent_module"),
        ("elsewhere:Absent", "Absent"),
        ("elsewhere:breaks", "ZeroDivisionError"),
        ("elsewhere:__doc__", "not callable"),
    ],
)
def test_one_that_cannot_be_loaded_is_named(install: Install, target: str, why: str):
    install("elsewhere", {"foreign": target})
    with pytest.raises(UnusableProvider) as caught:
        create_provider("foreign")
    assert caught.value.exit_code == 78
    assert str(caught.value).startswith("harness 'foreign' of elsewhere 1.2 cannot be loaded: ")
    assert why in str(caught.value)


def test_what_it_says_on_purpose_is_passed_on(install: Install):
    install("elsewhere", {"foreign": "elsewhere:Refuses"})
    with pytest.raises(BadSetting, match="THEIR_SETTING"):
        create_provider("foreign")


def test_of_two_with_one_name_the_first_on_the_path_counts(install: Install):
    install("later", {"subprocess": "later:Adapter", "shared": "later:Adapter"})
    assert create_provider("subprocess").name == "subprocess"
    install("sooner", {"shared": "sooner:Adapter"}, is_first=True)
    assert create_provider("shared").name == "sooner"
    assert distribution_of("shared") == "sooner 1.2"


SPEC = """
from agent_swarm_worker.contract import HarnessSpec
from agent_swarm_worker.settings import HarnessOptions, live

class Options(HarnessOptions):
    depth: int = live("THEIR_DEPTH", default=3, ge=1)
    words: int = live("THEIR_WORDS", default=3, ge=1, is_checked_late=True)

SPEC = HarnessSpec(name="{name}", options=Options)
"""


def test_options_of_another_distribution_are_checked_at_the_start_and_with_each_row(
    install: Install,
):
    site = install("foreign", {"foreign": "foreign:Adapter"})
    (site / "their_spec.py").write_text(SPEC.format(name="foreign"))
    points = site / "foreign-1.2.dist-info" / "entry_points.txt"
    group = "[agent_swarm_worker.specs]\nforeign = their_spec:SPEC\n"
    points.write_text(points.read_text() + group)
    options = installed_options()["foreign"]
    with pytest.raises(BadSetting, match="THEIR_DEPTH='0' cannot be used"):
        Environment({"THEIR_DEPTH": "0"}, scrubber=Scrubber(), log=Log())
    env = Environment({"THEIR_DEPTH": "5", "THEIR_WORDS": "0"}, scrubber=Scrubber(), log=Log())
    env.apply([ConfigRow(key="THEIR_DEPTH", value="0")])
    assert env.values()["THEIR_DEPTH"] == "5", "a row that cannot be used is passed over"
    env.apply([ConfigRow(key="THEIR_DEPTH", value="7"), ConfigRow(key="THEIR_WORDS", value="2")])
    assert options.load(env.values()).model_dump(include={"depth", "words"}) == {
        "depth": 7,
        "words": 2,
    }
