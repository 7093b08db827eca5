"""What a user does with tasks: create, follow up, cancel, retry, look at, delete."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub import wire
from executor_core.hub.accounts import Accounts
from executor_core.hub.answers import Answers
from executor_core.hub.devices import Devices
from executor_core.hub.dispatch import Turn, execute_payload, wrong_field
from executor_core.hub.feed import Feed
from executor_core.hub.library import Chosen, Library, Reader
from executor_core.hub.store import Answer, Store, TurnIds
from executor_core.hub.wire import Dialect, Json
from executor_core.web import OWNER

MAX_PROMPT = 200_000
_MAX_TITLE = 200
_SHOWN_TITLE = 80
_MAX_EXTRAS = 200
_MAX_SEARCH = 200
_GROWING = ("status", "text", "reasoning", "tools", "error", "usage", "rev")
_SHOWN = ("message_id", "role", "created_at", "updated_at", *_GROWING)
_AGENT = re.compile(r"[A-Za-z0-9_.-]{1,50}")

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
        answers: Answers,
        send: Send,
        library: Library,
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._dialect: Dialect = dialect
        self._accounts = accounts
        self._devices = devices
        self._answers = answers
        self._send = send
        self._library = library
        self._one_at_a_time = asyncio.Lock()
        # May hold keys of models, so it is never written to disk.
        self._extras: OrderedDict[int, Json] = OrderedDict()
        self.backend_url: Callable[[], str] = str
        """Our own address, for the tasks that are sent."""
        self.default_agent = "claude_code"

    async def create(self, user: str, body: Json) -> Json:
        """A new task from `{"prompt", "device_id"?, "agent"?, "title"?, "payload"?}`; shown whole.

        `"attachments"` (ids) and `"skills"` (names) of the library go with the message.

        Raises:
            ExecutorError: `bad_field`, `not_allowed`, `unknown_attachment`, `unknown_skill`, or
                where no device can take it.
        """
        prompt = _prompt(body)
        title = _field(body, "title", _MAX_TITLE) or _title_of(prompt)
        agent = _field(body, "agent", 50) or self.default_agent
        if not _AGENT.fullmatch(agent):
            raise ExecutorError("bad_field", name="agent")
        extra = _extra(user, body)
        user_id = await self._accounts.id_of(user)
        async with self._one_at_a_time:
            chosen = await self._library.chosen(user_id, body)
            device = await self._devices.chosen(user_id, _field(body, "device_id", 100) or None)
            task_id = await self._store.add_task(
                user_id, title, device["device_id"], agent, self._now()
            )
            self._keep_extra(task_id, extra)
            task = await self._owned(user_id, task_id)
            await self._dispatch_new(user, task, prompt, chosen)
        return await self.show(user, task_id)

    async def follow_up(self, user: str, task_id: int, body: Json) -> Json:
        """A further message, `{"prompt", "payload"?, "attachments"?, "skills"?}`, of the same task.

        Raises:
            ExecutorError: also `task_running`, while the last one is being answered.
        """
        prompt, extra = _prompt(body), _extra(user, body)
        user_id = await self._accounts.id_of(user)
        async with self._one_at_a_time:
            task = await self._idle(user_id, task_id)
            chosen = await self._library.chosen(user_id, body)
            self._keep_extra(task_id, extra)
            await self._dispatch_new(user, task, prompt, chosen)
        return await self.show(user, task_id)

    async def retry(self, user: str, task_id: int) -> Json:
        """Ask again for the last answer, under the same subtask id.

        Raises:
            ExecutorError: `nothing_to_retry`, unless it failed or was cancelled.
        """
        user_id = await self._accounts.id_of(user)
        async with self._one_at_a_time:
            task = await self._idle(user_id, task_id)
            messages = await self._store.messages(task_id)
            if len(messages) < 2 or messages[-1]["status"] not in ("FAILED", "CANCELLED"):
                raise ExecutorError("nothing_to_retry")
            asked, answer = messages[-2:]
            ids = TurnIds(task_id, asked["id"], answer["id"], answer["message_id"])
            await self._dispatch(user, task, ids, asked["text"], rev=answer["rev"])
        return await self.show(user, task_id)

    async def cancel(self, user: str, task_id: int) -> Json:
        """Ask the device to stop. In the responses dialect nothing changes until it answers.

        Raises:
            ExecutorError: `nothing_to_cancel`, or `device_offline`.
        """
        user_id = await self._accounts.id_of(user)
        task = await self._owned(user_id, task_id)
        answer = self._answers.running_in(task_id)
        if answer is None:
            raise ExecutorError("nothing_to_cancel")
        if self._dialect == "responses":
            await self._devices.chosen(user_id, task["device_id"])
        ids = {"task_id": task_id, "subtask_id": answer.subtask_id}
        await self._send(user_id, answer.device_id, "task:cancel", ids)
        if self._dialect == "progress":
            await self._answers.finish(answer, wire.Ended("CANCELLED"))
        return await self.show(user, task_id)

    async def delete(self, user: str, task_id: int) -> None:
        """Remove the task; its device ends what still runs for it."""
        user_id = await self._accounts.id_of(user)
        async with self._one_at_a_time:
            task = await self._owned(user_id, task_id)
            self._answers.forget(task_id)
            self._extras.pop(task_id, None)
            await self._store.delete_task(task_id)
        await self._send(user_id, task["device_id"], "task:close-session", {"task_id": task_id})
        self._feed.publish(user_id, "deleted", {"task_id": task_id})

    async def list(self, user: str, limit: int, before: int | None, words: str = "") -> Json:
        """The newest tasks, newest first: `{"items": […], "has_more": …}`.

        With `words` those that have them in their title or in a message of the user's.
        """
        if len(words) > _MAX_SEARCH:
            raise ExecutorError("bad_field", name="search")
        words = wire.clean(words).strip()
        rows = await self._store.tasks(await self._accounts.id_of(user), limit + 1, before, words)
        return {"items": [_task(row) for row in rows[:limit]], "has_more": len(rows) > limit}

    async def show(self, user: str, task_id: int) -> Json:
        """One task with all its messages, as they are this moment."""
        row = await self._owned(await self._accounts.id_of(user), task_id)
        brought = await self._library.attachments(task_id)
        messages = [
            self._message(row)
            | {"attachments": [one for one in brought if one["subtask_id"] == row["id"]]}
            for row in await self._store.messages(task_id)
        ]
        skills = await self._library.skills(Reader(row["user_id"], task_id))
        return _task(row) | {"messages": messages, "skills": [skill["name"] for skill in skills]}

    # --- inside --------------------------------------------------------------------------------

    async def _owned(self, user_id: int, task_id: int) -> Json:
        task = await self._store.task(user_id, task_id)
        if task is None:
            raise ExecutorError("unknown_task", task_id=task_id)
        return task

    async def _idle(self, user_id: int, task_id: int) -> Json:
        task = await self._owned(user_id, task_id)
        if self._answers.running_in(task_id) is not None:
            raise ExecutorError("task_running")
        await self._devices.chosen(user_id, task["device_id"])
        return task

    async def _dispatch_new(self, user: str, task: Json, prompt: str, chosen: Chosen) -> None:
        ids = await self._store.add_turn(task["id"], prompt, self._now())
        await self._library.give(task["id"], ids.user_subtask_id, chosen)
        await self._dispatch(user, task, ids, prompt)

    async def _dispatch(
        self, user: str, task: Json, ids: TurnIds, prompt: str, *, rev: int = 0
    ) -> None:
        user_id, device_id = task["user_id"], task["device_id"]
        turn = Turn(
            user_id=user_id,
            user_name=user,
            task_id=ids.task_id,
            subtask_id=ids.subtask_id,
            user_subtask_id=ids.user_subtask_id,
            message_id=ids.message_id,
            title=task["title"],
            prompt=prompt,
            agent=task["agent"],
            device_id=device_id,
            extra=self._extras.get(ids.task_id, {}),
            attachments=await self._attachments(ids.task_id, ids.user_subtask_id),
            skills=await self._library.skills(Reader(user_id, ids.task_id)),
        )
        answer = Answer(ids.subtask_id, ids.task_id, user_id, device_id, "RUNNING", rev=rev)
        answer.unheard = payload = execute_payload(
            turn,
            self._dialect,
            auth_token=self._auth_token(turn),
            backend_url=self.backend_url(),
            now=self._clock.now(),
        )
        await self._answers.begin(answer)
        await self._send(user_id, device_id, "task:execute", payload)
        await self._devices.tell(user_id, device_id)

    async def _attachments(self, task_id: int, subtask_id: int) -> Sequence[Json]:
        found = await self._library.attachments(task_id)
        return [one for one in found if one["subtask_id"] == subtask_id]

    def _auth_token(self, turn: Turn) -> str:
        if self._dialect == "progress":
            return self._accounts.token(turn.user_name)
        return self._accounts.task_token(turn.user_name, turn.task_id, turn.subtask_id)

    def _keep_extra(self, task_id: int, extra: Json) -> None:
        if extra:
            self._extras[task_id] = extra
        while len(self._extras) > _MAX_EXTRAS:
            self._extras.popitem(last=False)

    def _message(self, row: Json) -> Json:
        shown = {"subtask_id": row["id"]} | {name: row[name] for name in _SHOWN}
        newer = self._answers.current(row["id"])
        if newer is None:
            return shown
        return shown | {name: getattr(newer, name) for name in _GROWING}

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _task(row: Json) -> Json:
    names = ("id", "title", "device_id", "agent", "status", "created_at", "updated_at")
    return {name: row[name] for name in names}


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


def _title_of(prompt: str) -> str:
    return " ".join(prompt.split())[:_SHOWN_TITLE]


def _extra(user: str, body: Json) -> Json:
    extra = body.get("payload")
    if extra is None:
        return {}
    if not isinstance(extra, dict):
        raise ExecutorError("bad_field", name="payload")
    if user != OWNER:
        raise ExecutorError("not_allowed")
    if (name := wrong_field(extra)) is not None:
        raise ExecutorError("bad_field", name=f"payload.{wire.clean(name)[:100]}")
    return extra
