"""The agents' answers as they grow: what devices report is applied in order, kept, and shown.

Neither dialect makes a terminal final: a late one overwrites, so that a device which kept working
through a disconnect turns FAILED into COMPLETED.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import Any

from executor_core.clock import Clock
from executor_core.hub import wire
from executor_core.hub.feed import Feed
from executor_core.hub.store import SUBTASKS, Json, Store, Subtask, set_task_status

MAX_TEXT = 1_000_000
_MAX_REASONING = 200_000
_MAX_NOTE = 1_000
_MAX_TOOLS = 500
_MAX_TOOL_INPUT = 10_000
_MAX_TOOL_OUTPUT = 20_000
_MAX_OPEN = 2000

_ANSWERS = f"{SUBTASKS} WHERE s.role = 'ASSISTANT'"
_OK: Json = {"success": True}
_RECEIVING = ("PENDING", "RUNNING", "FAILED")


class Subtasks:
    """Open answers are in memory; terminals are on disk before they are acknowledged."""

    def __init__(self, store: Store, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._open: dict[int, Subtask] = {}
        self._unsaved: set[int] = set()
        self._order = asyncio.Lock()

    async def load(self) -> None:
        """Take up what was running when the hub ended."""
        found = await self._store.rows(
            Subtask, f"{_ANSWERS} AND s.status = 'RUNNING' ORDER BY s.id"
        )
        self._open = {subtask.subtask_id: subtask for subtask in found}

    # --- for the hub ---------------------------------------------------------------------------

    def running_on(self, user_id: int, device_id: str) -> list[Subtask]:
        """What the device is working on, oldest first."""
        return [
            subtask
            for subtask in self._open.values()
            if subtask.status == "RUNNING"
            and (subtask.user_id, subtask.device_id) == (user_id, device_id)
        ]

    def running_in(self, task_id: int) -> Subtask | None:
        """The turn of the task that is not finished."""
        of_task = (one for one in self._open.values() if one.task_id == task_id and one.is_open)
        return next(of_task, None)

    def devices_at_work(self) -> set[tuple[int, str]]:
        """User and device of everything that runs."""
        return {
            (subtask.user_id, subtask.device_id)
            for subtask in self._open.values()
            if subtask.status == "RUNNING"
        }

    def current(self, subtask_id: int) -> Subtask | None:
        """The subtask as it is this moment, where it is newer than the one on disk."""
        return self._open.get(subtask_id)

    async def begin(self, subtask: Subtask) -> None:
        """An answer is expected from now on; a retry starts from nothing."""
        async with self._order:
            self._open[subtask.subtask_id] = subtask
            subtask.rev += 1
            await self._save(subtask, task_status="RUNNING")
            self._publish(subtask, "changed", status=subtask.status)

    async def finish(self, subtask: Subtask, end: wire.Ended) -> None:
        """End an answer without the device's word, unless it has ended meanwhile."""
        async with self._order:
            if subtask.is_open:
                await self._finish(subtask, end)

    async def fail_device(self, user_id: int, device_id: str, reason: str) -> None:
        """The device is gone: what runs there has failed, until it says otherwise."""
        async with self._order:
            for subtask in self.running_on(user_id, device_id):
                await self._finish(subtask, wire.Ended("FAILED", error=reason))

    def forget(self, task_id: int) -> None:
        """The task was deleted."""
        for subtask in [a for a in self._open.values() if a.task_id == task_id]:
            self._close(subtask)

    async def flush(self) -> None:
        """Put on disk what was streamed since the last time."""
        async with self._order:
            for subtask in [self._open[subtask_id] for subtask_id in self._unsaved]:
                await self._save(subtask)
                if not subtask.is_open:
                    self._close(subtask)

    # --- from the device -----------------------------------------------------------------------

    async def response(self, user_id: int, event: str, data: Any) -> Json:
        """Apply a result event of the responses dialect; the ack.

        Subtasks that are not known, or another user's, are acknowledged without effect: their
        device must be able to clear its outbox.

        Raises:
            InvalidPayload: without ids.
        """
        _task_id, subtask_id, inner = wire.envelope(data)
        change = wire.decode_response(event, inner)
        if change is not None:
            async with self._order:
                subtask = await self._find(user_id, subtask_id)
                if subtask is not None:
                    await self._apply(subtask, change)
        return _OK

    async def progress(self, user_id: int, device_id: str, data: Any) -> Json:
        """Apply a `task:progress`; the ack.

        FAILED and CANCELLED change the subtask and nothing else, as on real servers.

        Raises:
            InvalidPayload: without a subtask id.
        """
        report = wire.parse_progress(data)
        async with self._order:
            subtask, refusal = await self._find_own(user_id, device_id, report.subtask_id)
            if subtask is None:
                return refusal
            if report.status is not None:
                subtask.status = report.status
            self._apply_content(subtask, report)
            if report.status == "COMPLETED":
                await self._finish(subtask, wire.Ended("COMPLETED"))
            elif report.status is not None and report.status not in ("PENDING", "RUNNING"):
                await self._save(subtask)
                self._close(subtask)
            else:
                self._open[subtask.subtask_id] = subtask
                self._unsaved.add(subtask.subtask_id)
        return _OK

    async def complete(self, user_id: int, device_id: str, data: Any) -> Json:
        """Apply a `task:complete`; the ack.

        Raises:
            InvalidPayload: without a subtask id.
        """
        report = wire.parse_progress(data)
        async with self._order:
            subtask, refusal = await self._find_own(user_id, device_id, report.subtask_id)
            if subtask is None:
                return refusal
            self._apply_content(subtask, report)
            await self._finish(subtask, report.end)
        return _OK

    async def _find(self, user_id: int, subtask_id: int) -> Subtask | None:
        subtask = self._open.get(subtask_id)
        if subtask is None:
            found = await self._store.rows(Subtask, f"{_ANSWERS} AND s.id = ?", subtask_id)
            subtask = next(iter(found), None)
        if subtask is None or subtask.user_id != user_id:
            return None
        subtask.unheard = None
        return subtask

    async def _find_own(
        self, user_id: int, device_id: str, subtask_id: int
    ) -> tuple[Subtask | None, Json]:
        subtask = await self._find(user_id, subtask_id)
        if subtask is None:
            return None, {"error": "Subtask not found"}
        if subtask.device_id != device_id:
            return None, {"error": "Subtask does not belong to this device"}
        return subtask, _OK

    # --- changes -------------------------------------------------------------------------------

    async def _apply(self, subtask: Subtask, change: wire.Change) -> None:
        if isinstance(change, wire.Ended):
            await self._finish(subtask, change)
            return
        is_known = subtask.subtask_id in self._open
        if subtask.status not in _RECEIVING or not (is_known or len(self._open) < _MAX_OPEN):
            return
        self._open[subtask.subtask_id] = subtask
        self._unsaved.add(subtask.subtask_id)
        match change:
            case wire.Started():
                if subtask.status == "PENDING":
                    subtask.status = "RUNNING"
                    self._tell_changed(subtask)
            case wire.Text(delta):
                if delta and len(subtask.text) + len(delta) <= MAX_TEXT:
                    subtask.text += delta
                    self._tell(subtask, "delta", delta=delta)
            case wire.Reasoning(delta):
                if delta and len(subtask.reasoning) + len(delta) <= _MAX_REASONING:
                    subtask.reasoning += delta
                    self._tell(subtask, "reasoning", delta=delta)
            case wire.Note(words):
                self._tell(subtask, "note", words=words[:_MAX_NOTE])
            case wire.ToolStart() | wire.ToolEnd():
                if (tool := _with_tool(subtask, change)) is not None:
                    self._tell(subtask, "tool", tool=tool)

    def _apply_content(self, subtask: Subtask, report: wire.Progress) -> None:
        """The content of a progress report replaces all that came before it."""
        if report.value is None:
            self._tell_changed(subtask)
            return
        grew = report.value.startswith(subtask.text)
        delta = report.value[len(subtask.text) :]
        subtask.text = report.value
        if report.thinking is not None:
            subtask.tools = []
            for change in wire.tools_of(report.thinking):
                _with_tool(subtask, change)
        if grew and delta and report.thinking is None:
            self._tell(subtask, "delta", delta=delta)
        else:
            self._tell_changed(subtask)

    async def _finish(self, subtask: Subtask, end: wire.Ended) -> None:
        subtask.status = end.status
        subtask.error = end.error
        if end.text is not None:
            subtask.text = end.text
        if end.usage is not None:
            subtask.usage = end.usage
        for tool in subtask.tools:
            if tool["status"] == "running":
                tool["status"] = "stopped"
        subtask.rev += 1
        await self._save(subtask, task_status=end.status)
        self._close(subtask)
        self._publish(subtask, "changed", status=subtask.status)

    async def _save(self, subtask: Subtask, *, task_status: str | None = None) -> None:
        subtask.updated_at = self._clock.now().isoformat()
        await self._store.run(lambda db: _write(db, subtask, task_status))
        self._unsaved.discard(subtask.subtask_id)

    def _close(self, subtask: Subtask) -> None:
        self._open.pop(subtask.subtask_id, None)
        self._unsaved.discard(subtask.subtask_id)

    def _tell(self, subtask: Subtask, event: str, **data: object) -> None:
        subtask.rev += 1
        self._publish(subtask, event, **data)

    def _publish(self, subtask: Subtask, event: str, **data: object) -> None:
        place = {"task_id": subtask.task_id, "subtask_id": subtask.subtask_id, "rev": subtask.rev}
        self._feed.publish(subtask.user_id, event, place | data)

    def _tell_changed(self, subtask: Subtask) -> None:
        self._tell(subtask, "changed", status=subtask.status)


