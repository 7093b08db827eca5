"""The door side of the device link: tasks in, their stories and outcomes out.

It outlives connections. What arrives is handled strictly in order of arrival.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.executor import Accepted, Door, Duplicate, Executor, Refused, RunRow
from executor_core.jobs import Jobs
from executor_core.links.device import payload
from executor_core.links.device.answers import Question, RuntimeCapacity, answer, wait_words
from executor_core.links.device.frames import Frame
from executor_core.links.device.payload import PROFILE, held_to
from executor_core.links.device.server_socket import LinkLostError, ServerSocket
from executor_core.links.device.story import (
    Dialect,
    RunStream,
    cancelled_unknown,
    steps_in,
    terminal_frames,
)
from executor_core.links.login import Credential, Credentials
from executor_core.links.outbox import Outbox, Postman
from executor_core.model import AgentEvent, RunRequest, Source

_log = logging.getLogger("executor.links.device")

MAX_INBOX = 1_000
"""Events that may wait whole. Of further ones only so much is kept as it takes to answer them."""
MAX_WAITING = 100_000
"""A server that sends even more than this is not kept up with: the link to it ends."""
EARLY_CANCEL_S = 30.0
"""A cancel may overtake the dispatch it belongs to by this much."""
TERMINAL_LIMIT_S = 15.0
_CANDIDATES = {
    Dialect.PROGRESS: (Dialect.PROGRESS, Dialect.RESPONSES),
    Dialect.RESPONSES: (Dialect.RESPONSES, Dialect.PROGRESS),
    Dialect.BOTH: (Dialect.RESPONSES, Dialect.PROGRESS),
}
"""What a server may understand, the likelier first."""
_FINAL = re.compile(
    r"subtask (\S+ )?(not found|does not belong)|missing (task_id or )?subtask_id|invalid payload",
    re.IGNORECASE,
)
"""Refusals of this very result. Whatever else a server says, such as "Invalid or expired token",
says nothing about it: the result stays."""
_Handler: TypeAlias = Callable[[Any], Awaitable[Any]]
_SESSION_ERRORS = ("registered", "authenticated", "stale device", "mismatch")


class DeviceWork(Door, Postman):
    """What the server's tasks become here. `serve` is called once per registered connection."""

    def __init__(
        self,
        executor: Executor,
        *,
        origin: str,
        device_id: str,
        credentials: Credentials,
        clock: Clock,
        agent: str | None = None,
        server: str = "",
    ) -> None:
        """`agent` answers all tasks, whichever one they ask for.

        What tasks bring is fetched from `server`.
        """
        self._executor = executor
        self._agent = agent
        self._origin = origin
        self._server = server
        self._device_id = device_id
        self._credentials = credentials
        self._login: Credential | None = None
        self._login_problem: ExecutorError | None = None
        self._clock = clock
        self._jobs = Jobs("device work")
        self._inbox: asyncio.Queue[tuple[_Handler, Any]] = asyncio.Queue()
        self._streams: dict[str, RunStream] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._early_cancels: dict[str, float] = {}
        self._outbox = Outbox(executor, Source.DEVICE, self, clock)
        self._connection: ServerSocket | None = None
        self._session_jobs: Jobs | None = None
        self.account: str | None = None
        """The user id that the token in use belongs to, where it is known."""
        self.dialect = Dialect.BOTH
        """What the server of the present connection speaks; set before `serve`."""
        self.active_changed = asyncio.Event()
        self._handlers: dict[str, _Handler] = {
            "task:execute": self._execute,
            "chat:message": self._execute,
            "task:cancel": self._cancel,
            "task:close-session": self._close_session,
        }

    def start(self) -> None:
        """Begin to handle what arrives."""
        self._jobs.spawn(self._handle_inbox(), "inbox")

    async def stop(self) -> None:
        """Handle nothing more."""
        await self._jobs.close()

    # --- whose tasks these are -------------------------------------------------------------

    def use(self, credential: Credential) -> None:
        """Connections are made with this login from now on."""
        if credential != self._login:
            self._login, self.account = credential, credential.account
            self._login_problem = None

    async def settle(self, account: str | None) -> None:
        """The server takes the login, which is `account`'s; another one's tasks are refused."""
        if account is None or self._login is None:
            return
        self.account = account
        try:
            await self._credentials.settled(self._login, account)
        except ExecutorError as error:
            _log.error("tasks are refused: %s", error)
            self._login_problem = error

    async def _foreign(self, request: RunRequest) -> ExecutorError | None:
        """Why a task is refused for whose it is. The first one tells the account of an API key."""
        if self.account is None:
            await self.settle(_account(request.address))
            self._outbox.look_again()
        return self._login_problem

    # --- what arrives ----------------------------------------------------------------------

    def on_server_event(self, event: str, data: Any) -> Any:
        """Take an event of the server; returns its acknowledgement."""
        if (handle := self._handlers.get(event)) is None:
            reply, later = answer(event, Question(data, self.capacity, self._device_id))
            if later is not None:
                self._tell(later.event, later.data)
            return reply
        if (count := self._inbox.qsize()) < MAX_INBOX:
            self._inbox.put_nowait((handle, data))
            return {"success": True}
        # Servers do not read this acknowledgement: the answer that counts is given in its turn.
        if count < MAX_WAITING:
            handle = self._turn_away if handle == self._execute else handle
            self._inbox.put_nowait((handle, payload.envelope(data)))
        elif self._connection is not None:
            self._connection.give_up("it sends more than can be answered")
        return {"success": False, "error": "busy"}

    async def _handle_inbox(self) -> None:
        while True:
            handle, data = await self._inbox.get()
            try:
                await handle(data)
            except Exception:
                # One bad event must not take the others with it.
                _log.exception("%s could not be handled", payload.task_ids(data))

    async def _turn_away(self, data: Any) -> None:
        await self._execute(data, ExecutorError("queue_full", limit=MAX_INBOX))

    async def _execute(self, data: Any, refusal: ExecutorError | None = None) -> None:
        try:
            request, problem = payload.parse_execute(
                data,
                self._origin,
                self.account,
                self._agent,
                server=self._server,
                token=self._login.value if self._login is not None else "",
            )
        except ValueError as error:
            _log.warning("dropped: %s", error)
            return
        problem = await self._foreign(request) or refusal or problem
        if self._early_cancels.pop(request.request_key, 0.0) > self._clock.monotonic():
            _log.info("%s was cancelled before it arrived", request.request_key)
            self._answer_unknown(payload.task_ids(data))
        elif problem is not None:
            await self._executor.refuse(request, problem.message)
        else:
            try:
                await self._submit(request)
            except ExecutorError as error:
                await self._executor.refuse(request, error.message)
            except Exception:
                # Whatever it was, the chat must not wait for ever.
                _log.exception("%s could not be taken", request.request_key)
                await self._executor.refuse(request, ExecutorError("internal").message)

    async def _submit(self, request: RunRequest) -> None:
        last = await self._executor.kept(request.conversation_key, PROFILE)
        match await self._executor.submit(held_to(request, last)):
            case Accepted():
                pass
            case Duplicate(run_id):
                _log.info("%s is already there as %s", request.request_key, run_id)
                if (stream := self._streams.get(run_id)) is not None:
                    stream.announce()
                self._outbox.look_again()
            case Refused(error):
                await self._executor.refuse(request, error.message)

    async def _cancel(self, data: Any) -> None:
        ids = payload.task_ids(data)
        if ids is None:
            _log.warning("dropped: a task:cancel without a task id")
            return
        if self._cancel_active(ids):
            return
        self._outbox.look_again()
        if ids.subtask_id is None:
            return
        key = payload.request_key(self._origin, ids.task_id, ids.subtask_id)
        if key in self._executor.table.undelivered:
            return
        past = await self._executor.past(key)
        if past is not None and self.is_ours(past.address):
            self._tell_end_again(past)
            return
        now = self._clock.monotonic()
        self._early_cancels = {k: t for k, t in self._early_cancels.items() if t > now}
        self._early_cancels[key] = now + EARLY_CANCEL_S
        self._answer_unknown(ids)

    def _cancel_active(self, ids: payload.TaskIds) -> bool:
        found = [
            row
            for row in self._mine
            if row.task_id == ids.task_id and ids.subtask_id in (None, row.subtask_id)
        ]
        for row in found:
            _log.info("%s: the server cancels it", row.run_id)
            if (stream := self._streams.get(row.run_id)) is not None:
                stream.mute()
            self._executor.cancel(row.run_id)
        return bool(found)

    async def _close_session(self, data: Any) -> None:
        if (ids := payload.task_ids(data)) is not None:
            self._cancel_active(payload.TaskIds(ids.task_id, None))
        self.active_changed.set()

    def _answer_unknown(self, ids: payload.TaskIds | None) -> None:
        if ids is not None and ids.subtask_id is not None:
            for frame in cancelled_unknown(self.dialect, ids.task_id, ids.subtask_id):
                self._tell(frame.event, frame.data)

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        """Send an answer worth one attempt: the server asks again if it misses it.

        Nobody waits for its acknowledgement, least of all the next cancel.
        """
        if self._connection is not None and self._session_jobs is not None:
            tell = self._tell_once(self._connection, Frame(event, data))
            self._session_jobs.spawn(tell, f"tell {event}")

    async def _tell_once(self, connection: ServerSocket, frame: Frame) -> None:
        try:
            await connection.call(frame.event, frame.data)
        except (LinkLostError, TimeoutError) as error:
            _log.info("%s was not acknowledged: %s", frame.event, error)

    def _tell_end_again(self, past: RunRow) -> None:
        """A cancel came after the end: the server may not have it."""
        if self._connection is None or self._session_jobs is None:
            return
        connection = self._connection

        async def tell() -> None:
            dialect = self.dialect
            steps = await self._steps(dialect, past, None)
            for frame in terminal_frames(dialect, past.reply_to, past.end, steps):
                await self._tell_once(connection, frame)

        self._session_jobs.spawn(tell(), f"tell the end of {past.run_id} again")

    # --- Door ------------------------------------------------------------------------------

    def on_accepted(self, request: RunRequest) -> None:
        stream = self._streams[request.run_id] = RunStream(request, self.dialect, self._clock)
        self._tell_who_waits()
        self._pump(request.run_id, stream)

    def on_event(self, request: RunRequest, event: AgentEvent) -> None:
        if (stream := self._streams.get(request.run_id)) is not None:
            stream.absorb(event)

    def on_outcome(self, row: RunRow) -> None:
        if (stream := self._streams.get(row.run_id)) is not None:
            stream.finish()
        self._outbox.offer(row)

    def on_active_changed(self) -> None:
        self._tell_who_waits()
        self.active_changed.set()

    def _tell_who_waits(self) -> None:
        """The chat shows why a run does not begin, and for how many others."""
        table = self._executor.table
        waiting = table.waiting()
        for run_id, stream in self._streams.items():
            wait = waiting.get(run_id)
            stream.wait_for(wait_words(wait, table.slots) if wait is not None else "")

    # --- what leaves -----------------------------------------------------------------------

    @property
    def running_task_ids(self) -> list[int]:
        """The tasks of this server that hold a slot, for the heartbeat."""
        entries = self._executor.table.entries
        busy = (row.task_id for row in self._mine if entries[row.run_id].holds_slot)
        return sorted({task_id for task_id in busy if task_id is not None})

    @property
    def _mine(self) -> list[RunRow]:
        """The active runs of this server and account."""
        return [
            row
            for row in self._executor.active
            if row.source is Source.DEVICE and self.is_ours(row.address)
        ]

    @property
    def capacity(self) -> RuntimeCapacity:
        """All slots, whoever uses them."""
        table = self._executor.table
        names = {row.run_id: row.task_id for row in self._executor.active}
        busy = (e.run_id for e in table.entries.values() if e.holds_slot)
        ids = tuple(str(names.get(run_id) or run_id) for run_id in busy)
        return RuntimeCapacity(limit=table.slots, active_task_ids=ids, queued=len(table.queued))

    async def serve(self, connection: ServerSocket) -> None:
        """Tell all stories and deliver all outcomes over `connection` until it is lost."""
        self._connection = connection
        self._session_jobs = Jobs("device session")
        try:
            for run_id, stream in self._streams.items():
                stream.resume(self.dialect)
                self._pump(run_id, stream)
            await self._outbox.serve()
        finally:
            self._connection = None
            self._pumps.clear()
            await self._session_jobs.close()

    def _pump(self, run_id: str, stream: RunStream) -> None:
        if self._connection is None or self._session_jobs is None:
            return
        if not self.is_ours(stream.address):
            return
        connection = self._connection

        async def pump() -> None:
            try:
                await stream.pump(connection)
            except LinkLostError as error:
                connection.give_up(str(error))

        self._pumps[run_id] = self._session_jobs.spawn(pump(), f"pump {run_id}")

    async def flush(self, deadline_s: float) -> None:
        """Wait until everything is delivered, but not longer; the rest stays on disk."""
        await self._outbox.flush(deadline_s)

    # --- Postman ---------------------------------------------------------------------------

    def is_ours(self, address: str | None) -> bool:
        """Nothing of another server or account is ever sent here, nor while ours is not known."""
        origin, account = (address or "").partition("#")[0], _account(address)
        return origin == self._origin and account in (None, self.account)

    async def deliver(self, row: RunRow) -> None:
        """Tell the rest of the story and its end; what the server does not take stays."""
        if (connection := self._connection) is None:
            return
        try:
            await self._deliver(connection, row)
        except LinkLostError as error:
            connection.give_up(str(error))

    async def _deliver(self, connection: ServerSocket, row: RunRow) -> None:
        if (stream := self._streams.get(row.run_id)) is not None:
            stream.finish()
            if (pump := self._pumps.get(row.run_id)) is not None:
                await asyncio.wait({pump})
        try:
            reply = await self._call_terminal(connection, row, stream)
        except TimeoutError:
            _log.warning("%s: the outcome was not acknowledged and stays", row.run_id)
            return
        error = reply.get("error") if isinstance(reply, dict) else None
        if isinstance(reply, dict) and reply.get("success") is True:
            _log.info("%s delivered", row.run_id)
            await self._outbox.close(row)
        elif error and _FINAL.match(str(error)):
            _log.error("%s will not be taken by the server: %s", row.run_id, error)
            await self._outbox.close(row, str(error))
        elif error and any(word in str(error).lower() for word in _SESSION_ERRORS):
            raise LinkLostError(str(error))
        else:
            _log.warning("%s stays undelivered for now: %s", row.run_id, error or "no answer")

    async def _call_terminal(
        self, connection: ServerSocket, row: RunRow, stream: RunStream | None
    ) -> Any:
        """Send the last frame; an empty acknowledgement disproves the dialect, so try the other."""
        for dialect in _CANDIDATES[self.dialect]:
            steps = await self._steps(dialect, row, stream)
            for frame in terminal_frames(dialect, row.reply_to, row.end, steps):
                reply = await connection.call(frame.event, frame.data, TERMINAL_LIMIT_S)
                if isinstance(reply, dict):
                    self._use(dialect)
                    return reply
        return None

    async def _steps(
        self, dialect: Dialect, row: RunRow, stream: RunStream | None
    ) -> list[dict[str, Any]]:
        """What dialect P repeats at the end; after a restart, from the (bounded) event file."""
        if dialect is Dialect.RESPONSES:
            return []
        if stream is not None and (steps := stream.steps) is not None:
            return steps
        try:
            return await steps_in(self._executor.follow(row.run_id), row.reply_to)
        except ExecutorError as error:
            _log.warning("%s is told without its steps: %s", row.run_id, error)
            return []

    def _use(self, dialect: Dialect) -> None:
        """An answer has proved which dialect the server speaks."""
        if dialect is not self.dialect:
            _log.warning("the server speaks dialect %s", dialect.letter)
            self.dialect = dialect
            for stream in self._streams.values():
                stream.use(dialect)

    def forget(self, run_id: str) -> None:
        self._streams.pop(run_id, None)
        self._pumps.pop(run_id, None)


def _account(address: str | None) -> str | None:
    """The account in `origin#account`; None where the outcome is bound to none."""
    return (address or "").partition("#")[2] or None
