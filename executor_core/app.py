"""The composition root: the only place that knows every room.

`Application` builds the rooms, starts them in order and ends them in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from executor_core import __version__, api
from executor_core.agents import AgentHost, Agents, DemoAgent, agents_here
from executor_core.clock import Clock, SystemClock
from executor_core.config import options
from executor_core.config.claims import claims_of
from executor_core.config.files import write_private
from executor_core.config.home import Home, InstanceLock
from executor_core.config.identity import device_id, device_name
from executor_core.config.layers import Config
from executor_core.config.redaction import redact, register_secret
from executor_core.config.server_url import origin
from executor_core.config.token import Token, TokenSources
from executor_core.control import Address, LocalControl, Presence
from executor_core.errors import ExecutorError
from executor_core.executor import Executor
from executor_core.jobs import Jobs
from executor_core.journal import Journal
from executor_core.links.device import (
    Credential,
    Credentials,
    DeviceLink,
    LinkTiming,
    Registration,
)
from executor_core.model import Availability
from executor_core.process import login_shell_path, resources_by_run, sweep
from executor_core.web import Listener
from executor_core.workspace import Cloner, GitAccess, Workspaces

if TYPE_CHECKING:
    from executor_core.agents.install import Installer
    from executor_core.hub import Hub

_log = logging.getLogger("executor.app")

END_RUNS_S = 8.5
"""The ladder that ends a run takes eight seconds; quitting takes ten at most."""
FLUSH_S = 1.0
FROM_TASK = "from_task"
"""`device.agent`: the task says which agent answers it."""
STANDALONE_ORIGIN = "standalone"
"""The embedded hub's name in the journal: its port may be another one tomorrow."""


