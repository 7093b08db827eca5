"""Git, a server for it, and a workspace root."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor_core.agents import AgentHost
from executor_core.clock import SystemClock
from executor_core.config.redaction import Redactor
from executor_core.workspace import Cloner, GitAccess, Recorder, Workspaces
from tests.support.git_server import GIT, GitServer, git_server
from tests.support.home import outer_environment
from tests.workspace.changes import FILES, SECRET, Recorded, write

KEY, IV = "12345678901234567890123456789012", "1234567890123456"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the folders of tasks lie."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The user's home, as git sees it."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def host(tmp_path: Path, home: Path) -> AgentHost:
    path = outer_environment()["PATH"]
    made = AgentHost(
        base={"HOME": str(home), "PATH": path},
        settings={},
        path=path,
        platform="linux",
        owner=f"tests-{secrets.token_hex(8)}",  # others may run the same tests meanwhile
        is_root=False,
        folder=tmp_path,
        clock=SystemClock(),
    )
    return made


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def access(redactor: Redactor) -> GitAccess:
    return GitAccess(
        token_key=KEY,
        token_iv=IV,
        allow_plain_http=False,
        register_secret=redactor.register,
        redact=redactor.redact,
    )


@pytest.fixture
def workspaces(root: Path, host: AgentHost, access: GitAccess) -> Workspaces:
    return Workspaces(root, (), Cloner(host, access))


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit, made once and copied often."""
    folder = tmp_path_factory.mktemp("committed") / "app"
    folder.mkdir()
    write(folder, FILES)
    for arguments in (
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("commit", "-q", "-m", "first"),
    ):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture
def app(committed: Path, tmp_path: Path) -> Path:
    """The repository of a person."""
    shutil.copytree(committed, tmp_path / "projects" / "app", symlinks=True)
    return tmp_path / "projects" / "app"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "run_1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def recorder(host: AgentHost, home: Path, redactor: Redactor) -> Recorder:
    redactor.register(SECRET)
    return Recorder(
        host, lambda data: redactor.hide(text := data.decode(errors="replace")) != text, [home]
    )


@pytest.fixture
def recorded(recorder: Recorder, app: Path, run_folder: Path) -> Recorded:
    return Recorded(recorder, app, run_folder)
