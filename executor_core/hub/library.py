"""What users put beside their prompts: attachments of messages, and skills. It lies in `hub.db`."""

from __future__ import annotations

import hashlib
import io
import re
import sqlite3
import zipfile
import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.store import Store
from executor_core.hub.wire import Json, clean

MAX_ATTACHMENT_BYTES = 20 * 2**20
MAX_SKILL_BYTES = 10 * 2**20
MAX_STORED_BYTES = 512 * 2**20
"""Everything of one user together."""
MAX_PER_MESSAGE = 20
UNUSED_LIFE = timedelta(days=1)
"""An attachment that no message took within this time goes."""
NAMESPACE = "default"

_MAX_NAME = 255
_MAX_ENTRIES = 2_000
_SKILL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,60}")
_SCHEMA = """
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
_ATTACHMENTS_OF_TASK = (
    "SELECT id, name, media_type, size, subtask_id FROM attachments WHERE task_id = ? ORDER BY id"
)
_SKILLS = "SELECT id, name, size, hash FROM skills WHERE user_id = ? ORDER BY name"
_SKILLS_OF_TASK = (
    "SELECT id, name, size, hash FROM skills JOIN task_skills ON skill_id = skills.id"
    " WHERE user_id = ? AND task_id = ? ORDER BY name"
)


@dataclass(frozen=True)
class Reader:
    """Who asks for something: a user, or with `task_id` only what belongs to that task."""

    user_id: int
    task_id: int | None = None


@dataclass(frozen=True)
class Chosen:
    """What a message brings, checked: ids of attachments and of skills."""

    attachments: tuple[int, ...] = ()
    skills: tuple[int, ...] = ()


class Library:
    """All of it for one user at a time: what others have does not exist."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def open(self) -> None:
        """Make the tables. After the store is open."""
        await self._store.run(lambda db: db.executescript(_SCHEMA))

    # --- putting in ----------------------------------------------------------------------------

    async def add_attachment(self, user_id: int, name: str, media_type: str, data: bytes) -> Json:
        """Keep a file for a message to come.

        Raises:
            ExecutorError: `bad_field` for the name, `upload_empty`, `library_full`.
        """
        name = clean(re.split(r"[/\\]", name)[-1]).strip()
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise ExecutorError("bad_field", name="name")
        if not data:
            raise ExecutorError("upload_empty")
        if not _MEDIA_TYPE.fullmatch(media_type):
            media_type = "application/octet-stream"
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> Json:
            db.execute(
                "DELETE FROM attachments WHERE task_id IS NULL AND created_at < ?",
                ((now - UNUSED_LIFE).isoformat(),),
            )
            _check_space(db, user_id, len(data))
            made = db.execute(
                "INSERT INTO attachments (user_id, name, media_type, size, data, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (user_id, name, media_type, len(data), data, now.isoformat()),
            )
            return {
                "id": made.lastrowid,
                "name": name,
                "media_type": media_type,
                "size": len(data),
            }

        return await self._store.run(work)

    async def remove_attachment(self, user_id: int, attachment_id: int) -> None:
        """Take back one that no message has taken. Raises `unknown_attachment`."""
        removed = await self._store.run(
            lambda db: (
                db.execute(
                    "DELETE FROM attachments WHERE id = ? AND user_id = ? AND task_id IS NULL",
                    (attachment_id, user_id),
                ).rowcount
            )
        )
        if not removed:
            raise ExecutorError("unknown_attachment", id=attachment_id)

    async def add_skill(self, user_id: int, data: bytes) -> Json:
        """Keep a skill, in place of an earlier one of its name.

        Raises:
            ExecutorError: `bad_skill`, `library_full`.
        """

        def work(db: sqlite3.Connection) -> Json:
            name = _skill_name(data)
            _check_space(db, user_id, len(data))
            db.execute(
                "INSERT INTO skills (user_id, name, size, hash, data) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (user_id, name) DO UPDATE SET"
                " size = excluded.size, hash = excluded.hash, data = excluded.data",
                (user_id, name, len(data), hashlib.sha256(data).hexdigest(), data),
            )
            return next(row for row in _rows(db, _SKILLS, (user_id,)) if row["name"] == name)

        return await self._store.run(work)

    async def remove_skill(self, user_id: int, skill_id: int) -> None:
        """Forget a skill, also where tasks have it. Raises `unknown_skill`."""
        removed = await self._store.run(
            lambda db: (
                db.execute(
                    "DELETE FROM skills WHERE id = ? AND user_id = ?", (skill_id, user_id)
                ).rowcount
            )
        )
        if not removed:
            raise ExecutorError("unknown_skill", name=skill_id)

    # --- belonging to tasks --------------------------------------------------------------------

    async def chosen(self, user_id: int, body: Json) -> Chosen:
        """What a message's `attachments` (ids) and `skills` (names) mean.

        Raises:
            ExecutorError: `bad_field`, `unknown_attachment`, `unknown_skill`.
        """
        ids = tuple(dict.fromkeys(_listed(body, "attachments", int)))
        names = tuple(dict.fromkeys(_listed(body, "skills", str)))

        def work(db: sqlite3.Connection) -> Chosen:
            for number in ids:
                found = db.execute(
                    "SELECT 1 FROM attachments WHERE id = ? AND user_id = ? AND task_id IS NULL",
                    (number, user_id),
                ).fetchone()
                if found is None:
                    raise ExecutorError("unknown_attachment", id=number)
            skills = {
                row["name"]: row["id"]
                for row in db.execute("SELECT id, name FROM skills WHERE user_id = ?", (user_id,))
            }
            for name in names:
                if name not in skills:
                    raise ExecutorError("unknown_skill", name=name)
            return Chosen(ids, tuple(skills[name] for name in names))

        return await self._store.run(work)

    async def give(self, task_id: int, subtask_id: int, chosen: Chosen) -> None:
        """The user's message `subtask_id` brings this; skills stay with the task."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE attachments SET task_id = ?, subtask_id = ? WHERE id = ?",
                [(task_id, subtask_id, number) for number in chosen.attachments],
            )
            db.executemany(
                "INSERT OR IGNORE INTO task_skills VALUES (?, ?)",
                [(task_id, number) for number in chosen.skills],
            )

        await self._store.run(work)

    async def attachments(self, task_id: int) -> list[Json]:
        """All attachments of a task: id, name, media_type, size, subtask_id."""
        return await self._store.run(lambda db: _rows(db, _ATTACHMENTS_OF_TASK, (task_id,)))

    # --- taking out ----------------------------------------------------------------------------

    async def skills(self, reader: Reader) -> list[Json]:
        """The skills that the reader may have, by name: id, name, size, hash."""
        user_id, task_id = reader.user_id, reader.task_id
        query, values = (
            (_SKILLS, (user_id,)) if task_id is None else (_SKILLS_OF_TASK, (user_id, task_id))
        )
        return await self._store.run(lambda db: _rows(db, query, values))

    async def skill_data(self, reader: Reader, skill_id: int) -> bytes:
        """A skill's archive. Raises `unknown_skill`."""
        if all(skill["id"] != skill_id for skill in await self.skills(reader)):
            raise ExecutorError("unknown_skill", name=skill_id)
        return await self._store.run(
            lambda db: bytes(
                db.execute("SELECT data FROM skills WHERE id = ?", (skill_id,)).fetchone()[0]
            )
        )

    async def attachment_data(self, reader: Reader, attachment_id: int) -> tuple[Json, bytes]:
        """An attachment's name and media type, and its bytes. Raises `unknown_attachment`."""
        query = (
            "SELECT name, media_type, data FROM attachments WHERE id = ? AND user_id = ?"
            " AND (? IS NULL OR task_id = ?)"
        )
        values = (attachment_id, reader.user_id, reader.task_id, reader.task_id)
        found = await self._store.run(lambda db: _rows(db, query, values))
        if not found:
            raise ExecutorError("unknown_attachment", id=attachment_id)
        return found[0], found[0].pop("data")


