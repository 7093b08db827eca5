"""The verbs of a standalone executor's devices, its tokens and keys, and the round trip."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cli.conftest import ZH, Cli
from tests.support.executor_process import ExecutorProcess
from tests.support.stub_claude import gate, say, turn


def test_devices_are_a_table_for_people_and_json_for_scripts(
    live: Cli, running: ExecutorProcess
) -> None:
    shown = live("devices").stdout
    assert "🟢 online" in shown
    assert "0/5" in shown
    assert "this computer" in shown
    [device] = json.loads(live("devices", "--json").stdout)
    assert (device["status"], device["is_this"], device["slots_max"]) == ("online", True, 5)
    assert "本机" in live("devices", env=ZH).stdout


def test_the_default_can_be_taken_away_and_given_back(live: Cli) -> None:
    [device] = json.loads(live("devices", "--json").stdout)
    assert live("devices", "default", "--none").exit_code == 0
    assert not json.loads(live("devices", "--json").stdout)[0]["is_default"]
    assert live("devices", "default", device["device_id"]).exit_code == 0
    assert json.loads(live("devices", "--json").stdout)[0]["is_default"]
    assert live("devices", "default").exit_code == 2
    unknown = live("devices", "remove", "nowhere")
    assert unknown.exit_code == 1
    assert "nowhere" in unknown.stderr


@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ({}, 6, "login --backend-url"),
        ({"WEGENT_BACKEND_URL": "http://127.0.0.1:1"}, 6, "Nobody is signed in"),
        ({"WEGENT_BACKEND_URL": "http://127.0.0.1:1", "WEGENT_TOKEN": "t"}, 4, "127.0.0.1:1"),
    ],
)
def test_devices_without_a_server_say_what_is_missing(
    command: Cli, env: dict[str, str], code: int, words: str
) -> None:
    result = command("devices", env=env)
    assert result.exit_code == code
    assert words in result.stderr


class Page(BaseHTTPRequestHandler):
    """A web server of another kind."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_is_none_of_wegent_is_code_4(command: Cli) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = command("devices", env={"WEGENT_BACKEND_URL": url, "WEGENT_TOKEN": "t"})
        server.shutdown()
        thread.join()
    assert result.exit_code == 4
    assert "not as a Wegent server does" in result.stderr


# --- tokens and keys -----------------------------------------------------------------------------


def test_a_token_stands_alone_on_standard_output(live: Cli, running: ExecutorProcess) -> None:
    result = live("hub", "token", "--user", "ada")
    assert result.exit_code == 0
    [token] = result.stdout.splitlines()
    assert token.count(".") == 2
    assert "login --backend-url http://127.0.0.1:" in result.stderr
    assert token not in running.output


def test_keys_are_made_listed_and_removed(live: Cli, running: ExecutorProcess) -> None:
    made = live("hub", "key", "--name", "laptop")
    [key] = made.stdout.splitlines()
    assert key.startswith("wg-")
    listed = live("hub", "key", "--list").stdout
    assert "laptop" in listed
    assert key not in listed
    number = listed.splitlines()[1].split()[0]
    assert live("hub", "key", "--remove", number).exit_code == 0
    assert "no keys" in live("hub", "key", "--list").stdout
    gone = live("hub", "key", "--remove", number)
    assert gone.exit_code == 1
    assert "hub key --list" in gone.stderr
    assert live("hub", "key", "--list", "--remove", "1").exit_code == 2
    assert key not in running.output


def test_without_an_executor_nothing_is_handed_out(command: Cli) -> None:
    assert command("hub", "token").exit_code == 3


# --- the round trip ------------------------------------------------------------------------------


def test_selftest_shows_each_step_with_its_time(live: Cli, running: ExecutorProcess) -> None:
    result = live("selftest", "--prompt", turn(say("ready and able")))
    assert result.exit_code == 0, result.output
    assert result.stdout.count("✓") == 6
    assert "ready and able" in result.stdout


def test_selftest_as_json_tells_the_same(live: Cli) -> None:
    result = live("selftest", "--json", "--skip-dispatch")
    report = json.loads(result.stdout)
    assert report["ok"] is True
    assert [step["name"] for step in report["steps"]][-1] == "dispatch"
    assert report["steps"][-1]["mark"] == "skipped"


@pytest.mark.slow
def test_selftest_that_takes_too_long_ends_the_run_it_made(
    live: Cli, running: ExecutorProcess
) -> None:
    result = live("selftest", "--timeout", "1", "--prompt", turn(gate("never")))
    assert result.exit_code == 1
    assert "--timeout" in result.stdout
    asyncio.run(running.until_delivered())


def test_selftest_of_nothing_configured_is_code_6(command: Cli) -> None:
    result = command("selftest")
    assert result.exit_code == 6
    assert "--backend-url" in result.stdout
    assert command("selftest", "--timeout", "0").exit_code == 2


def test_selftest_of_a_server_that_is_not_there_is_code_4(command: Cli) -> None:
    env = {"WEGENT_TOKEN": "token-of-mine"}
    result = command("selftest", "--backend-url", "http://127.0.0.1:1", env=env)
    assert result.exit_code == 4
    assert "127.0.0.1" in result.stdout
    assert "token-of-mine" not in result.output


# --- last, because the device is gone afterwards ------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("hub", "key", "--name"),
        ("hub", "key", "--user"),
        ("devices", "default"),
        ("devices", "remove"),
        ("api", "user", "remove"),
        ("selftest", "--timeout", "20", "--prompt"),
    ],
)
def test_bytes_that_are_no_text_are_taken_or_refused_in_words(
    live: Cli, running: ExecutorProcess, arguments: tuple[str, ...]
) -> None:
    result = live(*arguments, "a\udcff")
    assert result.exit_code in (0, 1)
    assert "UnicodeEncodeError" not in result.output


def test_a_removed_device_is_said_to_come_back(live: Cli, running: ExecutorProcess) -> None:
    [device] = json.loads(live("devices", "--json").stdout)
    result = live("devices", "remove", device["device_id"])
    assert "next time" in result.stdout
    assert "Stop its executor" in result.stdout
    assert live("devices").stdout.strip() == "No device has registered with this server."
