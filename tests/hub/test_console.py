"""The page as it is served; what it does is for the browser tests."""

from __future__ import annotations

import re

import aiohttp
import pytest

from executor_core.resources import resource_path
from executor_core.texts import catalogue
from tests.hub.conftest import World

CONSOLE = sorted(path.name for path in resource_path("console").iterdir())


async def test_the_page_and_all_it_links_to_are_public(world: World) -> None:
    async with aiohttp.ClientSession(world.base) as http:
        async with http.get("/") as answer:
            page = await answer.text()
            assert answer.status == 200
        for path in re.findall(r'(?:href|src)="([^"]+)"', page):
            async with http.get(path) as answer:
                assert answer.status == 200, path


async def test_every_module_that_a_module_imports_is_served(world: World) -> None:
    async with aiohttp.ClientSession(world.base) as http:
        for name in CONSOLE:
            if name == "index.html":
                continue
            async with http.get(f"/console/{name}") as answer:
                assert answer.status == 200, name
                source = await answer.text()
            for imported in re.findall(r'from "\./([\w.]+)"', source):
                assert imported in CONSOLE, f"{name} imports {imported}"


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
        assert "http://" not in source or name.endswith(".svg")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", source)
    page = resource_path("console/index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_the_page_names_every_text_of_it_and_no_other() -> None:
    sources = [resource_path(f"console/{name}").read_text(encoding="utf-8") for name in CONSOLE]
    page = "".join(sources)
    named = set(re.findall(r"\"(console\.\w+)\"", page))
    families = tuple(set(re.findall(r"`(console\.\w+_)\$\{", page)))
    assert len(named) > 50
    assert len(families) == 4
    for language in ("en", "zh_CN"):
        texts = {key for key in catalogue(language) if key.startswith("console.")}
        assert named <= texts, language
        assert {key for key in texts - named if not key.startswith(families)} == set()
