from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from executor_core.config import options
from executor_core.config.errors import ConfigError
from executor_core.config.home import Home
from executor_core.config.kinds import Address
from executor_core.config.layers import Layer, read_environment
from executor_core.config.options import OPTIONS
from executor_core.config.redaction import redact
from tests.config.conftest import Load

MIB = 1024 * 1024
SECRET = "wg-0123456789abcdef"


def sentence(error: pytest.ExceptionInfo[ConfigError]) -> str:
    return error.value.message.sentence


# --- the guide's names and defaults ------------------------------------------------------------

DEFAULTS = {
    "mode": "local",
    "server.url": "",
    "server.token": "",
    "server.allow_plain_http": False,
    "device.id": "",
    "device.name": "",
    "device.capabilities": (),
    "device.max_concurrent_tasks": 5,
    "device.agent": "from_task",
    "heartbeat.interval_s": 30.0,
    "heartbeat.timeout_s": 90.0,
    "reconnect.delay_s": 1.0,
    "reconnect.max_delay_s": 30.0,
    "workspace.trusted_folders": (),
    "agents.trusted_folders": (),
    "workspace.keep_days": 30,
    "git.token_aes_key": "12345678901234567890123456789012",
    "git.token_aes_iv": "1234567890123456",
    "skills.clear_cache": True,
    "agents.anthropic_api_key": "",
    "agents.environment_withheld": (),
    "agents.background_wait": 600.0,
    "agents.acp": (),
    "api.listen": Address("127.0.0.1", 8090),
    "api.allow_remote": False,
    "hub.dialect": "R",
    "hub.enabled": False,
    "notifications.run_completed": True,
    "notifications.run_failed": True,
    "notifications.attention": True,
    "desktop.colours": "system",
    "desktop.keep_awake": True,
    "language": "auto",
    "log.level": "INFO",
    "log.file": "executor.log",
    "log.max_size_bytes": 10 * MIB,
    "log.backup_count": 5,
}


def test_an_empty_home_and_environment_give_the_defaults(config: Load, home: Home) -> None:
    made = config()
    in_home = {
        "home": home.path,
        "workspace.root": home.path / "workspace",
        "log.dir": home.path / "logs",
    }
    assert {name: made[option] for name, option in OPTIONS.items()} == {**DEFAULTS, **in_home}
    assert made.warnings == ()


ENVIRONMENT = [
    ("EXECUTOR_MODE", "LOCAL", "mode", "local"),
    ("WEGENT_BACKEND_URL", "wss://wegent.example/api/", "server.url", "https://wegent.example"),
    ("WEGENT_AUTH_TOKEN", f"Bearer {SECRET}", "server.token", SECRET),
    ("WEGENT_TOKEN", SECRET, "server.token", SECRET),
    ("WEGENT_ALLOW_PLAIN_HTTP", "true", "server.allow_plain_http", True),
    ("LOCAL_WORKSPACE_ROOT", "~/work", "workspace.root", Path("/users/ada/work")),
    ("WEGENT_EXECUTOR_LOG_DIR", "/var/log/wegent", "log.dir", Path("/var/log/wegent")),
    ("WEGENT_EXECUTOR_LOG_FILE", "device.log", "log.file", "device.log"),
    ("WEGENT_EXECUTOR_LOG_MAX_SIZE", "20", "log.max_size_bytes", 20 * MIB),
    ("WEGENT_EXECUTOR_LOG_BACKUP_COUNT", "0", "log.backup_count", 0),
    ("WEGENT_EXECUTOR_LANGUAGE", "zh_cn", "language", "zh_CN"),
    ("LOG_LEVEL", "debug", "log.level", "DEBUG"),
    ("LOCAL_HEARTBEAT_INTERVAL", "10", "heartbeat.interval_s", 10.0),
    ("LOCAL_HEARTBEAT_TIMEOUT", "60", "heartbeat.timeout_s", 60.0),
    ("LOCAL_RECONNECT_DELAY", "0.5", "reconnect.delay_s", 0.5),
    ("LOCAL_RECONNECT_MAX_DELAY", "15", "reconnect.max_delay_s", 15.0),
    ("ANTHROPIC_API_KEY", "sk-ant-abcdefgh", "agents.anthropic_api_key", "sk-ant-abcdefgh"),
    ("GIT_TOKEN_AES_KEY", "k" * 32, "git.token_aes_key", "k" * 32),
    ("GIT_TOKEN_AES_IV", "v" * 16, "git.token_aes_iv", "v" * 16),
    ("SKILL_CLEAR_CACHE", "false", "skills.clear_cache", False),
    ("OPENRUNNER_ADDR", "127.0.0.1:9000", "api.listen", Address("127.0.0.1", 9000)),
]


