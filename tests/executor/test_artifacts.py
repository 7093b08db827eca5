"""What a run changed in a repository is part of its outcome, however it ended."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor_core.agents import AgentHost
from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.model import Folder, Outcome, RunState
from executor_core.workspace import Recorder, Workspaces
from tests.executor.room import Room, request
from tests.support.git_server import git
from tests.support.home import outer_environment

PATCH = "changes.patch"


@pytest.fixture
async def app(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "projects" / "app"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    await git(folder, "init", "-q")
    await git(folder, "add", "-A")
    await git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """An executor with real git, and so with a real clock."""
    clock, path = SystemClock(), outer_environment()["PATH"]
    host = AgentHost(
        base={"HOME": str(tmp_path / "user"), "PATH": path},
        settings={},
        path=path,
        platform="linux",
        owner=f"tests-{secrets.token_hex(8)}",
        is_root=False,
        folder=tmp_path,
        clock=clock,
    )
    room = Room(tmp_path, clock)
    recorder = Recorder(host, lambda data: b"secret" in data, [room.root])
    room.executor._workspaces = Workspaces(room.root, [tmp_path], recorder=recorder)
    await room.open()
    yield room
    await room.close()


def patch_of(outcome: Outcome) -> bytes:
    [artifact] = outcome.artifacts
    assert artifact.name == PATCH
    data = Path(artifact.path).read_bytes()
    assert len(data) == artifact.size_bytes
    return data


async def test_a_completed_run_has_its_patch(room: Room, app: Path) -> None:
    await room.submit(request(workspace=Folder(path=str(app))))
    performance = await room.agent.started()
    (app / "a.txt").write_text("two\n")
    performance.finish("Done.")
    outcome = await room.door.outcome()
    assert outcome.state is RunState.COMPLETED
    assert b"\n-one\n+two\n" in patch_of(outcome)
    changes = await room.executor.changes_of("run_1")
    assert [file.path for file in changes.files] == ["a.txt"]


async def test_a_failed_run_has_its_patch(room: Room, app: Path) -> None:
    await room.submit(request(workspace=Folder(path=str(app))))
    performance = await room.agent.started()
    (app / "a.txt").write_text("two\n")
    performance.fail(ExecutorError("internal"))
    outcome = await room.door.outcome()
    assert outcome.state is RunState.FAILED
    assert b"+two" in patch_of(outcome)


async def test_a_cancelled_run_has_its_patch(room: Room, app: Path) -> None:
    await room.submit(request(workspace=Folder(path=str(app))))
    await room.agent.started()
    (app / "a.txt").write_text("two\n")
    room.executor.cancel("run_1")
    outcome = await room.door.outcome()
    assert outcome.state is RunState.CANCELLED
    assert b"+two" in patch_of(outcome)


async def test_a_run_that_the_end_of_the_executor_cuts_off_has_its_patch(
    room: Room, app: Path
) -> None:
    await room.submit(request(workspace=Folder(path=str(app))))
    await room.agent.started()
    (app / "a.txt").write_text("two\n")
    await room.executor.stop(10)
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert outcome.error.code == "device_stopped"
    assert b"+two" in patch_of(outcome)


async def test_a_follow_up_has_a_patch_of_its_own(room: Room, app: Path) -> None:
    for number, word in ((1, "two"), (2, "three")):
        await room.submit(request(number, workspace=Folder(path=str(app))))
        performance = await room.agent.started()
        (app / "a.txt").write_text(f"{word}\n")
        performance.finish()
        await room.door.outcome(f"run_{number}")
    second = patch_of(await room.door.outcome("run_2"))
    assert b"\n-two\n+three\n" in second
    assert b"one" not in second


async def test_a_run_without_a_repository_has_no_artifacts_and_says_nothing(room: Room) -> None:
    outcome = await room.complete()
    assert outcome.artifacts == ()
    assert "Notice" not in room.door.kinds()
    assert (await room.executor.changes_of("run_1")).files == ()


async def test_an_artifact_is_read_by_its_name_and_no_other_file_is(room: Room, app: Path) -> None:
    await room.submit(request(workspace=Folder(path=str(app))))
    performance = await room.agent.started()
    (app / "a.txt").write_text("two\n")
    performance.finish()
    outcome = await room.door.outcome()
    assert await room.executor.artifact("run_1", PATCH) == patch_of(outcome)
    for name in ("events.jsonl", "../../journal.db", "changes.json", ""):
        with pytest.raises(ExecutorError) as caught:
            await room.executor.artifact("run_1", name)
        assert caught.value.code == "artifact_unknown"
    with pytest.raises(ExecutorError) as caught:
        await room.executor.artifact("run_9", PATCH)
    assert caught.value.code == "run_unknown"
    await asyncio.to_thread(os.unlink, outcome.artifacts[0].path)
    with pytest.raises(ExecutorError) as caught:
        await room.executor.artifact("run_1", PATCH)
    assert caught.value.code == "artifact_unknown"


async def test_folders_of_queued_and_running_runs_are_in_use(room: Room, app: Path) -> None:
    assert room.executor.folders_in_use == ()
    await room.submit(request(1, workspace=Folder(path=str(app))))
    performance = await room.agent.started()
    room.executor.pause()
    await room.submit(request(2))
    assert set(room.executor.folders_in_use) == {str(app), str(room.root / "2")}
    performance.finish()
    await room.door.outcome("run_1")
    room.executor.cancel("run_2")
    await room.door.outcome("run_2")
    assert room.executor.folders_in_use == ()
