"""The executor behind the loopback API of this computer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
import psutil
from msgspec import Struct

from executor_core.control.control import (
    RunDetail,
    RunSummary,
    Status,
    Submission,
    check_prompt,
    checked_run_id,
)
from executor_core.errors import ExecutorError
from executor_core.executor import CancelAnswer
from executor_core.model import AgentEvent, Availability, RunEnded
from executor_core.texts import Message
from executor_core.unicode import encodable
from executor_core.workspace import RunChanges

_T = TypeVar("_T")
_events = msgspec.json.Decoder(AgentEvent)
_statuses = msgspec.json.Decoder(Status)

ANSWER_LIMIT_S = 30.0
SIGN_LIMIT_S = 5.0
"""For what an executor answers at once: without that it hangs."""
AGENTS_LIMIT_S = 75.0
"""A login shell and an agent may both take their time."""
SILENCE_LIMIT_S = 60.0
"""A stream has a sign of life every 15 seconds, whatever happens in it."""


class Address(Struct, kw_only=True, frozen=True):
    """The contents of `api.json`: where the running executor listens, and its owner's token."""

    url: str
    token: str
    pid: int

    def __repr__(self) -> str:
        return f"Address({self.url!r}, pid={self.pid})"


class RemoteError(ExecutorError):
    """An error that the executor sent, with the words that it chose."""

    def __init__(self, sent: Message) -> None:
        super().__init__(sent.code, **sent.values)
        self._sent = sent

    @property
    def message(self) -> Message:
        return self._sent


