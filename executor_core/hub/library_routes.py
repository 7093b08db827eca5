"""The routes of the library: uploads of users, and what devices fetch with a task's token."""

from __future__ import annotations

from aiohttp import web

from executor_core.errors import ExecutorError
from executor_core.hub.accounts import Accounts
from executor_core.hub.library import (
    MAX_ATTACHMENT_BYTES,
    MAX_SKILL_BYTES,
    NAMESPACE,
    Library,
    Reader,
)
from executor_core.hub.wire import Json
from executor_core.web import Access, Handler, Listener, download, user_of
from executor_core.web.guard import bearer

STATUS = {
    "bad_skill": 400,
    "library_full": 409,
    "unknown_attachment": 404,
    "unknown_skill": 404,
    "upload_empty": 400,
    "upload_too_big": 413,
}
_NUMBER = r"{number:\d{1,15}}"
_PIECE_BYTES = 64 * 1024


class LibraryRoutes:
    """Uploads belong to the user of the request's token; a task's token opens that task's things.

    `POST /api/attachments?name=…` and `POST /api/skills` take the bytes themselves as their body.
    """

    def __init__(self, library: Library, accounts: Accounts) -> None:
        self._library = library
        self._accounts = accounts
        self._listener: Listener | None = None

    def attach(self, listener: Listener) -> None:
        """Register all routes."""
        listener.statuses.update(STATUS)
        self._listener = listener
        upload, attachment, skills = (
            "/api/attachments",
            f"/api/attachments/{_NUMBER}",
            "/api/skills",
        )
        listener.route("POST", upload, self._add_attachment, is_upload=True)
        listener.route("DELETE", attachment, self._remove_attachment)
        listener.route("GET", skills, self._own_skills)
        listener.route("POST", skills, self._add_skill, is_upload=True)
        listener.route("DELETE", f"{skills}/{_NUMBER}", self._remove_skill)
        fetched: dict[str, Handler] = {
            f"{attachment}/executor-download": self._attachment,
            "/api/v1/kinds/skills": self._skills,
            f"/api/v1/kinds/skills/{_NUMBER}/download": self._skill,
        }
        for path, handler in fetched.items():
            listener.route("GET", path, handler, access=Access.OWN)

    # --- users ---------------------------------------------------------------------------------

    async def _add_attachment(self, request: web.Request) -> web.Response:
        data = await _body(request, MAX_ATTACHMENT_BYTES)
        name, media_type = request.query.get("name", ""), request.content_type
        made = await self._library.add_attachment(
            await self._user_id(request), name, media_type, data
        )
        return web.json_response(made)

    async def _remove_attachment(self, request: web.Request) -> web.Response:
        await self._library.remove_attachment(await self._user_id(request), _number(request))
        return web.json_response({})

    async def _add_skill(self, request: web.Request) -> web.Response:
        data = await _body(request, MAX_SKILL_BYTES)
        return web.json_response(await self._library.add_skill(await self._user_id(request), data))

    async def _own_skills(self, request: web.Request) -> web.Response:
        items = await self._library.skills(Reader(await self._user_id(request)))
        return web.json_response({"items": items})

    async def _remove_skill(self, request: web.Request) -> web.Response:
        await self._library.remove_skill(await self._user_id(request), _number(request))
        return web.json_response({})

    async def _user_id(self, request: web.Request) -> int:
        return await self._accounts.id_of(user_of(request))

    # --- devices -------------------------------------------------------------------------------

    async def _attachment(self, request: web.Request) -> web.Response:
        found, data = await self._library.attachment_data(
            await self._reader(request), _number(request)
        )
        return download(data, found["name"])

    async def _skills(self, request: web.Request) -> web.Response:
        skills = await self._library.skills(await self._reader(request))
        name, namespace = request.query.get("name"), request.query.get("namespace", NAMESPACE)
        items = [
            _kind(skill)
            for skill in skills
            if name in (None, skill["name"]) and namespace == NAMESPACE
        ]
        return web.json_response({"items": items})

    async def _skill(self, request: web.Request) -> web.Response:
        number = _number(request)
        data = await self._library.skill_data(await self._reader(request), number)
        return download(data, f"{number}.zip")

    async def _reader(self, request: web.Request) -> Reader:
        token = bearer(request.headers.get("Authorization"))
        of_task = self._accounts.verify_task(token) if token else None
        if of_task is not None:
            return Reader(*of_task)
        assert self._listener is not None
        return Reader(await self._accounts.id_of(self._listener.user(request)))


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
        "metadata": {"name": skill["name"], "namespace": NAMESPACE, "labels": labels},
    }
