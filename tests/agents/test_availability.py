"""Whether Claude Code can work here, found out with small programs in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from executor_core.agents import AgentHost, Agents, Assignment, ClaudeCode, registry
from executor_core.agents.host import LOGIN_TTL_S, TESTED
from executor_core.agents.opencode import OpenCode
from executor_core.errors import ExecutorError
from executor_core.model import Availability
from executor_core.process import Login
from tests.process.children import HurriedClock
from tests.support.scripted_agent import ScriptedAgent

GOOD = """
case "$*" in
  --version) echo "2.1.197 (Claude Code)";;
  "auth status") echo '{"loggedIn":true,"authMethod":"oauth_token"}';;
esac
"""
OLD = GOOD.replace("2.1.197", "1.9.99")
SIGNED_OUT = GOOD.replace("echo '{", "exit 1; echo '{")
BROKEN = "echo 'Error: native binary not found' >&2; exit 1"
SILENT = "exit 0"
HANGING = "trap 'exit 1' INT; while :; do sleep 0.05; done"
FLOOD = "trap 'exit 1' INT; while :; do echo line; done"


class AskedClock(HurriedClock):
    """Hurried, and can be set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Computer:
    """A host whose `claude` is a script of the test's; `calls` is what it was asked."""

    def __init__(self, folder: Path, ask: Callable[[], Awaitable[Login]] | None = None) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "calls"
        self.log.touch()
        self.clock = AskedClock()
        self.host = AgentHost(
            base={}, settings={}, path=f"{self.bin}:/usr/bin:/bin", platform="linux", owner="tests",
            is_root=False, folder=folder, clock=self.clock, ask=ask,
        )  # fmt: skip

    def install(self, script: str) -> None:
        program = self.bin / "claude.new"
        program.write_text(f'#!/bin/sh\necho "$*" >> "{self.log}"\n{script}')
        program.chmod(0o755)
        program.rename(self.bin / "claude")

    @property
    def calls(self) -> int:
        return len(self.log.read_text().splitlines())

    async def look(self) -> Availability:
        async with asyncio.timeout(20):
            return await ClaudeCode(self.host).availability()


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (OLD, "agent_too_old"),
        (SIGNED_OUT, "claude_code_not_signed_in"),
        (BROKEN, "agent_broken"),
        (SILENT, "agent_broken"),
        (HANGING, "agent_late"),
        (FLOOD, "agent_late"),
    ],
)
async def test_what_is_wrong_is_said(computer: Computer, script: str, problem: str) -> None:
    computer.install(script)
    found = await computer.look()
    assert found.problem is not None
    assert (found.is_usable, found.problem.code) == (False, problem)
    assert found.problem.hint


async def test_a_usable_one_has_a_version_a_path_and_a_login(computer: Computer) -> None:
    computer.install(GOOD)
    assert replace(await computer.look(), variables=()) == Availability(
        name="claude_code",
        title="Claude Code",
        is_usable=True,
        path=str(computer.bin / "claude"),
        version="2.1.197",
        login="oauth_token",
        minimum_version="2.1.20",
    )


async def test_a_file_that_is_no_program_is_broken(computer: Computer) -> None:
    (computer.bin / "claude").write_bytes(b"\x7fELF nonsense")
    (computer.bin / "claude").chmod(0o755)
    found = await computer.look()
    assert found.problem is not None
    assert found.problem.code == "agent_broken"


