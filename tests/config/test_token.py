from __future__ import annotations

import json
import stat
from pathlib import Path

import keyring.backends.fail
import pytest
from keyring.errors import KeyringLocked

from executor_core.config.home import Home
from executor_core.config.keychain import SERVICE, Keychain
from executor_core.config.layers import Config, Layer
from executor_core.config.redaction import redact
from executor_core.config.token import Token, TokenSources
from executor_core.errors import ExecutorError
from tests.config.conftest import Load
from tests.config.memory_keyring import MemoryKeyring

SERVER = "https://a.example"
PLACES = [
    "device-config",
    "config-env",
    "file",
    "keychain",
    "WEGENT_TOKEN",
    "WEGENT_AUTH_TOKEN",
    "--token",
    "entered",
]
SOURCES = {
    "device-config": "device-config.json, connection.auth_token",
    "config-env": "config.env, line 1",
    "keychain": "keychain",
    "WEGENT_TOKEN": "environment WEGENT_TOKEN",
    "WEGENT_AUTH_TOKEN": "environment WEGENT_AUTH_TOKEN",
    "--token": "command line --token",
}


@pytest.fixture
def memory() -> MemoryKeyring:
    return MemoryKeyring()


class Place:
    """Puts tokens where they can come from; the token of a place is `tok-` and its name."""

    def __init__(self, home: Home, config: Load, memory: MemoryKeyring) -> None:
        self.home, self.config, self.memory = home, config, memory

    def sources(self, *places: str) -> TokenSources:
        if "device-config" in places:
            connection = {"connection": {"auth_token": "tok-device-config"}}
            self.home.device_config.write_text(json.dumps(connection))
        if "config-env" in places:
            self.home.config_env.write_text("WEGENT_AUTH_TOKEN=tok-config-env\n")
        if "file" in places:
            self.home.token.write_text("tok-file\n")
            self.home.token.chmod(0o600)
        if "keychain" in places:
            self.memory.entries[SERVICE, SERVER] = "tok-keychain"
        names = ("WEGENT_TOKEN", "WEGENT_AUTH_TOKEN")
        environment = {name: f"tok-{name}" for name in names if name in places}
        flag = "tok---token" if "--token" in places else None
        return self.made_of(self.config(environment, {"server.token": flag}), places)

    def made_of(self, config: Config, places: tuple[str, ...]) -> TokenSources:
        sources = TokenSources(config, Keychain(lambda: self.memory))
        if "entered" in places:
            kept = dict(self.memory.entries)
            sources.save(SERVER, "tok-entered")
            self.memory.entries = kept
        return sources


@pytest.fixture
def place(home: Home, config: Load, memory: MemoryKeyring) -> Place:
    return Place(home, config, memory)


def current(sources: TokenSources, server: str = SERVER) -> Token:
    token = sources.current(server)
    assert token is not None
    return token


# --- order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_the_strongest_place_wins(place: Place, home: Home, strongest: int) -> None:
    name = PLACES[strongest]
    token = current(place.sources(*PLACES[: strongest + 1]))
    assert token.value == f"tok-{name}"
    assert token.source == SOURCES.get(name, str(home.token) if name == "file" else "keychain")


def test_with_no_token_anywhere_there_is_none(place: Place) -> None:
    assert place.sources().current(SERVER) is None


def test_tokens_that_the_server_refused_are_passed_over_in_turn(place: Place) -> None:
    sources = place.sources(*PLACES)
    used = []
    while (token := sources.current(SERVER)) is not None:
        used.append(token.value)
        sources.refused(token)
    assert used == [f"tok-{name}" for name in reversed(PLACES)]


def test_a_refused_value_is_refused_in_every_place_until_it_changes(
    place: Place, home: Home
) -> None:
    sources = place.sources("file")
    sources.refused(current(sources))
    place.memory.entries[SERVICE, SERVER] = "tok-file"
    assert sources.current(SERVER) is None
    home.token.write_text("tok-new\n")
    assert current(sources).value == "tok-new"


def test_a_refused_token_that_is_entered_again_is_tried_again(place: Place) -> None:
    sources = place.sources("keychain")
    sources.refused(current(sources))
    sources.save(SERVER, "tok-keychain")
    assert current(sources).value == "tok-keychain"


def test_explain_shows_every_place_and_no_value(place: Place, home: Home) -> None:
    sources = place.sources("config-env", "file", "keychain", "WEGENT_TOKEN")
    sources.refused(current(sources))
    chain = sources.explain(SERVER)
    assert [(step.layer, step.source, step.value, step.winning) for step in chain] == [
        (Layer.CONFIG_ENV, "config.env, line 1", "set", False),
        (Layer.TOKEN_FILE, str(home.token), "set", False),
        (Layer.KEYCHAIN, "keychain", "set", True),
        (Layer.ENVIRONMENT, "environment WEGENT_TOKEN", "refused", False),
    ]


def test_a_token_in_the_environment_asks_no_keychain(place: Place) -> None:
    current(place.sources("keychain", "WEGENT_TOKEN"))
    assert place.memory.calls == 0


