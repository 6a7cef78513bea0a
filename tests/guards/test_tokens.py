"""Counting tokens, and never over the network."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.guards import tokens
from agent_swarm_worker.guards.tokens import count_tokens, truncate_to_tokens


@pytest.fixture(autouse=True)
def forgotten():
    """Let each test look for the table anew."""
    tokens._encoding.cache_clear()
    yield
    tokens._encoding.cache_clear()


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def one_token_a_byte(monkeypatch):
    """A real tokenizer with the smallest possible table."""
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding(
        "bytes", pat_str=r"[\s\S]+?", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 256}
    )
    monkeypatch.setattr(tokens, "_encoding", lambda: encoding)


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("éé", 1), ("漢字漢字", 3)]
)
def test_without_a_table_four_bytes_are_a_token(monkeypatch, tmp_path, no_network, text, count):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert count_tokens(text) == count


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_a_table_that_is_not_genuine_is_neither_used_nor_deleted(
    monkeypatch, tmp_path, no_network, variable
):
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    forged = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"
    forged.write_bytes(b"IQ== 0\n")
    assert count_tokens("abcdefgh") == 2
    assert forged.read_bytes() == b"IQ== 0\n"


def test_a_cache_that_is_switched_off_is_not_asked(monkeypatch, no_network):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert count_tokens("abcdefgh") == 2


def test_with_a_tokenizer_its_tokens_count(one_token_a_byte):
    assert count_tokens("abcdefgh") == 8
    assert count_tokens("é<|endoftext|>\ud800") == 2 + 13 + 3
    assert truncate_to_tokens("abcdefgh", 3) == "abc"


def test_a_megabyte_without_a_space_takes_no_time(one_token_a_byte):
    assert count_tokens("x" * 1_000_000) == 1_000_000
    assert len(truncate_to_tokens("x" * 1_000_000, 500_000)) == 500_000


@given(st.text(), st.integers(0, 40), st.sampled_from(["", "[cut]"]))
def test_what_is_cut_fits_and_is_the_beginning(text, limit, notice):
    short = truncate_to_tokens(text, limit, notice=notice)
    assert count_tokens(short) <= limit
    if short not in {text, ""}:
        assert short.endswith(notice)
        assert text.startswith(short.removesuffix(notice).removesuffix("\n"))


def test_a_long_text_is_cut_far_from_its_beginning():
    short = truncate_to_tokens("word " * 20_000, 10_000, notice="[cut]")
    assert 9_980 < count_tokens(short) <= 10_000
    assert short.endswith("\n[cut]")
