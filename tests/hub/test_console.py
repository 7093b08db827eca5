"""The page as it is served; what it does is for the browser tests."""

from __future__ import annotations

import re

import aiohttp
import pytest

from executor_core.resources import resource_path
from executor_core.texts import catalogue
from tests.hub.conftest import World

CONSOLE = ("index.html", "console.css", "console.js")


async def test_the_page_and_all_it_links_to_are_public(world: World) -> None:
    async with aiohttp.ClientSession(world.base) as http:
        async with http.get("/") as answer:
            page = await answer.text()
            assert answer.status == 200
        for path in re.findall(r'(?:href|src)="([^"]+)"', page):
            async with http.get(path) as answer:
                assert answer.status == 200, path


@pytest.mark.parametrize("language", ["en", "zh_CN"])
async def test_only_console_texts_are_public(world: World, language: str) -> None:
    path = f"/console/texts/{language}.json"
    async with aiohttp.ClientSession(world.base) as http, http.get(path) as answer:
        texts = await answer.json()
    assert texts["console.send"]
    assert all(key.startswith("console.") for key in texts)


async def test_other_languages_are_not_found(world: World) -> None:
    async with aiohttp.ClientSession(world.base) as http:
        for name in ("fr", "..%2Fen", "en%00"):
            async with http.get(f"/console/texts/{name}.json") as answer:
                assert answer.status in (401, 404)


def test_the_page_brings_everything_itself_and_inserts_no_html() -> None:
    for name in CONSOLE:
        source = resource_path(f"console/{name}").read_text(encoding="utf-8")
        assert "https://" not in source
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", source)
    page = resource_path("console/index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_every_text_that_the_page_names_is_in_both_catalogues() -> None:
    named: set[str] = set()
    for name in CONSOLE:
        source = resource_path(f"console/{name}").read_text(encoding="utf-8")
        named |= set(re.findall(r"\"(console\.\w+)\"", source))
    assert len(named) > 20
    for language in ("en", "zh_CN"):
        assert named <= set(catalogue(language)), language
