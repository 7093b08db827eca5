"""Signing in and out: the token in its place, the server in config.toml, the executor told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from executor_core.clock import Clock, SystemClock
from executor_core.config import options
from executor_core.config.accounts import AccountPins
from executor_core.config.claims import is_api_key, read_claims
from executor_core.config.kinds import clean_token
from executor_core.config.layers import Config, Layer
from executor_core.config.redaction import register_secret
from executor_core.config.server_url import normalise
from executor_core.config.token import ASKING, Token, TokenSources
from executor_core.config.writing import Given, change_options
from executor_core.errors import ExecutorError
from executor_core.links.dispatch import check_token
from executor_core.links.server import Access, token_for
from executor_core.proxies import proxy_for
from executor_core.services.findings import refusal_of
from executor_core.services.interface import Account, ServerCheck, Verdict
from executor_core.services.reach import Load, Reach, status_of, tell_credential_changed
from executor_core.services.server_look import ServerLook, look_at_server, network, server, tls
from executor_core.texts import Message

LOOK_AGAIN_S = 0.5


class LocalAccount:
    """Implements AccountService. The keychain is asked in threads, and answers within its limit.

    `on_wait` hears once that it asks its user, who is waited for; without it that is an error.
    """

    def __init__(
        self,
        load: Load,
        reach: Reach,
        clock: Clock | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self._on_wait = on_wait
        self._load = load
        self._reach = reach
        self._clock = clock or SystemClock()

    async def account(self) -> Account:
        config = await asyncio.to_thread(self._load)
        url = config[options.SERVER_URL]
        if not url:
            return Account()
        try:
            token = await asyncio.to_thread(TokenSources(config).current, url)
        except ExecutorError as error:
            return Account(server=url, problem=error.message)
        if token is None:
            return Account(server=url)
        status = await status_of(self._reach)
        return _account(url, token, is_refused=refusal_of(status, url) is not None)

    async def check_server(self, address: str) -> ServerCheck:
        config = await asyncio.to_thread(self._load)
        try:
            url = _normal(config, address)
        except ExecutorError as error:
            return ServerCheck(server=address.strip(), problem=error.message)
        proxy = await asyncio.to_thread(proxy_for, url)
        look = await look_at_server(url, proxy, self._clock)
        problem = problem_of(look, self._clock)
        return ServerCheck(server=url, version=look.version or None, problem=problem)

    async def sign_in(self, address: str, token: str, *, to_file: bool = False) -> Account:
        url, value = await asyncio.to_thread(self._to_keep, address, token)
        await check_token(Access(server=url, token=value))
        kept = await self._kept(url, value, to_file)
        await tell_credential_changed(self._reach)
        return kept

    async def sign_in_with_password(
        self, address: str, user_name: str, password: str, *, to_file: bool = False
    ) -> Account:
        register_secret(password)
        url = _normal(await asyncio.to_thread(self._load), address)
        token = await token_for(url, user_name, password)
        return await self.sign_in(url, token, to_file=to_file)

    async def sign_out(self) -> Account:
        await asyncio.to_thread(self._forget)
        await tell_credential_changed(self._reach)
        return await self.account()

    async def _kept(self, url: str, value: str, to_file: bool) -> Account:
        """Whoever is being asked by the keychain has as long as it takes, if somebody is there."""
        is_told = False
        while True:
            try:
                return await asyncio.to_thread(self._keep, url, value, to_file)
            except ExecutorError as error:
                if error.code != ASKING or self._on_wait is None:
                    raise
            if not is_told:
                self._on_wait()
            is_told = True
            await self._clock.sleep(LOOK_AGAIN_S)

    def _to_keep(self, address: str, token: str) -> tuple[str, str]:
        """The server and the token as they are kept, if they may be at all."""
        config = self._load()
        url = _normal(config, address)
        try:
            value = clean_token(token)
        except ValueError:
            raise ExecutorError("bad_token") from None
        AccountPins(config.home.accounts).account_of(url, value)
        return url, value

    def _keep(self, url: str, value: str, to_file: bool) -> Account:
        config = self._load()
        config.home.create()
        changes: dict[str, Given | None] = {}
        if _must_be_remembered(config, url):
            changes[options.SERVER_URL.name] = url
        if config[options.HUB_ENABLED]:
            # Whoever signs in elsewhere leaves the hub of this computer.
            changes[options.HUB_ENABLED.name] = None
        save = partial(TokenSources(config).save, url, value, to_file)
        # The file first: what fails leaves both as they were.
        return _account(url, change_options(config.home, changes, check=save))

    def _forget(self) -> None:
        config = self._load()
        url = config[options.SERVER_URL]
        if not url:
            raise ExecutorError("no_server")
        TokenSources(config).forget(url)
        AccountPins(config.home.accounts).clear(url)


def problem_of(look: ServerLook, clock: Clock) -> Message | None:
    """What is wrong with a server that was looked at: the first of the checks that failed."""
    for one in (network(look), tls(look, clock.now()), server(look, None)):
        if one.verdict is Verdict.FAILED:
            return Message(
                code=one.name, given_title=one.title, given_detail=one.reason, given_hint=one.hint
            )
    return None


def _normal(config: Config, address: str) -> str:
    return normalise(address, config[options.SERVER_ALLOW_PLAIN_HTTP])


def _must_be_remembered(config: Config, url: str) -> bool:
    """Whether the next start would not connect there by itself."""
    said = config.settings_of(options.SERVER_URL)
    return config[options.SERVER_URL] != url or said[-1].layer is Layer.COMMAND_LINE


def _account(url: str, token: Token, *, is_refused: bool = False) -> Account:
    claims = read_claims(token.value)
    return Account(
        server=url,
        user_name=claims.user_name,
        user_id=claims.user_id,
        expires_at=claims.expires_at,
        place=token.source,
        is_refused=is_refused,
        is_api_key=is_api_key(token.value),
    )
