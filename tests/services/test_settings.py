"""Every option as people see it, and the file that is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import keyring
import pytest

from executor_core.config.home import Home
from executor_core.config.layers import read
from executor_core.config.options import OPTIONS
from executor_core.errors import ExecutorError
from executor_core.services.interface import Setting
from executor_core.services.settings import LocalSettings

OWN = {"HOME": "/users/ada", "USERPROFILE": "/users/ada"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def room(home: Home, environment: Mapping[str, str] | None = None) -> LocalSettings:
    return LocalSettings(partial(read, home, OWN | dict(environment or {})))


async def setting(services: LocalSettings, name: str) -> Setting:
    return {one.name: one for one in await services.settings()}[name]


async def test_every_option_is_there_in_order_and_nothing_is_created(home: Home) -> None:
    found = await room(home).settings()
    assert [one.name for one in found] == list(OPTIONS)
    assert all(one.help and one.allowed for one in found)
    assert not home.path.exists()


async def test_a_change_counts_from_then_on_and_can_be_taken_back(home: Home) -> None:
    services = room(home)
    before = await setting(services, "log.level")
    assert (before.value, before.default, before.source) == ("INFO", "INFO", "default")
    assert before.choices == ("DEBUG", "INFO", "WARNING", "ERROR")
    changed = await services.change("log.level", "debug")
    assert (changed.value, changed.overridden_by) == ("debug", None)
    assert "config.toml" in changed.source
    assert await setting(services, "log.level") == changed
    assert await services.change("log.level", None) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server.url", "https://wegent.example.com"),
        ("device.max_concurrent_tasks", "3"),
        ("heartbeat.interval_s", "12.5"),
        ("server.allow_plain_http", "true"),
        ("device.capabilities", "gpu, large memory"),
        ("log.max_size_bytes", "20MB"),
        ("api.listen", "127.0.0.1:9000"),
    ],
)
async def test_a_value_is_shown_as_it_is_typed(home: Home, name: str, value: str) -> None:
    services = room(home)
    shown = await services.change(name, value)
    assert shown.value == value
    assert await services.change(name, shown.value) == shown


async def test_a_stronger_place_is_named_and_a_change_has_no_effect(home: Home) -> None:
    services = room(home, {"LOG_LEVEL": "ERROR"})
    shown = await services.change("log.level", "DEBUG")
    assert shown.value == "ERROR"
    assert "LOG_LEVEL" in (shown.overridden_by or "")
    assert "DEBUG" in home.config_toml.read_text()
    weaker = await setting(services, "log.file")
    assert weaker.overridden_by is None


async def test_a_secret_is_never_shown(home: Home) -> None:
    environment = {
        "ANTHROPIC_API_KEY": "key-of-the-owner",
        "WEGENT_AUTH_TOKEN": "token-of-the-owner",
        "WEGENT_BACKEND_URL": "https://wegent.example.com",
        "GIT_TOKEN_AES_KEY": "k" * 32,
    }
    for one in await room(home, environment).settings():
        assert "of-the-owner" not in repr(one)
        assert "kkkk" not in repr(one)
    key = await setting(room(home, environment), "agents.anthropic_api_key")
    assert (key.is_secret, key.value) == (True, "set")
    assert (await setting(room(home), "agents.anthropic_api_key")).value == ""
    token = await setting(room(home, environment), "server.token")
    assert (token.value, token.is_editable) == ("set", False)
    assert "WEGENT_AUTH_TOKEN" in (token.overridden_by or "")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("log.levle", "DEBUG", "unknown_option"),
        ("log.level", "LOUD", "bad_option"),
        ("device.max_concurrent_tasks", "99", "bad_option"),
        ("server.token", "secret-of-mine", "option_not_in_file"),
        ("agents.acp", "secret-of-mine", "bad_option"),
    ],
)
async def test_what_is_not_allowed_is_refused_and_nothing_written(
    home: Home, name: str, value: str, code: str
) -> None:
    with pytest.raises(ExecutorError) as caught:
        await room(home).change(name, value)
    assert caught.value.code == code
    assert "secret-of-mine" not in str(caught.value)
    assert not home.config_toml.exists()


async def test_what_does_not_go_with_another_option_is_named_as_it_was_given(home: Home) -> None:
    with pytest.raises(ExecutorError) as caught:
        await room(home).change("heartbeat.timeout_s", "5")
    detail = caught.value.message.detail
    assert detail.startswith("heartbeat.timeout_s (as given) is '5'; allowed: at least heartbeat.")
    with pytest.raises(ExecutorError, match=r"heartbeat.timeout_s \(default\)"):
        await room(home).change("heartbeat.interval_s", "100")
    assert not home.config_toml.exists()


BAD = '[log]\nlevel = "LOUD"\n\n[device]\nmax_concurrent_tasks = 99\n'


@pytest.mark.parametrize("value", ["DEBUG", None])
async def test_a_bad_option_is_put_right_by_setting_it_or_taking_it_out(
    home: Home, value: str | None
) -> None:
    home.create()
    home.config_toml.write_text(BAD)
    shown = await room(home).change("log.level", value)
    assert shown.value == (value or "INFO")
    assert "LOUD" not in home.config_toml.read_text()
    assert (await room(home).change("device.max_concurrent_tasks", value and "3")).value in "35"
    assert not read(home, OWN).problems


async def test_a_change_that_puts_nothing_right_is_refused(home: Home) -> None:
    home.create()
    home.config_toml.write_text("[heartbeat]\ninterval_s = 500\n")
    for name, value in (("heartbeat.timeout_s", "400"), ("heartbeat.interval_s", "450")):
        with pytest.raises(ExecutorError, match=r"allowed: at least heartbeat.interval_s"):
            await room(home).change(name, value)
    assert (await room(home).change("heartbeat.timeout_s", "600")).value == "600"


async def test_what_only_the_environment_hides_is_refused(home: Home) -> None:
    services = room(home, {"OPENRUNNER_ADDR": "127.0.0.1:0"})
    with pytest.raises(ExecutorError, match=r"api\.listen \(as given\) is '0\.0\.0\.0:80'"):
        await services.change("api.listen", "0.0.0.0:80")
    await services.change("api.allow_remote", "true")
    await services.change("api.listen", "0.0.0.0:80")
    with pytest.raises(ExecutorError, match=r"api\.listen"):
        await services.change("api.allow_remote", None)
    assert not read(home, OWN).problems


async def test_a_file_that_is_not_toml_is_named_with_its_line_and_kept(home: Home) -> None:
    home.create()
    home.config_toml.write_text("[log]\nlevel = [\n")
    for value in ("INFO", None):
        with pytest.raises(ExecutorError, match=r"config\.toml, line"):
            await room(home).change("log.level", value)
    assert home.config_toml.read_text() == "[log]\nlevel = [\n"


async def test_a_file_that_cannot_be_written_is_said(home: Home) -> None:
    home.create()
    home.config_toml.symlink_to(home.path / "nowhere" / "config.toml")
    with pytest.raises(ExecutorError) as caught:
        await room(home).change("log.level", "DEBUG")
    assert caught.value.code == "config_not_written"


async def test_no_keychain_is_asked_without_a_server(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> None:
        raise AssertionError("the keychain was asked")

    monkeypatch.setattr(keyring, "get_keyring", asked)
    assert (await setting(room(home), "server.token")).value == ""
