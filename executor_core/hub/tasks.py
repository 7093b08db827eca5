"""What a user does with tasks: create, follow up, cancel, retry, look at, delete."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from msgspec import structs

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub import wire
from executor_core.hub.accounts import Accounts, Call, Routes
from executor_core.hub.devices import Devices
from executor_core.hub.feed import Feed
from executor_core.hub.library import Chosen, Library, Reader
from executor_core.hub.store import (
    SUBTASKS,
    Json,
    Store,
    Subtask,
    Task,
    insert,
    rows,
    set_task_status,
)
from executor_core.hub.subtasks import Subtasks
from executor_core.hub.wire import Dialect
from executor_core.texts import text
from executor_core.web import OWNER

MAX_TASKS = 5000
"""Tasks that are kept per user; the oldest go first."""
MAX_PROMPT = 200_000
_MAX_TITLE = 200
_SHOWN_TITLE = 80
_MAX_EXTRAS = 200
_MAX_SEARCH = 200
_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 200
_DEFAULT_AGENT = "claude_code"
_AGENT = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_TASK = r"/api/tasks/{task_id:\d{1,15}}"
_MESSAGES = f"{SUBTASKS} WHERE s.task_id = ? ORDER BY s.id"
_FOUND = r"""
SELECT * FROM tasks AS t WHERE user_id = ? AND (? IS NULL OR id < ?) AND (
    ? IS NULL OR title LIKE ? ESCAPE '\'
    OR EXISTS (SELECT 1 FROM subtasks AS s WHERE s.task_id = t.id AND s.role = 'USER'
        AND s.text LIKE ? ESCAPE '\'))
ORDER BY id DESC LIMIT ?
"""

Send = Callable[[int, str, str, Json], Awaitable[None]]
"""Emit to a device: user id, device id, event, data."""


class Tasks:
    """All of it for one user at a time: other users' tasks do not exist."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        clock: Clock,
        dialect: Dialect,
        accounts: Accounts,
        devices: Devices,
        subtasks: Subtasks,
        send: Send,
        library: Library,
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._dialect: Dialect = dialect
        self._accounts = accounts
        self._devices = devices
        self._subtasks = subtasks
        self._send = send
        self._library = library
        self._one_at_a_time = asyncio.Lock()
        # May hold keys of models, so it is never written to disk.
        self._extras: OrderedDict[int, Json] = OrderedDict()
        self.backend_url: Callable[[], str] = str
        """Our own address, for the tasks that are sent."""
        self.routes: Routes = [
            ("GET", "/api/tasks", self._list),
            ("POST", "/api/tasks", self._create),
            ("GET", _TASK, self._show),
            ("DELETE", _TASK, self._delete),
            ("POST", f"{_TASK}/messages", self._follow_up),
            ("POST", f"{_TASK}/cancel", self._cancel),
            ("POST", f"{_TASK}/retry", self._retry),
        ]

    # --- routes --------------------------------------------------------------------------------

    async def _create(self, call: Call) -> Json:
        """A new task from `{"prompt", "device_id"?, "agent"?, "title"?, "payload"?}`; shown whole.

        `"attachments"` (ids) and `"skills"` (names) of the library go with the message.

        Raises:
            ExecutorError: `bad_field`, `not_allowed`, `unknown_attachment`, `unknown_skill`, or
                where no device can take it.
        """
        body = await call.body()
        prompt = _prompt(body)
        title = _field(body, "title", _MAX_TITLE) or " ".join(prompt.split())[:_SHOWN_TITLE]
        agent = _field(body, "agent", 50) or _DEFAULT_AGENT
        if not _AGENT.fullmatch(agent):
            raise ExecutorError("bad_field", name="agent")
        extra = _extra(call.user, body)
        user_id = await call.user_id()
        async with self._one_at_a_time:
            chosen = await self._library.chosen(user_id, body)
            device = await self._devices.chosen(user_id, _field(body, "device_id", 100) or None)
            device_id, now = device["device_id"], self._now()
            task = Task(0, user_id, title, device_id, agent, "RUNNING", now, now)
            task.id = await self._store.run(lambda db: _add_task(db, task))
            self._keep_extra(task.id, extra)
            await self._dispatch_new(call.user, task, prompt, chosen)
        return await self._shown(user_id, task.id)

    async def _follow_up(self, call: Call) -> Json:
        """A further message, `{"prompt", "payload"?, "attachments"?, "skills"?}`, of the same task.

        Raises:
            ExecutorError: also `task_running`, while the last one is being answered.
        """
        body, task_id = await call.body(), call.number("task_id")
        prompt, extra = _prompt(body), _extra(call.user, body)
        user_id = await call.user_id()
        async with self._one_at_a_time:
            task = await self._idle(user_id, task_id)
            chosen = await self._library.chosen(user_id, body)
            self._keep_extra(task_id, extra)
            await self._dispatch_new(call.user, task, prompt, chosen)
        return await self._shown(user_id, task_id)

    async def _retry(self, call: Call) -> Json:
        """Ask again for the last answer, under the same subtask id.

        Raises:
            ExecutorError: `nothing_to_retry`, unless it failed or was cancelled.
        """
        user_id, task_id = await call.user_id(), call.number("task_id")
        async with self._one_at_a_time:
            task = await self._idle(user_id, task_id)
            messages = await self._store.rows(Subtask, _MESSAGES, task_id)
            if len(messages) < 2 or messages[-1].status not in ("FAILED", "CANCELLED"):
                raise ExecutorError("nothing_to_retry")
            asked, answer = messages[-2:]
            again = structs.replace(
                answer, status="RUNNING", text="", reasoning="", tools=[], error=None, usage=None
            )
            await self._dispatch(call.user, task, asked, again)
        return await self._shown(user_id, task_id)

    async def _cancel(self, call: Call) -> Json:
        """Ask the device to stop. In the responses dialect nothing changes until it answers.

        Raises:
            ExecutorError: `nothing_to_cancel`, or `device_offline`.
        """
        user_id, task_id = await call.user_id(), call.number("task_id")
        task = await self._owned(user_id, task_id)
        answer = self._subtasks.running_in(task_id)
        if answer is None:
            raise ExecutorError("nothing_to_cancel")
        if self._dialect == "responses":
            await self._devices.chosen(user_id, task.device_id)
        ids = {"task_id": task_id, "subtask_id": answer.subtask_id}
        await self._send(user_id, answer.device_id, "task:cancel", ids)
        if self._dialect == "progress":
            await self._subtasks.finish(answer, wire.Ended("CANCELLED"))
        return await self._shown(user_id, task_id)

    async def _delete(self, call: Call) -> Json:
        """Remove the task with all its messages; its device ends what still runs for it."""
        user_id, task_id = await call.user_id(), call.number("task_id")
        async with self._one_at_a_time:
            task = await self._owned(user_id, task_id)
            self._subtasks.forget(task_id)
            self._extras.pop(task_id, None)
            await self._store.change("DELETE FROM tasks WHERE id = ?", task_id)
        await self._send(user_id, task.device_id, "task:close-session", {"task_id": task_id})
        self._feed.publish(user_id, "deleted", {"task_id": task_id})
        return {"message": text("hub.task_deleted")}

    async def _list(self, call: Call) -> Json:
        """The newest tasks, newest first: `{"items": […], "has_more": …}`.

        `?before=` a number of a task, `?limit=`, and with `?search=` those that have these words
        in their title or in a message of the user's.
        """
        query = call.request.query
        limit = min(_number(query.get("limit"), "limit") or _PAGE_SIZE, _MAX_PAGE_SIZE)
        before, words = _number(query.get("before"), "before"), query.get("search", "")
        if len(words) > _MAX_SEARCH:
            raise ExecutorError("bad_field", name="search")
        words = re.sub(r"([\\%_])", r"\\\1", wire.clean(words).strip())
        pattern = f"%{words}%" if words else None
        found = await self._store.rows(
            Task, _FOUND, await call.user_id(), before, before, *[pattern] * 3, limit + 1
        )
        return {"items": [_task(task) for task in found[:limit]], "has_more": len(found) > limit}

    async def _show(self, call: Call) -> Json:
        return await self._shown(await call.user_id(), call.number("task_id"))

    # --- inside --------------------------------------------------------------------------------

    async def _shown(self, user_id: int, task_id: int) -> Json:
        """One task with all its messages, as they are this moment."""
        task = await self._owned(user_id, task_id)
        brought = await self._library.attachments(task_id)
        messages = [
            _message(self._subtasks.current(row.subtask_id) or row)
            | {"attachments": [one for one in brought if one["subtask_id"] == row.subtask_id]}
            for row in await self._store.rows(Subtask, _MESSAGES, task_id)
        ]
        skills = await self._library.skills(Reader(user_id, task_id))
        return _task(task) | {"messages": messages, "skills": [skill["name"] for skill in skills]}

    async def _owned(self, user_id: int, task_id: int) -> Task:
        query = "SELECT * FROM tasks WHERE id = ? AND user_id = ?"
        for task in await self._store.rows(Task, query, task_id, user_id):
            return task
        raise ExecutorError("unknown_task", task_id=task_id)

    async def _idle(self, user_id: int, task_id: int) -> Task:
        task = await self._owned(user_id, task_id)
        if self._subtasks.running_in(task_id) is not None:
            raise ExecutorError("task_running")
        await self._devices.chosen(user_id, task.device_id)
        return task

    async def _dispatch_new(self, user: str, task: Task, prompt: str, chosen: Chosen) -> None:
        asked, answer = await self._store.run(lambda db: _add_turn(db, task, prompt, self._now()))
        await self._library.give(task.id, asked.subtask_id, chosen)
        await self._dispatch(user, task, asked, answer)

    async def _dispatch(self, user: str, task: Task, asked: Subtask, answer: Subtask) -> None:
        brought = await self._library.attachments(task.id)
        turn = wire.Turn(
            user,
            task,
            asked,
            answer,
            extra=self._extras.get(task.id, {}),
            attachments=[one for one in brought if one["subtask_id"] == asked.subtask_id],
            skills=await self._library.skills(Reader(task.user_id, task.id)),
        )
        answer.unheard = payload = wire.execute_payload(
            turn,
            self._dialect,
            auth_token=self._auth_token(turn),
            backend_url=self.backend_url(),
            now=self._clock.now(),
        )
        await self._subtasks.begin(answer)
        await self._send(task.user_id, task.device_id, "task:execute", payload)
        await self._devices.tell(task.user_id, task.device_id)

    def _auth_token(self, turn: wire.Turn) -> str:
        if self._dialect == "progress":
            return self._accounts.token(turn.user_name)
        return self._accounts.task_token(turn.user_name, turn.task.id, turn.answer.subtask_id)

    def _keep_extra(self, task_id: int, extra: Json) -> None:
        if extra:
            self._extras[task_id] = extra
        while len(self._extras) > _MAX_EXTRAS:
            self._extras.popitem(last=False)

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _add_task(db: sqlite3.Connection, task: Task) -> int:
    """A new task without turns. Beyond `MAX_TASKS` the oldest finished ones go."""
    columns = structs.asdict(task)
    del columns["id"]
    task_id = insert(db, "tasks", columns)
    db.execute(
        "DELETE FROM tasks WHERE user_id = ? AND status NOT IN ('RUNNING', 'PENDING')"
        " AND id <= (SELECT id FROM tasks WHERE user_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (task.user_id, task.user_id, MAX_TASKS),
    )
    return task_id


def _add_turn(db: sqlite3.Connection, task: Task, prompt: str, now: str) -> tuple[Subtask, Subtask]:
    """The user's message and the empty answer to it."""
    count = "SELECT count(*) FROM subtasks WHERE task_id = ?"
    before: int = db.execute(count, (task.id,)).fetchone()[0]
    for message_id, role, status, words in (
        (before + 1, "USER", "COMPLETED", prompt),
        (before + 2, "ASSISTANT", "RUNNING", ""),
    ):
        row = {"task_id": task.id, "message_id": message_id, "role": role, "status": status}
        insert(db, "subtasks", row | {"text": words, "created_at": now, "updated_at": now})
    newest = f"{SUBTASKS} WHERE s.task_id = ? ORDER BY s.id DESC LIMIT 2"
    answer, asked = rows(db, Subtask, newest, task.id)
    set_task_status(db, answer, "RUNNING")
    return asked, answer


def _task(task: Task) -> Json:
    shown = structs.asdict(task)
    del shown["user_id"]
    return shown


def _message(row: Subtask) -> Json:
    kept = ("task_id", "user_id", "device_id", "unheard")
    return {name: value for name, value in structs.asdict(row).items() if name not in kept}


def _field(body: Json, name: str, limit: int) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit:
        raise ExecutorError("bad_field", name=name)
    return wire.clean(value).strip()


def _prompt(body: Json) -> str:
    prompt = _field(body, "prompt", MAX_PROMPT)
    if not prompt:
        raise ExecutorError("empty_prompt")
    return prompt


def _extra(user: str, body: Json) -> Json:
    extra = body.get("payload")
    if extra is None:
        return {}
    if not isinstance(extra, dict):
        raise ExecutorError("bad_field", name="payload")
    if user != OWNER:
        raise ExecutorError("not_allowed")
    if (name := wire.wrong_field(extra)) is not None:
        raise ExecutorError("bad_field", name=f"payload.{wire.clean(name)[:100]}")
    return extra


def _number(value: str | None, name: str) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16 and int(value) > 0):
        raise ExecutorError("bad_field", name=name)
    return int(value)
