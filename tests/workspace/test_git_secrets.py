"""A repository's login: git uses it, and no other user of the machine can read it."""

from __future__ import annotations

import base64
import functools
import http.server
import threading
from pathlib import Path

import pytest

from agent_swarm_worker.api.wire.resources import Repo
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.workspace.checkout import split_login
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.repository import RepositoryRequest

pytestmark = pytest.mark.anyio

REQUEST = RepositoryRequest(vcs_repo="acme/api")
PASSWORD = "pass%2Fword-of-the-repository"
NEW_PASSWORD = "rotated-password-of-the-repository"


class CodeHost(http.server.SimpleHTTPRequestHandler):
    """Serves a repository to whoever has the password, and looks at who is running meanwhile."""

    password = PASSWORD
    seen: list[bytes]
    modes: list[int]
    watched: Path

    def do_GET(self) -> None:
        self.modes += [path.stat().st_mode & 0o777 for path in self.watched.rglob("*login")]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                self.seen.append((process / "cmdline").read_bytes())
            except OSError:
                continue
        user = f"bot:{self.password.replace('%2F', '/')}"
        wanted = f"Basic {base64.b64encode(user.encode()).decode()}"
        if self.headers["Authorization"] == wanted:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="code"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(origin, sh, monkeypatch, tmp_path):
    """The port of a code host with the repository `origin`."""
    sh(origin, "update-server-info")
    for name, value in (("seen", []), ("modes", []), ("watched", tmp_path)):
        monkeypatch.setattr(CodeHost, name, value, raising=False)
    handler = functools.partial(CodeHost, directory=origin.parent.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def address(port: int, login: str) -> str:
    return f"http://{login}127.0.0.1:{port}/acme/api/.git"


async def visit(repositories, request=REQUEST):
    async with repositories.prepared(request) as context:
        return context


async def test_a_login_in_an_address_is_never_in_an_argument_nor_open_to_others(
    make_repositories, host, git_env, clone_path, origin, commit, sh, monkeypatch
):
    scrubber = Scrubber()
    git = Git({**git_env, "no_proxy": "*"}, timeout_s=30)
    row = Repo(url=address(host, f"bot:{PASSWORD}@"), name="api", default_branch="main")
    repositories = make_repositories(row, git_=git, on_secret=scrubber.add)
    context = await visit(repositories)
    assert context.warning is None
    assert (clone_path / "README.md").read_text() == "one"
    assert scrubber.text("pass/word-of-the-repository") == "[REDACTED:repository_password]"

    # The next task finds it, the login was changed at the server, and the agent can fetch as well.
    commit(origin, "README.md", "two")
    sh(origin, "update-server-info")
    monkeypatch.setattr(CodeHost, "password", NEW_PASSWORD)
    fresh = Repo(url=address(host, f"bot:{NEW_PASSWORD}@"), name="api", default_branch="main")
    repositories._server.rows = (fresh,)
    assert (await visit(repositories)).warning is None
    assert (clone_path / "README.md").read_text() == "two"
    assert (await git("ls-remote", "origin", cwd=clone_path)).ok

    assert any(b"remote-http" in words for words in CodeHost.seen)
    assert set(CodeHost.modes) == {0o600}
    for secret in (PASSWORD, PASSWORD.replace("%2F", "/"), NEW_PASSWORD):
        assert not any(secret.encode() in words for words in CodeHost.seen)
        readable = [
            path
            for path in (clone_path.parent).rglob("*")
            if path.is_file()
            and path.stat().st_mode & 0o077
            and secret.encode() in path.read_bytes()
        ]
        assert not readable
    assert not list(clone_path.parent.glob(".*.login"))


async def test_an_older_clone_with_a_login_in_its_address_is_mended(
    make_repositories, host, git_env, clone_path, sh
):
    clone_path.parent.mkdir(parents=True)
    with_login = address(host, f"bot:{PASSWORD}@")
    sh(clone_path.parent, "clone", "--quiet", with_login, str(clone_path))
    row = Repo(url="http://127.0.0.1/acme/api", name="api", default_branch="main")
    git = Git({**git_env, "no_proxy": "*"}, timeout_s=30)
    CodeHost.seen.clear()
    assert (await visit(make_repositories(row, git_=git))).warning is None
    assert PASSWORD not in (clone_path / ".git/config").read_text()
    assert not any(PASSWORD.encode() in words for words in CodeHost.seen)
    assert (clone_path / ".git/swarm-login").stat().st_mode & 0o777 == 0o600


async def test_a_wrong_login_is_told_without_it(make_repositories, host, git_env, clone_path):
    row = Repo(url=address(host, "bot:wrong-password-here@"), name="api")
    context = await visit(make_repositories(row, git_=Git({**git_env, "no_proxy": "*"})))
    assert context.warning
    assert "wrong-password-here" not in context.warning
    assert not list(clone_path.parent.glob("*api*login*"))
    assert not clone_path.exists()


async def test_what_an_agent_wrote_into_a_clone_sees_no_secret_of_the_worker(
    make_repositories, git_env, clone_path, origin, commit, sh, tmp_path
):
    told = tmp_path / "told"
    env = {**git_env, "ANTHROPIC_API_KEY": "key-of-the-model", "GITHUB_TOKEN": "gits-own-token"}
    repositories = make_repositories(git_=Git({**env, "codex_oauth_0": "login-of-the-swarm"}))
    await visit(repositories)
    sh(clone_path, "config", "filter.spy.smudge", f"env >> '{told}'; cat")
    (clone_path / ".git/info").mkdir()
    (clone_path / ".git/info/attributes").write_text("* filter=spy\n")
    commit(origin, "README.md", "two")
    # For a task that continues another one filters stay.
    await visit(repositories, RepositoryRequest(vcs_repo="acme/api", first_kickoff=False))
    assert (clone_path / "README.md").read_text() == "two"
    assert "gits-own-token" in told.read_text()
    assert "key-of-the-model" not in told.read_text()
    assert "login-of-the-swarm" not in told.read_text()


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://u:p@host/a/b.git", "https://host/a/b.git"),
        ("https://:token@host:8443/a", "https://host:8443/a"),
        ("https://u:p@ss@host/a", "https://host/a"),
        ("https://git@host/a", "https://git@host/a"),
        ("ssh://git:x@host/a", "ssh://git:x@host/a"),
        ("git@host:a/b:c", "git@host:a/b:c"),
        ("acme/api", "acme/api"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_which_addresses_have_a_login(url: str, plain: str):
    assert split_login(url)[0] == plain
    assert (split_login(url)[1] is None) == (url == plain)