def _rows(db: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> list[Json]:
    return [dict(row) for row in db.execute(query, values)]


def _check_space(db: sqlite3.Connection, user_id: int, size: int) -> None:
    used = db.execute(
        "SELECT (SELECT coalesce(sum(size), 0) FROM attachments WHERE user_id = ?)"
        " + (SELECT coalesce(sum(size), 0) FROM skills WHERE user_id = ?)",
        (user_id, user_id),
    ).fetchone()[0]
    if used + size > MAX_STORED_BYTES:
        raise ExecutorError("library_full", limit=MAX_STORED_BYTES // 2**20)


def _skill_name(data: bytes) -> str:
    """The one folder of a skill's archive, in which its SKILL.md lies."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Windows PowerShell 5 parts names by backslashes.
            names = [name.replace("\\", "/") for name in archive.namelist()]
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, OSError) as error:
        raise ExecutorError("bad_skill") from error
    tops = {name.partition("/")[0] for name in names} - {"__MACOSX"}
    name = tops.pop() if len(tops) == 1 else ""
    if (
        len(names) > _MAX_ENTRIES
        or not _SKILL_NAME.fullmatch(name)
        or f"{name}/SKILL.md" not in names
    ):
        raise ExecutorError("bad_skill")
    return name


def _listed(body: Json, field: str, kind: type) -> list[Any]:
    values = body.get(field)
    if values is None:
        return []
    if not isinstance(values, list) or len(values) > MAX_PER_MESSAGE:
        raise ExecutorError("bad_field", name=field)
    if any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
        raise ExecutorError("bad_field", name=field)
    if kind is int and any(not 0 < value < 2**63 for value in values):
        raise ExecutorError("bad_field", name=field)
    return values
