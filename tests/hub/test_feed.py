"""What open pages are told, and what they get when they come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp

from executor_core.hub import feed
from executor_core.hub.feed import Feed
from executor_core.web import ServerEvent
from tests.hub.conftest import TOKEN, Client, World
from tests.support.clock import JumpingClock


async def _next(events: AsyncIterator[ServerEvent]) -> ServerEvent:
    async with asyncio.timeout(5):
        return await anext(events)


async def test_a_new_follower_starts_now(clock: JumpingClock) -> None:
    news = Feed(clock)
    news.publish(1, "a", {})
    async with aclosing(news.follow(1)) as events:
        news.publish(1, "b", {"x": 1})
        assert (await _next(events))[1:] == ("b", {"x": 1})


async def test_a_returning_follower_gets_exactly_what_it_missed(clock: JumpingClock) -> None:
    news = Feed(clock)
    for name in "abc":
        news.publish(1, name, {})
    first_id = int(clock.now().timestamp() * 1000) + 1
    async with aclosing(news.follow(1, first_id)) as events:
        assert [(await _next(events)).event, (await _next(events)).event] == ["b", "c"]


async def test_who_was_away_too_long_is_told_to_reload(clock: JumpingClock) -> None:
    news = Feed(clock)
    for _ in range(feed.MAX_EVENTS + 5):
        news.publish(1, "a", {})
    first_id = int(clock.now().timestamp() * 1000) + 1
    async with aclosing(news.follow(1, first_id)) as events:
        assert (await _next(events)).event == "reload"


async def test_an_id_from_before_a_restart_means_reload(clock: JumpingClock) -> None:
    before = Feed(clock)
    before.publish(1, "a", {})
    old_id = int(clock.now().timestamp() * 1000) + 1
    await clock.advance(5)
    async with aclosing(Feed(clock).follow(1, old_id)) as events:
        assert (await _next(events)).event == "reload"


async def test_large_events_are_bounded_by_size(clock: JumpingClock) -> None:
    news = Feed(clock)
    first_id = int(clock.now().timestamp() * 1000)
    for _ in range(10):
        news.publish(1, "a", {"x": "y" * (feed.MAX_BYTES // 4)})
    async with aclosing(news.follow(1, first_id)) as events:
        assert (await _next(events)).event == "reload"


async def test_users_hear_nothing_of_each_other(clock: JumpingClock) -> None:
    news = Feed(clock)
    start = int(clock.now().timestamp() * 1000)
    news.publish(1, "mine", {})
    news.publish(2, "theirs", {})
    async with aclosing(news.follow(2, start)) as events:
        assert (await _next(events)).event == "theirs"


# --- over HTTP -----------------------------------------------------------------------------------


class Page:
    """An open console page, as far as its event stream goes."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.last_id = ""

    async def until(self, event: str) -> list[tuple[str, Any]]:
        """All events up to the first of that name."""
        found: list[tuple[str, Any]] = []
        name = ""
        async with asyncio.timeout(5):
            while not found or found[-1][0] != event:
                line = (await self._answer.content.readline()).decode().rstrip("\n")
                key, _, value = line.partition(": ")
                if key == "id":
                    self.last_id = value
                elif key == "event":
                    name = value
                elif key == "data":
                    found.append((name, json.loads(value)))
        return found


@asynccontextmanager
async def _page(world: World, token: str = TOKEN, **headers: str) -> AsyncIterator[Page]:
    http = world.owner._http
    auth = {"Authorization": f"Bearer {token}"}
    async with http.get("/api/hub/events", headers=auth | headers) as answer:
        await answer.content.readline()
        yield Page(answer)


async def test_a_page_sees_an_answer_grow_without_gaps(world: World) -> None:
    device = await world.registered()
    async with _page(world) as page:
        task = await world.owner.create()
        sent = await device.received("task:execute")
        for delta in ("a", "b", "你"):
            await device.respond(sent, "response.output_text.delta", delta=delta)
        await device.complete(sent, "ab你")
        seen = await page.until("delta") + await page.until("delta") + await page.until("delta")
        seen += await page.until("changed")
    growing = [data for event, data in seen if event in ("changed", "delta")]
    assert "".join(data.get("delta", "") for data in growing) == "ab你"
    revs = [data["rev"] for data in growing]
    assert revs[:4] == [1, 2, 3, 4]
    assert revs == sorted(set(revs))
    assert growing[-1]["status"] == "COMPLETED"
    assert (await world.owner.answer(task["id"]))["rev"] == revs[-1]


async def test_a_page_that_comes_back_misses_nothing(world: World) -> None:
    device = await world.registered()
    await world.owner.create()
    sent = await device.received("task:execute")
    async with _page(world) as page:
        await device.respond(sent, "response.output_text.delta", delta="one")
        await page.until("delta")
    await device.respond(sent, "response.output_text.delta", delta="two")
    async with _page(world, **{"Last-Event-ID": page.last_id}) as again:
        assert (await again.until("delta"))[-1][1]["delta"] == "two"


async def test_a_note_of_the_device_is_passed_on_and_not_kept(world: World) -> None:
    device = await world.registered()
    task = await world.owner.create()
    sent = await device.received("task:execute")
    block = {"id": "n", "type": "thinking", "content": "Cloning app …"}
    gone = {"content": "", "status": "done"}
    async with _page(world) as page:
        await device.respond(sent, "response.block.created", block=block)
        assert (await page.until("note"))[-1][1]["words"] == "Cloning app …"
        await device.respond(sent, "response.block.updated", block_id="n", updates=gone)
        assert (await page.until("note"))[-1][1]["words"] == ""
    assert (await world.owner.answer(task["id"]))["reasoning"] == ""


async def test_a_page_is_told_when_its_device_goes_and_comes(world: World) -> None:
    async with _page(world) as page:
        device = await world.registered()
        assert (await page.until("device"))[-1][1]["status"] == "online"
        await device.call("device:status", {"device_id": "hw-1", "status": "busy"})
        assert (await page.until("device"))[-1][1]["status"] == "busy"


async def test_a_second_users_page_hears_nothing_of_the_owners(world: World) -> None:
    _second, second_token = await world.second_user()
    await world.registered()
    async with _page(world, second_token) as page:
        await world.owner.create()
        await world.registered("hw-9", second_token)
        seen = await page.until("device")
    assert [event for event, _data in seen] == ["device"]
    assert seen[0][1]["device_id"] == "hw-9"


async def test_a_page_must_show_a_token(world: World) -> None:
    nobody = Client(world.owner._http, "wrong")
    await nobody.call("GET", "/api/hub/events", status=401)
    await nobody.call("GET", f"/api/tasks?access_token={TOKEN}", status=401)