class RemoteControl:
    """Implements Control. An async context manager.

    Every call may also raise `not_running` (nobody answers; nothing was asked), `executor_lost`
    (the answer broke off), `executor_silent` (none came in time) and `executor_differs` (it came,
    and is of another version).
    """

    def __init__(self, api_file: Path) -> None:
        self._api_file = api_file
        found = _address_in(api_file)
        self._address: Address | None = found
        """None once nobody answered there: it may be another one when an executor is back."""
        self.pid = found.pid
        """The process id of the executor."""
        self._http: aiohttp.ClientSession | None = None

    @classmethod
    def of_home(cls, api_file: Path) -> Self:
        """The executor of a <home>. Raises ExecutorError("not_running") where none listens."""
        return cls(api_file)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=5, sock_connect=5),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def status(self) -> Status:
        return await self._ask("GET", "/api/status", Status, limit_s=SIGN_LIMIT_S)

    async def runs(self, limit: int = 50, before: str | None = None) -> tuple[RunSummary, ...]:
        path = f"/api/runs?limit={limit}"
        if before is not None:
            path += f"&before={checked_run_id(before)}"
        return await self._ask("GET", path, tuple[RunSummary, ...])

    async def run(self, run_id: str) -> RunDetail:
        return await self._ask("GET", _path_of(run_id), RunDetail)

    async def changes(self) -> AsyncIterator[Status]:
        async with aclosing(self._stream("/api/status/events", _statuses)) as told:
            async for status in told:
                yield status

    async def events(self, run_id: str, after: int = 0) -> AsyncIterator[AgentEvent]:
        path = _path_of(run_id) + "/agent-events"
        async with aclosing(self._stream(path, _events, after)) as told:
            async for event in told:
                yield event
                if isinstance(event, RunEnded):
                    return

    async def submit(self, submission: Submission) -> str:
        check_prompt(submission.prompt)  # before megabytes are sent in vain
        return await self._new_run("/api/submissions", submission)

    async def retry(self, run_id: str) -> str:
        return await self._new_run(_path_of(run_id) + "/retry")

    async def _new_run(self, path: str, body: Submission | None = None) -> str:
        return (await self._ask("POST", path, dict[str, str], body))["run_id"]

    async def cancel(self, run_id: str) -> CancelAnswer:
        answer = await self._ask("POST", _path_of(run_id) + "/cancel", dict[str, CancelAnswer])
        return answer["answer"]

    async def changes_of(self, run_id: str) -> RunChanges:
        return await self._ask("GET", _path_of(run_id) + "/patch", RunChanges)

    async def artifact(self, run_id: str, name: str) -> bytes:
        path = f"{_path_of(run_id)}/artifacts/{quote(name, safe='')}"
        limit = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
        try:
            async with await self._request("GET", path, timeout=limit) as reply:
                await _check(reply)
                return await reply.read()
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise self._in_words(error) from error

    async def folders_in_use(self) -> tuple[str, ...]:
        return await self._ask("GET", "/api/folders-in-use", tuple[str, ...])

    async def agents(self, *, anew: bool = False) -> tuple[Availability, ...]:
        path = f"/api/agents?anew={str(anew).lower()}"
        return await self._ask("GET", path, tuple[Availability, ...], limit_s=AGENTS_LIMIT_S)

    async def pause(self, for_s: float | None = None, reason: str | None = None) -> Status:
        return await self._ask("POST", "/api/pause", Status, {"for_s": for_s, "reason": reason})

    async def resume(self) -> Status:
        return await self._ask("POST", "/api/resume", Status)

    async def resize(self, slots: int) -> Status:
        return await self._ask("POST", "/api/slots", Status, {"slots": slots})

    async def drain(self) -> Status:
        return await self._ask("POST", "/api/drain", Status)

    async def stop(self) -> None:
        await self._ask("POST", "/api/stop", dict[str, Any], limit_s=SIGN_LIMIT_S)

    async def console(self) -> str | None:
        return (await self._ask("POST", "/api/console", dict[str, str | None]))["url"]

    async def try_links(self) -> None:
        await self._ask("POST", "/api/links/try", dict[str, Any])

    async def credential_changed(self) -> None:
        await self._ask("POST", "/api/credential", dict[str, Any])

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[_T],
        body: Struct | dict[str, Any] | None = None,
        limit_s: float = ANSWER_LIMIT_S,
    ) -> _T:
        data = None if method == "GET" else BytesIO(msgspec.json.encode(encodable(body or {})))
        headers = {} if data is None else {"Content-Type": "application/json"}
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with await self._request(
                method, path, data=data, headers=headers, timeout=limit
            ) as reply:
                await _check(reply)
                return msgspec.json.decode(await reply.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise self._in_words(error) from error

    async def _stream(
        self, path: str, kind: msgspec.json.Decoder[_T], after: int = 0
    ) -> AsyncGenerator[_T, None]:
        """What an event stream tells; its end is `executor_lost`."""
        try:
            headers = {"Last-Event-ID": str(after)}
            limit = aiohttp.ClientTimeout(connect=5, sock_connect=5, sock_read=SILENCE_LIMIT_S)
            async with await self._request("GET", path, headers=headers, timeout=limit) as reply:
                await _check(reply)
                async for line in _lines(reply.content):
                    if line.startswith(b"data: "):
                        yield kind.decode(line[6:])
        except (aiohttp.ClientError, msgspec.MsgspecError) as error:
            raise self._in_words(error) from error
        raise self._lost("executor_lost")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        data: BytesIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        if self._http is None:
            raise RuntimeError("RemoteControl is an async context manager")
        if self._address is None:
            self._address = await asyncio.to_thread(_address_in, self._api_file)
            self.pid = self._address.pid
        return await self._http.request(
            method,
            self._address.url + path,
            data=data,
            headers={**(headers or {}), "Authorization": f"Bearer {self._address.token}"},
            timeout=timeout,
        )

    def _in_words(self, error: Exception) -> ExecutorError:
        match error:
            case aiohttp.ClientConnectorError():
                return self._lost("not_running")
            case TimeoutError():
                return ExecutorError("executor_silent", pid=self.pid)
            case msgspec.MsgspecError():
                return ExecutorError("executor_differs")
            case _:
                return self._lost("executor_lost")

    def _lost(self, code: str) -> ExecutorError:
        self._address = None
        return ExecutorError(code)


def _address_in(api_file: Path) -> Address:
    """Raises ExecutorError("not_running") where none listens. Blocks."""
    try:
        address = msgspec.json.decode(api_file.read_bytes(), type=Address)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ExecutorError("not_running") from error
    if not address.url or not _listens(address):
        raise ExecutorError("not_running")
    return address


def _listens(address: Address) -> bool:
    """Whether the process that wrote the address still listens there.

    After a crash both the process id and the port may be somebody else's, who must not get the
    token.
    """
    with suppress(psutil.Error, ValueError):
        port = urlsplit(address.url).port
        sockets = psutil.Process(address.pid).net_connections("tcp")
        return any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets)
    return False


def _path_of(run_id: str) -> str:
    return f"/api/runs/{checked_run_id(run_id)}"


class _Refusal(Struct):
    error: Message


async def _check(reply: aiohttp.ClientResponse) -> None:
    if reply.status >= 400:
        raise RemoteError(msgspec.json.decode(await reply.read(), type=_Refusal).error)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the stream's own reader stops at 64 KiB."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
