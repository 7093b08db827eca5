"""What the verbs do and say where no executor runs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest

from executor_core.cli import life, root
from executor_core.config.options import OPTIONS, other_names
from executor_core.control import Slots, Status
from executor_core.model import LinkState, LinkStatus
from tests.cli.conftest import ZH, Cli
from tests.config.memory_keyring import MemoryKeyring
from tests.support.clock import START

SERVER = "https://wegent.example.com"
NEEDS_IT = [
    ["status"],
    ["status", "--json"],
    ["runs"],
    ["runs", "show", "x"],
    ["runs", "cancel", "x"],
    ["runs", "logs", "x"],
    ["pause"],
    ["resume"],
    ["drain"],
    ["stop"],
]


@pytest.fixture
def keychain() -> Iterator[MemoryKeyring]:
    """A keychain that works."""
    before = keyring.get_keyring()
    memory = MemoryKeyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


@pytest.mark.parametrize("arguments", NEEDS_IT, ids=" ".join)
def test_a_verb_that_needs_it_says_how_to_start_it_and_is_code_3(
    command: Cli, home: Path, arguments: list[str]
) -> None:
    result = command(*arguments)
    assert result.exit_code == 3
    assert "Start it with `wegent-executor`" in result.stderr
    assert result.stdout == ""
    assert "没有运行" in command(*arguments, env=ZH).stderr
    assert not home.exists()


def test_a_file_of_an_executor_that_crashed_is_no_executor(command: Cli, home: Path) -> None:
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        address = {"url": url, "token": "t", "pid": 2**22 + 1}
        (home / "api.json").write_text(json.dumps(address))
        assert command("status").exit_code == 3


@pytest.mark.parametrize(
    ("files", "env", "words"),
    [
        ({"config.toml": "log = ["}, {}, "config.toml"),
        ({"config.toml": '[log]\nlevel = "LOUD"\n'}, {}, "log.level"),
        ({"device-config.json": "{"}, {}, "device-config.json"),
        ({}, {"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        ({}, {"WEGENT_BACKEND_URL": "http://wegent.example.com"}, "server.url"),
        ({}, {"OPENRUNNER_ADDR": "0.0.0.0:8090"}, "api.listen"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_code_6(
    command: Cli, home: Path, files: dict[str, str], env: dict[str, str], words: str
) -> None:
    home.mkdir()
    for name, content in files.items():
        (home / name).write_text(content)
    for arguments in (["config"], ["exec", "x"], []):
        result = command(*arguments, env=env)
        assert result.exit_code == 6
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    assert command("config", env=env | ZH).stderr != result.stderr
    assert command("status", env=env).exit_code == 3
    assert command("--help", env=env).exit_code == 0


def test_a_configuration_file_that_is_named_must_exist(command: Cli, tmp_path: Path) -> None:
    result = command("--config", str(tmp_path / "nowhere.toml"), "config")
    assert result.exit_code == 6
    assert "nowhere.toml" in result.stderr


def test_a_home_that_is_no_folder_is_code_6(tmp_path: Path, command: Cli, home: Path) -> None:
    home.write_text("a file")
    for arguments in (["exec", "x"], ["--standalone"], ["login", "--file", "--token", "-"]):
        result = command(*arguments, stdin="token-123", env={"WEGENT_BACKEND_URL": SERVER})
        assert result.exit_code == 6
        assert str(home) in result.stderr


def test_without_a_server_the_executor_names_both_ways_and_is_code_6(command: Cli) -> None:
    result = command("--no-gui")
    assert result.exit_code == 6
    assert "login" in result.stderr
    assert "--standalone" in result.stderr


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["online"], 0),
        (["offline", "online"], 0),
        (["rejected", "offline"], 5),
        (["offline"], 4),
        (["connecting"], 4),
        (["stopped"], 4),
        ([], 4),
    ],
)
def test_the_exit_code_of_status_is_the_best_link(states: list[str], code: int) -> None:
    links = tuple(
        LinkStatus(kind="device", state=LinkState(state), server=SERVER, since=START)
        for state in states
    )
    status = Status(
        version="1",
        pid=1,
        device_id="hw-1",
        device_name="A",
        paused=False,
        draining=False,
        links=links,
        slots=Slots(used=0, max=5),
        queued=0,
        outbox_pending=0,
        api="",
        runs=(),
    )
    assert life._status_code(status) == code


# --- the token -----------------------------------------------------------------------------------


def test_login_keeps_the_token_in_the_keychain_and_remembers_the_server(
    command: Cli, home: Path, keychain: MemoryKeyring
) -> None:
    arguments = ("login", "--backend-url", SERVER + "/api/", "--token", "-")
    result = command(*arguments, stdin="token-of-mine\nand more\n")
    assert result.exit_code == 0
    assert "keychain" in result.stdout
    assert list(keychain.entries.values()) == ["token-of-mine"]
    assert SERVER in (home / "config.toml").read_text()
    assert not (home / "token").exists()
    explained = command("config", "explain", "server.token").stdout
    assert "keychain" in explained
    assert "token-of-mine" not in explained
    result = command("logout")
    assert result.exit_code == 0
    assert keychain.entries == {}


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("login", "--backend-url", SERVER, "--file"), "Token for"),
        (("login", "--backend-url", SERVER, "--file", "--token", "-"), "Token for"),
        (("api", "user", "add", "anna", "--password", "-"), "Password for anna"),
        (("config", "set", "agents.anthropic_api_key", "-"), "Value of agents.anthropic_api_key"),
    ],
)
def test_a_secret_is_asked_for_at_a_terminal_and_not_shown_there(
    command: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str], question: str
) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    result = command(*arguments, stdin="secret-of-mine\n")
    assert result.exit_code == 0
    assert question in result.stderr
    assert "secret-of-mine" not in result.output
    kept = [path.read_text() for path in (home / "token", home / "config.toml") if path.exists()]
    assert any("secret-of-mine" in text for text in kept) or "anna" in arguments


def test_login_takes_the_server_from_before_the_verb_as_well(
    command: Cli, home: Path, keychain: MemoryKeyring
) -> None:
    command("--backend-url", SERVER, "login", "--token", "-", stdin="token-of-mine")
    assert SERVER in (home / "config.toml").read_text()
    assert keychain.entries


def test_login_into_a_file_makes_it_private(command: Cli, home: Path) -> None:
    arguments = ("login", "--backend-url", SERVER, "--file", "--token", "-")
    assert command(*arguments, stdin="token-of-mine").exit_code == 0
    assert (home / "token").stat().st_mode & 0o777 == 0o600
    assert "token-of-mine" not in command("config").stdout
    assert command("logout").exit_code == 0
    assert not (home / "token").exists()


def test_logout_says_where_a_token_is_still_given(command: Cli) -> None:
    env = {"WEGENT_BACKEND_URL": SERVER, "WEGENT_TOKEN": "token-of-mine"}
    result = command("logout", env=env)
    assert "WEGENT_TOKEN" in result.stdout
    assert "token-of-mine" not in result.output


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["login"], "", 6, "--backend-url"),
        (["logout"], "", 6, "--backend-url"),
        (["login", "--backend-url", SERVER], "", 1, "--token -"),
        (["login", "--backend-url", SERVER, "--token", "-"], "", 1, "token"),
        (["login", "--backend-url", SERVER, "--token", "-"], b"\xff\xfe", 1, "token"),
        (["login", "--backend-url", SERVER, "--token", "-"], "token-of-mine", 1, "--file"),
        (["login", "--backend-url", "http://wegent.example.com"], "", 6, "server.url"),
        (["login", "--backend-url", "ftp://x"], "", 6, "server.url"),
    ],
)
def test_a_login_that_cannot_work_says_what_would_and_changes_nothing(
    command: Cli, home: Path, arguments: list[str], stdin: str | bytes, code: int, words: str
) -> None:
    result = command(*arguments, stdin=stdin)
    assert result.exit_code == code
    assert words in result.stderr
    assert not (home / "config.toml").exists()
    assert not (home / "token").exists()


# --- the rest ------------------------------------------------------------------------------------


def test_config_lists_every_option_and_no_secret(command: Cli, home: Path) -> None:
    secrets = {
        "WEGENT_AUTH_TOKEN": "secret-token-1",
        "ANTHROPIC_API_KEY": "secret-key-2",
        "WEGENT_BACKEND_URL": SERVER,
    }
    for env in (secrets, secrets | ZH):
        result = command("config", env=env)
        assert result.exit_code == 0
        lines = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
        assert list(lines) == list(OPTIONS)
        assert str(home) in lines["home"]
        assert "secret" not in result.output
        for name in OPTIONS:
            result = command("config", "explain", name, env=env)
            assert result.exit_code == 0
            assert "secret-" not in result.output
    assert "set" in command("config", env=secrets).stdout


def test_config_explain_marks_what_counts(command: Cli, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('[log]\nlevel = "WARNING"\n')
    lines = command("config", "explain", "log.level", env={"LOG_LEVEL": "DEBUG"}).stdout
    assert [line.split()[:2] for line in lines.splitlines()[-3:]] == [
        ["INFO", "default"],
        ["WARNING", "config.toml,"],
        ["→", "DEBUG"],
    ]


@pytest.mark.parametrize(
    ("called", "name"),
    [(other, option.name) for option in OPTIONS.values() for other in other_names(option)],
)
def test_an_option_is_known_by_the_names_of_the_guides(
    command: Cli, called: str, name: str
) -> None:
    explained = command("config", "explain", "--", called).stdout
    assert explained == command("config", "explain", name).stdout
    assert called in explained


def test_an_option_without_a_default_says_so(command: Cli) -> None:
    assert "no default" in command("config", "explain", "device.name").stdout


def test_a_value_that_is_set_by_a_name_of_the_guides_lands_in_the_file(
    command: Cli, home: Path
) -> None:
    said = command("config", "set", "LOG_LEVEL", "DEBUG").stdout
    assert said.startswith("log.level = DEBUG.")
    assert '[log]\nlevel = "DEBUG"' in (home / "config.toml").read_text()
    assert command("config", "unset", "LOG_LEVEL").stdout.startswith("log.level ")


@pytest.mark.parametrize("variable", ["LOCAL_HEARTBEAT_TIMEOUT", "LOG_LEVEL", "OPENRUNNER_ADDR"])
def test_a_bad_value_names_the_variable_that_gave_it(command: Cli, variable: str) -> None:
    result = command("--no-gui", env={variable: "no such value"})
    assert (result.exit_code, result.stderr.count("\n")) == (6, 1)
    assert variable in result.stderr


def test_a_bad_address_on_the_command_line_is_one_line_and_code_6(command: Cli) -> None:
    result = command("--no-gui", "--backend-url", "ftp://wegent.example.com")
    assert (result.exit_code, result.stderr.count("\n")) == (6, 1)
    assert "--backend-url" in result.stderr


def test_without_an_address_the_sentence_names_the_variable_for_it(command: Cli) -> None:
    result = command("--no-gui")
    assert (result.exit_code, result.stderr.count("\n")) == (6, 1)
    assert "WEGENT_BACKEND_URL" in result.stderr


def test_config_explain_of_no_option_names_the_nearest(command: Cli) -> None:
    result = command("config", "explain", "log.levle")
    assert result.exit_code == 6
    assert "log.level" in result.stderr


def test_without_a_log_it_says_so(command: Cli) -> None:
    result = command("logs")
    assert result.exit_code == 1
    assert "executor.log" in result.stderr


def test_ctrl_c_before_a_command_began_is_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(root.cli, "make_context", interrupted)
    with pytest.raises(SystemExit) as caught:
        root.run()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "\n"


def test_a_bug_is_a_sentence_and_its_traceback_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("broken by the test, Bearer abcdefghijk")

    monkeypatch.setattr(root, "cli", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        root.run()
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert "RuntimeError: broken by the test" in said
    assert "Traceback" not in said
    [file] = tmp_path.iterdir()
    assert str(file) in said
    assert "Traceback" in file.read_text()
    assert "abcdefghijk" not in said + file.read_text()


def test_a_damaged_database_of_the_hub_keeps_the_user_and_says_so(command: Cli, home: Path) -> None:
    assert command("api", "user", "add", "anna").exit_code == 0
    (home / "hub.db").write_bytes(b"no database" * 1000)
    refused = command("api", "user", "remove", "anna")
    assert refused.exit_code == 1
    assert "hub.db" in refused.stderr
    assert "anna" in command("api", "user", "list").stdout
