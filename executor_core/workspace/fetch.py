"""Fetches what a task brings, bounded in size and time; its token goes to its server alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from executor_core.clock import Clock
from executor_core.jobs import is_first
from executor_core.outbound import client_session
from executor_core.texts import text
from executor_core.unicode import decode_json
from executor_core.workspace.files import new_file


class Unusable(Exception):
    """The text is the reason, for a person. The task goes on without the thing."""


FILE_LIMIT_S = 300.0
CONNECT_LIMIT_S = 15.0
SILENCE_LIMIT_S = 60.0
MAX_REDIRECTS = 3
MAX_JSON_BYTES = 2**20
KEEP_FREE_BYTES = 200 * 2**20
"""So much of the disk is left for everybody else."""
_PIECE_BYTES = 256 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)

Parameters = Mapping[str, str | int]


class Server:
    """The server of a task, for the time of one fetching."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str, clock: Clock) -> None:
        self._http = http
        self._url = URL(url)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._clock = clock

    async def file(self, path: str, parameters: Parameters, target: Path, limit: int) -> int:
        """Stream the answer into the new file `target` (0600); returns its size in bytes.

        `limit` is in bytes. Raises Unusable; then no file is left.
        """
        size = 0

        async def save(answer: aiohttp.ClientResponse) -> None:
            nonlocal size
            await asyncio.to_thread(target.parent.mkdir, 0o700, True, True)
            file = await asyncio.to_thread(new_file, target)
            try:
                await asyncio.to_thread(_check_space, target, answer.content_length or 0)
                async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                    size += len(piece)
                    if size > limit:
                        raise _too_big(limit)
                    await asyncio.to_thread(file.write, piece)
            finally:
                await asyncio.to_thread(file.close)

        try:
            await self._ask(path, parameters, limit, save)
        except BaseException:
            with contextlib.suppress(OSError):  # it could not be made either
                await asyncio.to_thread(target.unlink, missing_ok=True)
            raise
        return size

    async def json(self, path: str, parameters: Parameters) -> Any:
        """The answer as JSON. Raises Unusable."""
        body = bytearray()

        async def read(answer: aiohttp.ClientResponse) -> None:
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                body.extend(piece)
                if len(body) > MAX_JSON_BYTES:
                    raise _too_big(MAX_JSON_BYTES)

        await self._ask(path, parameters, MAX_JSON_BYTES, read)
        try:
            return decode_json(bytes(body))
        except ValueError as error:
            raise Unusable(text("fetch.no_json")) from error

    async def _ask(self, path: str, parameters: Parameters, limit: int, take: Any) -> None:
        failure: Unusable | None = None

        async def ask() -> None:
            nonlocal failure
            try:
                async with self._answer(path, parameters) as answer:
                    if (answer.content_length or 0) > limit:
                        raise _too_big(limit)
                    await take(answer)
            except Unusable as error:
                failure = error
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                # A token that no header can carry is a ValueError.
                reason = str(error) or type(error).__name__
                failure = Unusable(text("fetch.unreachable", reason=reason))
            except OSError as error:
                failure = _no_disk(error)

        if not await is_first(ask(), self._clock.sleep(FILE_LIMIT_S)):
            failure = Unusable(text("fetch.too_slow", minutes=int(FILE_LIMIT_S // 60)))
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def _answer(
        self, path: str, parameters: Parameters
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer. Redirects are followed on the same server only: they carry the token."""
        url = self._url.with_path(self._url.path.rstrip("/") + path).with_query(parameters)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._http.get(url, headers=self._headers, allow_redirects=False) as answer:
                if answer.status == 200:
                    yield answer
                    return
                if answer.status not in _REDIRECTS:
                    raise Unusable(_refusal(answer.status))
                url = _joined(url, answer.headers.get("Location", ""))
            if url.origin() != self._url.origin():
                raise Unusable(text("fetch.redirected", host=url.host))
        raise Unusable(text("fetch.redirects"))


@asynccontextmanager
async def server_session(url: str, token: str, clock: Clock) -> AsyncIterator[Server]:
    """A Server at `url`, `http(s)://host[:port][/prefix]`."""
    limits = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_LIMIT_S, sock_read=SILENCE_LIMIT_S
    )
    async with client_session(url, timeout=limits, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Server(http, url, token, clock)


def _joined(url: URL, location: str) -> URL:
    try:
        joined = url.join(URL(location))
        joined.origin()
    except ValueError as error:
        raise Unusable(text("fetch.redirects")) from error
    return joined


def _refusal(status: int) -> str:
    if status in (401, 403):
        return text("fetch.refused", status=status)
    return text("fetch.missing") if status == 404 else text("fetch.status", status=status)


def _check_space(target: Path, size_bytes: int) -> None:
    if shutil.disk_usage(target.parent).free < size_bytes + KEEP_FREE_BYTES:
        raise OSError(errno.ENOSPC, "")


def _too_big(limit_bytes: int) -> Unusable:
    return Unusable(text("fetch.too_big", limit=f"{limit_bytes / 2**20:g}"))


def _no_disk(error: OSError) -> Unusable:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return Unusable(text("fetch.no_space"))
    return Unusable(text("fetch.not_written", reason=error.strerror))