def _with_tool(subtask: Subtask, change: wire.ToolStart | wire.ToolEnd) -> Json | None:
    """Note a tool call in the subtask and return it; None for one too many or never begun."""
    if isinstance(change, wire.ToolStart):
        if len(subtask.tools) >= _MAX_TOOLS:
            return None
        tool: Json = {
            "id": change.call_id,
            "name": change.name[:200],
            "input": change.input[:_MAX_TOOL_INPUT],
            "output": "",
            "status": "running",
        }
        subtask.tools.append(tool)
        return tool
    for tool in reversed(subtask.tools):
        if tool["id"] == change.call_id:
            tool["output"] = change.output[:_MAX_TOOL_OUTPUT]
            tool["status"] = "failed" if change.is_error else "done"
            return tool
    return None


def _write(db: sqlite3.Connection, subtask: Subtask, task_status: str | None) -> None:
    """Keep the answer as it is now, and the status that it gives its task, if any."""
    usage = None if subtask.usage is None else json.dumps(subtask.usage)
    tools = json.dumps(subtask.tools, ensure_ascii=False)
    db.execute(
        "UPDATE subtasks SET status = ?, text = ?, reasoning = ?, tools = ?, error = ?,"
        " usage = ?, rev = ?, updated_at = ? WHERE id = ?",
        (
            *(subtask.status, subtask.text, subtask.reasoning, tools, subtask.error),
            *(usage, subtask.rev, subtask.updated_at, subtask.subtask_id),
        ),
    )
    if task_status is not None:
        set_task_status(db, subtask, task_status)
