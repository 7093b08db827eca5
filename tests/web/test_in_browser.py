"""What pages of others can do to the listener from a real browser: nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from executor_core.web import Listener
from tests.support.browser import Page, browser_page, chromium
from tests.support.home import outer_environment
from tests.web.conftest import TOKEN

FOREIGN = "attacker.example"
# The name that a rebinding attack gives to loopback, without its DNS games.
REBOUND = f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="session")
def browser() -> str:
    """Chromium. Where it is missing the test is skipped; in CI it fails."""
    if (program := chromium()) is not None:
        return program
    if outer_environment().get("CI"):
        pytest.fail("there is no Chromium on PATH")
    pytest.skip("there is no Chromium on PATH")


@pytest.fixture
async def seen(listener: Listener) -> list[str]:
    """The paths that got past the guard."""
    paths: list[str] = []

    async def note(request: web.Request) -> web.Response:
        paths.append(f"{request.method} {request.path}")
        return web.json_response({"secret": "of the owner"})

    for method in ("GET", "POST", "PUT", "DELETE"):
        listener.route(method, "/noted", note)
    return paths


@pytest.fixture
async def page(seen: list[str], browser: str, tmp_path: Path) -> AsyncIterator[Page]:
    """A tab in a browser that takes the foreign name for this computer."""
    env = {"HOME": str(tmp_path), "PATH": outer_environment().get("PATH", "")}
    async with browser_page(browser, tmp_path, env, [REBOUND]) as page:
        yield page


@pytest.fixture
async def attacker(seen: list[str]) -> AsyncIterator[Listener]:
    """A page of somebody else, on a port of its own."""
    other = Listener(port=0, token="of the attacker", allow_remote=True)

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text="<p>Hello</p>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    other.app = app
    await other.start()
    yield other
    await other.stop()


def asked(url: str, options: str) -> str:
    """An expression that asks, and tells the status and the words, or that nothing came."""
    return (
        f"fetch({url!r}, {options}).then(async r => [r.status, r.type, await r.text()])"
        ".catch(e => [0, 'error', ''])"
    )


async def test_a_rebound_name_gets_nothing(
    page: Page, listener: Listener, base: str, seen: list[str]
) -> None:
    await page.open(f"http://{FOREIGN}:{listener.port}/public")
    assert await page.value("location.hostname") in (FOREIGN, "chromewebdata", "")
    shown = await page.value("document.body.innerText")
    assert "hello" not in shown
    for method in ("GET", "POST", "DELETE"):
        options = f"{{method: {method!r}, headers: {{Authorization: 'Bearer {TOKEN}'}}}}"
        status, _type, words = await page.value(asked("/noted", options))
        assert status in (0, 421)
        assert "secret" not in words
    assert seen == []


async def test_a_foreign_page_gets_nothing_with_fetch_form_stream_or_image(
    page: Page, attacker: Listener, base: str, seen: list[str]
) -> None:
    await page.open(f"http://127.0.0.1:{attacker.port}/")
    bearer = f"{{headers: {{Authorization: 'Bearer {TOKEN}'}}}}"
    for url, options in (
        (f"{base}/noted", bearer),
        (f"{base}/noted", "{mode: 'no-cors'}"),
        (f"{base}/public", "{}"),
        (f"{base}/public", "{mode: 'no-cors'}"),
        (f"{base}/noted", "{method: 'POST', mode: 'no-cors', body: '{}'}"),
        (f"{base}/noted", "{method: 'DELETE'}"),
    ):
        status, _type, words = await page.value(asked(url, options))
        assert (status, words) == (0, ""), (url, options)
    source = f"new EventSource('{base}/stream?access_token={TOKEN}')"
    ended = f"new Promise(go => {{ const s = {source}; s.onerror = () => go(s.readyState) }})"
    assert await page.value(ended) == 2, "closed, not to be tried again"
    await page.value(
        f"(() => {{ const f = document.createElement('form'); f.action = '{base}/noted';"
        " f.method = 'post'; document.body.append(f); f.submit() })()"
    )
    await page.until(
        f"document.body && (location.href.startsWith({base!r})"
        " || document.body.innerText !== 'Hello')"
    )
    assert "secret" not in await page.value("document.body.innerText")
    assert seen == []


async def test_the_same_requests_from_the_page_itself_get_through(
    page: Page, base: str, seen: list[str]
) -> None:
    await page.open(f"{base}/public")
    options = f"{{headers: {{Authorization: 'Bearer {TOKEN}'}}}}"
    assert (await page.value(asked("/noted", options)))[0] == 200
    assert seen == ["GET /noted"]
