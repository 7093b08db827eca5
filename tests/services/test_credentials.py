"""The tokens that the link connects with: looked for anew each time, and of one account."""

from __future__ import annotations

import pytest

from executor_core.config.accounts import AccountPins
from executor_core.config.token import TokenSources
from executor_core.errors import ExecutorError
from executor_core.links.login import Credential
from executor_core.services.credentials import HubCredentials, ServerCredentials
from tests.config.test_accounts import ADA, BOB, jwt
from tests.services.conftest import Computer

SERVER = "https://wegent.example.com"


@pytest.fixture
def tokens(computer: Computer) -> ServerCredentials:
    sources = TokenSources(computer.load())
    return ServerCredentials(sources, SERVER, AccountPins(computer.home.accounts))


def put(computer: Computer, token: str) -> None:
    """As a person does it with an editor."""
    computer.home.token.write_text(token)
    computer.home.token.chmod(0o600)


async def value(tokens: ServerCredentials) -> str | None:
    found = await tokens.current()
    return found.value if found is not None else None


async def test_a_token_that_appears_in_the_file_is_used_without_anyone_telling(
    tokens: ServerCredentials, computer: Computer
) -> None:
    assert await tokens.current() is None
    put(computer, ADA)
    first = await tokens.current()
    assert first == Credential(ADA, "1")
    tokens.refused(first)
    assert await value(tokens) == ADA  # nothing better is there: it is what is tried again
    newer = jwt(sub="ada", user_id=1, exp=1769662847)
    put(computer, newer)
    second = await tokens.current()
    assert second is not None
    assert (second.value, second.expires_at is not None) == (newer, True)


async def test_the_settled_account_is_the_only_one(
    tokens: ServerCredentials, computer: Computer
) -> None:
    put(computer, ADA)
    ada = await tokens.current()
    assert ada is not None
    await tokens.settled(ada, "1")
    put(computer, BOB)
    with pytest.raises(ExecutorError, match="account_differs"):
        await tokens.current()
    put(computer, "wg-key")
    key = await tokens.current()
    assert key == Credential("wg-key")
    assert key is not None
    with pytest.raises(ExecutorError, match="account_differs"):
        await tokens.settled(key, "2")
    await tokens.settled(key, "1")
    assert await tokens.current() == Credential("wg-key", "1")


async def test_a_full_disk_refuses_no_task(
    tokens: ServerCredentials, computer: Computer, caplog: pytest.LogCaptureFixture
) -> None:
    put(computer, ADA)
    ada = await tokens.current()
    assert ada is not None
    broken = AccountPins(computer.home.path / "missing" / "accounts.json")
    tokens._pins = broken
    await tokens.settled(ada, "1")
    assert "account_not_kept" in caplog.text


async def test_the_hubs_own_device_has_a_fresh_token_each_time_and_is_its_owner() -> None:
    made = iter([jwt(user_id=1, exp=10), jwt(user_id=1, exp=20)])
    hub = HubCredentials(lambda: next(made))
    first, second = await hub.current(), await hub.current()
    assert first.value != second.value
    assert (first.account, first.expires_at) == ("1", None)