async def test_nothing_is_looked_for_before_the_login_shell_has_answered(tmp_path: Path) -> None:
    answered, asked = asyncio.Event(), 0

    async def ask() -> Login:
        nonlocal asked
        asked += 1
        await answered.wait()
        return Login("/usr/bin:/bin", {"KEY": str(asked)})

    computer = Computer(tmp_path, ask)
    computer.install(GOOD)
    looking = [asyncio.Task(computer.look()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(look.done() for look in looking)
    answered.set()
    for found in await asyncio.gather(*looking):
        assert found.problem is not None
        assert (found.problem.code, found.variables) == ("claude_code_missing", ("KEY",))
    assert (asked, computer.host.environment({})["KEY"]) == (1, "1")
    await computer.host.ready(anew=True)
    assert (asked, computer.host.environment({})["KEY"]) == (2, "2")


async def test_a_login_shell_that_was_silent_is_asked_again_after_a_minute(tmp_path: Path) -> None:
    answers = [Login("/usr/bin:/bin", silent="/bin/zsh"), Login("/usr/bin:/bin", {"KEY": "1"})]

    async def ask() -> Login:
        return answers.pop(0)

    computer = Computer(tmp_path, ask)
    await computer.host.ready()
    await computer.host.ready()
    assert (computer.host.silent_shell, computer.host.variables) == ("/bin/zsh", ())
    computer.clock.ahead_s = LOGIN_TTL_S
    await computer.host.ready()
    assert (computer.host.silent_shell, computer.host.variables) == (None, ("KEY",))
    computer.clock.ahead_s *= 100
    await computer.host.ready()


async def test_another_environment_is_a_reason_to_ask_an_agent_again(computer: Computer) -> None:
    computer.install(GOOD.replace('"auth status")', '"auth status") [ "$KEY" ] || exit 1;'))
    assert not (await computer.look()).is_usable
    computer.host.use_login(Login(computer.host.path, {"KEY": "exported now"}))
    assert (await computer.look()).is_usable


@pytest.mark.parametrize("slow", ["--version) ", '"auth status") '])
async def test_what_takes_long_once_is_not_known_yet_and_is_asked_again(
    computer: Computer, slow: str
) -> None:
    once = f'{slow} mkdir "{computer.bin}/cold" 2>/dev/null && {{ {HANGING}; }};'
    computer.install(GOOD.replace(slow, once))
    found = await computer.look()
    assert found.problem is not None
    assert (found.problem.code, found.path) == ("agent_late", str(computer.bin / "claude"))
    assert (await computer.look()).is_usable


async def test_what_is_known_stays_while_a_look_takes_too_long(computer: Computer) -> None:
    computer.install(
        GOOD.replace("--version) ", f'--version) [ -e "{computer.bin}/busy" ] && {{ {HANGING}; }};')
    )
    assert (await computer.look()).is_usable
    (computer.bin / "busy").touch()
    computer.clock.ahead_s = LOGIN_TTL_S
    assert (await computer.look()).is_usable


async def test_looking_again_asks_only_when_something_may_have_changed(computer: Computer) -> None:
    computer.install(GOOD)
    both = await asyncio.gather(computer.look(), computer.look())
    assert [found.is_usable for found in both] == [True, True]
    assert computer.calls == 2
    computer.install(SIGNED_OUT)
    assert not (await computer.look()).is_usable
    assert computer.calls == 4
    await computer.look()
    assert computer.calls == 4
    computer.clock.ahead_s = LOGIN_TTL_S
    await computer.look()
    assert computer.calls == 6


async def test_a_run_without_the_program_says_how_to_get_it(computer: Computer) -> None:
    computer.host.use_login(Login("/usr/bin:/bin"))
    folder = computer.bin
    assignment = Assignment(run_id="r", prompt="x", folder=folder, scratch=folder)
    with pytest.raises(ExecutorError, match="agents install claude_code"):
        await ClaudeCode(computer.host).run(assignment, lambda _: None, asyncio.Event())


# --- all of them ---------------------------------------------------------------------------------


async def test_an_unknown_agent_is_refused_with_those_that_are_known() -> None:
    agents = Agents([ScriptedAgent("a"), ScriptedAgent("b")])
    with pytest.raises(ExecutorError, match="a, b"):
        agents.get("c")


async def test_nobody_stands_in_for_who_can_work_nor_for_itself_nor_without_a_stand_in() -> None:
    agent, other = ScriptedAgent("a"), ScriptedAgent("b")
    agents = Agents([agent, other], stand_in="b")
    assert await agents.stand_in_for("a") is None
    agent.missing = other.missing = ExecutorError("claude_code_missing")
    chosen = await agents.stand_in_for("a")
    assert chosen is not None
    assert chosen[0] is other
    assert await agents.stand_in_for("b") is None
    assert await Agents([agent, other]).stand_in_for("a") is None
    assert [found.is_usable for found in await agents.availability()] == [False, False]


@pytest.mark.parametrize("script", [OLD, SIGNED_OUT, BROKEN, HANGING])
async def test_nobody_stands_in_for_an_agent_that_is_here(computer: Computer, script: str) -> None:
    computer.install(script)
    agents = Agents([ClaudeCode(computer.host), ScriptedAgent("demo")], stand_in="demo")
    assert await agents.stand_in_for("claude_code") is None


async def test_nobody_stands_in_for_an_agent_of_which_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "CHECK_LIMIT_S", 0.05)
    agent, demo = ScriptedAgent("a"), ScriptedAgent("demo")
    agent.looking = asyncio.Event()
    agents = Agents([agent, demo], stand_in="demo")
    assert await agents.stand_in_for("a") is None
    assert [found.problem.code for found in await agents.availability() if found.problem] == [
        "agent_late"
    ]


# --- versions ------------------------------------------------------------------------------------


async def test_a_newer_version_than_tested_is_used_and_said(computer: Computer) -> None:
    computer.install(GOOD.replace("2.1.197", "2.999.0"))
    found = await computer.look()
    assert (found.is_usable, found.version) == (True, "2.999.0")
    assert found.remark == f"newer than tested (last tested: {TESTED['claude_code'].newest})"


async def test_the_newest_that_was_tested_needs_no_remark(computer: Computer) -> None:
    computer.install(GOOD.replace("2.1.197", TESTED["claude_code"].newest))
    assert (await computer.look()).remark is None


@pytest.mark.parametrize("program", ["opencode", "opencode2"])
async def test_opencode_2_is_refused_in_words_whatever_its_program_is_called(
    computer: Computer, program: str
) -> None:
    computer.install("echo 2.0.23")
    (computer.bin / "claude").rename(computer.bin / program)
    found = await OpenCode(computer.host).availability()
    assert found.problem is not None
    assert (found.is_usable, found.problem.code) == (False, "agent_too_new")
    assert found.path == str(computer.bin / program)
    assert "opencode-ai@1" in found.problem.hint


async def test_opencode_2_gets_no_task_even_where_nobody_looked_at_it(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    computer.install("echo 2.0.23")
    (computer.bin / "claude").rename(computer.bin / "opencode")
    assignment = Assignment(run_id="r", prompt="p", folder=tmp_path, scratch=tmp_path)
    with pytest.raises(ExecutorError, match="agent_too_new"):
        await OpenCode(computer.host).run(assignment, lambda _: None, asyncio.Event())


async def test_opencode_1_beside_opencode_2_is_used(computer: Computer) -> None:
    computer.install("case $1 in models) echo a/b;; *) echo 1.18.33;; esac")
    (computer.bin / "claude").rename(computer.bin / "opencode")
    computer.install("echo 2.0.23")
    (computer.bin / "claude").rename(computer.bin / "opencode2")
    assert (await OpenCode(computer.host).availability()).is_usable
