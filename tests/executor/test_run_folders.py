"""What stays on disk of runs that have ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor_core.executor import run_folders
from executor_core.executor.run_folders import UNKNOWN_AFTER_S, tidy

NOW = 2_000_000_000.0


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def record(runs: Path, *run_ids: str, snapshot_bytes: int = 10_000) -> None:
    """The folders of runs as they are after their end."""
    for run_id in run_ids:
        objects = runs / run_id / "snapshot" / "objects" / "ab"
        objects.mkdir(parents=True)
        (objects / "cd").write_bytes(b"x" * snapshot_bytes)
        (objects / "cd").chmod(0o444)
        (runs / run_id / "events.jsonl").write_text("{}")


def left(runs: Path) -> dict[str, bool]:
    """The runs that have a folder, and whether each can still be undone."""
    return {folder.name: (folder / "snapshot").exists() for folder in runs.iterdir()}


def test_of_many_runs_the_newest_keep_their_folder(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folders, "MAX_FOLDERS", 2)
    record(runs, "a", "b", "c", "d", "owed")
    tidy(runs, ["d", "gone", "c", "b", "a"], {"owed"}, NOW)
    assert left(runs) == {"d": True, "owed": True}


def test_what_undoes_a_run_is_kept_of_the_latest_within_a_bound_of_bytes(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folders, "MAX_SNAPSHOT_BYTES", 25_000)
    record(runs, "a", "b", "c", "d", "owed", "at work")
    record(runs, "small", snapshot_bytes=1)
    for _ in range(2):
        tidy(runs, ["d", "c", "b", "small", "a"], {"owed", "at work"}, NOW)
    kept = left(runs)
    assert {run_id for run_id in kept if kept[run_id]} == {"d", "c", "owed", "at work"}
    assert kept.keys() == {"a", "b", "c", "d", "small", "owed", "at work"}
    assert (runs / "a" / "events.jsonl").exists()


def test_many_small_files_count_as_what_they_take_of_the_disk(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folders, "MAX_SNAPSHOT_BYTES", 8192)
    record(runs, "a", snapshot_bytes=1)
    for number in range(2):
        (runs / "a" / "snapshot" / str(number)).write_text("x")
    tidy(runs, ["a"], (), NOW)
    assert left(runs) == {"a": False}


def test_a_folder_that_the_journal_does_not_know_goes_after_a_month(runs: Path) -> None:
    record(runs, "known", "at work", "new", "old")
    for run_id in ("known", "at work", "old"):
        os.utime(runs / run_id, (0, NOW - UNKNOWN_AFTER_S - 1))
    os.utime(runs / "new", (0, NOW - UNKNOWN_AFTER_S + 1))
    tidy(runs, ["known"], {"at work"}, NOW)
    assert left(runs).keys() == {"known", "at work", "new"}


@pytest.mark.parametrize("is_file", [True, False])
def test_where_nothing_ran_there_is_nothing_to_do(runs: Path, is_file: bool) -> None:
    if is_file:
        runs.write_text("a file stands where the folder should be")
    tidy(runs, ["a"], {"b"}, NOW)


def test_what_cannot_be_deleted_is_said_and_keeps_nothing_else(
    runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_folders, "MAX_FOLDERS", 0)
    record(runs, "b")
    (runs / "a").symlink_to(runs / "b")
    tidy(runs, ["a", "b"], (), NOW)
    assert not (runs / "b").exists()
    assert "cannot be deleted" in caplog.text