@pytest.mark.parametrize(("name", "raw", "option", "value"), ENVIRONMENT)
def test_an_environment_name_sets_its_option(
    config: Load, name: str, raw: str, option: str, value: object
) -> None:
    made = config({name: raw})
    assert made[OPTIONS[option]] == value
    assert made.explain(option)[-1].source == f"environment {name}"


@pytest.mark.parametrize(("name", "raw", "option", "value"), ENVIRONMENT)
def test_config_env_takes_the_same_names_without_being_sourced(
    config: Load, home: Home, name: str, raw: str, option: str, value: object
) -> None:
    home.config_env.write_text(f'# mine\nexport {name}="{raw}"\n')
    assert config()[OPTIONS[option]] == value


def test_every_declared_environment_name_is_in_the_table_above() -> None:
    declared = {name for option in OPTIONS.values() for name in option.environment}
    assert declared == {name for name, *_ in ENVIRONMENT} | {"WEGENT_EXECUTOR_HOME"}


def test_the_stronger_of_two_names_wins(config: Load) -> None:
    made = config({"WEGENT_TOKEN": "weak-token", "WEGENT_AUTH_TOKEN": "strong-token"})
    assert made[options.SERVER_TOKEN] == "strong-token"
    assert [step.source for step in made.explain("server.token")] == [
        "environment WEGENT_TOKEN",
        "environment WEGENT_AUTH_TOKEN",
    ]


def test_an_empty_variable_is_as_good_as_none(config: Load) -> None:
    assert config({"LOCAL_HEARTBEAT_INTERVAL": " "})[options.HEARTBEAT_INTERVAL_S] == 30


def test_a_relative_path_counts_from_the_folder_it_was_typed_in(config: Load, home: Home) -> None:
    home.config_toml.write_text('[workspace]\nroot = "from-file"\n')
    assert config()[options.WORKSPACE_ROOT] == home.path / "from-file"
    typed = config({"LOCAL_WORKSPACE_ROOT": "typed"})
    assert typed[options.WORKSPACE_ROOT] == Path.cwd() / "typed"


def test_the_environment_is_read_as_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEGENT_BACKEND_URL", "https://a.example")
    environment = read_environment()
    environment["WEGENT_BACKEND_URL"] = "changed"
    assert read_environment()["WEGENT_BACKEND_URL"] == "https://a.example"


def test_config_env_reaches_programs_that_we_start_below_the_real_environment(
    config: Load, home: Home
) -> None:
    home.config_env.write_text("export ANTHROPIC_BASE_URL=https://a.example\nPATH=/nowhere\n")
    made = config({"PATH": "/usr/bin"})
    assert made.environment["ANTHROPIC_BASE_URL"] == "https://a.example"
    assert made.environment["PATH"] == "/usr/bin"
    assert "ANTHROPIC_BASE_URL" not in read_environment()


# --- device-config.json ------------------------------------------------------------------------

DEVICE_CONFIG = {
    "mode": "local",
    "device_id": "hw-0123456789ab",
    "device_name": "Ada's 计算机",
    "capabilities": ["gpu"],
    "max_concurrent_tasks": 3,
    "connection": {"backend_url": "https://old.example/", "auth_token": SECRET},
    "logging": {"level": "debug", "max_size_mb": 2, "backup_count": 7},
    "something": "else",
}


def test_the_file_of_existing_users_is_honoured(config: Load, home: Home) -> None:
    home.device_config.write_text(json.dumps(DEVICE_CONFIG), encoding="utf-8-sig")
    made = config()
    assert made[options.MODE] == "local"
    assert made[options.DEVICE_ID] == "hw-0123456789ab"
    assert made[options.DEVICE_NAME] == "Ada's 计算机"
    assert made[options.DEVICE_CAPABILITIES] == ("gpu",)
    assert made[options.DEVICE_MAX_CONCURRENT_TASKS] == 3
    assert made[options.SERVER_URL] == "https://old.example"
    assert made[options.SERVER_TOKEN] == SECRET
    assert made[options.LOG_LEVEL] == "DEBUG"
    assert made[options.LOG_MAX_SIZE_BYTES] == 2 * MIB
    assert made[options.LOG_BACKUP_COUNT] == 7
    assert made.warnings == ()


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_nothing_in_device_config_is_the_default(config: Load, home: Home, nothing: object) -> None:
    home.device_config.write_text(json.dumps({"connection": nothing, "device_name": None}))
    assert config()[options.SERVER_URL] == ""


# --- which layer wins --------------------------------------------------------------------------