class Application:
    """One executor with its links, its listener and, standalone, its hub."""

    def __init__(
        self,
        config: Config,
        *,
        standalone: bool = False,
        with_links: bool = True,
        own_command: Sequence[str],
        clock: Clock | None = None,
    ) -> None:
        """`own_command` starts this program again (the demo agent runs as a process of it)."""
        self._config = config
        self._home: Home = config.home
        self._standalone = standalone
        self._with_links = with_links
        self._clock = clock or SystemClock()
        self._jobs = Jobs("application")
        self._leaving = asyncio.Event()
        self._host = make_host(config, self._clock)
        self._journal = Journal(self._home.journal_db, self._clock)
        self._tokens = _ServerCredentials(TokenSources(config), config[options.SERVER_URL])
        trusted = (*config[options.WORKSPACE_TRUSTED_FOLDERS], _temporary_folder())
        self._executor = Executor(
            journal=self._journal,
            agents=self._make_agents(own_command),
            workspaces=Workspaces(
                config[options.WORKSPACE_ROOT], trusted, Cloner(self._host, _git_access(config))
            ),
            runs_folder=self._home.runs,
            slots=config[options.DEVICE_MAX_CONCURRENT_TASKS],
            clock=self._clock,
        )
        self._presence = Presence(
            version=__version__,
            pid=os.getpid(),
            device_id=device_id(self._home, config[options.DEVICE_ID]),
            device_name=device_name(config[options.DEVICE_NAME]),
        )
        self._links: list[DeviceLink] = []
        self._listener: Listener | None = None
        self._hub: Hub | None = None
        self._undo = contextlib.AsyncExitStack()
        self.control = LocalControl(
            executor=self._executor,
            links=self._links,
            presence=self._presence,
            api=lambda: self._listener.base_url if self._listener else "",
            leave=self._leaving.set,
            reload_credentials=self._tokens.reload,
            console=self.console_url,
            measure=partial(resources_by_run, self._host.owner),
            clock=self._clock,
        )

    @property
    def presence(self) -> Presence:
        """Who this executor is."""
        return self._presence

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start every room. What fails ends what was started before it, and is raised."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        undo = self._undo
        await self._journal.open()
        undo.push_async_callback(self._journal.close)
        undo.push_async_callback(self._jobs.close)
        await self._executor.start()
        undo.push_async_callback(self.control.close)
        if self._with_links:
            await self._start_listener()
            for link in self._make_links():
                self._links.append(link)
                await link.start()
                undo.push_async_callback(link.stop, FLUSH_S)
        # Last to be started, first to be ended: links report the ends of runs.
        undo.push_async_callback(self._executor.stop, END_RUNS_S)
        self._jobs.spawn(self._look_around(), "look around")
        self._jobs.spawn(self._leave_when_drained(), "leave when drained")
        _log.info("started: version %s, device %s", __version__, self._presence.device_id)

    async def wait(self) -> None:
        """Return when somebody asked the executor to end."""
        await self._leaving.wait()

    def leave(self) -> None:
        """Ask the executor to end; legal from a signal handler of the loop."""
        self._leaving.set()

    async def stop(self) -> None:
        """End everything in reverse order. Idempotent, legal in every state."""
        await self._undo.aclose()
        _log.info("stopped")

    async def _start_listener(self) -> None:
        address = self._config[options.API_LISTEN]
        is_default = len(self._config.settings_of(options.API_LISTEN)) == 1
        token = await asyncio.to_thread(self._owner_token)
        listener = Listener(
            host=address.host,
            port=address.port,
            port_is_fixed=not is_default,
            token=token,
            allow_remote=self._config[options.API_ALLOW_REMOTE],
            clock=self._clock,
        )
        api.attach(listener, self.control)
        if self._standalone:
            from executor_core.hub import Hub  # only standalone pays for the server side

            is_p = self._config[options.HUB_DIALECT] == "P"
            self._hub = Hub(
                self._home.hub_db,
                clock=self._clock,
                dialect="progress" if is_p else "responses",
            )
            await self._hub.start()
            self._undo.push_async_callback(self._hub.stop)
            self._hub.attach(listener)
        await listener.start()
        self._undo.push_async_callback(listener.stop)
        self._listener = listener
        if listener.port_was_taken:
            _log.warning("port %d is taken; listening on %s", address.port, listener.base_url)
        await asyncio.to_thread(self._write_api_file, listener.base_url, token)
        # The token stays, so that pages which are open survive a restart; the address goes.
        self._undo.callback(self._write_api_file, "", token)

    def _owner_token(self) -> str:
        """The token of the last time, else a new one."""
        try:
            return msgspec.json.decode(self._home.api_json.read_bytes(), type=Address).token
        except (OSError, msgspec.MsgspecError):
            return secrets.token_urlsafe(32)

    def _write_api_file(self, url: str, token: str) -> None:
        address = Address(url=url, token=token, pid=os.getpid())
        write_private(self._home.api_json, msgspec.json.encode(address))

    def _make_links(self) -> Sequence[DeviceLink]:
        if self._hub is not None and self._listener is not None:
            server, name = self._listener.base_url, STANDALONE_ORIGIN
            credentials: Credentials = _HubCredentials(self._hub.device_token)
        else:
            server = self._config[options.SERVER_URL]
            name, credentials = origin(server), self._tokens
        timing = LinkTiming(
            heartbeat_interval_s=self._config[options.HEARTBEAT_INTERVAL_S],
            heartbeat_timeout_s=self._config[options.HEARTBEAT_TIMEOUT_S],
            reconnect_delay_s=self._config[options.RECONNECT_DELAY_S],
            reconnect_max_delay_s=self._config[options.RECONNECT_MAX_DELAY_S],
        )
        registration = Registration(
            device_id=self._presence.device_id,
            name=self._presence.device_name,
            version=__version__,
            capabilities=self._config[options.DEVICE_CAPABILITIES],
        )
        agent = self._config[options.DEVICE_AGENT]
        link = DeviceLink(
            server=server,
            origin=name,
            credentials=credentials,
            executor=self._executor,
            registration=registration,
            timing=timing,
            clock=self._clock,
            agent=None if agent == FROM_TASK else agent,
        )
        return (link,)

    def _make_agents(self, own_command: Sequence[str]) -> Agents:
        demo = DemoAgent(self._host, [*own_command, "demo-agent"]) if self._standalone else None
        return agents_here(self._host, self._config[options.AGENTS_ACP], stand_in=demo)

    async def _look_around(self) -> None:
        """What the first run may need and the start must not wait for."""
        environment = self._config.environment
        path = environment.get("PATH", os.defpath)
        try:
            await sweep(self._host.owner, alive=(), clock=self._clock)
            path = await login_shell_path(environment, self._clock)
        finally:
            # Runs wait for this where a program is not on our own PATH.
            self._host.use_path(path)
        for agent in await self.control.agents():
            problem = f": {agent.problem.code}" if agent.problem else ""
            _log.info("agent %s %s%s", agent.name, agent.version or "", problem)

    async def _leave_when_drained(self) -> None:
        await self._executor.left.wait()
        self._leaving.set()

    def console_url(self) -> str | None:
        """The console's address with a fresh one-time ticket; None without a hub."""
        if self._hub is None or self._listener is None:
            return None
        return f"{self._listener.base_url}/#ticket={self._listener.ticket()}"


