"""Which agents there are, and that none of them can hide the others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents import Agents, agents_here, registry
from executor_core.agents.host import Probe
from executor_core.errors import ExecutorError
from executor_core.model import Availability
from executor_core.process import Login
from tests.agents.test_availability import GOOD, Computer
from tests.support.scripted_agent import ScriptedAgent

OURS = ["claude_code", "codex", "opencode"]


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """Without packages of other people, and with nothing but what a test installs."""
    monkeypatch.setattr(registry, "entry_points", lambda group: ())
    computer = Computer(tmp_path)
    computer.host.use_login(Login(str(computer.bin)))
    return computer


def install(computer: Computer, name: str, script: str = "exit 0") -> None:
    program = computer.bin / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def listed(computer: Computer, *configured: Any) -> dict[str, Availability]:
    async with asyncio.timeout(20):
        found = await agents_here(computer.host, configured).availability()
    return {one.name: one for one in found}


async def test_where_nothing_is_installed_ours_are_listed_with_what_to_do(
    computer: Computer,
) -> None:
    found = await listed(computer)
    assert list(found) == OURS
    assert all(one.problem and "agents install" in one.problem.hint for one in found.values())
    assert {one.minimum_version for one in found.values()} == {"2.1.20", "0.169.0", "1.0.0"}


async def test_a_known_agent_is_listed_as_soon_as_it_is_installed(computer: Computer) -> None:
    agents = agents_here(computer.host, ())
    assert "goose" not in [one.name for one in await agents.availability()]
    install(computer, "goose")
    [goose] = [one for one in await agents.availability() if one.name == "goose"]
    assert (goose.is_usable, goose.path) == (True, str(computer.bin / "goose"))
    assert agents.get("gemini").name == "gemini"


async def test_three_lines_of_the_user_add_an_agent_also_one_that_is_not_installed(
    computer: Computer,
) -> None:
    mine = {"name": "mine", "command": "my-agent --acp", "env": {"MODE": "fast"}}
    found = await listed(computer, mine)
    assert found["mine"].problem is not None
    install(computer, "my-agent")
    assert (await listed(computer, mine))["mine"].is_usable


async def test_the_users_own_definition_replaces_a_known_one(computer: Computer) -> None:
    install(computer, "my-goose")
    found = await listed(computer, {"name": "goose", "command": "my-goose"})
    assert found["goose"].path == str(computer.bin / "my-goose")


def test_a_wrong_definition_is_an_error_with_its_number(computer: Computer) -> None:
    with pytest.raises(ExecutorError) as caught:
        agents_here(computer.host, ({"name": "mine", "command": "x"}, {"name": "codex"}))
    assert caught.value.code == "acp_agent_invalid"
    assert "2" in caught.value.message.detail


async def test_the_stand_in_is_listed_and_stands_in(computer: Computer) -> None:
    demo = ScriptedAgent("demo")
    agents = agents_here(computer.host, (), stand_in=demo)
    chosen = await agents.stand_in_for("codex")
    assert chosen is not None
    assert chosen[0] is demo


class Broken(ScriptedAgent):
    """One whose own check fails."""

    async def availability(self) -> Availability:
        raise RuntimeError("the cable is cut")


class Silent(ScriptedAgent):
    """One whose check does not come back."""

    async def availability(self) -> Availability:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")


async def test_an_agent_that_fails_its_own_check_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "CHECK_LIMIT_S", 0.05)
    agents = Agents([Broken("broken"), Silent("silent"), ScriptedAgent("fine")])
    broken, silent, fine = await agents.availability()
    assert [broken.is_usable, silent.is_usable, fine.is_usable] == [False, False, True]
    assert broken.problem is not None
    assert "the cable is cut" in broken.problem.sentence
    assert silent.problem is not None


async def test_all_are_probed_side_by_side(computer: Computer) -> None:
    together = asyncio.Barrier(3)

    class Meeting(ScriptedAgent):
        async def availability(self) -> Availability:
            await together.wait()
            return await super().availability()

    async with asyncio.timeout(5):
        found = await Agents([Meeting(name) for name in "abc"]).availability()
    assert len(found) == 3


# --- what a probe tells --------------------------------------------------------------------------

PROBE = Probe(
    name="other",
    title="Other",
    program="claude",
    minimum_version=(1, 2),
    login_command=("auth", "status"),
)


async def test_the_name_of_the_key_in_use_is_told_and_never_the_key(computer: Computer) -> None:
    answer = '{"authMethod":"api_key","apiKeySource":"ANTHROPIC_API_KEY"}'
    computer.install(GOOD.replace('{"loggedIn":true,"authMethod":"oauth_token"}', answer))
    assert (await computer.look()).login == "ANTHROPIC_API_KEY"


async def test_an_agent_without_words_of_its_own_still_says_what_to_do(computer: Computer) -> None:
    found = await computer.host.availability(PROBE)
    assert found.problem is not None
    assert (found.problem.code, found.minimum_version) == ("agent_missing", "1.2")
    assert "`claude`" in found.problem.detail
    computer.install(GOOD.replace("echo '{", "exit 1; echo '{"))
    found = await computer.host.availability(PROBE)
    assert found.problem is not None
    assert found.problem.code == "agent_not_signed_in"
    assert "claude auth status" in found.problem.detail


async def test_a_probe_without_a_login_command_asks_for_no_login(computer: Computer) -> None:
    computer.install(GOOD)
    probe = Probe(name="other", title="Other", program="claude", minimum_version=())
    found = await computer.host.availability(probe)
    assert (found.is_usable, found.login, found.minimum_version) == (True, None, None)
    assert computer.calls == 1


async def test_who_cancels_the_look_waits_for_all_that_it_began() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    class Slow(ScriptedAgent):
        async def availability(self) -> Availability:
            begun.set()
            try:
                await asyncio.Event().wait()
                raise AssertionError("it was woken")
            finally:
                for _ in range(5 * len(self.name)):  # one has more to clean up than the other
                    await asyncio.sleep(0)
                ended.append(self.name)

    looking = asyncio.Task(Agents((Slow("a"), Slow("much-longer"))).availability())
    await begun.wait()
    looking.cancel()
    await asyncio.wait({looking})
    assert sorted(ended) == ["a", "much-longer"]
