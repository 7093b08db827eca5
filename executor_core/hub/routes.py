"""The hub's routes: a table over its devices and tasks, and the console page in front of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from executor_core import help_pages
from executor_core.errors import ExecutorError
from executor_core.hub.accounts import Accounts
from executor_core.hub.devices import Devices
from executor_core.hub.feed import Feed
from executor_core.hub.store import Store
from executor_core.hub.tasks import Tasks
from executor_core.hub.wire import Json
from executor_core.resources import resource_path
from executor_core.texts import LANGUAGES, catalogue, text
from executor_core.web import Access, Listener, last_event_id, read_json, user_of

STATUS = {
    "bad_field": 400,
    "device_offline": 409,
    "empty_prompt": 400,
    "no_device": 409,
    "not_allowed": 403,
    "nothing_to_cancel": 409,
    "nothing_to_retry": 409,
    "task_running": 409,
    "unknown_device": 404,
    "unknown_task": 404,
}
_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 200
_PAGE_TYPES = (".css", ".html", ".js", ".svg")


class Routes:
    """Everything here belongs to the user of the request's token."""

    def __init__(
        self, store: Store, feed: Feed, accounts: Accounts, devices: Devices, tasks: Tasks
    ) -> None:
        self._store = store
        self._feed = feed
        self._accounts = accounts
        self._devices = devices
        self._tasks = tasks

    def attach(self, listener: Listener) -> None:
        """Register all routes."""
        listener.statuses.update(STATUS)
        listener.accept(self._accounts.verify)
        table: list[tuple[str, str, Callable[[web.Request], Awaitable[Json]]]] = [
            ("GET", "/api/devices", self._all_devices),
            ("GET", "/api/devices/online", self._online_devices),
            ("PUT", "/api/devices/{device_id}/default", self._set_default),
            ("DELETE", "/api/devices/{device_id}/default", self._unset_default),
            ("DELETE", "/api/devices/{device_id}", self._delete_device),
            ("GET", "/api/tasks", self._list_tasks),
            ("POST", "/api/tasks", self._create_task),
            ("GET", r"/api/tasks/{task_id:\d{1,15}}", self._show_task),
            ("DELETE", r"/api/tasks/{task_id:\d{1,15}}", self._delete_task),
            ("POST", r"/api/tasks/{task_id:\d{1,15}}/messages", self._follow_up),
            ("POST", r"/api/tasks/{task_id:\d{1,15}}/cancel", self._cancel),
            ("POST", r"/api/tasks/{task_id:\d{1,15}}/retry", self._retry),
        ]
        for method, path, answer in table:
            listener.route(method, path, _as_json(answer))

        async def events(request: web.Request) -> web.StreamResponse:
            user_id = await self._accounts.id_of(user_of(request))
            return await listener.stream(
                request, self._feed.follow(user_id, last_event_id(request))
            )

        listener.route("GET", "/api/hub/events", events, access=Access.STREAM)
        self._attach_console(listener)

    def _attach_console(self, listener: Listener) -> None:
        for file in resource_path("console").iterdir():
            if file.suffix in _PAGE_TYPES:
                is_page = file.name == "index.html"
                listener.page("/" if is_page else f"/console/{file.name}", file)
        texts = "/console/texts/{language}.json"
        listener.route("GET", texts, _as_json(_console_texts), access=Access.PUBLIC)
        page = "/console/help/{language}/{topic}.json"
        listener.route("GET", page, _as_json(_help_page), access=Access.PUBLIC)

    # --- devices -------------------------------------------------------------------------------

    async def _all_devices(self, request: web.Request) -> Json:
        items = await self._devices.infos(await self._user_id(request))
        return {"items": items, "total": len(items)}

    async def _online_devices(self, request: web.Request) -> Json:
        infos = await self._devices.infos(await self._user_id(request))
        items = [info for info in infos if info["status"] != "offline"]
        return {"items": items, "total": len(items)}

    async def _set_default(self, request: web.Request) -> Json:
        return await self._change_default(request, is_default=True)

    async def _unset_default(self, request: web.Request) -> Json:
        return await self._change_default(request, is_default=False)

    async def _change_default(self, request: web.Request, *, is_default: bool) -> Json:
        user_id, device_id = await self._user_id(request), request.match_info["device_id"]
        if not await self._store.make_default(user_id, device_id, is_default=is_default):
            raise ExecutorError("unknown_device", device_id=device_id)
        for info in await self._devices.infos(user_id):
            self._feed.publish(user_id, "device", info)
        return {"message": text("hub.default_changed")}

    async def _delete_device(self, request: web.Request) -> Json:
        user_id, device_id = await self._user_id(request), request.match_info["device_id"]
        if not await self._store.delete_device(user_id, device_id):
            raise ExecutorError("unknown_device", device_id=device_id)
        self._feed.publish(user_id, "device_deleted", {"device_id": device_id})
        return {"message": text("hub.device_deleted")}

    # --- tasks ---------------------------------------------------------------------------------

    async def _list_tasks(self, request: web.Request) -> Json:
        limit = min(_number(request, "limit") or _PAGE_SIZE, _MAX_PAGE_SIZE)
        before, words = _number(request, "before"), request.query.get("search", "")
        return await self._tasks.list(user_of(request), limit, before, words)

    async def _create_task(self, request: web.Request) -> Json:
        return await self._tasks.create(user_of(request), await read_json(request))

    async def _show_task(self, request: web.Request) -> Json:
        return await self._tasks.show(user_of(request), _task_id(request))

    async def _delete_task(self, request: web.Request) -> Json:
        await self._tasks.delete(user_of(request), _task_id(request))
        return {"message": text("hub.task_deleted")}

    async def _follow_up(self, request: web.Request) -> Json:
        body = await read_json(request)
        return await self._tasks.follow_up(user_of(request), _task_id(request), body)

    async def _cancel(self, request: web.Request) -> Json:
        return await self._tasks.cancel(user_of(request), _task_id(request))

    async def _retry(self, request: web.Request) -> Json:
        return await self._tasks.retry(user_of(request), _task_id(request))

    async def _user_id(self, request: web.Request) -> int:
        return await self._accounts.id_of(user_of(request))


def _as_json(
    answer: Callable[[web.Request], Awaitable[Json]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response(await answer(request))

    return handle


async def _console_texts(request: web.Request) -> Json:
    language = request.match_info["language"]
    if language not in LANGUAGES:
        raise ExecutorError("unknown_path")
    entries = catalogue(language).items()
    return {key: words for key, words in entries if key.startswith("console.")}


async def _help_page(request: web.Request) -> Json:
    language, topic = request.match_info["language"], request.match_info["topic"]
    if language not in LANGUAGES or topic not in help_pages.topics():
        raise ExecutorError("unknown_path")
    return {
        "title": help_pages.title(topic, language),
        "text": help_pages.page(topic, language),
        "topics": [(name, help_pages.title(name, language)) for name in help_pages.topics()],
    }


def _task_id(request: web.Request) -> int:
    return int(request.match_info["task_id"])


def _number(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16 and int(value) > 0):
        raise ExecutorError("bad_field", name=name)
    return int(value)
