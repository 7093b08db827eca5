from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring.backends.fail
import keyring.backends.null
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import InitError, KeyringLocked, NoKeyringError, PasswordSetError

from executor_core.config.keychain import (
    ASK_AGAIN_S,
    SERVICE,
    Absent,
    Blocked,
    Done,
    Found,
    Keychain,
    NoKeychain,
)
from tests.config.memory_keyring import MemoryKeyring

SERVER = "https://a.example"


@pytest.fixture
def memory() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def keychain(memory: MemoryKeyring) -> Keychain:
    return Keychain(lambda: memory)


def test_a_secret_is_kept_per_server(keychain: Keychain, memory: MemoryKeyring) -> None:
    assert keychain.read(SERVER) == Absent()
    assert keychain.write(SERVER, "one") == Done()
    assert keychain.write("https://b.example", "two") == Done()
    assert keychain.read(SERVER) == Found("one")
    assert memory.entries[SERVICE, SERVER] == "one"
    assert keychain.delete(SERVER) == Done()
    assert keychain.delete(SERVER) == Absent()
    assert keychain.read("https://b.example") == Found("two")


def test_a_found_secret_does_not_show_itself() -> None:
    assert "hidden-value" not in repr(Found("hidden-value"))


@pytest.mark.parametrize("length", [1000, 1001, 2000, 5000])
def test_a_long_secret_fits_the_smallest_keychain(
    keychain: Keychain, memory: MemoryKeyring, length: int
) -> None:
    secret = "".join(chr(33 + n % 90) for n in range(length))
    keychain.write(SERVER, secret)
    assert keychain.read(SERVER) == Found(secret)
    assert max(map(len, memory.entries.values())) <= 1000
    keychain.write(SERVER, "short")
    assert memory.entries == {(SERVICE, SERVER): "short"}


def test_deleting_a_long_secret_leaves_no_piece(keychain: Keychain, memory: MemoryKeyring) -> None:
    keychain.write(SERVER, "x" * 2500)
    assert keychain.delete(SERVER) == Done()
    assert memory.entries == {}


def test_a_long_secret_with_a_missing_piece_is_none(
    keychain: Keychain, memory: MemoryKeyring
) -> None:
    keychain.write(SERVER, "x" * 2500)
    del memory.entries[SERVICE, f"{SERVER}#1"]
    assert keychain.read(SERVER) == Absent()


def test_a_secret_that_looks_like_an_index_is_kept_as_it_is(keychain: Keychain) -> None:
    secret = f"pieces:2:{'a' * 64}"
    keychain.write(SERVER, secret)
    assert keychain.read(SERVER) == Found(secret)


class PlaintextKeyring(MemoryKeyring):
    pass


@pytest.mark.parametrize(
    "backend", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring, PlaintextKeyring]
)
def test_a_backend_that_keeps_nothing_safe_is_no_keychain(backend: type[KeyringBackend]) -> None:
    keychain = Keychain(backend)
    assert keychain.read(SERVER) == NoKeychain()
    assert keychain.write(SERVER, "s") == NoKeychain()
    assert keychain.delete(SERVER) == NoKeychain()


def test_the_null_backend_of_the_tests_is_seen_by_default() -> None:
    assert Keychain().read(SERVER) == NoKeychain()


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (NoKeyringError("none"), NoKeychain()),
        (KeyringLocked("locked"), Blocked("KeyringLocked", is_locked=True)),
        (InitError("no prompter"), Blocked("InitError")),
        (PasswordSetError("denied"), Blocked("PasswordSetError")),
        (RuntimeError("a backend's own"), Blocked("RuntimeError")),
    ],
)
def test_what_a_backend_raises_is_told_apart(
    keychain: Keychain, memory: MemoryKeyring, error: Exception, answer: object
) -> None:
    memory.error = error
    assert keychain.read(SERVER) == answer
    assert keychain.write(SERVER, "s") == answer
    assert keychain.delete(SERVER) == answer


@pytest.fixture
def unlock(memory: MemoryKeyring) -> Iterator[threading.Event]:
    """The prompt that nobody has answered yet."""
    memory.gate = threading.Event()
    yield memory.gate
    memory.gate.set()
    for thread in threading.enumerate():
        if thread.name == "keychain":
            thread.join(5)


def test_a_prompt_that_nobody_answers_blocks_for_the_limit_and_is_shown_once(
    memory: MemoryKeyring, unlock: threading.Event
) -> None:
    keychain = Keychain(lambda: memory, limit_s=0.05)
    for reason in ("no answer within 0.05 s", "still waiting for an earlier answer"):
        assert keychain.read(SERVER) == Blocked(reason, is_locked=True, is_asking=True)
    assert memory.calls == 1


def test_a_prompt_that_was_sent_away_is_not_shown_again_until_its_user_acts(
    keychain: Keychain, memory: MemoryKeyring
) -> None:
    memory.error = KeyringLocked("locked")
    for _ in range(3):
        assert keychain.read(SERVER) == Blocked("KeyringLocked", is_locked=True)
    assert memory.calls == 1
    memory.error = None
    keychain.ask_again()
    assert keychain.read(SERVER) == Absent()


def test_where_only_time_tells_the_prompt_is_shown_once_a_minute_and_not_at_every_look(
    keychain: Keychain, memory: MemoryKeyring
) -> None:
    memory.error = KeyringLocked("locked")
    keychain.read(SERVER)
    for times in (2, 3):
        assert keychain._sent_away_at is not None
        keychain._sent_away_at -= ASK_AGAIN_S
        for _ in range(3):
            assert keychain.read(SERVER) == Blocked("KeyringLocked", is_locked=True)
        assert memory.calls == times


def test_a_keychain_that_was_unlocked_in_the_end_works_again(
    memory: MemoryKeyring, unlock: threading.Event
) -> None:
    keychain = Keychain(lambda: memory, limit_s=0.05)
    memory.entries[SERVICE, SERVER] = "s"
    keychain.read(SERVER)
    unlock.set()
    (waiting,) = [thread for thread in threading.enumerate() if thread.name == "keychain"]
    waiting.join(5)
    assert Keychain.read(keychain, SERVER) == Found("s")


def test_a_hanging_keychain_does_not_keep_the_process_from_ending() -> None:
    program = """
import threading
from executor_core.config.keychain import Keychain
print(Keychain(lambda: threading.Event().wait(), limit_s=0.05).read("x").reason)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout) == (0, "no answer within 0.05 s\n")


def test_the_library_is_not_imported_before_the_first_call() -> None:
    program = """
import sys
import executor_core.config.token
print("keyring" in sys.modules, "tomlkit" in sys.modules, "dotenv" in sys.modules)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=20
    )
    assert done.stdout == "False False False\n"
