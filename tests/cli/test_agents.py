"""`agents` and `agents install`, as a person types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from executor_core.config.redaction import redact
from tests.agents.test_install import Computer
from tests.cli.conftest import ZH, Cli

SHAKES_HANDS = '{"id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}'
NEEDS_LOGIN = '{"id":2,"error":{"code":-32000,"message":"sign in"}}'

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in of npm is a script")


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """A user whose shell finds an npm of the test's own."""
    folder = tmp_path / "computer"
    folder.mkdir()
    computer = Computer(folder)
    computer.npm()
    computer.program("shell", 'exec /bin/sh -c "$2"')
    monkeypatch.setenv("HOME", str(computer.home))
    monkeypatch.setenv("SHELL", str(computer.bin / "shell"))
    monkeypatch.setenv("PATH", f"{computer.bin}:/usr/bin:/bin")
    return computer


def program_of(computer: Computer) -> Path:
    return computer.local / "bin" / "codex"


def test_agents_lists_ours_also_where_none_is_installed(command: Cli, computer: Computer) -> None:
    found = {agent["name"]: agent for agent in json.loads(command("agents", "--json").output)}
    assert {"claude_code", "codex", "opencode"} <= found.keys()
    assert found["codex"]["problem"]["code"] == "codex_missing"
    shown = command("agents").output
    assert "agents install codex" in shown
    assert "codex_exec" not in shown
    last = shown.splitlines()[-1]
    assert last.startswith("Programs are looked up along ")
    assert str(computer.bin) in last


def test_the_users_own_agents_are_listed_and_their_variables_are_not_shown(
    command: Cli, home: Path, computer: Computer
) -> None:
    home.mkdir()
    (home / "config.toml").write_text(
        '[[agents.acp]]\nname = "mine"\ncommand = "my-agent"\nenv = { MY_KEY = "hidden-secret" }\n'
    )
    computer.program("my-agent", "exit 0")
    found = {agent["name"]: agent for agent in json.loads(command("agents", "--json").output)}
    assert found["mine"]["path"] == str(computer.bin / "my-agent")
    assert redact("my-agent said hidden-secret") == "my-agent said ***"
    assert "hidden-secret" not in command("config").output
    assert "hidden-secret" not in command("config", "explain", "agents.acp").output


def test_a_wrong_agent_of_the_user_is_one_sentence_and_code_6(
    command: Cli, home: Path, computer: Computer
) -> None:
    home.mkdir()
    (home / "config.toml").write_text('[[agents.acp]]\nname = "codex"\ncommand = "x"\n')
    done = command("agents")
    assert done.exit_code == 6
    assert len(done.output.strip().splitlines()) == 1


def test_install_says_what_it_will_do_and_asks_first(command: Cli, computer: Computer) -> None:
    done = command("agents", "install", "codex", stdin="n\n")
    assert done.exit_code == 1
    assert f"npm install --global --prefix {computer.local} @openai/codex@latest" in done.output
    assert "Nothing was installed." in done.output
    assert not computer.local.exists()


def test_install_installs_when_the_answer_is_yes(command: Cli, computer: Computer) -> None:
    done = command("agents", "install", "codex", stdin="y\n")
    assert done.exit_code == 0
    assert f"Codex 9.8.7 is installed: {program_of(computer)}" in done.output
    assert program_of(computer).exists()


def test_yes_asks_nothing(command: Cli, computer: Computer) -> None:
    done = command("agents", "install", "codex", "--yes")
    assert (done.exit_code, "Install it now" in done.output) == (0, False)


def test_one_that_fails_does_not_keep_the_others_from_being_installed(
    command: Cli, computer: Computer
) -> None:
    end = 'case "$3" in *codex*) exit 0;; *) echo "npm error code E404" >&2; exit 1;; esac'
    computer.npm(end=end)
    done = command("agents", "install", "--all", "--yes")
    assert done.exit_code == 1
    assert done.output.count("Everything is as it was before.") == 2
    assert program_of(computer).exists()


def test_one_that_comes_first_on_the_path_is_said(command: Cli, computer: Computer) -> None:
    computer.program("codex", "echo 0.1.0")
    done = command("agents", "install", "codex", "--yes")
    assert done.exit_code == 0
    assert f"But {computer.bin / 'codex'} comes first" in done.output


def test_what_only_its_makers_offer_is_said_with_where_and_with_those_that_can_be_installed(
    command: Cli, computer: Computer
) -> None:
    done = command("agents", "install", "goose", env=ZH)
    assert done.exit_code == 1
    assert "/block/goose/releases" in done.output
    assert "claude_code, codex, opencode" in done.output
    assert "无法从这里安装" in done.output


def test_a_misspelt_agent_is_refused_with_the_nearest_names(
    command: Cli, computer: Computer
) -> None:
    for verb in ("install", "check"):
        done = command("agents", verb, "gemni")
        assert done.exit_code == 1
        assert "Did you mean gemini?" in done.output


def test_an_agent_of_the_protocol_is_installed_where_it_shakes_hands(
    command: Cli, computer: Computer
) -> None:
    agent = "\n".join(f"read line; echo '{answer}'" for answer in (SHAKES_HANDS, NEEDS_LOGIN))
    manifest = 'echo \'{"version": "7.7.7"}\' > "$home/package.json"; exit 0'
    computer.npm(program=agent, command="gemini", end=manifest)
    done = command("agents", "install", "gemini", "--yes")
    assert done.exit_code == 0
    assert f"Gemini CLI 7.7.7 is installed: {computer.local / 'bin' / 'gemini'}" in done.output
    checked = command("agents", "check", "gemini")
    assert checked.exit_code == 1
    assert "Needs a login first: yes" in checked.output
    assert "GEMINI_API_KEY" in checked.output
    found = json.loads(command("agents", "check", "gemini", "--json").output)
    assert (found["agent"]["name"], found["offer"]["needs_login"]) == ("gemini", True)


def test_one_that_does_not_shake_hands_is_not_put_anywhere(
    command: Cli, computer: Computer
) -> None:
    computer.npm(program="echo 1.2.3", command="gemini")
    done = command("agents", "install", "gemini", "--yes")
    assert done.exit_code == 1
    assert "does not start" in done.output
    assert not (computer.local / "bin" / "gemini").exists()


def test_those_that_are_not_installed_are_one_line_or_with_all_a_line_each(
    command: Cli, computer: Computer
) -> None:
    short, whole = command("agents").output, command("agents", "--all").output
    assert "38 more are known" in short
    assert len(whole.splitlines()) - len(short.splitlines()) == 37
    assert "· gemini  Gemini CLI  npm: @google/gemini-cli" in whole
    assert "· kimi  Kimi CLI  PyPI: kimi-cli" in whole
    assert len(json.loads(command("agents", "--json").output)) == 3
    everything = json.loads(command("agents", "--all", "--json").output)
    assert len(everything) == 41
    assert (
        "agents install gemini" in {a["name"]: a for a in everything}["gemini"]["problem"]["hint"]
    )


def test_without_a_name_it_is_a_usage_error(command: Cli, computer: Computer) -> None:
    done = command("agents", "install")
    assert done.exit_code == 2
    assert "NAME" in done.output
    assert not computer.log.exists()
