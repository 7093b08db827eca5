"""Every verb, spoken to an executor that runs in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from executor_core.cli import frame, life
from executor_core.control.control import LONGEST_PAUSE_S
from tests.cli.conftest import ZH, Cli, invoke
from tests.support.executor_process import ExecutorProcess, until
from tests.support.stub_claude import StubClaude, say, turn, write


def newest_run(live: Cli) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live("runs", "--json", "--limit", "1").stdout)[0]
    return found


def test_status_is_a_sentence_for_people_and_json_for_scripts(
    live: Cli, running: ExecutorProcess
) -> None:
    result = live("status")
    assert result.exit_code == 0
    assert "Online at http://127.0.0.1:" in result.stdout
    assert "0 of 5 slots in use" in result.stdout
    assert "/#ticket=" in result.stdout
    found = json.loads(live("status", "--json").stdout)
    assert found["pid"] == running.pid
    assert found["links"][0]["state"] == "online"
    assert found["slots"] == {"used": 0, "max": 5}
    assert "ticket" not in str(found)


@pytest.mark.parametrize("content", ['[log]\nlevel = "LOUD"\n', "log = ["])
def test_a_typo_in_the_configuration_does_not_take_the_running_executor_away(
    live: Cli, running: ExecutorProcess, content: str
) -> None:
    file = running.home / "config.toml"
    before = file.read_text() if file.exists() else None
    file.write_text(content)
    try:
        for verb in ("status", "runs", "resume"):
            result = live(verb)
            assert (result.exit_code, result.stderr) == (0, "")
        doctor = live("doctor", env=running.env)
    finally:
        file.unlink() if before is None else file.write_text(before)
    assert doctor.exit_code == 1
    assert "✓ Executor: It runs" in doctor.stdout
    [said] = [line for line in doctor.stdout.splitlines() if line.startswith("✗ Configuration")]
    assert "config.toml" in said


def test_status_speaks_chinese(live: Cli) -> None:
    assert "已使用 0/5 个槽位" in live("status", env=ZH).stdout


def test_exec_streams_the_answer_and_works_in_the_callers_folder(
    live: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = live("exec", turn(say("Hé", "llo"), write("made.txt", "by the agent")))
    assert result.exit_code == 0
    assert "Héllo" in result.stdout
    assert (tmp_path / "made.txt").read_text() == "by the agent"
    run = newest_run(live)
    shown = live("runs", "show", run["run_id"])
    assert "Héllo" in shown.stdout
    assert "completed" in shown.stdout
    assert run["run_id"] in live("runs").stdout
    assert "Héllo" in live("runs", "logs", run["run_id"]).stdout


def test_exec_reads_its_prompt_from_standard_input(live: Cli, tmp_path: Path) -> None:
    prompt = turn(say("from stdin: é")).encode()
    result = live("exec", "--cwd", str(tmp_path), "-", stdin=prompt)
    assert "from stdin: é" in result.stdout


def test_exec_as_json_is_one_event_per_line(live: Cli, tmp_path: Path) -> None:
    result = live("exec", "--json", "--cwd", str(tmp_path), turn(say("a")))
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["kind"] == "run_ended"
    assert events[-1]["outcome"]["text"] == "a"
    shown = live("runs", "show", "--json", newest_run(live)["run_id"]).stdout
    assert json.loads(shown)["outcome"] == events[-1]["outcome"]


def test_exec_of_a_run_that_fails_says_why_and_is_code_1(live: Cli, tmp_path: Path) -> None:
    result = live("exec", "--cwd", str(tmp_path / "nowhere"), "x")
    assert result.exit_code == 1
    assert "The folder does not exist." in result.stderr
    assert newest_run(live)["error"] == "folder_missing"
    assert "folder_missing" in live("runs").stdout


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_exec_without_words_is_a_sentence(live: Cli, prompt: str) -> None:
    result = live("exec", "-", stdin=prompt)
    assert result.exit_code == 1
    assert "no prompt" in result.stderr


@pytest.mark.parametrize("verb", ["show", "cancel", "logs"])
def test_an_unknown_run_is_a_sentence_that_says_what_to_do(live: Cli, verb: str) -> None:
    for run_id in ("run_0", "../status"):
        result = live("runs", verb, run_id)
        assert result.exit_code == 1
        assert f"“{run_id}” is not known here" in result.stderr


def test_cancel_of_a_run_that_ended_says_so(live: Cli, tmp_path: Path) -> None:
    live("exec", "--cwd", str(tmp_path), "x")
    result = live("runs", "cancel", newest_run(live)["run_id"])
    assert result.exit_code == 0
    assert "has already ended" in result.stdout


def test_agents_are_named_with_what_they_can_do(live: Cli) -> None:
    assert "claude_code" in live("agents").stdout
    found = {agent["name"]: agent for agent in json.loads(live("agents", "--json").stdout)}
    assert found["claude_code"]["is_usable"]
    assert found["demo"]["is_usable"]


def test_a_pause_is_shown_until_it_is_taken_back(live: Cli) -> None:
    said = live("pause", "--for", "2h", "--reason", "video call").stdout
    assert "Paused until" in said
    assert "(video call)" in said
    status = live("status").stdout
    assert said.strip() in status
    assert json.loads(live("status", "--json").stdout)["pause_reason"] == "video call"
    assert live("resume").exit_code == 0
    assert "Paused" not in live("status").stdout


def test_a_pause_longer_than_allowed_is_refused_in_words(live: Cli) -> None:
    assert frame._seconds(life.LONGEST_PAUSE) == LONGEST_PAUSE_S
    for longer in ("40d", "720.001h"):
        result = live("pause", "--for", longer)
        assert result.exit_code == 2
        assert "at most 30d" in result.stderr
    assert "Paused" not in live("status").stdout


def test_the_log_can_be_read(live: Cli, running: ExecutorProcess) -> None:
    result = live("logs", "-n", "2")
    assert len(result.stdout.splitlines()) == 2
    assert result.stdout in running.log


def test_a_second_start_is_code_7_and_names_the_first(live: Cli, running: ExecutorProcess) -> None:
    result = live("--no-gui", "--standalone")
    assert result.exit_code == 7
    assert str(running.pid) in result.stderr


def test_login_says_that_the_running_executor_has_another_server(live: Cli) -> None:
    arguments = ("--backend-url", "https://wegent.example.com", "--file", "--token", "-")
    result = live("login", *arguments, stdin="a-token-of-mine\n")
    assert result.exit_code == 0
    assert "works with http://127.0.0.1:" in result.stdout
    assert "a-token-of-mine" not in result.output
    assert live("logout").exit_code == 0


def test_no_command_leaves_the_token_of_the_api_in_its_output(
    live: Cli, running: ExecutorProcess
) -> None:
    token = json.loads((running.home / "api.json").read_text())["token"]
    for arguments in (["status"], ["runs"], ["agents"], ["config"], ["logs", "-n", "1000"]):
        assert token not in live(*arguments).output


def test_a_removed_user_has_neither_token_nor_key_and_the_owner_stays(
    live: Cli, running: ExecutorProcess
) -> None:
    token = live("hub", "token", "--user", "bob").stdout.strip()
    key = live("hub", "key", "--user", "bob").stdout.strip()
    assert [status(running, word) for word in (token, key)] == [200, 200]
    assert live("api", "user", "remove", "bob").exit_code == 0
    assert [status(running, word) for word in (token, key)] == [401, 401]
    assert "no user “bob”" in live("api", "user", "remove", "bob").stderr
    assert "owner" in live("api", "user", "remove", "owner").stderr
    assert status(running, live("hub", "token").stdout.strip()) == 200


def status(running: ExecutorProcess, token: str) -> int:
    """How a request with that token is answered."""
    url = json.loads((running.home / "api.json").read_text())["url"]
    asked = Request(f"{url}/api/tasks", headers={"Authorization": f"Bearer {token}"})
    try:
        with urlopen(asked, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_another_number_of_slots_counts_at_once(live: Cli) -> None:
    said = live("config", "set", "device.max_concurrent_tasks", "7").stdout
    try:
        assert "The running executor has taken it over." in said
        assert json.loads(live("status", "--json").stdout)["slots"]["max"] == 7
    finally:
        said = live("config", "unset", "device.max_concurrent_tasks").stdout
    assert "device.max_concurrent_tasks = 5. The running executor has taken it over." in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other ways")
def test_the_computer_is_kept_awake_without_a_window(tmp_path: Path) -> None:
    agent, told = StubClaude(tmp_path / "agent"), tmp_path / "told"
    inhibit = agent.bin / "systemd-inhibit"
    inhibit.write_text(f'#!/bin/sh\necho "$1" >> "{told}"\nexec cat\n')
    inhibit.chmod(0o700)
    (tmp_path / "computer").mkdir()
    executor = ExecutorProcess(tmp_path / "computer", agent.bin)
    executor.start("--standalone", "--no-gui")
    try:
        asyncio.run(executor.online())
        assert not told.exists()
        said = invoke(executor.home, "exec", "--cwd", str(tmp_path), turn(say("a")))
        assert said.exit_code == 0
        asyncio.run(until(lambda: told.exists() or None, 10, "nothing keeps the system awake"))
        assert told.read_text() == "--what=idle:sleep\n"
    finally:
        executor.clean_up()
