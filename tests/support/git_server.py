"""A real git server on loopback: aiohttp in front of `git http-backend`.

Private repositories want a token by basic authentication. Every request is remembered, and a
repository can be made to redirect or to answer nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from tests.support.home import outer_environment

GIT = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]

DATA_BYTES = 10_000
"""Longer answers are data; shorter ones say what there is."""


async def git(cwd: Path, *arguments: str, data: bytes = b"") -> str:
    """Run git as a person would; returns its output, raises AssertionError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *GIT,
        *arguments,
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(data)
    assert process.returncode == 0, errors.decode()
    return output.decode().strip()


def _history(files: dict[str, bytes]) -> bytes:
    """One commit with these files on `main`, and an empty one above it on `side`."""
    who = b"committer Test <test@example.com> 1700000000 +0000\n"
    return b"".join(
        [
            b"commit refs/heads/main\nmark :1\n" + who + b"data 6\nfirst\n",
            *(
                b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
                for path, content in files.items()
            ),
            b"commit refs/heads/side\n" + who + b"data 7\nsecond\nfrom :1\n",
        ]
    )


@dataclass(frozen=True)
class Request:
    """What a client asked for, and the user and password it gave, if any."""

    path: str
    login: tuple[str, str] | None


class GitServer:
    """Bare repositories below `folder`, served at `url`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[Request] = []
        self.url = ""
        self.host = ""
        self.stalled = asyncio.Event()
        """Set when a client waits for a repository that answers nothing."""
        self._tokens: dict[str, str] = {}
        self._redirects: dict[str, str] = {}
        self._late_redirects: dict[str, str] = {}
        self._stalling: set[str] = set()
        self._never = asyncio.Event()
        self._halves: dict[str, asyncio.Event] = {}

    async def add(
        self, name: str, *, token: str = "", files: dict[str, bytes] | None = None
    ) -> str:
        """A repository with one commit on `main` and one more on `side`; returns its URL.

        With a `token` it is private.
        """
        bare = self.folder / f"{name}.git"
        bare.mkdir(parents=True)
        await git(bare, "init", "-q", "--bare", "-b", "main")
        await git(
            bare, "fast-import", "--quiet", data=_history(files or {"README.md": b"# Hello\n"})
        )
        with (bare / "config").open("a") as config:
            config.write("[http]\n\treceivepack = true\n")
        if token:
            self._tokens[name] = token
        return f"{self.url}/{name}.git"

    def redirect(self, name: str, url: str) -> str:
        """From now on `name` sends clients to the repository at `url`; returns its own URL."""
        self._redirects[name] = url
        return f"{self.url}/{name}.git"

    def redirect_after_login(self, name: str, url: str) -> None:
        """As `redirect`, but only who is logged in is sent away."""
        self._late_redirects[name] = url

    def stall(self, name: str) -> None:
        """From now on requests for the data of `name` are never answered."""
        self._stalling.add(name)

    def halve(self, name: str) -> asyncio.Event:
        """The second half of long answers about `name` is sent when the returned event is set."""
        return self._halves.setdefault(name, asyncio.Event())

    def unstall(self) -> None:
        """New requests are answered again."""
        self._stalling.clear()

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.host = f"{host}:{port}"
        self.url = f"http://{self.host}"

    async def stop(self) -> None:
        self._never.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        name, _, rest = path.partition(".git/")
        self.requests.append(Request(path, login := _login(request)))
        if (target := self._redirects.get(name)) is not None:
            raise web.HTTPFound(f"{target}/{rest}?{request.query_string}")
        token = self._tokens.get(name)
        if token and (login is None or login[1] != token):
            raise web.HTTPUnauthorized(
                headers={"WWW-Authenticate": 'Basic realm="git"'},
                # As rude as a server can be: it says what it was told.
                text=f"not with {request.headers.get('Authorization')} ({login})",
            )
        if (target := self._late_redirects.get(name)) is not None:
            raise web.HTTPFound(f"{target}/{rest}?{request.query_string}")
        if name in self._stalling and rest == "git-upload-pack":
            self.stalled.set()
            await self._never.wait()
            raise web.HTTPServiceUnavailable
        answer = await self._backend(request, path)
        body = answer.body
        assert isinstance(body, bytes)
        if len(body) < DATA_BYTES or (go_on := self._halves.get(name)) is None:
            return answer
        halves = web.StreamResponse(status=answer.status, headers=answer.headers)
        halves.content_length = len(body)
        await halves.prepare(request)
        await halves.write(body[: len(body) // 2])
        await go_on.wait()
        await halves.write(body[len(body) // 2 :])
        return halves

    async def _backend(self, request: web.Request, path: str) -> web.Response:
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": outer_environment()["PATH"],
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "REQUEST_METHOD": request.method,
                "PATH_INFO": f"/{path}",
                "QUERY_STRING": request.query_string,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "REMOTE_ADDR": "127.0.0.1",
                "REMOTE_USER": "test",
            },
        )
        output, _ = await process.communicate(await request.read())
        head, _, body = output.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        headers = {name: value for name, value in lines if name not in ("Status", "Content-Length")}
        status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
        return web.Response(status=status, headers=headers, body=body)


def _login(request: web.Request) -> tuple[str, str] | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind != "Basic":
        return None
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


@asynccontextmanager
async def git_server(folder: Path) -> AsyncIterator[GitServer]:
    """A server that is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    server = GitServer(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
