"""The hub's database: one SQLite file, touched by one thread only, never by the event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from executor_core.aside import HUB_VERSION, connect, open_database
from executor_core.errors import ExecutorError

_log = logging.getLogger("executor.hub")
_T = TypeVar("_T")

Json: TypeAlias = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS devices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    device_id TEXT NOT NULL, name TEXT NOT NULL, executor_version TEXT,
    capabilities TEXT NOT NULL, is_default INTEGER NOT NULL DEFAULT 0,
    is_deleted INTEGER NOT NULL DEFAULT 0, last_heartbeat TEXT,
    UNIQUE (user_id, device_id));
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    title TEXT NOT NULL, device_id TEXT NOT NULL, agent TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_of_user ON tasks (user_id, id);
CREATE TABLE IF NOT EXISTS subtasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    message_id INTEGER NOT NULL, role TEXT NOT NULL, status TEXT NOT NULL,
    text TEXT NOT NULL DEFAULT '', reasoning TEXT NOT NULL DEFAULT '',
    tools TEXT NOT NULL DEFAULT '[]', error TEXT, usage TEXT,
    rev INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS subtasks_of_task ON subtasks (task_id, id);
CREATE TABLE IF NOT EXISTS attachments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    task_id INTEGER REFERENCES tasks ON DELETE CASCADE, subtask_id INTEGER,
    name TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    data BLOB NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attachments_of_subtask ON attachments (task_id, subtask_id);
CREATE TABLE IF NOT EXISTS skills (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL, size INTEGER NOT NULL, hash TEXT NOT NULL, data BLOB NOT NULL,
    UNIQUE (user_id, name));
CREATE TABLE IF NOT EXISTS task_skills (
    task_id INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    skill_id INTEGER NOT NULL REFERENCES skills ON DELETE CASCADE,
    PRIMARY KEY (task_id, skill_id));
"""
_JSON_COLUMNS = ("capabilities", "tools", "usage")


class Task(Struct):
    """A row of `tasks`."""

    id: int
    user_id: int
    title: str
    device_id: str
    agent: str
    status: str
    created_at: str
    updated_at: str


class Subtask(Struct):
    """One message of a task, the user's (`USER`) or the agent's answer to it (`ASSISTANT`).

    An answer grows; `rev` counts its changes.
    """

    subtask_id: int
    task_id: int
    user_id: int
    device_id: str
    message_id: int
    role: str
    status: str
    created_at: str
    updated_at: str
    text: str = ""
    reasoning: str = ""
    tools: list[Json] = []
    error: str | None = None
    usage: Json | None = None
    rev: int = 0
    unheard: Json | None = None
    """What was sent, until the device says a word about it. May hold keys, so it is not kept."""

    def __repr__(self) -> str:
        return f"Subtask({self.subtask_id}, {self.status})"

    @property
    def is_open(self) -> bool:
        """Whether its end is still awaited."""
        return self.status in ("PENDING", "RUNNING")


SUBTASKS = (
    "SELECT s.*, s.id AS subtask_id, t.user_id, t.device_id"
    " FROM subtasks s JOIN tasks t ON t.id = s.task_id"
)
"""The beginning of every query for `Subtask`."""


class Store:
    """Every call runs its SQL in the store's own thread, as one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or create the file. One that is no database is moved aside, never deleted.

        Raises ExecutorError `database_unusable` where the system does not let us have it.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub-db")
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._open)
        except (sqlite3.Error, OSError) as error:
            thread.shutdown()
            raise ExecutorError("database_unusable", file=self._path, reason=error) from error
        except BaseException:
            thread.shutdown()
            raise
        self._thread = thread

    async def close(self) -> None:
        """Finish what was begun, and let go of the file. Repeating it is harmless."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in the thread, in a transaction of its own."""
        assert self._thread is not None, "the store is closed"
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    async def rows(self, kind: type[_T], query: str, *values: object) -> list[_T]:
        """What a query finds, each row as one of `kind`."""
        return await self.run(lambda db: rows(db, kind, query, *values))

    async def change(self, command: str, *values: object) -> int:
        """Run one command; how many rows it changed."""
        return await self.run(lambda db: db.execute(command, values).rowcount)

    def _work(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        assert self._db is not None
        with self._db:
            return work(self._db)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._db = open_database(self._path, _connect, _log)

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def rows(db: sqlite3.Connection, kind: type[_T], query: str, *values: object) -> list[_T]:
    """What a query finds, each row as one of `kind`; the columns that hold JSON are decoded."""
    found = [dict(row) for row in db.execute(query, values)]
    for row in found:
        for name in _JSON_COLUMNS:
            if row.get(name) is not None:
                row[name] = json.loads(row[name])
    return msgspec.convert(found, list[kind], strict=False)  # type: ignore[valid-type]


def insert(db: sqlite3.Connection, table: str, values: Json, end: str = "") -> int:
    """Add a row and return its number. `end` is what follows in the command: `ON CONFLICT …`."""
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    command = f"INSERT INTO {table} ({columns}) VALUES ({marks}) {end}"  # noqa: S608 - names of ours
    return db.execute(command, tuple(values.values())).lastrowid or 0


def set_task_status(db: sqlite3.Connection, subtask: Subtask, status: str) -> None:
    """The status that a subtask gives its task; a late word about an earlier turn gives none."""
    db.execute(
        "UPDATE tasks SET status = ?, updated_at = ? WHERE id = ?"
        " AND NOT EXISTS (SELECT 1 FROM subtasks WHERE task_id = tasks.id AND id > ?)",
        (status, subtask.updated_at, subtask.task_id, subtask.subtask_id),
    )


def remove_user(database: Path, name: str) -> bool:
    """Take a user away, with all that is theirs; a running hub sees it. False if there is none.

    Blocks. Raises ExecutorError `database_unusable`.
    """
    try:
        with closing(_connect(database)) as db, db:
            return db.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount > 0
    except (sqlite3.Error, OSError) as error:
        raise ExecutorError("database_unusable", file=database, reason=error) from error


def _connect(path: Path) -> sqlite3.Connection:
    db = connect(path, _SCHEMA, version=HUB_VERSION, newer="hub_newer", is_repeatable=True)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    return db
