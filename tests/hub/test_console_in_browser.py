"""The console in a real browser, in front of a real standalone executor.

Its agents are the demo agent and a Claude Code that does what its prompt says; a second device is a
bare socket that says exactly what a test wants the page to see.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from executor_core.texts import catalogue
from tests.hub.conftest import Client, Device
from tests.support.browser import PROGRAMS, Page, browser_page, chromium
from tests.support.executor_process import ExecutorProcess
from tests.support.git_server import git
from tests.support.home import outer_environment
from tests.support.page_audit import audit
from tests.support.skill_archives import skill_zip
from tests.support.stub_claude import StubClaude, gate, say, turn, write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
EN, ZH = catalogue("en"), catalogue("zh_CN")
STANDALONE = ("--standalone", "--no-gui")
MARKDOWN = """I read it. **Two things**:

- `greeting.py` has no hints, see [the guide](https://example.com/guide)
- nothing is tested

| Name | Value |
| --- | --- |
| a | 1 |

```python
def greet(name: str) -> None:  # a line that is longer than any telephone is wide, by far
```
"""
HOSTILE = """<img src=x onerror="window.hacked=1"> <script>window.hacked=1</script>
</script><svg onload=window.hacked=1>

[click](javascript:window.hacked=1) [data](data:text/html,x)
<a href="javascript:window.hacked=1">x</a>

`<b onclick=window.hacked=1>` **<img src=x onerror=window.hacked=1>** [<i>](https://example.com/"onclick="x)

```</code></pre><script>window.hacked=1</script>
"""


UNRECORDED = """(() => {
    const original = window.fetch;
    const told = JSON.stringify({ unrecorded: "the disk is full", files: [], left_out: [] });
    window.fetch = async (path, options) => {
        const answer = await original(path, options);
        return String(path).endsWith("/patch") ? new Response(told, answer) : answer;
    };
})()"""


@dataclass
class Desk:
    """The open console, and what stands behind it."""

    page: Page
    executor: ExecutorProcess
    claude: StubClaude
    owner: Client
    base: str
    devices: list[Device] = field(default_factory=list)

    def device(self, device_id: str) -> Device:
        """One that is not connected yet; it is closed when the test ends."""
        self.devices.append(Device(self.base, device_id))
        return self.devices[-1]

    async def second_device(self) -> Device:
        """A device that is online, known by the name `Mac`."""
        token = (await self.owner.call("POST", "/api/hub/tokens", {}))["token"]
        device = self.device("hw-2")
        assert await device.connect({"token": token}) == ""
        await device.register(name="Mac")
        await device.heartbeat(
            runtime_capacity={"limit": 5, "active": 2, "active_task_ids": ["a", "b"], "queued": 0}
        )
        return device

    async def open_task(self, title: str) -> None:
        """Click it in the list."""
        await self.page.until(f"{_titled(title)} !== undefined")
        await self.page.value(f"{_titled(title)}.closest('button').click()")
        await self.page.until(
            f"document.querySelector('#task-title').textContent === {json.dumps(title)}"
        )

    async def speak(self, language: str) -> None:
        """Choose the language of the page."""
        await self.page.value(
            f"(() => {{ const s = document.querySelector('#language'); s.value = '{language}';"
            " s.dispatchEvent(new Event('change')); })()"
        )


def _titled(title: str) -> str:
    found = "[...document.querySelectorAll('#tasks .title')]"
    return f"{found}.find((n) => n.textContent === {json.dumps(title)})"


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
def standalone(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ExecutorProcess]:
    """An executor of its own; without any agent but the demo one where the test says so."""
    folder = tmp_path / "stub" / "bin"
    if request.node.get_closest_marker("usefixtures") is not None:
        folder = tmp_path / "no agents here"
    executor = ExecutorProcess(tmp_path, folder)
    yield executor
    executor.clean_up()


@pytest.fixture
def only_demo() -> None:
    """Marks a test whose computer has no agent installed."""


@pytest.fixture
async def desk(standalone: ExecutorProcess, browser: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """The console, opened by the link that the executor printed."""
    claude = StubClaude(tmp_path / "stub")
    standalone.start(*STANDALONE)
    await standalone.online()
    link = re.search(r"(http://\S+)/#ticket=\S+", standalone.output)
    assert link is not None
    token = json.loads((standalone.home / "api.json").read_bytes())["token"]
    async with (
        browser_page(browser, tmp_path, standalone.env) as page,
        aiohttp.ClientSession(link[1]) as http,
    ):
        await page.look(width=1280)
        await page.open(link[0])
        await page.until_shown("online, 0/5 slots")
        desk = Desk(page, standalone, claude, Client(http, token), link[1])
        yield desk
        for device in desk.devices:
            await device.close()


async def enter(page: Page, prompt: str) -> None:
    """As a person does: into the field, and then the Enter key."""
    await page.click("#prompt")
    await page.write(prompt)
    await press(page, "Enter")


async def press(page: Page, key: str, *, shift: bool = False, code: int = 0) -> None:
    """One key, down and up."""
    code = code or {"Enter": 13, "Escape": 27, "ArrowDown": 40, "Tab": 9, " ": 32}[key]
    more = {"text": words} if (words := {"Enter": "\r", " ": " "}.get(key)) else {}
    for kind in ("keyDown", "keyUp"):
        await page.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key,
            windowsVirtualKeyCode=code, modifiers=8 if shift else 0,
            **(more if kind == "keyDown" else {}),
        )  # fmt: skip


async def answered(page: Page, count: int, words: str = EN["console.status_completed"]) -> None:
    """Wait until that many answers are complete and the next prompt may be sent."""
    heads = "[...document.querySelectorAll('article.agent h3')].map((n) => n.textContent)"
    await page.until(f"{heads}.filter((t) => t.endsWith('{words}')).length === {count}")
    await page.until("document.querySelector('#cancel').hidden")


@pytest.mark.usefixtures("only_demo")
async def test_a_newcomer_sees_a_whole_task_and_then_installs_an_agent(
    desk: Desk, tmp_path: Path
) -> None:
    page = desk.page
    await page.until_shown("cannot work here yet")
    assert await page.value("location.hash") == "", "the ticket stays out of the history"

    await press(page, "Tab")
    assert await page.value("document.activeElement.id") == "skip", "the first stop of the keyboard"
    await press(page, "Enter")
    assert await page.value("document.activeElement.id") == "prompt"
    await page.write("Show me")
    await press(page, "Enter", shift=True)
    await page.write("what you can do")
    await press(page, "Enter")
    await page.until_shown("online, 1/5 slots")
    await page.until_shown("This is the demo agent")
    await answered(page, 1)
    assert await page.value("document.querySelector('article.user .text').textContent") == (
        "Show me\nwhat you can do"
    )
    await page.until_shown("the demo agent answers instead")
    assert list(desk.executor.home.glob("workspace/*/hello-from-the-demo-agent.md"))
    spoken = await page.value("document.querySelector('#announcement').textContent")
    assert EN["console.status_completed"] in spoken

    await enter(page, "And a follow-up")
    await page.until("document.querySelectorAll('article.agent').length === 2")
    await page.until("!document.querySelector('#cancel').hidden")
    await page.click("#cancel")
    await page.until("document.querySelector('article.agent:last-child .retry')?.checkVisibility()")
    await page.until_shown(EN["console.status_cancelled"])
    await page.click("article.agent:last-child .retry")
    await answered(page, 2)

    await page.call("Page.reload")
    await answered(page, 2)
    assert await page.value("document.querySelectorAll('#tasks li').length") == 1
    await page.click("#new-task")
    await page.until_shown(EN["console.welcome"])
    await page.click("#agent-picker > button")
    await page.until_shown("agents install codex")
    assert await page.value("document.querySelector('#agent-choices [value=codex]').disabled")
    await press(page, "Escape")
    assert await page.value("document.querySelector('#agent-choices').hidden")

    (tmp_path / "no agents here").symlink_to(desk.claude.bin)
    await page.click("#new-task")
    await page.until("document.querySelector('#stand-in').hidden")
    assert not await page.value(
        "document.querySelector('#agent-choices [value=claude_code]').disabled"
    )
    assert page.complaints == []


async def test_what_a_run_changed_and_made_can_be_read_and_taken_away(
    desk: Desk, tmp_path: Path
) -> None:
    page, repository = desk.page, tmp_path / "repository"
    repository.mkdir()
    await git(repository, "init", "-q", "-b", "main")
    (repository / "greeting.py").write_text('print("Hello")\n')
    await git(repository, "add", ".")
    await git(repository, "commit", "-q", "-m", "first")
    prompt = turn(
        say("I mend it.\n"),
        write("greeting.py", 'print("Hello, world")\n'),
        write("long.txt", "line\n" * 60),
    )
    place = {"git_url": f"file://{repository}", "branch_name": "main", "git_repo": "me/repository"}
    await desk.owner.create(prompt, title="Mend the greeting", payload=place)
    await desk.open_task("Mend the greeting")
    await answered(page, 1)
    await page.until("document.querySelectorAll('.patch details').length === 2")
    lines = "[...document.querySelectorAll('.diff .{kind}')].map((n) => n.textContent.trim())"
    assert await page.value(lines.format(kind="less")) == ['-print("Hello")']
    assert '+print("Hello, world")' in await page.value(lines.format(kind="more"))
    assert await page.value(
        "[...document.querySelectorAll('.patch details')].map((n) => n.open)"
    ) == [
        True,
        False,
    ], "what is long is folded"
    assert "+61" in await page.value("document.querySelector('.patch h4').textContent")
    assert await audit(page) == []

    await page.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "taken")
    )
    await page.value("document.querySelector('.run .rows button').click()")
    taken = tmp_path / "taken" / "changes.patch"
    async with asyncio.timeout(20):
        while not taken.exists():
            await asyncio.sleep(0.02)
    assert "Hello, world" in taken.read_text()

    await page.value("[...document.querySelectorAll('.run > details > summary')].at(-1).click()")
    await page.until_shown("run_ended")
    assert "I mend it." in await page.value("document.querySelector('.events').textContent")

    await page.value(UNRECORDED)
    await page.click("#new-task")
    await desk.open_task("Mend the greeting")
    await page.until_shown("was not recorded: the disk is full")
    assert page.complaints == []


BROWSER_LIMIT = 6  # connections to one host, over all tabs


async def test_what_nobody_looks_at_holds_no_connection(desk: Desk) -> None:
    page = desk.page
    await desk.owner.create(turn(gate("hold")), title="Long")
    await desk.owner.create(turn(say("done")), title="Short")
    for _ in range(BROWSER_LIMIT):
        await desk.open_task("Long")
        await page.click(".run > details > summary")
        await page.until_shown("run_started")
        await desk.open_task("Short")
    for _ in range(BROWSER_LIMIT):
        link = (await desk.owner.call("POST", "/api/console"))["url"]
        await page.call("Target.createTarget", url=link)
    async with asyncio.timeout(20):
        while "#ticket" in str(await page.call("Target.getTargets")):
            await asyncio.sleep(0.05)
    await desk.owner.create(turn(say("done")), title="Made meanwhile")
    await page.call("Page.bringToFront")
    await desk.open_task("Made meanwhile")
    await answered(page, 1)
    await enter(page, "And then?")
    await answered(page, 2)
    assert page.complaints == []


async def test_files_go_along_and_who_waits_is_told_the_place(desk: Desk, tmp_path: Path) -> None:
    page = desk.page
    for number in range(5):
        await desk.owner.create(turn(gate(f"hold{number}")), title=f"Long {number}")
    await page.until_shown("busy, 5/5 slots")
    note = tmp_path / "note.txt"
    note.write_text("read me")
    await give_file(page, "#files", note)
    await page.until("document.querySelectorAll('#chosen-files li').length === 1")
    await page.click("#prompt")
    await page.write("half a thought")
    await page.call("Page.reload")
    await page.until_shown("busy, 5/5 slots")
    assert await page.value("document.querySelector('#prompt').value") == "half a thought"
    await page.click("#send")
    await page.until_shown("note.txt (")
    await page.until_shown("place 1 in the queue")
    head = await page.value("document.querySelector('article.agent h3').innerText")
    assert head.endswith(EN["console.status_pending"]), "seen, and not only there"
    await page.click("#cancel")
    await page.until_shown(EN["console.status_cancelled"])
    await page.click("#search")
    await page.write("HALF A")
    await page.until("document.querySelectorAll('#tasks li').length === 1")
    desk.claude.open(*(f"hold{number}" for number in range(5)))
    assert page.complaints == []


async def test_devices_come_go_and_are_chosen(desk: Desk) -> None:
    page, device = desk.page, await desk.second_device()
    await page.click("#device-picker > button")
    await page.until_shown("Mac · online, 2/5 slots")
    await press(page, "ArrowDown")
    await press(page, "Enter")
    await page.until(
        "document.querySelector('#device-picker .value').textContent.startsWith('Mac')"
    )
    await enter(page, "On the Mac")
    task = await device.received("task:execute")
    await device.respond(task, "response.output_text.delta", delta="First ")
    await page.until_shown("First")
    await page.call("Page.reload")
    await page.until_shown("First")
    await device.respond(task, "response.output_text.delta", delta="and second")
    await device.complete(task, "First and second")
    await answered(page, 1)
    assert await page.value("document.querySelector('.answer').textContent") == "First and second"

    await page.click("#open-access")
    star = "document.querySelector('#devices li:nth-child({n}) .star') !== null"
    assert await page.value(star.format(n=1))
    await page.click("[data-act='default-hw-2']")
    await page.until(star.format(n=2))
    assert not await page.value(star.format(n=1))
    await page.click("[data-act='default-hw-2']")
    await page.until(f"!({star.format(n=2)})")

    await device.close()
    await page.until_shown("Mac · offline")
    await press(page, "Escape")
    await page.until_shown("Mac is offline. Start the executor on it")
    assert await page.value("document.querySelector('#send').disabled")
    await page.click("#open-access")
    await page.click("[data-act='delete-device-hw-2']")
    await page.until_shown("Remove Mac from the list?")
    await page.click("[data-act='no-device-hw-2']")
    await page.click("[data-act='delete-device-hw-2']")
    await page.click("[data-act='yes-device-hw-2']")
    await page.until("document.querySelectorAll('#devices li').length === 1")
    await press(page, "Escape")
    await page.until_shown(EN["console.device_gone"])
    assert page.complaints == []


async def focused(page: Page) -> Any:
    """What has the focus, by the name that the page's own code has for it."""
    return await page.value("document.activeElement.dataset.act ?? document.activeElement.id")


async def name_of_focused(page: Page) -> Any:
    """What a screen reader calls it."""
    found = await page.call("Runtime.evaluate", expression="document.activeElement")
    tree = await page.call(
        "Accessibility.getPartialAXTree",
        objectId=found["result"]["objectId"],
        fetchRelatives=False,
    )
    return tree["nodes"][0]["name"]["value"]


async def test_a_task_is_deleted_from_the_history_after_a_question(desk: Desk) -> None:
    page = desk.page
    kept = await desk.owner.create(turn(say("done")), title="The kept one")
    gone = await desk.owner.create(turn(gate("never")), title="The other one")
    await desk.open_task("The other one")
    key = f"task-{gone['id']}"
    await page.value(f"document.querySelector('[data-act=delete-{key}]').focus()")
    assert await name_of_focused(page) == "Remove The other one"
    await press(page, "Enter")
    await page.until_shown(EN["console.delete_running_task"])
    assert await focused(page) == f"no-{key}", "the safe answer"
    assert await page.value("document.querySelectorAll('#tasks .question').length") == 1
    assert await audit(page) == []
    await press(page, "Enter")
    assert await focused(page) == f"delete-{key}"
    assert await page.value("document.querySelector('#tasks .question') === null")
    await press(page, "Enter")
    await press(page, "Tab", shift=True)
    assert await focused(page) == f"yes-{key}"
    await press(page, "Enter")
    await page.until("document.querySelectorAll('#tasks li').length === 1")
    await page.until_shown(EN["console.welcome"])
    assert [task["id"] for task in (await desk.owner.call("GET", "/api/tasks"))["items"]] == [
        kept["id"]
    ]
    await page.until_shown("online, 0/5 slots")

    await desk.speak("zh_CN")
    await page.look(width=375, mobile=True)
    await page.click("#open-history")
    await page.click(f"[data-act=delete-task-{kept['id']}]")
    await page.until_shown(ZH["console.delete_task"])
    assert await audit(page) == []
    await page.click(f"[data-act=yes-task-{kept['id']}]")
    await page.until_shown(ZH["console.no_tasks"])
    assert await focused(page) == "new-task"
    assert page.complaints == []


async def test_skills_are_added_chosen_sent_and_removed(desk: Desk, tmp_path: Path) -> None:
    page, device = desk.page, await desk.second_device()
    (tmp_path / "fishing.zip").write_bytes(skill_zip("fishing"))
    (tmp_path / "notes.zip").write_bytes(b"no archive")
    await page.click("#device-picker > button")
    await page.until_shown("Mac · online")
    await press(page, "ArrowDown")
    await press(page, "Enter")
    await page.value("document.querySelector('#open-skills').focus()")
    await press(page, "Enter")
    await page.until_shown(EN["console.no_skills"])
    await give_file(page, "#skill-file", tmp_path / "fishing.zip")
    await page.until("document.querySelectorAll('#skills-list li').length === 1")
    await page.value("document.querySelector('#skills-list input').focus()")
    assert (await name_of_focused(page)).startswith("fishing")
    await press(page, " ")
    assert (await focused(page)).startswith("use-")
    await press(page, "Escape")
    await page.until_shown("Skill fishing")
    assert await focused(page) == "open-skills"
    await enter(page, "Catch one")
    sent = await device.received("task:execute")
    assert sent["skill_names"] == ["fishing"]
    await page.until("document.querySelector('#chosen-files').hidden")

    await desk.speak("zh_CN")
    await page.click("#open-skills")
    await give_file(page, "#skill-file", tmp_path / "notes.zip")
    await page.until_shown(ZH["error.bad_skill.title"])
    await page.click("[data-act^=delete-skill-]")
    await page.until_shown(ZH["console.delete_skill"].format(name="fishing"))
    for width in (1280, 375):
        for dark in (False, True):
            await page.look(width=width, mobile=width < 500, dark=dark)
            assert await audit(page) == []
    await page.click("[data-act^=yes-skill-]")
    await page.until_shown(ZH["console.no_skills"])
    assert await focused(page) == "add-skill"
    assert [one for one in page.complaints if "400" not in one] == []


async def give_file(page: Page, selector: str, file: Path) -> None:
    """What a person chose in the window of the system."""
    document = await page.call("DOM.getDocument")
    root = document["root"]["nodeId"]
    field = await page.call("DOM.querySelector", nodeId=root, selector=selector)
    await page.call("DOM.setFileInputFiles", nodeId=field["nodeId"], files=[str(file)])


HOLD_THE_ANSWER_TO_SENDING = """(() => {
  const real = fetch;
  window.fetch = async (path, options) => {
    const answer = await real(path, options);
    if (options?.method === "POST") await new Promise((done) => { window.release = done; });
    return answer;
  };
})()"""


async def test_no_words_are_lost_that_come_or_are_written_before_the_answer_to_sending(
    desk: Desk,
) -> None:
    page, device = desk.page, await desk.second_device()
    await page.click("#device-picker > button")
    await page.until_shown("Mac · online")
    await press(page, "ArrowDown")
    await press(page, "Enter")
    await page.value(HOLD_THE_ANSWER_TO_SENDING)
    await enter(page, "On the Mac")
    task = await device.received("task:execute")
    await device.respond(task, "response.output_text.delta", delta="First")
    await device.call("device:status", {"device_id": device.device_id, "status": "busy"})
    await page.until_shown("Mac · busy")
    await page.write(" and something else")
    await page.value("window.release()")
    await page.until_shown("First")
    assert await page.value("document.querySelector('.user .text').textContent") == "On the Mac"
    await page.until("document.querySelector('#prompt').value === 'and something else'")
    await device.complete(task, "First")
    await answered(page, 1)
    # The Enter that confirms the words of an input method, as Safari tells of it.
    await press(page, "Enter", code=229)
    assert not await page.value("document.querySelector('#send').disabled"), "nothing is being sent"
    assert page.complaints == []


async def test_a_new_attempt_shows_nothing_of_the_one_that_failed(desk: Desk) -> None:
    page, device = desk.page, await desk.second_device()
    made = await desk.owner.create("Try", title="Try", device_id="hw-2")
    await desk.open_task("Try")

    async def use_tool(task: Any, command: str) -> None:
        item = {"type": "function_call", "id": command, "call_id": command, "name": "Bash"}
        item["arguments"] = json.dumps({"command": command})
        await device.respond(task, "response.output_item.added", item=item)

    task = await device.received("task:execute")
    await device.respond(task, "response.reasoning_summary_text.delta", delta="A wrong idea")
    await use_tool(task, "wrong")
    await device.respond(task, "error", message="It went wrong")
    await page.until_shown("A wrong idea")
    await page.until_shown("It went wrong")
    # What happens while nobody looks is seen at once and not step by step.
    await page.call("Target.createTarget", url="about:blank")
    await page.until("document.hidden")
    await desk.owner.call("POST", f"/api/tasks/{made['id']}/retry")
    task = await device.received("task:execute")
    await use_tool(task, "right")
    await device.complete(task, "Now it is done")
    await page.call("Page.bringToFront")
    await answered(page, 1)
    assert "wrong" not in await page.value("document.querySelector('article.agent').textContent")
    assert page.complaints == []


async def test_a_key_is_shown_once_and_works_until_it_is_removed(desk: Desk) -> None:
    page = desk.page
    await page.click("#open-access")
    await page.click("#key-name")
    await page.write("laptop")
    await press(page, "Enter")
    await page.until("document.querySelectorAll('#granted code').length === 3")
    key, login, start = await page.value(
        "[...document.querySelectorAll('#granted code')].map((n) => n.textContent)"
    )
    assert login == f"wegent-executor login --backend-url {desk.base} --token -"
    assert start == "wegent-executor --no-gui"
    other = desk.device("hw-3")
    assert await other.connect({"token": key}) == ""
    await other.register(name="Laptop")
    await page.until_shown("Laptop")
    await press(page, "Escape")
    await page.click("#open-access")
    await page.until_shown("laptop")
    assert key not in await page.value("document.documentElement.innerHTML")
    await page.click("[data-act^='delete-key-']")
    await page.click("[data-act^='yes-key-']")
    await page.until_shown(EN["console.no_keys"])
    again = desk.device("hw-4")
    assert await again.connect({"token": key}) != ""
    await page.click("#new-token")
    await page.until_shown("A token, good until")
    assert page.complaints == []


async def test_a_hostile_answer_is_only_read(desk: Desk) -> None:
    page, device = desk.page, await desk.second_device()
    await desk.owner.create("Attack", device_id="hw-2")
    task = await device.received("task:execute")
    item = {"type": "function_call", "id": "c", "call_id": "c", "name": "<img src=x onerror=a>"}
    item["arguments"] = json.dumps({"command": "<script>window.hacked=1</script>"})
    await device.respond(task, "response.output_item.added", item=item)
    await desk.open_task("Attack")
    for at in range(0, len(HOSTILE), 7):
        await device.respond(task, "response.output_text.delta", delta=HOSTILE[at : at + 7])
    line = "[`*" * 50_000 + "x" * 650_000
    for at in range(0, len(line), 100_000):
        await device.respond(task, "response.output_text.delta", delta=line[at : at + 100_000])
    await device.complete(task, HOSTILE + line)
    await answered(page, 1)
    answer = "document.querySelector('.answer')"
    assert (await page.value(f"{answer}.textContent.length")) > len(line)
    assert await page.value("window.hacked === undefined")
    assert (
        await page.value(
            "document.querySelectorAll('article :is(img, script, svg, i, iframe)').length"
        )
        == 0
    )
    hrefs = await page.value("[...document.querySelectorAll('article a')].map((n) => n.href)")
    assert all(href.startswith("https://example.com/") for href in hrefs)
    assert await page.value(f"{answer}.textContent.includes('<script>window.hacked=1</script>')")
    await desk.speak("zh_CN")
    await page.until_shown(ZH["console.devices"])
    assert page.complaints == []


async def test_all_of_it_can_be_read_in_both_languages_colours_and_widths(desk: Desk) -> None:
    page, device = desk.page, await desk.second_device()
    await _reads_well(desk, "nothing is open")
    await page.click("#agent-picker > button")
    await _reads_well(desk, "the agents")
    await desk.owner.create("做点什么" * 30 + "x" * 300, title="Long words", device_id="hw-2")
    task = await device.received("task:execute")
    await desk.open_task("Long words")
    await device.respond(
        task, "response.reasoning_summary_text.delta", delta="Thinking of it. " * 40
    )
    for number in range(6):
        item = {"type": "function_call", "id": f"c{number}", "call_id": f"c{number}"}
        item |= {"name": "Bash", "arguments": json.dumps({"command": "grep " + "y" * 200})}
        await device.respond(task, "response.output_item.added", item=item)
    await device.respond(task, "response.output_text.delta", delta=MARKDOWN)
    await page.until("document.querySelector('.answer table') !== null")
    await page.value(
        "document.querySelectorAll('article details').forEach((n) => { n.open = true; })"
    )
    await _reads_well(desk, "an answer is streaming")
    await device.respond(task, "error", message="Nobody is signed in. Run `claude` once.")
    await page.until("document.querySelector('.failure').checkVisibility()")
    await _reads_well(desk, "it failed")
    await page.click("#open-access")
    await page.click("#new-token")
    await page.until("document.querySelectorAll('#granted code').length === 3")
    await page.click("[data-act='delete-device-hw-2']")
    await _reads_well(desk, "devices and access")
    await page.click("#sign-out")
    await page.until_shown(EN["console.sign_in_detail"])
    await _reads_well(desk, "signed out")
    assert page.complaints == []


# What belongs side by side and does not stand so.
_BROKEN_ROWS = """["header > *, #connection > *", "#composer > .row > *"].filter((row) => {
    const middles = [...document.querySelectorAll(row)]
        .filter((node) => node.checkVisibility() && getComputedStyle(node).clipPath === "none")
        .map((node) => node.getBoundingClientRect())
        .map((box) => box.y + box.height / 2);
    return Math.max(...middles) - Math.min(...middles) > 10;
})"""


async def _reads_well(desk: Desk, what: str) -> None:
    for language, words in (("zh_CN", ZH), ("en", EN)):
        await desk.speak(language)
        await desk.page.until(
            f"document.querySelector('#open-access').textContent === '{words['console.devices']}'"
        )
        shown: Any = await desk.page.value("document.body.innerText")
        assert not re.search(r"console\.\w+|undefined|null|NaN|\{\w+\}", shown), what
        for width, height in ((1280, 800), (375, 700)):
            for dark in (False, True):
                await desk.page.look(width=width, height=height, mobile=width < 500, dark=dark)
                found = await audit(desk.page)
                assert found == [], (what, language, width, "dark" if dark else "light")
                assert await desk.page.value(_BROKEN_ROWS) == [], (what, language, width)
    await desk.page.look(width=1280)


async def test_who_has_a_password_signs_in_and_the_executor_may_go_fall_silent_and_come_back(
    desk: Desk,
) -> None:
    page, executor = desk.page, desk.executor
    await page.click("#open-access")
    await page.click("#sign-out")
    await page.until_shown(EN["console.sign_in_detail"])
    await page.click("#user-name")
    await page.write("owner")
    await page.click("#password")
    await page.write("not the password")
    await press(page, "Enter")
    await page.until_shown(EN["error.login_failed.title"])
    await desk.speak("zh_CN")
    await page.click("#sign-in [type=submit]")
    await page.until_shown(ZH["error.login_failed.title"])
    await desk.speak("en")
    password = next(executor.home.glob("*password*")).read_text().strip()

    async def sign_in() -> None:
        await page.value("document.querySelector('#password').value = ''")
        await page.click("#password")
        await page.write(password)
        await press(page, "Enter")
        await page.until_shown("online, 0/5 slots")

    await sign_in()
    await page.click("#open-skills")
    await page.until_shown(EN["console.no_skills"])
    await page.value("sessionStorage.setItem('wegent.token', 'one that expired')")
    await desk.owner.create(turn(say("done")), title="Told of by the stream that is still open")
    await page.until_shown(EN["console.sign_in_detail"])
    await sign_in()
    await page.until_shown("Told of by the stream")

    executor.env["OPENRUNNER_ADDR"] = desk.base.removeprefix("http://")
    await executor.kill()
    await page.until_shown(EN["console.connection_lost"])
    await page.until_shown(EN["console.unreachable_detail"])
    await desk.speak("zh_CN")
    await page.until_shown(ZH["console.connection_lost"])
    await desk.speak("en")
    executor.start(*STANDALONE)
    await page.until_shown(EN["console.connected"])
    await page.until_shown("online, 0/5 slots")
    await page.until("document.querySelector('#problem').hidden")
    await page.value(_SET_SILENCE_MS.format(1000))
    await enter(page, "Still there?")
    await answered(page, 1)
    executor.signal(signal.SIGSTOP)
    await page.until_shown(EN["console.connection_lost"])
    await page.until_shown(EN["console.unreachable_detail"])
    await page.value(_SET_SILENCE_MS.format(60_000))
    executor.signal(signal.SIGCONT)
    await page.until_shown(EN["console.connected"])
    await enter(page, "Back again?")
    await answered(page, 2)


_SET_SILENCE_MS = "import('/console/api.js').then((api) => {{ api.limits.silenceMs = {}; }})"


async def test_the_address_is_followed_by_back_and_forward_and_when_a_link_is_pasted(
    desk: Desk,
) -> None:
    page = desk.page
    first = await desk.owner.create(turn(say("done")), title="First")
    await desk.owner.create(turn(say("done")), title="Second")
    await desk.open_task("First")
    await desk.open_task("Second")
    title = "document.querySelector('#task-title').checkVisibility()"
    title += " ? document.querySelector('#task-title').textContent : ''"

    async def goes(way: str, *titles: str) -> None:
        for expected in titles:
            await page.value(f"history.{way}()")
            await page.until(f"({title}) === '{expected}'")

    await goes("back", "First", "")
    await goes("forward", "First", "Second")
    await page.call("Page.navigate", url=f"{desk.base}/#task={first['id']}")
    await page.until(f"({title}) === 'First'")

    async def link() -> str:
        return str((await desk.owner.call("POST", "/api/console"))["url"])

    await page.call("Page.navigate", url=await link())
    await page.until(f"location.hash === '#task={first['id']}'")
    await page.click("#open-access")
    await page.click("#sign-out")
    await page.until_shown(EN["console.sign_in_detail"])
    await page.call("Page.navigate", url=await link())
    await page.until_shown("online, 0/5 slots")
    assert await page.value("document.querySelector('#sign-in').hidden")
    assert page.complaints == []


_CHOOSE = """(() => {{
    const topic = document.querySelector("#topic");
    topic.value = "{topic}";
    topic.dispatchEvent(new Event("change"));
}})()"""


async def test_help_is_read_in_the_page_in_both_languages(desk: Desk) -> None:
    page = desk.page
    await page.click("#open-help")
    await page.until("document.querySelector('#help-page').innerText.length > 200")
    await page.value(_CHOOSE.format(topic="slots"))
    await page.until_shown("Two runs never work in the same folder")
    assert await audit(page) == []
    await press(page, "Escape")
    await desk.speak("zh_CN")
    await page.click("#open-help")
    await page.until("document.querySelector('#topic').options.length > 20")
    await page.value(_CHOOSE.format(topic="token"))
    await page.until("document.querySelector('#help-page').innerText.includes('令牌')")
    assert await audit(page) == []
    assert page.complaints == []


async def test_other_users_see_nothing_of_the_owners(desk: Desk) -> None:
    page = desk.page
    await desk.owner.create("The owner's")
    await page.until("document.querySelectorAll('#tasks li').length === 1")
    done = await desk.executor.command(
        "api", "user", "add", "ada", "--password", "-", stdin="a long password\n"
    )
    assert done.code == 0, done
    await page.click("#open-access")
    await page.click("#sign-out")
    await page.until_shown(EN["console.sign_in_detail"])
    await page.click("#user-name")
    await page.write("ada")
    await page.click("#password")
    await page.write("a long password")
    await press(page, "Enter")
    await page.until_shown(EN["console.no_device"])
    await page.until_shown(EN["console.no_tasks"])
    assert await page.value("document.querySelector('#send').disabled")
    await page.click("#open-access")
    await page.until_shown("Signed in as ada")
    assert await page.value("document.querySelector('#grants').hidden")
    assert await audit(page) == []
    assert page.complaints == []