def test_a_token_never_shows_itself_and_is_redacted(place: Place) -> None:
    token = current(place.sources("keychain"))
    assert "tok-keychain" not in repr(token)
    assert redact("it is tok-keychain!") == "it is ***!"


# --- keeping -----------------------------------------------------------------------------------


def test_a_saved_token_outlives_the_process_in_the_keychain(place: Place) -> None:
    place.sources().save(f"{SERVER}/sub", " Bearer tok-new\n")
    assert place.memory.entries == {(SERVICE, SERVER): "tok-new"}
    assert current(place.sources(), f"{SERVER}/other").value == "tok-new"
    assert place.sources().current("https://b.example") is None


def test_a_saved_token_outlives_the_process_in_a_file_for_its_server_only(
    place: Place, home: Home
) -> None:
    place.sources().save(SERVER, "tok-new", to_file=True)
    assert stat.S_IMODE(home.token.stat().st_mode) == 0o600
    assert place.memory.entries == {}
    assert current(place.sources()).value == "tok-new"
    assert place.sources().current("https://b.example") is None


def test_a_file_that_a_person_wrote_serves_every_server(place: Place) -> None:
    assert current(place.sources("file"), "https://b.example").value == "tok-file"


def test_forgetting_leaves_nothing_that_we_wrote(place: Place, home: Home) -> None:
    sources = place.sources("WEGENT_TOKEN")
    sources.save(SERVER, "tok-one")
    sources.save(SERVER, "tok-two", to_file=True)
    sources.forget(SERVER)
    assert place.memory.entries == {}
    assert not home.token.exists()
    assert current(sources).value == "tok-WEGENT_TOKEN"


def test_forgetting_one_server_keeps_the_token_of_another(place: Place, home: Home) -> None:
    sources = place.sources()
    sources.save("https://b.example", "tok-b", to_file=True)
    sources.forget(SERVER)
    assert home.token.exists()
    assert current(sources, "https://b.example").value == "tok-b"


@pytest.mark.parametrize("bad", ["", "  ", "two words", "密钥", "a\nb"])
def test_what_is_no_token_is_not_saved(place: Place, bad: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        place.sources().save(SERVER, bad)
    assert caught.value.code == "bad_token"
    assert place.memory.entries == {}


def test_without_a_keychain_saving_says_how_to_use_a_file(config: Load) -> None:
    sources = TokenSources(config(), Keychain(keyring.backends.fail.Keyring))
    with pytest.raises(ExecutorError) as caught:
        sources.save(SERVER, "tok-new")
    assert caught.value.code == "no_keychain"
    assert "--file" in caught.value.message.hint
    assert sources.current(SERVER) is None


def test_a_locked_keychain_is_said_once_and_the_file_is_used(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.memory.error = KeyringLocked("locked")
    sources = place.sources("file")
    assert current(sources).value == current(sources).value == "tok-file"
    assert [record.getMessage() for record in caplog.records] == [
        "The keychain cannot be read: KeyringLocked"
    ]
    with pytest.raises(ExecutorError) as caught:
        sources.save(SERVER, "tok-new")
    assert caught.value.code == "keychain_locked"
    with pytest.raises(ExecutorError) as caught:
        sources.forget(SERVER)
    assert caught.value.code == "keychain_locked"


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyringLocked("locked"), "keychain_locked"), (RuntimeError("no"), "keychain_blocked")],
)
def test_a_keychain_that_gives_nothing_out_is_not_taken_for_one_without_a_token(
    place: Place, error: Exception, code: str
) -> None:
    place.memory.error = error
    with pytest.raises(ExecutorError) as caught:
        place.sources().current(SERVER)
    assert caught.value.code == code
    place.memory.error = None
    sources = place.sources()
    sources.reload(SERVER)
    assert sources.current(SERVER) is None


def test_a_token_file_that_cannot_be_written_is_named(config: Load, home: Home) -> None:
    home.token.mkdir()
    with pytest.raises(ExecutorError) as caught:
        TokenSources(config()).save(SERVER, "tok-new", to_file=True)
    assert caught.value.code == "token_not_written"
    assert str(home.token) in caught.value.message.detail


# --- unsafe files ------------------------------------------------------------------------------


def test_a_token_file_that_others_can_read_is_repaired_and_said(
    place: Place, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    sources = place.sources("file")
    home.token.chmod(0o644)
    assert current(sources).value == "tok-file"
    assert stat.S_IMODE(home.token.stat().st_mode) == 0o600
    assert "0600" in caplog.text
    assert "tok-file" not in caplog.text


def test_a_linked_token_file_is_ignored_and_said(
    place: Place, home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").write_text("tok-elsewhere")
    home.token.symlink_to(tmp_path / "elsewhere")
    assert place.sources().current(SERVER) is None
    assert str(home.token) in caplog.text


def test_rubbish_that_is_kept_as_a_token_is_ignored_and_said(
    place: Place, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.token.write_bytes(b"\xff\xfe two words")
    home.token.chmod(0o600)
    assert place.sources().current(SERVER) is None
    assert len(caplog.records) == 1
