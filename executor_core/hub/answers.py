"""Answers as they grow: what devices report is applied in order, kept, and shown to the pages.

Neither dialect makes a terminal final: a late one overwrites, so that a device which kept working
through a disconnect turns FAILED into COMPLETED.
"""

from __future__ import annotations

import asyncio
from typing import Any

from executor_core.clock import Clock
from executor_core.hub import wire
from executor_core.hub.feed import Feed
from executor_core.hub.store import Answer, Store
from executor_core.hub.wire import Json

MAX_TEXT = 1_000_000
_MAX_REASONING = 200_000
_MAX_NOTE = 1_000
_MAX_TOOLS = 500
_MAX_TOOL_INPUT = 10_000
_MAX_TOOL_OUTPUT = 20_000
_MAX_OPEN = 2000

_OK: Json = {"success": True}
_RECEIVING = ("PENDING", "RUNNING", "FAILED")


class Answers:
    """Open answers are in memory; terminals are on disk before they are acknowledged."""

    def __init__(self, store: Store, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._open: dict[int, Answer] = {}
        self._unsaved: set[int] = set()
        self._order = asyncio.Lock()

    async def load(self) -> None:
        """Take up what was running when the hub ended."""
        self._open = {answer.subtask_id: answer for answer in await self._store.running_answers()}

    # --- for the hub ---------------------------------------------------------------------------

    def running_on(self, user_id: int, device_id: str) -> list[Answer]:
        """What the device is working on, oldest first."""
        return [
            answer
            for answer in self._open.values()
            if answer.status == "RUNNING"
            and (answer.user_id, answer.device_id) == (user_id, device_id)
        ]

    def running_in(self, task_id: int) -> Answer | None:
        """The turn of the task that is not finished."""
        return next(
            (
                answer
                for answer in self._open.values()
                if answer.task_id == task_id and answer.status in ("PENDING", "RUNNING")
            ),
            None,
        )

    def devices_at_work(self) -> set[tuple[int, str]]:
        """User and device of everything that runs."""
        return {
            (answer.user_id, answer.device_id)
            for answer in self._open.values()
            if answer.status == "RUNNING"
        }

    def current(self, subtask_id: int) -> Answer | None:
        """The answer as it is this moment, where it is newer than the one on disk."""
        return self._open.get(subtask_id)

    async def begin(self, answer: Answer) -> None:
        """An answer is expected from now on; a retry starts from nothing."""
        async with self._order:
            self._open[answer.subtask_id] = answer
            answer.rev += 1
            await self._save(answer, task_status="RUNNING")
            self._publish(answer, "changed", status=answer.status)

    async def finish(self, answer: Answer, end: wire.Ended) -> None:
        """End an answer without the device's word, unless it has ended meanwhile."""
        async with self._order:
            if answer.status in ("PENDING", "RUNNING"):
                await self._finish(answer, end)

    async def fail_device(self, user_id: int, device_id: str, reason: str) -> None:
        """The device is gone: what runs there has failed, until it says otherwise."""
        async with self._order:
            for answer in self.running_on(user_id, device_id):
                await self._finish(answer, wire.Ended("FAILED", error=reason))

    def forget(self, task_id: int) -> None:
        """The task was deleted."""
        for answer in [a for a in self._open.values() if a.task_id == task_id]:
            self._close(answer)

    async def flush(self) -> None:
        """Put on disk what was streamed since the last time."""
        async with self._order:
            for answer in [self._open[subtask_id] for subtask_id in self._unsaved]:
                await self._save(answer)
                if answer.status not in ("PENDING", "RUNNING"):
                    self._close(answer)

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
                answer = await self._find(user_id, subtask_id)
                if answer is not None:
                    await self._apply(answer, change)
        return _OK

    async def progress(self, user_id: int, device_id: str, data: Any) -> Json:
        """Apply a `task:progress`; the ack.

        FAILED and CANCELLED change the subtask and nothing else, as on real servers.

        Raises:
            InvalidPayload: without a subtask id.
        """
        report = wire.parse_progress(data)
        async with self._order:
            answer, refusal = await self._find_own(user_id, device_id, report.subtask_id)
            if answer is None:
                return refusal
            if report.status is not None:
                answer.status = report.status
            self._apply_content(answer, report)
            if report.status == "COMPLETED":
                await self._finish(answer, wire.Ended("COMPLETED"))
            elif report.status is not None and report.status not in ("PENDING", "RUNNING"):
                await self._save(answer)
                self._close(answer)
            else:
                self._open[answer.subtask_id] = answer
                self._unsaved.add(answer.subtask_id)
        return _OK

    async def complete(self, user_id: int, device_id: str, data: Any) -> Json:
        """Apply a `task:complete`; the ack.

        Raises:
            InvalidPayload: without a subtask id.
        """
        report = wire.parse_progress(data)
        async with self._order:
            answer, refusal = await self._find_own(user_id, device_id, report.subtask_id)
            if answer is None:
                return refusal
            self._apply_content(answer, report)
            match report.status:
                case "FAILED":
                    end = wire.Ended("FAILED", error=report.error or "Task failed")
                case "CANCELLED":
                    end = wire.Ended("CANCELLED")
                case _:
                    end = wire.Ended("COMPLETED")
            await self._finish(answer, end)
        return _OK

    async def _find(self, user_id: int, subtask_id: int) -> Answer | None:
        answer = self._open.get(subtask_id) or await self._store.answer(subtask_id)
        if answer is None or answer.user_id != user_id:
            return None
        answer.unheard = None
        return answer

    async def _find_own(
        self, user_id: int, device_id: str, subtask_id: int
    ) -> tuple[Answer | None, Json]:
        answer = await self._find(user_id, subtask_id)
        if answer is None:
            return None, {"error": "Subtask not found"}
        if answer.device_id != device_id:
            return None, {"error": "Subtask does not belong to this device"}
        return answer, _OK

    # --- changes -------------------------------------------------------------------------------

    async def _apply(self, answer: Answer, change: wire.Change) -> None:
        if isinstance(change, wire.Ended):
            await self._finish(answer, change)
            return
        is_known = answer.subtask_id in self._open
        if answer.status not in _RECEIVING or not (is_known or len(self._open) < _MAX_OPEN):
            return
        self._open[answer.subtask_id] = answer
        self._unsaved.add(answer.subtask_id)
        match change:
            case wire.Started():
                if answer.status == "PENDING":
                    answer.status = "RUNNING"
                    self._tell_changed(answer)
            case wire.Text(delta):
                if delta and len(answer.text) + len(delta) <= MAX_TEXT:
                    answer.text += delta
                    self._tell(answer, "delta", delta=delta)
            case wire.Reasoning(delta):
                if delta and len(answer.reasoning) + len(delta) <= _MAX_REASONING:
                    answer.reasoning += delta
                    self._tell(answer, "reasoning", delta=delta)
            case wire.Note(words):
                self._tell(answer, "note", words=words[:_MAX_NOTE])
            case wire.ToolStart() | wire.ToolEnd():
                if (tool := _with_tool(answer, change)) is not None:
                    self._tell(answer, "tool", tool=tool)

    def _apply_content(self, answer: Answer, report: wire.Progress) -> None:
        """The content of a progress report replaces all that came before it."""
        if report.value is None:
            self._tell_changed(answer)
            return
        grew = report.value.startswith(answer.text)
        delta = report.value[len(answer.text) :]
        answer.text = report.value
        if report.thinking is not None:
            answer.tools = []
            for change in wire.tools_of(report.thinking):
                _with_tool(answer, change)
        if grew and delta and report.thinking is None:
            self._tell(answer, "delta", delta=delta)
        else:
            self._tell_changed(answer)

    async def _finish(self, answer: Answer, end: wire.Ended) -> None:
        answer.status = end.status
        answer.error = end.error
        if end.text is not None:
            answer.text = end.text
        if end.usage is not None:
            answer.usage = end.usage
        for tool in answer.tools:
            if tool["status"] == "running":
                tool["status"] = "stopped"
        answer.rev += 1
        await self._save(answer, task_status=end.status)
        self._close(answer)
        self._publish(answer, "changed", status=answer.status)

    async def _save(self, answer: Answer, *, task_status: str | None = None) -> None:
        await self._store.save_answer(answer, self._clock.now().isoformat(), task_status)
        self._unsaved.discard(answer.subtask_id)

    def _close(self, answer: Answer) -> None:
        self._open.pop(answer.subtask_id, None)
        self._unsaved.discard(answer.subtask_id)

    def _tell(self, answer: Answer, event: str, **data: object) -> None:
        answer.rev += 1
        self._publish(answer, event, **data)

    def _publish(self, answer: Answer, event: str, **data: object) -> None:
        place = {"task_id": answer.task_id, "subtask_id": answer.subtask_id, "rev": answer.rev}
        self._feed.publish(answer.user_id, event, place | data)

    def _tell_changed(self, answer: Answer) -> None:
        self._tell(answer, "changed", status=answer.status)


def _with_tool(answer: Answer, change: wire.ToolStart | wire.ToolEnd) -> Json | None:
    """Note a tool call in the answer and return it; None for one too many or never begun."""
    if isinstance(change, wire.ToolStart):
        if len(answer.tools) >= _MAX_TOOLS:
            return None
        tool: Json = {
            "id": change.call_id,
            "name": change.name[:200],
            "input": change.input[:_MAX_TOOL_INPUT],
            "output": "",
            "status": "running",
        }
        answer.tools.append(tool)
        return tool
    for tool in reversed(answer.tools):
        if tool["id"] == change.call_id:
            tool["output"] = change.output[:_MAX_TOOL_OUTPUT]
            tool["status"] = "failed" if change.is_error else "done"
            return tool
    return None
