"""What users put beside their prompts: attachments of messages, and skills. It lies in `hub.db`.

`POST /api/attachments?name=…` and `POST /api/skills` take the bytes themselves as their body.
"""

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

from aiohttp import web

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.accounts import Accounts, Call, Routes, serve
from executor_core.hub.store import Json, Store, insert, rows
from executor_core.hub.wire import SKILL_NAMESPACE, clean
from executor_core.web import Access, Handler, Listener, download
from executor_core.web.guard import bearer

MAX_ATTACHMENT_BYTES = 20 * 2**20
MAX_SKILL_BYTES = 10 * 2**20
MAX_STORED_BYTES = 512 * 2**20
"""Everything of one user together."""
MAX_PER_MESSAGE = 20
UNUSED_LIFE = timedelta(days=1)
"""An attachment that no message took within this time goes."""

_MAX_NAME = 255
_MAX_ENTRIES = 2_000
_SKILL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,60}")
_NUMBER = r"{number:\d{1,15}}"
_PIECE_BYTES = 64 * 1024
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

    def __init__(self, store: Store, clock: Clock, accounts: Accounts) -> None:
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._listener: Listener | None = None

    def attach(self, listener: Listener) -> None:
        """Register the routes. A task's token opens, for its device, that task's things."""
        self._listener = listener
        one_attachment = f"/api/attachments/{_NUMBER}"
        uploads: Routes = [
            ("POST", "/api/attachments", self._add_attachment),
            ("POST", "/api/skills", self._add_skill),
        ]
        serve(listener, self._accounts, uploads, is_upload=True)
        others: Routes = [
            ("DELETE", one_attachment, self._remove_attachment),
            ("GET", "/api/skills", self._own_skills),
            ("DELETE", f"/api/skills/{_NUMBER}", self._remove_skill),
        ]
        serve(listener, self._accounts, others)
        fetched: dict[str, Handler] = {
            f"{one_attachment}/executor-download": self._attachment,
            "/api/v1/kinds/skills": self._kinds_of_skills,
            f"/api/v1/kinds/skills/{_NUMBER}/download": self._skill,
        }
        for path, handler in fetched.items():
            listener.route("GET", path, handler, access=Access.OWN)

    # --- what users do -------------------------------------------------------------------------

    async def _add_attachment(self, call: Call) -> Json:
        """Keep a file for a message to come.

        Raises:
            ExecutorError: `upload_too_big`, `bad_field` for the name, `upload_empty`,
                `library_full`.
        """
        data = await _body(call.request, MAX_ATTACHMENT_BYTES)
        user_id = await call.user_id()
        name = clean(re.split(r"[/\\]", call.request.query.get("name", ""))[-1]).strip()
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise ExecutorError("bad_field", name="name")
        if not data:
            raise ExecutorError("upload_empty")
        media_type = call.request.content_type
        if not _MEDIA_TYPE.fullmatch(media_type):
            media_type = "application/octet-stream"
        now = self._clock.now()
        made = {"name": name, "media_type": media_type, "size": len(data)}

        def work(db: sqlite3.Connection) -> Json:
            db.execute(
                "DELETE FROM attachments WHERE task_id IS NULL AND created_at < ?",
                ((now - UNUSED_LIFE).isoformat(),),
            )
            _check_space(db, user_id, len(data))
            columns = made | {"user_id": user_id, "data": data, "created_at": now.isoformat()}
            return {"id": insert(db, "attachments", columns)} | made

        return await self._store.run(work)

    async def _remove_attachment(self, call: Call) -> Json:
        """Take back one that no message has taken. Raises `unknown_attachment`."""
        number = call.number("number")
        command = "DELETE FROM attachments WHERE id = ? AND user_id = ? AND task_id IS NULL"
        if not await self._store.change(command, number, await call.user_id()):
            raise ExecutorError("unknown_attachment", id=number)
        return {}

    async def _add_skill(self, call: Call) -> Json:
        """Keep a skill, in place of an earlier one of its name.

        Raises:
            ExecutorError: `upload_too_big`, `bad_skill`, `library_full`.
        """
        data = await _body(call.request, MAX_SKILL_BYTES)
        user_id = await call.user_id()

        def work(db: sqlite3.Connection) -> Json:
            name = _skill_name(data)
            _check_space(db, user_id, len(data))
            row = {
                "user_id": user_id,
                "name": name,
                "size": len(data),
                "hash": hashlib.sha256(data).hexdigest(),
                "data": data,
            }
            newer = "size = excluded.size, hash = excluded.hash, data = excluded.data"
            insert(db, "skills", row, f"ON CONFLICT (user_id, name) DO UPDATE SET {newer}")
            return next(row for row in rows(db, Json, _SKILLS, user_id) if row["name"] == name)

        return await self._store.run(work)

    async def _own_skills(self, call: Call) -> Json:
        return {"items": await self.skills(Reader(await call.user_id()))}

    async def _remove_skill(self, call: Call) -> Json:
        """Forget a skill, also where tasks have it. Raises `unknown_skill`."""
        number = call.number("number")
        command = "DELETE FROM skills WHERE id = ? AND user_id = ?"
        if not await self._store.change(command, number, await call.user_id()):
            raise ExecutorError("unknown_skill", name=number)
        return {}

    # --- belonging to tasks --------------------------------------------------------------------

    async def chosen(self, user_id: int, body: Json) -> Chosen:
        """What a message's `attachments` (ids) and `skills` (names) mean.

        Raises:
            ExecutorError: `bad_field`, `unknown_attachment`, `unknown_skill`.
        """
        ids = tuple(dict.fromkeys(_listed(body, "attachments", int)))
        names = tuple(dict.fromkeys(_listed(body, "skills", str)))

        free = "SELECT id FROM attachments WHERE user_id = ? AND task_id IS NULL"
        known = {row["id"] for row in await self._store.rows(Json, free, user_id)}
        for number in ids:
            if number not in known:
                raise ExecutorError("unknown_attachment", id=number)
        skills = {skill["name"]: skill["id"] for skill in await self.skills(Reader(user_id))}
        for name in names:
            if name not in skills:
                raise ExecutorError("unknown_skill", name=name)
        return Chosen(ids, tuple(skills[name] for name in names))

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
        return await self._store.rows(Json, _ATTACHMENTS_OF_TASK, task_id)

    async def skills(self, reader: Reader) -> list[Json]:
        """The skills that the reader may have, by name: id, name, size, hash."""
        if reader.task_id is None:
            return await self._store.rows(Json, _SKILLS, reader.user_id)
        return await self._store.rows(Json, _SKILLS_OF_TASK, reader.user_id, reader.task_id)

    # --- what devices fetch --------------------------------------------------------------------

    async def _attachment(self, request: web.Request) -> web.Response:
        reader, number = await self._reader(request), _number(request)
        query = (
            "SELECT name, data FROM attachments WHERE id = ? AND user_id = ?"
            " AND (? IS NULL OR task_id = ?)"
        )
        values = (number, reader.user_id, reader.task_id, reader.task_id)
        for found in await self._store.rows(Json, query, *values):
            return download(found["data"], found["name"])
        raise ExecutorError("unknown_attachment", id=number)

    async def _kinds_of_skills(self, request: web.Request) -> web.Response:
        skills = await self.skills(await self._reader(request))
        name = request.query.get("name")
        namespace = request.query.get("namespace", SKILL_NAMESPACE)
        items = [
            _kind(skill)
            for skill in skills
            if name in (None, skill["name"]) and namespace == SKILL_NAMESPACE
        ]
        return web.json_response({"items": items})

    async def _skill(self, request: web.Request) -> web.Response:
        reader, number = await self._reader(request), _number(request)
        if any(skill["id"] == number for skill in await self.skills(reader)):
            query = "SELECT data FROM skills WHERE id = ?"
            for found in await self._store.rows(Json, query, number):
                return download(found["data"], f"{number}.zip")
        raise ExecutorError("unknown_skill", name=number)

    async def _reader(self, request: web.Request) -> Reader:
        token = bearer(request.headers.get("Authorization"))
        of_task = self._accounts.verify_task(token) if token else None
        if of_task is not None:
            return Reader(*of_task)
        assert self._listener is not None
        return Reader(await self._accounts.id_of(self._listener.user(request)))


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


async def _body(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_chunked(_PIECE_BYTES):
        body += piece
        if len(body) > limit:
            raise ExecutorError("upload_too_big", limit=limit // 2**20)
    return bytes(body)


def _number(request: web.Request) -> int:
    return int(request.match_info["number"])


def _kind(skill: Json) -> Json:
    labels = {"id": str(skill["id"])}
    return {
        "apiVersion": "agent.wecode.io/v1",
        "kind": "Skill",
        "metadata": {"name": skill["name"], "namespace": SKILL_NAMESPACE, "labels": labels},
    }
