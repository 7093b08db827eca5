"""The hub's database: one SQLite file, touched by one thread only, never by the event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from executor_core.aside import HUB_VERSION, MOST_VERSIONS, open_database, readable
from executor_core.errors import ExecutorError
from executor_core.hub.wire import Json, Registration

_log = logging.getLogger("executor.hub")
_T = TypeVar("_T")

MAX_TASKS = 5000
"""Tasks that are kept per user; the oldest go first."""
MAX_DEVICES = 100
"""Devices that are remembered per user, also those that were taken off the list."""

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
"""
_TASKS = r"""
SELECT * FROM tasks AS t WHERE user_id = :user AND (:before IS NULL OR id < :before) AND (
    :pattern IS NULL OR title LIKE :pattern ESCAPE '\'
    OR EXISTS (SELECT 1 FROM subtasks AS s WHERE s.task_id = t.id AND s.role = 'USER'
        AND s.text LIKE :pattern ESCAPE '\'))
ORDER BY id DESC LIMIT :limit
"""


@dataclass
class Answer:
    """The agent's side of one turn, as it grows. `rev` counts its changes."""

    subtask_id: int
    task_id: int
    user_id: int
    device_id: str
    status: str
    text: str = ""
    reasoning: str = ""
    tools: list[Json] = field(default_factory=list)
    error: str | None = None
    usage: Json | None = None
    rev: int = 0
    unheard: Json | None = field(default=None, repr=False)
    """What was sent, until the device says a word about it. May hold keys, so it is not kept."""


@dataclass(frozen=True)
class TurnIds:
    """The numbers of a new turn."""

    task_id: int
    user_subtask_id: int
    subtask_id: int
    message_id: int


