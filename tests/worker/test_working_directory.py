"""The choice of a session's working directory."""

from __future__ import annotations

from agent_swarm_worker.worker.run.prompting import choose_directory


def test_the_tasks_directory_wins_if_it_exists(tmp_path):
    wanted, clone = tmp_path / "wanted", tmp_path / "clone"
    wanted.mkdir()
    clone.mkdir()
    chosen = choose_directory(str(wanted), clone, tmp_path)
    assert (chosen.path, chosen.source, chosen.missing) == (wanted, "task", None)
    relative = choose_directory("wanted", None, tmp_path)
    assert relative.path == wanted


def test_a_missing_directory_falls_back_and_is_named_with_and_without_a_clone(tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    (tmp_path / "file").touch()
    for gone in ("/no/such/place", str(tmp_path / "file"), "nul\0byte", "x" * 5000):
        with_clone = choose_directory(gone, clone, tmp_path)
        assert (with_clone.path, with_clone.source, with_clone.missing) == (clone, "clone", gone)
        without = choose_directory(gone, None, tmp_path)
        assert (without.path, without.source, without.missing) == (tmp_path, "process", gone)


def test_a_clone_that_is_not_there_is_not_used(tmp_path):
    chosen = choose_directory(None, tmp_path / "gone", tmp_path)
    assert (chosen.path, chosen.source, chosen.missing) == (tmp_path, "process", None)