LAYERS: dict[Layer, str] = {
    Layer.DEVICE_CONFIG: "https://device-config.example",
    Layer.CONFIG_ENV: "https://config-env.example",
    Layer.CONFIG_TOML: "https://config-toml.example",
    Layer.ENVIRONMENT: "https://environment.example",
    Layer.COMMAND_LINE: "https://command-line.example",
}


def load_layers(config: Load, home: Home, *layers: Layer) -> Any:
    given: dict[Layer, str] = {layer: LAYERS[layer] for layer in layers}
    if url := given.get(Layer.DEVICE_CONFIG):
        home.device_config.write_text(json.dumps({"connection": {"backend_url": url}}))
    if url := given.get(Layer.CONFIG_ENV):
        home.config_env.write_text(f"WEGENT_BACKEND_URL={url}\n")
    if url := given.get(Layer.CONFIG_TOML):
        home.config_toml.write_text(f'[server]\nurl = "{url}"\n')
    environment = {"WEGENT_BACKEND_URL": given.get(Layer.ENVIRONMENT, "")}
    return config(environment, {"server.url": given.get(Layer.COMMAND_LINE)})


@pytest.mark.parametrize(("weak", "strong"), list(pairwise(LAYERS)))
def test_each_layer_wins_over_the_one_below(
    config: Load, home: Home, weak: Layer, strong: Layer
) -> None:
    assert load_layers(config, home, weak, strong)[options.SERVER_URL] == LAYERS[strong]


def test_explain_gives_the_whole_chain_and_marks_the_winner(config: Load, home: Home) -> None:
    chain = load_layers(config, home, *LAYERS).explain("server.url")
    assert [step.layer for step in chain] == list(LAYERS)
    assert [step.value for step in chain] == list(LAYERS.values())
    assert [step.winning for step in chain] == [False, False, False, False, True]
    assert [step.source for step in chain] == [
        "device-config.json, connection.backend_url",
        "config.env, line 1",
        "config.toml, line 2",
        "environment WEGENT_BACKEND_URL",
        "command line --backend-url",
    ]


def test_explain_of_a_default_names_it(config: Load) -> None:
    (step,) = config().explain("log.level")
    assert (step.source, step.value, step.winning) == ("default", "INFO", True)


def test_explain_says_only_that_a_secret_is_set(config: Load) -> None:
    made = config({"ANTHROPIC_API_KEY": SECRET}, {"server.token": SECRET})
    for name in ("server.token", "agents.anthropic_api_key"):
        assert [step.value for step in made.explain(name)] == ["set"]
    assert SECRET not in repr(made.settings_of(options.SERVER_TOKEN))


def test_a_secret_that_was_loaded_is_redacted_from_then_on(config: Load) -> None:
    config({"ANTHROPIC_API_KEY": "plain-looking.value"})
    assert redact("it is plain-looking.value, see") == "it is ***, see"


# --- config.toml -------------------------------------------------------------------------------


def test_unknown_keys_are_warned_about_with_the_nearest_option(config: Load, home: Home) -> None:
    home.config_toml.write_text("[server]\nurll = 1\n[other]\na = 1\nb = 2\n")
    said = [warning.text("en") for warning in config().warnings]
    assert len(said) == 2
    assert "server.urll" in said[0]
    assert "Did you mean server.url?" in said[0]
    assert "other" in said[1]


def test_a_token_in_config_toml_is_not_used_and_said(config: Load, home: Home) -> None:
    home.config_toml.write_text(f'[server]\ntoken = "{SECRET}"\n')
    made = config()
    assert made[options.SERVER_TOKEN] == ""
    (warning,) = made.warnings
    assert "server.token" in warning.text("en")
    assert SECRET not in warning.text("en")


def test_another_file_replaces_config_toml(config: Load, home: Home, tmp_path: Path) -> None:
    home.config_toml.write_text("[log]\nbackup_count = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[log]\nlevel = 'ERROR'\n")
    made = config(config_file=other)
    assert (made[options.LOG_LEVEL], made[options.LOG_BACKUP_COUNT]) == ("ERROR", 5)
    assert made.explain("log.level")[-1].source == f"{other}, line 2"