class Store:
    """Every method runs its SQL in the store's own thread, as one transaction."""

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

    # --- users and secrets ---------------------------------------------------------------------

    async def secret(self, name: str) -> str:
        """A random value that is made once and stays."""

        def work(db: sqlite3.Connection) -> str:
            db.execute(
                "INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, secrets.token_urlsafe(48))
            )
            value: str = db.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()[
                0
            ]
            return value

        return await self.run(work)

    async def add_user(self, name: str) -> int:
        """The id of the user; made when missing."""

        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT OR IGNORE INTO users (name) VALUES (?)", (name,))
            row = db.execute("SELECT id FROM users WHERE name = ?", (name,)).fetchone()
            return int(row[0])

        return await self.run(work)

    async def has_user(self, user_id: int) -> bool:
        """Whether there is a user of that number."""
        query = "SELECT 1 FROM users WHERE id = ?"
        return await self.run(lambda db: db.execute(query, (user_id,)).fetchone() is not None)

    async def users(self) -> dict[str, int]:
        """All users, name to id."""
        return await self.run(lambda db: dict(db.execute("SELECT name, id FROM users").fetchall()))

    # --- keys ----------------------------------------------------------------------------------

    async def add_key(self, user_id: int, name: str, digest: str, now: str) -> int:
        """Keep an API key by its digest; its number."""

        def work(db: sqlite3.Connection) -> int:
            cursor = db.execute(
                "INSERT INTO keys (user_id, name, digest, created_at) VALUES (?, ?, ?, ?)",
                (user_id, name, digest, now),
            )
            return int(cursor.lastrowid or 0)

        return await self.run(work)

    async def keys(self) -> list[Json]:
        """All API keys with their users, oldest first."""
        return await self.run(
            lambda db: [
                dict(row)
                for row in db.execute(
                    "SELECT k.id, k.name, k.digest, k.created_at, u.name AS user"
                    " FROM keys k JOIN users u ON u.id = k.user_id ORDER BY k.id"
                )
            ]
        )

    async def delete_key(self, key_id: int) -> bool:
        """Forget a key. False if there is none such."""
        return await self.run(
            lambda db: db.execute("DELETE FROM keys WHERE id = ?", (key_id,)).rowcount > 0
        )

    # --- devices -------------------------------------------------------------------------------

    async def register_device(
        self, user_id: int, device: Registration, now: str, online: Collection[str]
    ) -> bool:
        """Create the device or bring it back; a user's first one becomes the default.

        Beyond `MAX_DEVICES` the one that was unseen for longest goes, except the `online` ones.
        False if all are online.
        """

        def work(db: sqlite3.Connection) -> bool:
            if not _make_room(db, user_id, device.device_id, online):
                return False
            has_default = db.execute(
                "SELECT 1 FROM devices WHERE user_id = ? AND is_default AND NOT is_deleted",
                (user_id,),
            ).fetchone()
            db.execute(
                "INSERT INTO devices (user_id, device_id, name, executor_version, capabilities,"
                " is_default, last_heartbeat) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (user_id, device_id) DO UPDATE SET name = excluded.name,"
                " executor_version = excluded.executor_version, is_deleted = 0,"
                " capabilities = excluded.capabilities, last_heartbeat = excluded.last_heartbeat,"
                " is_default = max(is_default, excluded.is_default)",
                (
                    user_id,
                    device.device_id,
                    device.name,
                    device.executor_version,
                    json.dumps(device.capabilities),
                    has_default is None,
                    now,
                ),
            )
            return True

        return await self.run(work)

    async def touch_device(
        self, user_id: int, device_id: str, version: str | None, now: str
    ) -> None:
        """Note a sign of life."""
        await self.run(
            lambda db: db.execute(
                "UPDATE devices SET last_heartbeat = ?,"
                " executor_version = coalesce(?, executor_version)"
                " WHERE user_id = ? AND device_id = ?",
                (now, version, user_id, device_id),
            )
        )

    async def devices(self, user_id: int) -> list[Json]:
        """The user's devices as rows, oldest first."""
        return await self.run(
            lambda db: [
                dict(row) | {"capabilities": json.loads(row["capabilities"])}
                for row in db.execute(
                    "SELECT * FROM devices WHERE user_id = ? AND NOT is_deleted ORDER BY id",
                    (user_id,),
                )
            ]
        )

    async def make_default(self, user_id: int, device_id: str, *, is_default: bool = True) -> bool:
        """Make the device the user's only default, or no longer. False if there is none such."""

        def work(db: sqlite3.Connection) -> bool:
            if not _has_device(db, user_id, device_id):
                return False
            if is_default:
                db.execute("UPDATE devices SET is_default = 0 WHERE user_id = ?", (user_id,))
            db.execute(
                "UPDATE devices SET is_default = ? WHERE user_id = ? AND device_id = ?",
                (is_default, user_id, device_id),
            )
            return True

        return await self.run(work)

    async def delete_device(self, user_id: int, device_id: str) -> bool:
        """Hide the device until it registers again. False if there is none such."""

        def work(db: sqlite3.Connection) -> bool:
            changed = db.execute(
                "UPDATE devices SET is_deleted = 1, is_default = 0"
                " WHERE user_id = ? AND device_id = ? AND NOT is_deleted",
                (user_id, device_id),
            )
            return changed.rowcount > 0

        return await self.run(work)

    # --- tasks ---------------------------------------------------------------------------------

    async def add_task(self, user_id: int, title: str, device_id: str, agent: str, now: str) -> int:
        """A new task without turns. Beyond `MAX_TASKS` the oldest finished ones go."""

        def work(db: sqlite3.Connection) -> int:
            made = db.execute(
                "INSERT INTO tasks (user_id, title, device_id, agent, status, created_at,"
                " updated_at) VALUES (?, ?, ?, ?, 'RUNNING', ?, ?)",
                (user_id, title, device_id, agent, now, now),
            )
            db.execute(
                "DELETE FROM tasks WHERE user_id = ? AND status NOT IN ('RUNNING', 'PENDING')"
                " AND id <= (SELECT id FROM tasks WHERE user_id = ?"
                " ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (user_id, user_id, MAX_TASKS),
            )
            assert made.lastrowid is not None
            return made.lastrowid

        return await self.run(work)

    async def add_turn(self, task_id: int, prompt: str, now: str) -> TurnIds:
        """The user's message and the empty answer to it."""

        def work(db: sqlite3.Connection) -> TurnIds:
            count = db.execute(
                "SELECT count(*) FROM subtasks WHERE task_id = ?", (task_id,)
            ).fetchone()[0]
            insert = (
                "INSERT INTO subtasks (task_id, message_id, role, status, text, created_at,"
                " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            asked = db.execute(
                insert, (task_id, count + 1, "USER", "COMPLETED", prompt, now, now)
            ).lastrowid
            answer = db.execute(
                insert, (task_id, count + 2, "ASSISTANT", "RUNNING", "", now, now)
            ).lastrowid
            assert asked is not None
            assert answer is not None
            _set_task(db, task_id, answer, "RUNNING", now)
            return TurnIds(task_id, asked, answer, count + 2)

        return await self.run(work)

    async def task(self, user_id: int, task_id: int) -> Json | None:
        """One task of the user's, as a row."""

        def work(db: sqlite3.Connection) -> Json | None:
            row = db.execute(
                "SELECT * FROM tasks WHERE id = ? AND user_id = ?", (task_id, user_id)
            ).fetchone()
            return None if row is None else dict(row)

        return await self.run(work)

    async def tasks(
        self, user_id: int, limit: int, before: int | None, words: str = ""
    ) -> list[Json]:
        """The user's newest tasks with ids below `before`, newest first.

        `words`, if any, must stand in the title or in one of the user's own messages.
        """
        pattern = "%" + re.sub(r"([\\%_])", r"\\\1", words) + "%" if words else None
        values = {"user": user_id, "before": before, "limit": limit, "pattern": pattern}
        return await self.run(lambda db: [dict(row) for row in db.execute(_TASKS, values)])

    async def delete_task(self, task_id: int) -> None:
        """Remove a task and all its messages."""
        await self.run(lambda db: db.execute("DELETE FROM tasks WHERE id = ?", (task_id,)))

    async def messages(self, task_id: int) -> list[Json]:
        """All messages of a task in order, with `tools` and `usage` as values."""
        return await self.run(
            lambda db: [
                _message(row)
                for row in db.execute(
                    "SELECT * FROM subtasks WHERE task_id = ? ORDER BY id", (task_id,)
                )
            ]
        )

    async def answer(self, subtask_id: int) -> Answer | None:
        """The answer with that id, whoever's it is."""
        found = await self.run(lambda db: _answers(db, subtask_id=subtask_id))
        return found[0] if found else None

    async def running_answers(self) -> list[Answer]:
        """What was running when the hub ended."""
        return await self.run(lambda db: _answers(db, status="RUNNING"))

    async def save_answer(self, answer: Answer, now: str, task_status: str | None = None) -> None:
        """Keep the answer as it is now, and the status that it gives its task, if any."""
        values = (
            answer.status,
            answer.text,
            answer.reasoning,
            json.dumps(answer.tools, ensure_ascii=False),
            answer.error,
            None if answer.usage is None else json.dumps(answer.usage),
            answer.rev,
            now,
            answer.subtask_id,
        )

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE subtasks SET status = ?, text = ?, reasoning = ?, tools = ?, error = ?,"
                " usage = ?, rev = ?, updated_at = ? WHERE id = ?",
                values,
            )
            if task_status is not None:
                _set_task(db, answer.task_id, answer.subtask_id, task_status, now)

        await self.run(work)


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
    # SQLite gives its side files the mode of the database, so it must be right from the start.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))
    path.chmod(0o600)
    db = sqlite3.connect(path, timeout=5, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.text_factory = readable
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > MOST_VERSIONS:
            raise sqlite3.DatabaseError("no version of ours")
        if version > HUB_VERSION:
            raise ExecutorError("hub_newer", path=path)
        db.executescript(f"{_SCHEMA} PRAGMA user_version = {HUB_VERSION};")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        db.close()
        raise
    return db


def _has_device(db: sqlite3.Connection, user_id: int, device_id: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM devices WHERE user_id = ? AND device_id = ? AND NOT is_deleted",
        (user_id, device_id),
    ).fetchone()
    return row is not None


def _make_room(
    db: sqlite3.Connection, user_id: int, device_id: str, online: Collection[str]
) -> bool:
    """Whether there is a place for the device, after forgetting the one that is missed least."""
    known = [
        name
        for (name,) in db.execute(
            "SELECT device_id FROM devices WHERE user_id = ?"
            " ORDER BY is_deleted DESC, is_default, last_heartbeat",
            (user_id,),
        )
    ]
    if device_id in known or len(known) < MAX_DEVICES:
        return True
    least = next((name for name in known if name not in online), None)
    db.execute("DELETE FROM devices WHERE user_id = ? AND device_id = ?", (user_id, least))
    return least is not None


def _set_task(db: sqlite3.Connection, task_id: int, subtask_id: int, status: str, now: str) -> None:
    """The status that a subtask gives its task; a late word about an earlier turn gives none."""
    db.execute(
        "UPDATE tasks SET status = ?, updated_at = ? WHERE id = ?"
        " AND NOT EXISTS (SELECT 1 FROM subtasks WHERE task_id = tasks.id AND id > ?)",
        (status, now, task_id, subtask_id),
    )


def _message(row: Any) -> Json:
    usage = row["usage"]
    return dict(row) | {
        "tools": json.loads(row["tools"]),
        "usage": None if usage is None else json.loads(usage),
    }


def _answers(
    db: sqlite3.Connection, *, subtask_id: int | None = None, status: str | None = None
) -> list[Answer]:
    rows = db.execute(
        "SELECT s.*, t.user_id, t.device_id FROM subtasks s JOIN tasks t ON t.id = s.task_id"
        " WHERE s.role = 'ASSISTANT' AND (s.id = ? OR s.status = ?) ORDER BY s.id",
        (subtask_id, status),
    )
    return [
        Answer(
            subtask_id=row["id"],
            task_id=row["task_id"],
            user_id=row["user_id"],
            device_id=row["device_id"],
            status=row["status"],
            text=row["text"],
            reasoning=row["reasoning"],
            tools=message["tools"],
            error=row["error"],
            usage=message["usage"],
            rev=row["rev"],
        )
        for row, message in ((row, _message(row)) for row in rows)
    ]
