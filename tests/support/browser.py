"""A real headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from executor_core.jobs import Jobs
from tests.support.home import outer_environment

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
)
_LIMIT_S = 20.0
_PAGE_LEFT = -32000
"""The protocol's code for what was asked of a page that made room for another meanwhile."""
# The middle of an element that lay still for two frames and that a click there would reach; null
# while it does not.
_RESTING_PLACE = """async (selector) => {
    const node = document.querySelector(selector);
    if (!node) return null;
    node.scrollIntoView({ block: "nearest" });
    const middle = () => {
        const box = node.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    };
    const [x, y] = middle();
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
    const [laterX, laterY] = middle();
    const reached = document.elementFromPoint(x, y);
    return x === laterX && y === laterY && node.contains(reached) ? [x, y] : null;
}"""


def chromium() -> str | None:
    """The browser of this machine."""
    path = outer_environment().get("PATH")
    return next((found for name in PROGRAMS if (found := shutil.which(name, path=path))), None)


class PageLeftError(AssertionError):
    """The browser went to another page before it answered."""


class Page:
    """One tab. Everything that it wrote to its console, or failed with, is in `complaints`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def read(self) -> None:
        """Take in what the browser says, until it hangs up."""
        async for message in self._socket:
            said = json.loads(message.data)
            if (number := said.get("id")) in self._answers:
                self._answers.pop(number).set_result(said)
            elif said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said.get("method") == "Log.entryAdded":
                self.complaints.append(str(said["params"]["entry"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_LIMIT_S):
            found = await answer
        if found.get("error", {}).get("code") == _PAGE_LEFT:
            raise PageLeftError(found["error"]["message"])
        assert "error" not in found, found
        result: dict[str, Any] = found["result"]
        return result

    async def open(self, url: str) -> None:
        """Go there and wait until the page stands."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until the expression holds; its value."""
        deadline = time.monotonic() + _LIMIT_S
        while not (found := await self._value_now(expression)):
            if time.monotonic() > deadline:
                shown = await self.value("document.body.innerText")
                raise AssertionError(f"never: {expression}\n{shown}")
            await asyncio.sleep(0.02)
        return found

    async def _value_now(self, expression: str) -> Any:
        """Its value; None while the browser is just going to another page."""
        with suppress(PageLeftError):
            return await self.value(expression)
        return None

    async def until_shown(self, words: str) -> None:
        """Wait until these words can be read on the page."""
        await self.until(f"document.body?.innerText.includes({json.dumps(words)})")

    async def write(self, words: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=words)

    async def click(self, selector: str) -> None:
        """A real click of the mouse in the middle of an element.

        As a person does it waits until the element can be seen, lies still and is covered by
        nothing.
        """
        x, y = await self.until(f"({_RESTING_PLACE})({json.dumps(selector)})")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def look(
        self, *, width: int = 1200, height: int = 800, dark: bool = False, mobile: bool = False
    ) -> None:
        """The size of the window, and which colours the person likes."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, file: Path) -> None:
        """A screenshot as PNG."""
        found = await self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(found["data"]))


@asynccontextmanager
async def browser_page(
    program: str, folder: Path, env: Mapping[str, str] | None = None, flags: Sequence[str] = ()
) -> AsyncIterator[Page]:
    """A fresh browser with one tab; its profile lies below `folder`, `flags` are further ones."""
    profile = folder / "profile"
    argv = [program, *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    process = await asyncio.to_thread(
        subprocess.Popen,
        argv,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    jobs = Jobs("browser")
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = await answer.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with http.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                jobs.spawn(page.read(), "read")
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
                await page.call("Browser.close")
                await asyncio.to_thread(process.wait, 10)
    finally:
        await jobs.close()
        if process.poll() is None:
            process.kill()
        process.wait(10)


async def _port(file: Path) -> int:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        lines = file.read_text().split() if file.exists() else []
        if lines:
            return int(lines[0])
        assert time.monotonic() < deadline, "the browser did not start"
        await asyncio.sleep(0.02)