def test_a_named_file_that_is_missing_is_an_error(config: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(config_file=tmp_path / "missing.toml")
    assert caught.value.code == "config_unreadable"
    assert "missing.toml" in sentence(caught)


# --- bad values --------------------------------------------------------------------------------

BAD = {
    "mode": "docker",
    "home": "a\0b",
    "language": "fr",
    "server.url": "ftp://a.example",
    "server.token": "two words",
    "server.allow_plain_http": "perhaps",
    "device.id": "has:colon",
    "device.name": "x" * 101,
    "device.capabilities": ["two\nlines"],
    "device.max_concurrent_tasks": 0,
    "device.agent": "Not An Agent",
    "heartbeat.interval_s": "soon",
    "heartbeat.timeout_s": "-1",
    "reconnect.delay_s": "0",
    "reconnect.max_delay_s": "1e9",
    "workspace.root": "a\0b",
    "workspace.trusted_folders": ["a\0b"],
    "agents.trusted_folders": ["a\0b"],
    "workspace.keep_days": "-1",
    "git.token_aes_key": "too short",
    "git.token_aes_iv": "too short",
    "skills.clear_cache": "often",
    "agents.anthropic_api_key": "has space",
    "agents.environment_withheld": 7,
    "agents.background_wait": "-1",
    "agents.acp": ["my-agent --acp"],
    "api.listen": "8090",
    "api.allow_remote": "perhaps",
    "hub.dialect": "Q",
    "hub.enabled": "perhaps",
    "notifications.run_completed": "perhaps",
    "notifications.run_failed": "perhaps",
    "notifications.attention": "perhaps",
    "desktop.colours": "pink",
    "desktop.keep_awake": "perhaps",
    "log.level": "LOUD",
    "log.dir": "a\0b",
    "log.file": "../up.log",
    "log.max_size_bytes": "1KB",
    "log.backup_count": "-1",
}


def test_there_is_a_bad_value_for_every_option() -> None:
    assert BAD.keys() == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_value_is_one_line_naming_option_source_and_what_is_allowed(
    config: Load, name: str
) -> None:
    option = OPTIONS[name]
    with pytest.raises(ConfigError) as caught:
        config(command_line={name: BAD[name]})
    said = sentence(caught)
    assert caught.value.code == "bad_option"
    assert "\n" not in said
    assert name in said
    assert f"command line {option.flag or name}" in said
    assert option.kind.allowed.text("en") in said
    assert option.kind.allowed.text("zh_CN") in caught.value.message.words("zh_CN")[1]
    if option.sensitive:
        assert str(BAD[name]) not in said


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("device-config", "device-config.json, logging.level"),
        ("env-file", "config.env, line 3"),
        ("toml", "config.toml, line 4"),
        ("environment", "environment LOG_LEVEL"),
        ("command-line", "command line log.level"),
    ],
)
def test_a_bad_value_is_an_error_in_any_layer_and_names_it(
    config: Load, home: Home, layer: str, source: str
) -> None:
    if layer == "device-config":
        home.device_config.write_text('{"logging": {"level": "LOUD"}}')
    if layer == "env-file":
        home.config_env.write_text("\n# levels\nexport LOG_LEVEL=LOUD\n")
    if layer == "toml":
        home.config_toml.write_text("# levels\n\n[log]\nlevel = 'LOUD'\n")
    environment = {"LOG_LEVEL": "LOUD"} if layer == "environment" else {}
    flags = {"log.level": "LOUD" if layer == "command-line" else "ERROR"}
    with pytest.raises(ConfigError) as caught:
        config(environment, flags)
    assert f"log.level ({source}) is 'LOUD'" in sentence(caught)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"LOCAL_HEARTBEAT_INTERVAL": "120"}, "heartbeat.timeout_s (default)"),
        ({"LOCAL_RECONNECT_DELAY": "60"}, "reconnect.max_delay_s (default)"),
        ({"OPENRUNNER_ADDR": "0.0.0.0:8090"}, "api.listen (environment OPENRUNNER_ADDR)"),
        ({"WEGENT_BACKEND_URL": "http://a.example"}, "server.url (environment WEGENT_BACKEND_URL)"),
    ],
)
def test_values_that_make_no_sense_together_are_refused(
    config: Load, environment: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(environment)
    assert named in sentence(caught)


def test_plain_http_and_a_remote_listener_need_an_opt_in(config: Load, home: Home) -> None:
    home.config_toml.write_text("[api]\nallow_remote = true\n")
    made = config(
        {
            "OPENRUNNER_ADDR": "0.0.0.0:8090",
            "WEGENT_BACKEND_URL": "http://a.example",
            "WEGENT_ALLOW_PLAIN_HTTP": "1",
        }
    )
    assert made[options.SERVER_URL] == "http://a.example"
    assert made[options.API_LISTEN] == Address("0.0.0.0", 8090)


def test_a_bad_url_with_a_password_does_not_show_it(config: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        config({"WEGENT_BACKEND_URL": "https://ada:hunter2@a.example"})
    assert "hunter2" not in sentence(caught)


# --- language ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "WEGENT_EXECUTOR_LANGUAGE": "en"}, "en"),
    ],
)
def test_the_language_follows_the_locale_unless_it_is_set(
    config: Load, environment: dict[str, str], language: str
) -> None:
    assert config(environment).language == language
