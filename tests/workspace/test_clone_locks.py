"""Several tasks and several workers that use one clone."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import anyio
import pytest

from agent_swarm_worker.workspace.repository import CloneLocks, RepositoryRequest

pytestmark = pytest.mark.anyio

FIRST = RepositoryRequest(vcs_repo="acme/api")
HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_SH if sys.argv[2] == "shared" else fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class OtherWorker:
    """Another process that holds a lock file."""

    def __init__(self, path, how):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, path, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "held\n"
        return self

    def __exit__(self, *_):
        self.process.communicate()


async def test_tasks_that_start_together_share_one_clone(make_repositories, clone_path, sh):
    repositories = make_repositories()
    contexts = []
    all_in = anyio.Event()

    async def task():
        async with repositories.prepared(FIRST) as context:
            contexts.append(context)
            if len(contexts) == 4:
                all_in.set()
            await all_in.wait()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(task)
    assert {context.clone_path for context in contexts} == {clone_path}
    warnings = [context.warning for context in contexts]
    assert warnings.count(None) == 1
    assert sum("another task is working" in (warning or "") for warning in warnings) == 3
    assert sh(clone_path, "status", "--porcelain") == ""


async def test_a_running_sessions_files_are_not_moved_under_it(
    make_repositories, origin, commit, clone_path
):
    repositories = make_repositories()
    async with repositories.prepared(FIRST):
        (clone_path / "README.md").write_text("in the middle of an edit")
        commit(origin, "README.md", "two")
        async with repositories.prepared(FIRST) as second:
            assert "another task is working in this clone" in second.warning
            assert (clone_path / "README.md").read_text() == "in the middle of an edit"
        # The second one leaving does not end the first one's share.
        async with repositories.prepared(FIRST) as third:
            assert "another task is working" in third.warning
    async with repositories.prepared(FIRST) as afterwards:
        assert afterwards.warning is None
        assert len(afterwards.auto_stashes) == 1


async def test_a_session_of_another_worker_counts_too(make_repositories, clone_path):
    repositories = make_repositories()
    async with repositories.prepared(FIRST):
        pass
    with OtherWorker(clone_path.parent / ".api.in-use", "shared"):
        async with repositories.prepared(FIRST) as context:
            assert "another task is working" in context.warning
    async with repositories.prepared(FIRST) as context:
        assert context.warning is None


async def test_waiting_for_another_worker_has_a_limit(make_repositories, clone_path):
    repositories = make_repositories(lock_timeout_s=0.2)
    async with repositories.prepared(FIRST):
        pass
    with OtherWorker(clone_path.parent / ".api.lock", "exclusive"), anyio.fail_after(5):
        async with repositories.prepared(FIRST) as context:
            assert "has been preparing" in context.warning
            assert context.clone_path == clone_path


async def test_waiting_for_another_task_has_a_limit_and_cancelling_frees_the_lock(tmp_path):
    locks = CloneLocks()
    clone = tmp_path / "api"
    done = anyio.Event()

    async def hold(*, task_status):
        async with locks.preparing(clone, timeout_s=1):
            task_status.started()
            await done.wait()

    async with anyio.create_task_group() as tasks:
        await tasks.start(hold)
        with pytest.raises(TimeoutError, match="has been preparing"):
            async with locks.preparing(clone, timeout_s=0.05):
                pass
        with anyio.move_on_after(0.05) as scope:
            async with locks.preparing(clone, timeout_s=10):
                pass
        assert scope.cancelled_caught
        done.set()
    with anyio.fail_after(1):
        async with locks.preparing(clone, timeout_s=1):
            pass


async def test_who_gives_up_waiting_for_another_worker_lets_the_next_task_wait(tmp_path):
    locks = CloneLocks()
    clone = tmp_path / "api"
    got_in = anyio.Event()

    async def patient():
        async with locks.preparing(clone, timeout_s=20):
            got_in.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            with OtherWorker(tmp_path / ".api.lock", "exclusive"):

                async def impatient():
                    with pytest.raises(TimeoutError, match="has been preparing"):
                        async with locks.preparing(clone, timeout_s=0.3):
                            pass

                async with anyio.create_task_group() as first:
                    first.start_soon(impatient)
                    await anyio.wait_all_tasks_blocked()
                    tasks.start_soon(patient)
                assert not got_in.is_set()
    assert got_in.is_set()


async def test_a_lock_file_that_is_a_link_is_refused(make_repositories, clone_path, tmp_path):
    clone_path.parent.mkdir(parents=True)
    (clone_path.parent / ".api.lock").symlink_to(tmp_path / "victim")
    async with make_repositories().prepared(FIRST) as context:
        assert context.clone_path is None
        assert context.warning
    assert not (tmp_path / "victim").exists()


async def test_what_a_session_starts_does_not_keep_the_clone_in_use(make_repositories):
    repositories = make_repositories()
    with ExitStack() as running:
        async with repositories.prepared(FIRST):
            # A background process that outlives the session, and was given every open file.
            left = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                ["sleep", "30"], close_fds=False
            )
            running.callback(left.wait)
            running.callback(left.kill)
        async with repositories.prepared(FIRST) as context:
            assert context.warning is None
