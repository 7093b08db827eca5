"""Keeps this computer registered with one Wegent server: connect, register, serve."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

import aiohttp
from msgspec import Struct

from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.executor import Executor
from executor_core.jobs import Jobs
from executor_core.links.device.server_socket import (
    CALL_LIMIT_S,
    ConnectFailedError,
    LinkLostError,
    ServerSocket,
    classify_loss,
)
from executor_core.links.device.story import Dialect, choose_dialect
from executor_core.links.device.work import DeviceWork
from executor_core.links.login import Credential, Credentials
from executor_core.links.supervision import (
    REJECTED,
    REJECTED_PROBE_S,
    Failure,
    SupervisedLink,
    Supervision,
    after_failure,
    next_delay,
)
from executor_core.model import KEYCHAIN, TWIN, LinkState, Source
from executor_core.outbound import client_session
from executor_core.texts import text

_log = logging.getLogger("executor.links.device")

PROBE_LIMIT_S = 5.0
_ONLINE, _BUSY = "online", "busy"
ANSWER_LIMIT_S = 5.0
KEYCHAIN_WAITS = ("keychain_asking", "keychain_locked")
KEYCHAIN_AGAIN_S = 5.0
"""It is looked at without asking its user; see `Keychain`."""
FIRST_REGISTER_AGAIN_S = 60.0
REGISTER_AGAIN_S = 300.0


class Registration(Struct, kw_only=True, frozen=True):
    """How this computer introduces itself."""

    device_id: str
    name: str
    version: str
    capabilities: tuple[str, ...] = ()

    @property
    def executor_version(self) -> str:
        """Our version as servers are told it: with a word that makes it none of their own line.

        They compare it with their own executor's releases and offer those as updates, for ever. A
        version that is not of the usual form is shown and compared with nothing (all servers).
        """
        return f"{self.version[:40]}-desktop"


class LinkTiming(Struct, kw_only=True, frozen=True):
    """Seconds; the options `LOCAL_HEARTBEAT_*` and `LOCAL_RECONNECT_*`."""

    heartbeat_interval_s: float = 30.0
    heartbeat_timeout_s: float = 90.0
    reconnect_delay_s: float = 1.0
    reconnect_max_delay_s: float = 30.0


class DeviceLink(SupervisedLink):
    """The link to the server at `server` (normalised URL).

    `origin` names the server in everything that outlives a connection; it stays the same where the
    address may change. `agent` answers all tasks, whichever one they ask for.
    """

    kind = "device"
    failure_words = "Failed to connect to Backend WebSocket"

    def __init__(
        self,
        *,
        server: str,
        origin: str,
        credentials: Credentials,
        executor: Executor,
        registration: Registration,
        timing: LinkTiming,
        clock: Clock,
        agent: str | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__(
            server=server,
            clock=clock,
            changes=executor.changes,
            max_delay_s=timing.reconnect_max_delay_s,
        )
        self._credentials = credentials
        self._registration = registration
        self._timing = timing
        self._jitter = jitter
        self._executor = executor
        self._work = DeviceWork(
            executor,
            origin=origin,
            device_id=registration.device_id,
            credentials=credentials,
            clock=clock,
            agent=agent,
            server=server,
        )
        self._farewells = Jobs("device link farewells")
        self._farewell: asyncio.Task[None] | None = None
        self._registered_at: float | None = None
        self._is_dialect_known = False
        self._connection: ServerSocket | None = None
        self._credential: Credential | None = None

    async def start(self) -> None:
        """Begin; returns at once."""
        self._executor.attach(Source.DEVICE, self._work)
        self._work.start()
        self._begin()

    async def stop(self, flush_s: float = 2.0) -> None:
        """Deliver what can be delivered in that time, then leave. Legal in every state."""
        await self._work.flush(flush_s)
        await self._jobs.close()
        if self._farewell is not None:
            await asyncio.wait({self._farewell})
        await self._work.stop()
        self._become(LinkState.STOPPED)

    def credential_changed(self) -> None:
        """Somebody entered or removed a token: use what there is now."""
        self._past = Supervision()
        self._try_now.set()
        if self._connection is not None:
            self._jobs.spawn(self._leave_old_login(self._connection), "leave old login")

    async def _leave_old_login(self, connection: ServerSocket) -> None:
        try:
            new, old = await self._credentials.current(), self._credential
            is_same = new is not None and old is not None and new.value == old.value
        except ExecutorError:
            is_same = False  # the next attempt says what is wrong with it
        if not is_same:
            connection.give_up("another token is used now")

    @property
    def _dialect_letter(self) -> str | None:
        return self._work.dialect.letter if self._is_dialect_known else None

    # --- one session -----------------------------------------------------------------------

    async def _attempt(self) -> float:
        """One connection from its making to its end; returns the seconds until the next."""
        try:
            credential = await self._credentials.current()
        except ExecutorError as error:
            if error.code in KEYCHAIN_WAITS:
                self._become(LinkState.OFFLINE, text("link.keychain"), code=KEYCHAIN)
                return KEYCHAIN_AGAIN_S
            self._become(LinkState.REJECTED, error.message.sentence)
            return REJECTED_PROBE_S
        if self._code == KEYCHAIN:
            self._become(LinkState.CONNECTING)
        self._expiry.use(credential.expires_at if credential else None)
        if credential is None:
            self._become(LinkState.REJECTED, text("link.no_token"))
            return REJECTED_PROBE_S
        failure, reason = await self._session(credential)
        if failure is Failure.REFUSED and not await self._server_answers():
            failure = Failure.UNREACHABLE
        registered_s = 0.0
        if self._registered_at is not None:
            registered_s = self._clock.monotonic() - self._registered_at
            self._registered_at = None
        self._past = after_failure(self._past, failure, registered_s)
        has_ended = self._expiry.warning_h == 0
        if failure is Failure.REFUSED and has_ended:
            self._past = REJECTED
        if not self._past.is_rejected:
            self._become(LinkState.OFFLINE, text(f"link.{failure}", reason=reason))
        elif self._past.is_twin:
            words = text("link.twin", device_id=self._registration.device_id)
            self._become(LinkState.REJECTED, words, code=TWIN)
        elif failure is Failure.REFUSED:
            self._credentials.refused(credential)
            if await self._has_another(credential):
                self._past = Supervision()
                return 0.0
            words = text("link.token_ended") if has_ended else text("link.rejected", reason=reason)
            self._become(LinkState.REJECTED, words)
        return next_delay(
            self._past,
            failure,
            base_s=self._timing.reconnect_delay_s,
            cap_s=self._timing.reconnect_max_delay_s,
            jitter=self._jitter,
        )

    async def _has_another(self, refused: Credential) -> bool:
        try:
            other = await self._credentials.current()
        except ExecutorError:
            return True  # the next attempt says what is wrong with it
        return other is not None and other.value != refused.value

    async def _session(self, credential: Credential) -> tuple[Failure, str]:
        connection = self._connection = ServerSocket(self._work.on_server_event)
        jobs = Jobs("device session")
        self._credential = credential
        self._work.use(credential)
        try:
            await connection.open(self._server, credential.value)
            await self._register(connection)
            await self._work.settle(credential.account)
            self._registered_at = self._clock.monotonic()
            heartbeats = self._heartbeats(connection)
            jobs.spawn(_until_lost(heartbeats, connection), "heartbeats")
            self._work.dialect = await self._probe(connection)
            self._become(LinkState.ONLINE)
            work = self._work.serve(connection)
            jobs.spawn(_until_lost(work, connection), "work")
            await connection.lost.wait()
            return classify_loss(connection.lost_reason), connection.lost_reason
        except ConnectFailedError as error:
            return error.failure, error.reason
        except LinkLostError as error:
            return classify_loss(str(error)), str(error)
        except TimeoutError:
            return Failure.LOST, "no answer to the registration"
        finally:
            self._connection = None
            # Shielded: a stop that comes just now must not leave the socket open.
            farewell = self._farewells.spawn(_end_session(jobs, connection), "end session")
            self._farewell = farewell
            await asyncio.shield(farewell)

    async def _register(self, connection: ServerSocket) -> None:
        """Introduce this computer: a superset that servers of every generation take."""
        reply = await connection.call(
            "device:register",
            {
                "device_id": self._registration.device_id,
                "name": self._registration.name[:100],
                "executor_version": self._registration.executor_version,
                "device_type": "local",
                "bind_shell": "claudecode",
                "capabilities": list(self._registration.capabilities),
            },
        )
        if not isinstance(reply, dict) or reply.get("success") is not True:
            error = reply.get("error") if isinstance(reply, dict) else reply
            raise LinkLostError(f"registration failed: {error}")

    async def _probe(self, connection: ServerSocket) -> Dialect:
        """Which result events the server handles."""
        dialect = choose_dialect(
            progress_handled=await _handles(connection, "task:progress"),
            responses_handled=await _handles(connection, "response.created"),
        )
        if dialect is Dialect.BOTH and self._is_dialect_known:
            dialect = self._work.dialect
        if dialect is Dialect.RESPONSES:
            connection.is_v2 = await _handles(connection, "terminal:output")
        self._is_dialect_known = True
        return dialect

    async def _heartbeats(self, connection: ServerSocket) -> None:
        """Alive, running these; at once when the set changes. Raises LinkLostError."""
        limit_s = min(CALL_LIMIT_S, self._timing.heartbeat_timeout_s / 3)
        acked_at = self._clock.monotonic()
        register_at = acked_at + FIRST_REGISTER_AGAIN_S
        told = _ONLINE
        while True:
            self._work.active_changed.clear()
            try:
                reply = await connection.call("device:heartbeat", self._heartbeat(), limit_s)
                if isinstance(reply, dict) and reply.get("error"):
                    raise LinkLostError(str(reply["error"]))
                acked_at = self._clock.monotonic()
                if acked_at >= register_at and self._work.dialect is not Dialect.RESPONSES:
                    # P servers may show a device as offline whose heartbeats they acknowledge.
                    await self._register(connection)
                    register_at = acked_at + REGISTER_AGAIN_S
                    told = _ONLINE
            except TimeoutError:
                if self._clock.monotonic() - acked_at >= self._timing.heartbeat_timeout_s:
                    raise LinkLostError("the server acknowledges no heartbeat") from None
                continue
            told = await self._tell_status(connection, told)
            await wait_or(self._work.active_changed, self._clock, self._timing.heartbeat_interval_s)

    async def _tell_status(self, connection: ServerSocket, told: str) -> str:
        """Say "busy" while nothing new is begun here, so that people choose another device."""
        table = self._executor.table
        status = _BUSY if table.is_paused or table.is_draining else _ONLINE
        if status != told:
            body = {"device_id": self._registration.device_id, "status": status}
            with contextlib.suppress(TimeoutError):  # only a picture: nothing hangs on it
                await connection.call("device:status", body)
        return status

    def _heartbeat(self) -> dict[str, Any]:
        return {
            "device_id": self._registration.device_id,
            "running_task_ids": self._work.running_task_ids,
            "executor_version": self._registration.executor_version,
            "runtime_capacity": self._work.capacity.as_heartbeat(),
        }

    async def _server_answers(self) -> bool:
        """True if plain HTTP works, so that a refusal is about us and not about the network."""
        limit = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
        try:
            async with (
                client_session(self._server, timeout=limit) as http,
                http.get(self._server + "/") as reply,
            ):
                return reply.status < 500
        except (aiohttp.ClientError, OSError, TimeoutError, ExecutorError):
            return False


async def _handles(connection: ServerSocket, event: str) -> bool:
    """Whether the server knows the event: then there is something wrong with an empty one."""
    try:
        reply = await connection.call(event, {}, PROBE_LIMIT_S)
    except TimeoutError:
        return False
    return isinstance(reply, dict) and "error" in reply


async def _end_session(jobs: Jobs, connection: ServerSocket) -> None:
    await jobs.close()
    await connection.close()


async def _until_lost(work: Any, connection: ServerSocket) -> None:
    """A session one of whose jobs has ended for whatever reason is no session any more."""
    try:
        await work
    except LinkLostError as error:
        connection.give_up(str(error))
    except TimeoutError:
        connection.give_up("the server gave no answer")
    except Exception as error:
        _log.exception("the session failed in an unexpected way")
        connection.give_up(str(error))
