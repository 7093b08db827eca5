"""The audit of pages sees what it is there for, and has nothing against a good page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import browser_page, chromium
from tests.support.page_audit import audit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason="no browser")]
PAGE = "<!doctype html><title>t</title><body style='margin:0;background:#fff;color:#000'><main>{}"


async def test_each_fault_is_found_and_a_good_page_has_none(tmp_path: Path) -> None:
    button = "<button>Send</button>"
    faults = {
        "pale: text": f"{button}<p style='color:#888'>quiet</p>",
        "pale: placeholder": f"{button}<input aria-label=a placeholder=b style='color:#000'>"
        "<style>::placeholder { color: #999 }</style>",
        "cut off: P": f"{button}<p style='width:3em;overflow:hidden'>{'x' * 50}</p>",
        "cut off: the page": f"{button}<p style='width:200vw'>wide</p>",
        "no name: button": "<button></button>",
    }
    async with browser_page(chromium() or "", tmp_path) as page:
        for name, body in {"": f"{button}<p style='color:#666'>quiet</p>", **faults}.items():
            file = tmp_path / "page.html"
            file.write_text(PAGE.format(body))
            await page.open(file.as_uri())
            found = await audit(page)
            assert bool(found) == bool(name), found
            assert all(each.startswith(("pale", "cut off", "no name")) for each in found)
            assert any(each.startswith(name) for each in found) or not name, (name, found)
