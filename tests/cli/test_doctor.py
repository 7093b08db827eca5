"""The verbs `doctor` and `bundle`, and `config set` and `unset`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from executor_core.process import MARKER, marker_of
from tests.cli.conftest import ZH, Cli
from tests.support.executor_process import ROOT, ExecutorProcess


def words(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(tuple("✓!✗–"))]


@pytest.fixture
def doctor_env(tmp_path: Path) -> dict[str, str]:
    """A PATH without agents, and a shell that adds nothing."""
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nexec /bin/sh -c "$2"\n')
    shell.chmod(0o700)
    return {"SHELL": str(shell), "PATH": "/usr/bin:/bin", "OPENRUNNER_ADDR": "127.0.0.1:0"}


def test_without_anything_it_says_what_to_do_and_is_code_1(
    command: Cli, doctor_env: dict[str, str]
) -> None:
    result = command("doctor", env=doctor_env)
    assert result.exit_code == 1
    assert result.stdout.startswith("! Executor: None is running.\n    Start it")
    assert "✗ Agent claude_code: It is not installed." in result.stdout
    assert "✓ git" in result.stdout
    assert "help check-agent" in result.stdout.splitlines()[-1]
    assert result.stderr == ""
    assert "✗ 智能体 claude_code：" in command("doctor", env=doctor_env | ZH).stdout.replace(
        ": ", "："
    )


def test_where_nothing_failed_it_is_code_0(live: Cli, running: ExecutorProcess) -> None:
    result = live("doctor", env=running.env)
    assert result.exit_code == 0, result.stdout
    assert "✓ Executor: It runs" in result.stdout
    assert "✓ Agent claude_code" in result.stdout
    assert "✓ Leftover processes" in result.stdout
    assert result.stdout.splitlines()[-1] == "Nothing has failed."


def test_a_reader_that_leaves_early_is_no_error(home: Path, doctor_env: dict[str, str]) -> None:
    environment = dict(os.environ) | doctor_env  # noqa: TID251  the cleaned one of the tests
    environment |= {"WEGENT_EXECUTOR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-m", "executor_core", "doctor"]
    done = subprocess.run(
        argv, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.stderr == b""


def test_its_json_has_every_check(live: Cli, running: ExecutorProcess) -> None:
    result = live("doctor", "--json", env=running.env)
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert found["executor"]["verdict"] == "ok"
    assert set(found["git"]) == {"name", "title", "verdict", "reason", "hint", "fix"}


def test_fix_does_what_is_offered_and_looks_again(
    command: Cli, home: Path, doctor_env: dict[str, str]
) -> None:
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    assert "✗ Folders: Other users" in command("doctor", env=doctor_env).stdout
    result = command("doctor", "--fix", env=doctor_env)
    assert "Done: Make it yours alone." in result.stdout
    assert words(result.stdout)[-1].startswith("✓ Folders")
    assert "Folders" not in result.stdout.splitlines()[-1]
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_what_a_crashed_executor_left_is_found_and_ended(
    home: Path, doctor_env: dict[str, str]
) -> None:
    owner = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    environment = dict(os.environ) | doctor_env  # noqa: TID251  the cleaned one of the tests
    marked = environment | {MARKER: marker_of(owner, "run_1")}
    environment |= {"WEGENT_EXECUTOR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    left = subprocess.Popen(["/bin/sleep", "1000"], env=marked, start_new_session=True)
    argv = [sys.executable, "-m", "executor_core", "doctor"]
    try:
        told = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert (
            f"! Leftover processes: Of runs that have ended, processes still live (1): {left.pid}."
            in (told.stdout)
        )
        assert left.poll() is None
        fixed = subprocess.run(
            [*argv, "--fix"], env=environment, capture_output=True, text=True, check=False
        )
        assert "Done: End them." in fixed.stdout
        assert words(fixed.stdout)[-1] == "✓ Leftover processes: None."
        assert left.wait(5) == -9
    finally:
        with suppress(psutil.NoSuchProcess):
            left.kill()
        left.wait(5)


def test_a_bundle_is_written_once_and_says_what_is_inside(
    command: Cli, tmp_path: Path, doctor_env: dict[str, str]
) -> None:
    target = tmp_path / "report.zip"
    result = command("bundle", str(target), env=doctor_env)
    assert result.exit_code == 0
    assert str(target) in result.stdout
    with zipfile.ZipFile(target) as archive:
        assert all(name in result.stdout for name in archive.namelist())
    result = command("bundle", str(target), env=doctor_env)
    assert result.exit_code == 1
    assert "is not overwritten" in result.stderr


def test_an_option_is_set_and_taken_out_again(command: Cli, home: Path) -> None:
    result = command("config", "set", "log.level", "DEBUG")
    assert (result.exit_code, "next start" in result.stdout) == (0, True)
    assert 'level = "DEBUG"' in (home / "config.toml").read_text()
    assert (
        "LOG_LEVEL"
        in command("config", "set", "log.level", "INFO", env={"LOG_LEVEL": "ERROR"}).stdout
    )
    result = command("config", "unset", "log.level")
    assert "it is now INFO (default)" in result.stdout
    assert "level" not in (home / "config.toml").read_text()


@pytest.mark.parametrize(
    "arguments",
    [["config", "set", "nope", "1"], ["config", "unset", "nope"], ["bundle", "/"]],
    ids=" ".join,
)
def test_an_error_before_anything_is_read_is_in_the_users_language(
    command: Cli, arguments: list[str]
) -> None:
    assert re.search("[\u4e00-\u9fff]", command(*arguments, env=ZH).stderr)


def test_an_option_without_a_default_has_no_value_once_it_is_taken_out(command: Cli) -> None:
    command("config", "set", "server.url", "https://wegent.example.com")
    said = command("config", "unset", "server.url").stdout
    assert said.startswith("server.url is taken out of config.toml and has no value now.")


def test_an_option_that_is_near_none_is_not_taken_for_one(command: Cli) -> None:
    said = command("config", "unset", "nope").stderr
    assert "Did you mean" not in said
    assert "`wegent-executor config` lists all options." in said


def test_a_key_is_read_from_standard_input_and_not_shown(command: Cli, home: Path) -> None:
    result = command("config", "set", "agents.anthropic_api_key", "-", stdin="key-of-mine\n")
    assert result.exit_code == 0
    assert "key-of-mine" not in result.output
    assert "key-of-mine" in (home / "config.toml").read_text()
    assert (home / "config.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "log.levle", "DEBUG"], "log.level"),
        (["set", "log.level", "LOUD"], "DEBUG, INFO"),
        (["set", "device.max_concurrent_tasks", "-1"], "1 to 32"),
        (["set", "server.token", "secret-of-mine"], "login"),
        (["unset", "nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_set_is_said_and_code_6(
    command: Cli, home: Path, arguments: list[str], said: str
) -> None:
    result = command("config", *arguments)
    assert result.exit_code == 6
    assert said in result.stderr
    assert "secret-of-mine" not in result.output
    assert not (home / "config.toml").exists()