class _HubCredentials(Credentials):
    """The embedded hub gives its own device a fresh token for every connection."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    async def current(self) -> Credential:
        return Credential(self._make())

    def refused(self, credential: Credential) -> None:
        """The next connection brings another token anyway."""


class _ServerCredentials(Credentials):
    """The configured token sources, asked in a thread: a keychain may block."""

    def __init__(self, sources: TokenSources, server: str) -> None:
        self._sources = sources
        self._server = server
        self._last: Token | None = None
        self._refused: Credential | None = None

    async def current(self) -> Credential | None:
        token = await asyncio.to_thread(self._sources.current, self._server)
        if token is None:
            return self._refused
        self._last = token
        user_id = claims_of(token.value).get("user_id")
        return Credential(token.value, account=None if user_id is None else str(user_id))

    def refused(self, credential: Credential) -> None:
        if self._last is not None and self._last.value == credential.value:
            self._sources.refused(self._last)
            self._refused = credential

    async def reload(self) -> None:
        """A token was entered or removed by another process of this user."""
        self._refused = None
        if self._server:
            await asyncio.to_thread(self._sources.reload, self._server)


def make_host(config: Config, clock: Clock) -> AgentHost:
    """This computer, as agents see it. Looks up nothing yet."""
    settings = {}
    if key := config[options.ANTHROPIC_API_KEY]:
        settings["ANTHROPIC_API_KEY"] = key
    return AgentHost(
        base=config.environment,
        settings=settings,
        path=config.environment.get("PATH", os.defpath),
        platform=sys.platform,
        owner=hashlib.sha256(str(config.home.path.resolve()).encode()).hexdigest()[:16],
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        folder=config.home.path,
        clock=clock,
    )


def _git_access(config: Config) -> GitAccess:
    return GitAccess(
        token_key=config[options.GIT_TOKEN_AES_KEY],
        token_iv=config[options.GIT_TOKEN_AES_IV],
        allow_plain_http=config[options.SERVER_ALLOW_PLAIN_HTTP],
        register_secret=register_secret,
        redact=redact,
    )


async def look_for_agents(config: Config) -> tuple[Availability, ...]:
    """Which agents can work here, without a running executor."""
    host = await _host_of_user(config)
    return await agents_here(host, config[options.AGENTS_ACP]).availability()


async def find_installer(config: Config) -> Installer:
    """What installs agents for this user. Raises ExecutorError("npm_missing")."""
    from executor_core.agents.install import Installer

    return await Installer.find(await _host_of_user(config))


async def _host_of_user(config: Config) -> AgentHost:
    """This computer, with the PATH of the user's login shell."""
    config.home.create()
    clock = SystemClock()
    host = make_host(config, clock)
    host.use_path(await login_shell_path(config.environment, clock))
    return host


def _temporary_folder() -> Path:
    import tempfile

    return Path(tempfile.gettempdir())


def check_configured(config: Config, *, standalone: bool) -> None:
    """Raise ExecutorError("not_configured") without a server and a token, or the hub."""
    if standalone:
        return
    server = config[options.SERVER_URL]
    if not server or TokenSources(config).current(server) is None:
        raise ExecutorError("not_configured")


async def serve(
    config: Config,
    *,
    standalone: bool,
    own_command: Sequence[str],
    on_ready: Callable[[Application], None],
    on_leave: Callable[[Callable[[], None]], None],
) -> None:
    """Run until asked to end. `on_leave` is given what ends it, to be bound to signals.

    Raises ExecutorError where it cannot start: `already_running`, `port_taken`, configuration.
    """
    config.home.create()
    with InstanceLock.acquire(config.home):
        application = Application(config, standalone=standalone, own_command=own_command)
        on_leave(application.leave)
        await application.start()
        try:
            on_ready(application)
            await application.wait()
        finally:
            await application.stop()
