"""What a run changed, over the API: as JSON to be read, and as a file to be saved."""

from __future__ import annotations

import secrets
from pathlib import Path

import aiohttp
import pytest

from executor_core.agents import AgentHost
from executor_core.clock import SystemClock
from executor_core.control import Submission
from executor_core.errors import ExecutorError
from executor_core.workspace import Recorder, Workspaces
from tests.support.git_server import git
from tests.support.home import outer_environment
from tests.support.office import TOKEN, Office, outcome


@pytest.fixture
async def run_id(office: Office, tmp_path: Path) -> str:
    """A run that changed one file of a repository."""
    path = outer_environment()["PATH"]
    host = AgentHost(
        base={"HOME": str(tmp_path / "user"), "PATH": path},
        settings={},
        path=path,
        platform="linux",
        owner=f"tests-{secrets.token_hex(8)}",
        is_root=False,
        folder=tmp_path,
        clock=SystemClock(),
    )
    recorder = Recorder(host, lambda _: False, ())
    office.executor._workspaces = Workspaces(tmp_path / "workspace", (), recorder=recorder)
    app = tmp_path / "app"
    app.mkdir()
    await git(app, "init", "-q")
    run_id = await office.local.submit(Submission(prompt="go", folder=str(app)))
    playing = await office.agent.started()
    assert await office.remote.folders_in_use() == (str(app),)
    (app / "page.html").write_text("<script>alert(1)</script>\n")
    playing.finish()
    await outcome(office.local, run_id)
    return run_id


async def test_both_surfaces_tell_the_same(office: Office, run_id: str) -> None:
    changes = await office.remote.changes_of(run_id)
    assert changes == await office.local.changes_of(run_id)
    assert [file.path for file in changes.files] == ["page.html"]
    assert "+<script>alert(1)</script>\n" in changes.patch
    patch = await office.remote.artifact(run_id, "changes.patch")
    assert patch == await office.local.artifact(run_id, "changes.patch")
    assert patch.decode() == changes.patch
    assert await office.remote.folders_in_use() == await office.local.folders_in_use() == ()


async def test_a_download_is_never_shown_as_a_page(
    http: aiohttp.ClientSession, run_id: str
) -> None:
    async with http.get(f"/api/runs/{run_id}/artifacts/changes.patch") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert "changes.patch" in answer.headers["Content-Disposition"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["events.jsonl", "../events.jsonl", "ü", "a" * 300])
async def test_no_other_file_can_be_had(office: Office, run_id: str, name: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        await office.remote.artifact(run_id, name)
    assert caught.value.code == "artifact_unknown"


async def test_of_an_unknown_run_there_is_nothing(office: Office) -> None:
    for control in (office.local, office.remote):
        for work in (control.changes_of("run_9"), control.artifact("run_9", "changes.patch")):
            with pytest.raises(ExecutorError) as caught:
                await work
            assert caught.value.code == "run_unknown"


async def test_only_the_owner_gets_a_patch(office: Office, run_id: str) -> None:
    url = f"{office.listener.base_url}/api/runs/{run_id}"
    async with aiohttp.ClientSession() as session:
        for path in (f"{url}/patch", f"{url}/artifacts/changes.patch"):
            for token, status in (("second-token", 403), ("wrong", 401), (TOKEN, 200)):
                headers = {"Authorization": f"Bearer {token}"}
                async with session.get(path, headers=headers) as answer:
                    assert answer.status == status
