"""Users: their file, their passwords, their tokens, and patience with wrong ones."""

from __future__ import annotations

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from executor_core.clock import Clock
from executor_core.config import kept
from executor_core.config.home import locked
from executor_core.config.kept import kept_json
from executor_core.errors import ExecutorError
from executor_core.web import OWNER, TOKEN_LIFE, User, Users
from executor_core.web.users import _wait_after
from tests.support.clock import JumpingClock

PASSWORD = "correct horse"


@pytest.fixture
def users(tmp_path: Path, clock: JumpingClock) -> Users:
    """A store with the owner in it."""
    users = made(tmp_path / "users.json", clock)
    users.put(OWNER, PASSWORD)
    return users


def made(path: Path, clock: Clock) -> Users:
    """Users as the program makes them."""
    file = kept_json(path, dict[str, User])
    return Users(file, lambda: locked(path.with_suffix(".lock"), 10), clock)


def another(users: Users) -> Users:
    """The same file, as another process has it."""
    return made(users._file.path, users._clock)


async def refusal(users: Users, name: str, password: str) -> str:
    with pytest.raises(ExecutorError) as caught:
        await users.login(name, password)
    return caught.value.code


async def test_a_name_and_its_password_give_a_token_for_a_week(
    users: Users, clock: JumpingClock
) -> None:
    token = await users.login(OWNER, PASSWORD)
    assert users.verify(token) == OWNER
    assert another(users).verify(token) == OWNER
    await clock.advance(TOKEN_LIFE.total_seconds() + 1)
    assert users.verify(token) is None


async def test_nothing_else_gives_one(users: Users) -> None:
    for name, password in (
        ("admin", "admin"),
        (OWNER, ""),
        (OWNER, "admin"),
        ("", ""),
        ("nobody", PASSWORD),
        ("é" * 10_000, "x" * 100_000),
    ):
        assert await refusal(users, name, password) == "login_failed"
    assert users.verify("") is None
    assert users.verify("a.b.c") is None


async def test_a_hundred_wrong_passwords_are_slowed_and_time_heals(
    users: Users, clock: JumpingClock
) -> None:
    codes = [await refusal(users, OWNER, "wrong") for _ in range(100)]
    assert codes.count("login_failed") == 5
    assert codes[5:] == ["login_slowed"] * 95
    assert await refusal(users, OWNER, PASSWORD) == "login_slowed"
    assert await refusal(users, "other", "wrong") == "login_failed"
    await clock.advance(1.1)
    await users.login(OWNER, PASSWORD)
    assert await refusal(users, OWNER, "wrong") == "login_failed"


async def test_who_guesses_slows_nobody_from_elsewhere_and_nobody_with_a_token(
    users: Users,
) -> None:
    for _ in range(30):
        with pytest.raises(ExecutorError):
            await users.login(OWNER, "wrong", address="10.0.0.1")
    with pytest.raises(ExecutorError) as slowed:
        await users.login(OWNER, PASSWORD, address="10.0.0.1")
    assert slowed.value.code == "login_slowed"
    await users.login(OWNER, PASSWORD, address="10.0.0.2")
    await users.login(OWNER, PASSWORD, address="10.0.0.1", is_known=True)


async def test_the_wait_grows_to_a_minute(users: Users, clock: JumpingClock) -> None:
    for _ in range(5):
        await refusal(users, OWNER, "wrong")
    for wait_s in (1, 2, 4, 8, 16, 32, 60, 60):
        assert await refusal(users, OWNER, "wrong") == "login_slowed"
        await clock.advance(wait_s + 0.1)
        assert await refusal(users, OWNER, "wrong") == "login_failed"


def test_the_wait_stays_a_minute_however_many_fail() -> None:
    assert [_wait_after(count) for count in (0, 4, 5, 6, 10, 11, 1028, 1029, 10**9)] == [
        0, 0, 1, 2, 32, 60, 60, 60, 60,
    ]  # fmt: skip


async def test_a_flood_of_logins_is_turned_away_and_not_queued(users: Users) -> None:
    attempts = [users.login(f"user-{n}", "wrong") for n in range(30)]
    found = await asyncio.gather(*attempts, return_exceptions=True)
    codes = [error.code for error in found if isinstance(error, ExecutorError)]
    assert sorted(codes) == ["login_failed"] * 20 + ["login_slowed"] * 10


async def test_another_password_ends_all_tokens_of_the_user_only(users: Users) -> None:
    users.put("anna", PASSWORD)
    owner, anna = await users.login(OWNER, PASSWORD), await users.login("anna", PASSWORD)
    another(users).put(OWNER, "another password")
    assert users.verify(owner) is None
    assert users.verify(anna) == "anna"
    assert await refusal(users, OWNER, PASSWORD) == "login_failed"
    await users.login(OWNER, "another password")


