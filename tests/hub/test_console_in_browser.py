"""The console in a real browser, in front of a real standalone executor with its demo agent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from executor_core.texts import catalogue
from tests.support.browser import PROGRAMS, Page, browser_page, chromium
from tests.support.executor_process import ExecutorProcess
from tests.support.home import outer_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
EN, ZH = catalogue("en"), catalogue("zh_CN")
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="session")
def browser() -> str:
    """Chromium. Where it is missing the test is skipped; in CI it fails."""
    if (program := chromium()) is not None:
        return program
    reason = f"no browser: none of {', '.join(PROGRAMS)} is installed"
    if outer_environment().get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[ExecutorProcess]:
    """An executor of its own, without any agent but the demo one."""
    executor = ExecutorProcess(tmp_path, tmp_path / "no agents here")
    yield executor
    executor.clean_up()


@pytest.fixture
async def page(standalone: ExecutorProcess, browser: str, tmp_path: Path) -> AsyncIterator[Page]:
    """The console, opened by the link that the executor printed."""
    standalone.start("--standalone", "--no-gui")
    await standalone.online()
    link = re.search(r"http://\S+#ticket=\S+", standalone.output)
    assert link is not None
    async with browser_page(browser, tmp_path, standalone.env) as page:
        await page.look()
        await page.open(link[0])
        await page.until_shown("online, 0/5 slots")
        yield page


async def send(page: Page, prompt: str) -> None:
    """As a person does: into the field, and then the button."""
    await page.click("#prompt")
    await page.write(prompt)
    await page.click("#send")


async def answered(page: Page, count: int) -> None:
    """Wait until that many answers are complete and the next prompt may be sent."""
    heads = "[...document.querySelectorAll('article.agent h3')].map((n) => n.textContent)"
    done = EN["console.status_completed"]
    await page.until(f"{heads}.filter((t) => t.endsWith('{done}')).length === {count}")
    await page.until("document.querySelector('#cancel').hidden")


async def test_a_newcomer_sees_a_whole_task(page: Page, standalone: ExecutorProcess) -> None:
    await page.until_shown("cannot work here yet")
    assert await page.value("location.hash") == "", "the ticket stays out of the history"

    await send(page, "Show me what you can do")
    await page.until_shown("online, 1/5 slots")
    await page.until_shown("This is the demo agent")
    await answered(page, 1)
    await page.until_shown("the demo agent answers instead")
    assert list(standalone.home.glob("workspace/*/hello-from-the-demo-agent.md"))

    await send(page, "And a follow-up")
    await page.until("document.querySelectorAll('article.agent').length === 2")
    await page.until("!document.querySelector('#cancel').hidden")
    await page.click("#cancel")
    await page.until_shown(EN["console.retry"])
    await page.until_shown(EN["console.status_cancelled"])
    await page.click("article.agent:last-child > button")
    await answered(page, 2)

    await page.call("Page.reload")
    await answered(page, 2)
    assert await page.value("document.querySelectorAll('#tasks li').length") == 1
    await page.click("#new-task")
    await page.until_shown(EN["console.welcome"])
    await page.click("#tasks button")
    await answered(page, 2)
    assert page.complaints == []


async def test_it_fits_a_phone_and_speaks_chinese(page: Page) -> None:
    await page.look(width=375, height=700, mobile=True, dark=True)
    choose = "(() => { const s = document.querySelector('#language'); s.value = 'zh_CN';"
    await page.value(choose + " s.dispatchEvent(new Event('change')); })()")
    await page.until_shown(ZH["console.welcome"])
    await send(page, "做点什么" * 30 + "x" * 300)
    await page.until_shown(ZH["console.status_completed"])
    assert not await page.value(OVERFLOWS)
    await page.click("#open-history")
    await page.until_shown(ZH["console.new_task"])
    shown = await page.value("document.body.innerText")
    assert not re.search(r"console\.\w+|undefined|null|\{\w+\}", shown)
    assert page.complaints == []


async def test_an_executor_that_goes_away_is_said_and_found_again(
    page: Page, standalone: ExecutorProcess
) -> None:
    address = await page.value("location.host")
    standalone.env["OPENRUNNER_ADDR"] = address
    await standalone.kill()
    await page.until_shown(EN["console.unreachable_detail"])
    assert not await page.value("document.body.innerText.includes('online')")
    standalone.start("--standalone", "--no-gui")
    await page.until_shown("online, 0/5 slots")
    await page.until("document.querySelector('#problem').hidden")
    await send(page, "Still there?")
    await answered(page, 1)
