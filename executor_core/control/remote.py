"""The executor behind the loopback API of this computer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from io import BytesIO
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
import psutil
from msgspec import Struct

from executor_core.control.control import Control, Submission, check_prompt, checked_run_id
from executor_core.control.endpoint import Endpoint, endpoints, row_of
from executor_core.errors import ExecutorError
from executor_core.texts import Message
from executor_core.unicode import encodable

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


class Remote:
    """A protocol whose calls are asked of the executor behind the API. An async context manager.

    Subclasses name the protocol as a second base; what they do not define themselves is made of its
    table. Every call may also raise `not_running` (nobody answers; nothing was asked),
    `executor_lost` (the answer broke off), `executor_silent` (none came in time) and
    `executor_differs` (it came, and is of another version).
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for row in chain.from_iterable(map(endpoints, cls.__mro__)):
            if getattr(cls, row.name, None) is row.function:
                setattr(cls, row.name, _stub(row))

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

    async def _ask(self, row: Endpoint, arguments: Mapping[str, Any]) -> Any:
        limit = aiohttp.ClientTimeout(total=row.limit_s)
        with self._in_words():
            async with await self._request(row, arguments, limit) as reply:
                await _check(reply)
                data = await reply.read()
                return data if row.answer is bytes else row.opened(row.decoder.decode(data))

    async def _stream(
        self, row: Endpoint, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """What an event stream tells; that it breaks off is `executor_lost`."""
        limit = aiohttp.ClientTimeout(connect=5, sock_connect=5, sock_read=SILENCE_LIMIT_S)
        with self._in_words():
            async with await self._request(row, arguments, limit) as reply:
                await _check(reply)
                async for line in _lines(reply.content):
                    if not line.startswith(b"data: "):
                        continue
                    event = row.decoder.decode(line[6:])
                    yield event
                    if row.last is not None and isinstance(event, row.last):
                        return
        raise self._lost("executor_lost")

    async def _request(
        self, row: Endpoint, arguments: Mapping[str, Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        path, given = _path(row, arguments), row.packed(arguments)
        if self._http is None:
            raise RuntimeError("Remote is an async context manager")
        if self._address is None:
            self._address = await asyncio.to_thread(_address_in, self._api_file)
            self.pid = self._address.pid
        headers = {"Authorization": f"Bearer {self._address.token}"}
        data = None
        if row.method == "GET":
            path += _query(given)
        else:
            data = BytesIO(msgspec.json.encode(encodable(given)))
            headers["Content-Type"] = "application/json"
        if row.can_resume:
            headers["Last-Event-ID"] = str(arguments.get("after", 0))
        return await self._http.request(
            row.method, self._address.url + path, data=data, headers=headers, timeout=timeout
        )

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except aiohttp.ClientConnectorError as error:
            raise self._lost("not_running") from error
        except TimeoutError as error:
            raise ExecutorError("executor_silent", pid=self.pid) from error
        except msgspec.MsgspecError as error:
            raise ExecutorError("executor_differs") from error
        except aiohttp.ClientError as error:
            raise self._lost("executor_lost") from error

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


def _stub(row: Endpoint) -> Any:
    """The method of a row, asked of the executor behind the API."""

    def tell(self: Remote, *values: object, **named: object) -> AsyncIterator[Any]:
        return self._stream(row, row.arguments(*values, **named))

    async def ask(self: Remote, *values: object, **named: object) -> Any:
        return await self._ask(row, row.arguments(*values, **named))

    return wraps(row.function)(tell if row.is_stream else ask)


def _path(row: Endpoint, arguments: Mapping[str, Any]) -> str:
    """Raises ExecutorError `run_unknown` for what can be the id of none."""
    if "run_id" in row.in_path:
        checked_run_id(arguments["run_id"])
    # What stands in a path and is no parameter says nothing.
    words = {name: quote(arguments.get(name, "-"), safe="") for name in row.in_path}
    return row.path.format(**words)


def _query(given: Mapping[str, Any]) -> str:
    said = {name: value for name, value in msgspec.to_builtins(given).items() if value is not None}
    words = {name: str(v).lower() if isinstance(v, bool) else v for name, v in said.items()}
    return f"?{urlencode(words)}" if words else ""


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


class RemoteControl(Remote, Control):
    """Implements Control."""

    async def submit(self, submission: Submission) -> str:
        check_prompt(submission.prompt)  # before megabytes are sent in vain
        run_id: str = await self._ask(row_of(Control.submit), {"submission": submission})
        return run_id
