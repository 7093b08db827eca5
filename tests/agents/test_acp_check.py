"""What an agent of the protocol offers, asked of a real process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from executor_core.agents.acp import AcpAgent
from executor_core.agents.catalog import AcpDefinition
from executor_core.agents.codex import Codex
from executor_core.agents.registry import checked_agent
from executor_core.errors import ExecutorError
from executor_core.model import AgentOffer
from tests.process.children import carriers_of
from tests.support import acp_agent
from tests.support.agent_stage import agent_host

PROGRAM = str(Path(acp_agent.__file__))
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="some agents here are scripts")


def agent(folder: Path, *command: str) -> AcpAgent:
    definition = AcpDefinition(name="mine", title="Mine", command=command)
    return AcpAgent(agent_host(folder), definition)


async def offer(folder: Path, *abilities: str) -> AgentOffer:
    found = await checked_agent(agent(folder, sys.executable, PROGRAM, *abilities), folder)
    return found.offer


async def test_an_agent_without_abilities_offers_nothing_but_a_session(tmp_path: Path) -> None:
    assert await offer(tmp_path) == AgentOffer(needs_login=False)
    assert carriers_of(f"tests:check-{tmp_path.name}") == set()


@pytest.mark.parametrize("ability", ["load", "resume"])
async def test_both_ways_to_go_on_count(tmp_path: Path, ability: str) -> None:
    found = await offer(tmp_path, ability, "image")
    assert (found.resumes, found.takes_images) == (True, True)


async def test_one_that_is_not_signed_in_says_so_and_is_no_failure(tmp_path: Path) -> None:
    assert (await offer(tmp_path, "signed_out")).needs_login is True


async def test_another_version_of_the_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="acp_version_unknown"):
        await offer(tmp_path, "old")


@pytest.mark.parametrize(
    "script",
    ["echo 'no such option --acp' >&2; exit 2", 'read line; echo \'{"id":1,"error":{}}\'; cat'],
)
async def test_what_does_not_shake_hands_is_no_agent(tmp_path: Path, script: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        await checked_agent(agent(tmp_path, "sh", "-c", script), tmp_path)
    assert caught.value.code == "agent_not_answering"
    if "--acp" in script:
        assert "no such option" in caught.value.message.detail


async def test_one_that_does_not_open_a_session_says_why(tmp_path: Path) -> None:
    answers = (
        '{"id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}',
        '{"id":2,"error":{"code":-32603,"message":"Internal error","data":"pi is not there"}}',
    )
    script = "".join(f"read line; echo '{answer}';" for answer in answers) + "cat"
    found = await checked_agent(agent(tmp_path, "sh", "-c", script), tmp_path)
    assert (found.offer.needs_login, found.offer.refusal) == (
        None,
        "Internal error: pi is not there",
    )


async def test_one_of_ours_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError) as caught:
        await checked_agent(Codex(agent_host(tmp_path)), tmp_path)
    assert "agents install codex" in caught.value.message.detail
