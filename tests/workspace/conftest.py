"""Git, a server for it, and a workspace root."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor_core.agents import AgentHost
from executor_core.clock import SystemClock
from executor_core.config.redaction import Redactor
from executor_core.workspace import Cloner, GitAccess, Workspaces
from tests.support.git_server import GitServer, git_server
from tests.support.home import outer_environment

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