async def test_a_user_removed_by_another_process_is_gone_at_once(users: Users) -> None:
    users.put("anna", PASSWORD)
    token = await users.login("anna", PASSWORD)
    assert users.names() == (OWNER, "anna")
    another(users).remove("anna")
    assert users.verify(token) is None
    assert await refusal(users, "anna", PASSWORD) == "login_failed"
    users.put("anna", PASSWORD)
    assert users.verify(token) is None


def test_of_several_who_are_added_at_once_none_is_lost(users: Users) -> None:
    names = [f"user-{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as several:
        list(several.map(lambda name: another(users).put(name, PASSWORD), names))
        assert set(another(users).names()) == {OWNER, *names}
        list(several.map(lambda name: another(users).remove(name), names))
    assert another(users).names() == (OWNER,)


def test_the_file_holds_no_password_and_is_the_owners_alone(users: Users) -> None:
    content = users._file.path.read_bytes()
    assert PASSWORD.encode() not in content
    assert stat.S_IMODE(users._file.path.stat().st_mode) == 0o600
    assert content.count(b'"password"') == 1


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [
        ("", PASSWORD, "bad_user_name"),
        ("a b", PASSWORD, "bad_user_name"),
        ("-x", PASSWORD, "bad_user_name"),
        ("x" * 65, PASSWORD, "bad_user_name"),
        ("é", PASSWORD, "bad_user_name"),
        ("anna", "short", "weak_password"),
        ("anna", "x" * 1001, "weak_password"),
    ],
)
def test_nonsense_is_refused_and_nothing_kept(
    users: Users, name: str, password: str, code: str
) -> None:
    with pytest.raises(ExecutorError) as caught:
        users.put(name, password)
    assert caught.value.code == code
    assert caught.value.message.hint
    assert another(users).names() == (OWNER,)


def test_the_owner_stays_and_who_is_not_there_cannot_go(users: Users) -> None:
    for name, code in ((OWNER, "owner_stays"), ("nobody", "unknown_user")):
        with pytest.raises(ExecutorError) as caught:
            users.remove(name)
        assert caught.value.code == code


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 1}', b"\xff", b"null"])
async def test_a_damaged_file_comes_back_from_its_copy(users: Users, content: bytes) -> None:
    token = await users.login(OWNER, PASSWORD)
    file = users._file.path
    file.write_bytes(content)
    assert users.verify(token) == OWNER
    users.put("anna", PASSWORD)
    assert another(users).names() == (OWNER, "anna")
    assert file.with_name("users.json.damaged-1").read_bytes() == content


def test_without_a_copy_the_next_start_makes_a_new_owner(
    tmp_path: Path, clock: JumpingClock
) -> None:
    (tmp_path / "users.json").write_bytes(b"{")
    users = made(tmp_path / "users.json", clock)
    assert users.make_owner(lambda _password: None)
    assert users.names() == (OWNER,)


async def test_a_file_that_cannot_be_read_now_lets_nobody_in_and_stays(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await users.login(OWNER, PASSWORD)

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    fresh = another(users)
    monkeypatch.setattr(kept, "read_private", refuse)
    assert fresh.verify(token) is None
    assert await refusal(fresh, OWNER, PASSWORD) == "users_unreadable"
    with pytest.raises(ExecutorError):
        fresh.put("anna", PASSWORD)
    assert users._file.path.exists()


def test_the_first_start_makes_an_owner_with_a_password_like_no_other(
    tmp_path: Path, clock: JumpingClock
) -> None:
    told: list[str] = []
    for number in range(2):
        users = made(tmp_path / f"{number}.json", clock)
        users.make_owner(told.append)
        users.make_owner(told.append)
        assert users.names() == (OWNER,)
    assert len(set(told)) == 2
    assert min(len(password) for password in told) >= 20


async def test_whoever_waits_for_sign_ins_knows_the_user_before_the_token(users: Users) -> None:
    seen: list[str] = []

    async def remember(name: str) -> None:
        seen.append(name)

    users.on_login.append(remember)
    await refusal(users, OWNER, "wrong")
    assert seen == []
    await users.login(OWNER, PASSWORD)
    assert seen == [OWNER]


def test_a_disk_that_does_not_take_it_changes_nothing(
    tmp_path: Path, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "write_private", full)
    users = made(tmp_path / "users.json", clock)
    with pytest.raises(ExecutorError) as caught:
        users.put(OWNER, PASSWORD)
    assert caught.value.code == "users_not_written"
    assert "No space left" in caught.value.message.detail
    assert users.names() == ()
