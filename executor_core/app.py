"""The composition root: the only place that knows every room.

`Application` builds the rooms, starts them in order and ends them in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from executor_core import __version__, api
from executor_core.agents import AgentHost, Agents, DemoAgent, agents_here
from executor_core.clock import Clock, SystemClock
from executor_core.config import options
from executor_core.config.accounts import AccountPins
from executor_core.config.errors import ConfigError, reason_of
from executor_core.config.files import write_private
from executor_core.config.home import Home, InstanceLock, locked, user_home
from executor_core.config.identity import device_name, id_of
from executor_core.config.kept import kept_json
from executor_core.config.layers import Config, Layer
from executor_core.config.redaction import known_secrets, redact, register_secret
from executor_core.config.server_url import origin
from executor_core.config.token import WAITING, TokenSources
from executor_core.config.writing import PATIENCE_S
from executor_core.control import Address, Control, LocalControl, Pause, Presence
from executor_core.errors import ExecutorError
from executor_core.executor import Executor
from executor_core.jobs import Jobs
from executor_core.journal import Journal
from executor_core.links.device import DeviceLink, LinkTiming, Registration
from executor_core.links.login import Credentials
from executor_core.process import reap_orphans, resources_by_run, sweep
from executor_core.services.awake import KeepAwake, stay_awake_at_work, watch_sleep
from executor_core.services.computer import make_host
from executor_core.services.credentials import HubCredentials, ServerCredentials
from executor_core.services.findings import mend_small_files
from executor_core.services.opening import open_services
from executor_core.services.reach import Load
from executor_core.services.workspaces import clean_daily
from executor_core.web import OWNER, Listener, User, Users, check_user_name
from executor_core.workspace import (
    Cloner,
    FileFetcher,
    GitAccess,
    Inventory,
    Recorder,
    Workspaces,
    sweep_skills,
)

if TYPE_CHECKING:
    from executor_core.hub import Hub

_log = logging.getLogger("executor.app")

END_RUNS_S = 8.5
"""The ladder that ends a run takes eight seconds; quitting takes ten at most."""
FLUSH_S = 1.0
LOOK_AT_ADDRESS_S = 15.0
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
        load: Load | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`own_command` starts this program again (the demo agent runs as a process of it).

        `load` reads the configuration anew.
        """
        self._config = config
        self._load = load or (lambda: config)
        self._home: Home = config.home
        self._standalone = standalone
        self._with_links = with_links
        self._clock = clock or SystemClock()
        self._jobs = Jobs("application")
        self._address = kept_json(self._home.api_json, Address, is_copied=False)
        self._leaving = asyncio.Event()
        self._host = make_host(config, self._clock)
        self._journal = Journal(self._home.journal_db, self._clock)
        self._tokens = ServerCredentials(
            TokenSources(config), config[options.SERVER_URL], AccountPins(self._home.accounts)
        )
        trusted = (*config[options.WORKSPACE_TRUSTED_FOLDERS], _temporary_folder())
        self._executor = Executor(
            journal=self._journal,
            agents=self._make_agents(own_command),
            workspaces=Workspaces(
                config[options.WORKSPACE_ROOT],
                trusted,
                Cloner(self._host, _git_access(config)),
                FileFetcher(
                    self._home.skills_cache,
                    clears_cache=config[options.SKILLS_CLEAR_CACHE],
                    clock=self._clock,
                ),
                self._recorder(),
                self._is_trusted,
            ),
            runs_folder=self._home.runs,
            slots=config[options.DEVICE_MAX_CONCURRENT_TASKS],
            clock=self._clock,
            secrets=known_secrets(),
        )
        self._presence = Presence(
            version=__version__,
            pid=os.getpid(),
            device_id=id_of(config),
            device_name=device_name(config[options.DEVICE_NAME]),
        )
        self._links: list[DeviceLink] = []
        self._listener: Listener | None = None
        self._hub: Hub | None = None
        self._undo = contextlib.AsyncExitStack()
        self.new_password: Path | None = None
        """Where the owner's first password is, if this start made it."""
        self.control = LocalControl(
            executor=self._executor,
            links=self._links,
            presence=self._presence,
            api=lambda: self._listener.base_url if self._listener else "",
            leave=self._leaving.set,
            reload_credentials=self._tokens.reload,
            console=self.console_url,
            measure=partial(resources_by_run, self._host.owner),
            program_path=lambda: self._host.path,
            ask_login_shell=partial(self._host.ready, anew=True),
            clock=self._clock,
            pauses=kept_json(self._home.pause_json, Pause),
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

    async def start_records(self) -> None:
        """Start only what can be asked what ran; `stop` ends this too."""
        await self._open_journal()
        await self._executor.start()
        self._undo.push_async_callback(self._executor.stop, END_RUNS_S)

    async def _open_journal(self) -> None:
        self._undo.push_async_callback(self._journal.close)
        self._undo.push_async_callback(self._jobs.close)
        await self._journal.open()

    async def _start(self) -> None:
        undo = self._undo
        await asyncio.to_thread(mend_small_files, self._home)
        await self._open_journal()
        # Before the first run: it could be one that puts the same skills in the same place.
        await asyncio.to_thread(sweep_skills, self._home.runs)
        await self._executor.start()
        undo.push_async_callback(self.control.close)
        if self._with_links:
            await self.control.restore_pause()
            await self._start_listener()
            for link in self._make_links():
                self._links.append(link)
                await link.start()
                undo.push_async_callback(link.stop, FLUSH_S)
            self._jobs.spawn(watch_sleep(self._clock, self.control.try_links), "watch for sleep")
        # Last to be started, first to be ended: links report the ends of runs.
        undo.push_async_callback(self._executor.stop, END_RUNS_S)
        self._jobs.spawn(reap_orphans(self._clock), "reap orphans")
        self._jobs.spawn(self._look_around(), "look around")
        if days := self._config[options.WORKSPACE_KEEP_DAYS]:
            inventory = Inventory(self._config[options.WORKSPACE_ROOT], self._host)
            cleaning = clean_daily(inventory, days, self.control.folders_in_use, self._clock)
            self._jobs.spawn(cleaning, "clean workspaces")
        self._jobs.spawn(self._leave_when_drained(), "leave when drained")
        self._jobs.spawn(self._stay_awake(), "stay awake")
        _log.info("started: version %s, device %s", __version__, self._presence.device_id)

    async def _stay_awake(self) -> None:
        await stay_awake_at_work(
            KeepAwake(),
            self._clock,
            self._executor.changes,
            is_working=lambda: self._executor.table.slots_used > 0,
            is_wanted=lambda: self._config.reread()[options.DESKTOP_KEEP_AWAKE],
        )

    async def wait(self) -> None:
        """Return when somebody asked the executor to end."""
        await self._leaving.wait()

    def leave(self) -> None:
        """Ask the executor to end; legal from a signal handler of the loop."""
        self._leaving.set()

    async def stop(self) -> None:
        """End everything in reverse order. Idempotent, legal in every state."""
        try:
            await self._undo.aclose()
        except (OSError, sqlite3.Error) as error:
            # All was ended, but a full disk did not take the last words of it.
            _log.error("not everything was written down at the end: %s", error)
        _log.info("stopped")

    async def _start_listener(self) -> None:
        address = self._config[options.API_LISTEN]
        is_default = len(self._config.settings_of(options.API_LISTEN)) == 1
        token = await asyncio.to_thread(self._owner_token)
        register_secret(token)
        listener = Listener(
            host=address.host,
            port=address.port,
            port_is_fixed=not is_default,
            token=token,
            allow_remote=self._config[options.API_ALLOW_REMOTE],
            clock=self._clock,
        )
        users = users_of(self._home, self._clock)
        if await asyncio.to_thread(_first_user, users, self._home):
            self.new_password = self._home.first_password
        services = open_services(self._load, self._reach, self._clock, control=self.control)
        api.attach(
            listener,
            self.control,
            users=users,
            devices=None if self._standalone else services.devices,  # there the hub has them
            health=services.health,
            log=services.log,
            install=services.install,
        )
        if self._standalone:
            from executor_core.hub import Hub  # only standalone pays for the server side

            is_p = self._config[options.HUB_DIALECT] == "P"
            self._hub = Hub(
                self._home.hub_db,
                clock=self._clock,
                dialect="progress" if is_p else "responses",
            )
            self._undo.push_async_callback(self._hub.stop)
            try:
                await self._hub.start()
            except sqlite3.Error as error:
                database = self._home.hub_db
                raise ExecutorError("database_unusable", file=database, reason=error) from error
            self._hub.attach(listener)
            users.on_login.append(self._hub.add_user)
        await listener.start()
        self._undo.push_async_callback(listener.stop)
        self._listener = listener
        if listener.port_was_taken:
            _log.warning("port %d is taken; listening on %s", address.port, listener.base_url)
        try:
            await asyncio.to_thread(self._write_api_file, listener.base_url, token)
        except OSError as error:
            home, reason = self._home.path, reason_of(error)
            raise ConfigError("home_not_writable", home=home, reason=reason) from error
        watching = self._jobs.spawn(self._keep_address(listener.base_url, token), "keep address")
        # The token stays, so that pages which are open survive a restart; the address goes.
        self._undo.callback(self._write_api_file, "", token)
        self._undo.callback(watching.cancel)

    @contextlib.asynccontextmanager
    async def _reach(self) -> AsyncIterator[Control]:
        yield self.control

    def _owner_token(self) -> str:
        """The token of the last time, else a new one."""
        with contextlib.suppress(OSError):
            if (address := self._address.read()) is not None:
                return address.token
        return secrets.token_urlsafe(32)

    def _write_api_file(self, url: str, token: str) -> None:
        self._address.write(Address(url=url, token=token, pid=os.getpid()))

    async def _keep_address(self, url: str, token: str) -> None:
        """Who talks to us finds us by that file: one that is gone or spoilt comes back."""
        ours = Address(url=url, token=token, pid=os.getpid())
        while True:
            await self._clock.sleep(LOOK_AT_ADDRESS_S)
            with contextlib.suppress(OSError):  # the next look may find room
                if await asyncio.to_thread(self._address.read) != ours:
                    file = self._address.path
                    _log.warning("%s is written again: it was not as we left it", file)
                    await asyncio.to_thread(self._address.write, ours)

    def _make_links(self) -> Sequence[DeviceLink]:
        if self._hub is not None and self._listener is not None:
            server, name = self._listener.base_url, STANDALONE_ORIGIN
            credentials: Credentials = HubCredentials(self._hub.device_token)
        else:
            server = self._config[options.SERVER_URL]
            if not server:  # under a window, where the person can say which
                return ()
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

    def _recorder(self) -> Recorder:
        """Records what runs change. A home folder under git is not the project of all in it."""
        home = user_home(self._config.environment)
        secrets = known_secrets()
        return Recorder(self._host, secrets.holds_one, (home, self._config[options.WORKSPACE_ROOT]))

    def _is_trusted(self, folder: Path) -> bool:
        """Whether the settings of `folder` count, by what the owner says now. Blocks."""
        try:
            trusted = self._load()[options.AGENTS_TRUSTED_FOLDERS]
        except ExecutorError:  # what is wrong in the file is told elsewhere
            trusted = ()
        place = folder.resolve()
        return any(place.is_relative_to(root.resolve()) for root in trusted)

    def _make_agents(self, own_command: Sequence[str]) -> Agents:
        demo = DemoAgent(self._host, [*own_command, "demo-agent"]) if self._standalone else None
        return agents_here(self._host, self._config[options.AGENTS_ACP], stand_in=demo)

    async def _look_around(self) -> None:
        """What the first run may need and the start must not wait for."""
        await sweep(self._host.owner, alive=(), clock=self._clock)
        await self._host.ready()
        await asyncio.to_thread(_clear_leftovers, self._host)
        for agent in await self.control.agents():
            problem = f"cannot be used: {agent.problem.code}" if agent.problem else "can be used"
            _log.info(
                "agent %s %s",
                agent.name,
                f"{agent.version} {problem}" if agent.version else problem,
            )

    async def _leave_when_drained(self) -> None:
        await self._executor.left.wait()
        self._leaving.set()

    def console_url(self) -> str | None:
        """The console's address with a fresh one-time ticket; None without a hub."""
        if self._hub is None or self._listener is None:
            return None
        return f"{self._listener.base_url}/#ticket={self._listener.ticket()}"


def users_of(home: Home, clock: Clock | None = None) -> Users:
    """Who may sign in to the local API of this home."""
    alone = partial(locked, home.users_lock, PATIENCE_S)
    kept = kept_json(home.users_json, dict[str, User])
    return Users(kept, alone, clock or SystemClock())


def remove_user(home: Home, name: str) -> None:
    """Take a user away, and in the hub all that is theirs; both see it while they run. Blocks.

    Raises ExecutorError `bad_user_name`, `owner_stays`, `database_unusable`, and those of `Users`.
    """
    if name == OWNER:
        raise ExecutorError("owner_stays", name=name)
    check_user_name(name)
    users, was_in_hub = users_of(home), False
    if home.hub_db.exists():
        from executor_core.hub.store import remove_user as remove_from_hub

        was_in_hub = remove_from_hub(home.hub_db, name)
    # Who only ever had a token or a key of the hub's is in no other list.
    if name in users.names() or not was_in_hub:
        users.remove(name)


def forget_first_password(home: Home, name: str) -> None:
    """The owner has a password of their own: the first one is of no use any more."""
    if name == OWNER:
        home.first_password.unlink(missing_ok=True)


def _first_user(users: Users, home: Home) -> bool:
    """At the first start give the owner a password, and say where it is; if it did. Blocks.

    Where the disk does not take it the executor works all the same, and tries at its next start.
    """

    def tell(password: str) -> None:
        write_private(home.first_password, password.encode() + b"\n")
        _log.info("user %s was made; the password is in %s", OWNER, home.first_password)

    try:
        return users.make_owner(tell)
    except (ExecutorError, OSError) as error:
        _log.error("nobody can sign in with a password: %s", error)
        return False


def _git_access(config: Config) -> GitAccess:
    return GitAccess(
        token_key=config[options.GIT_TOKEN_AES_KEY],
        token_iv=config[options.GIT_TOKEN_AES_IV],
        allow_plain_http=config[options.SERVER_ALLOW_PLAIN_HTTP],
        register_secret=register_secret,
        redact=redact,
    )


def _clear_leftovers(host: AgentHost) -> None:
    from executor_core.agents.install import clear_leftovers

    clear_leftovers(host)


def _temporary_folder() -> Path:
    import tempfile

    return Path(tempfile.gettempdir())


def is_standalone(config: Config, asked: bool) -> bool:
    """Whether the hub takes the server's place: asked for now, or chosen for every start.

    Whoever names a server on the command line means that server.
    """
    said = config.settings_of(options.SERVER_URL)
    is_named = bool(said) and said[-1].layer is Layer.COMMAND_LINE
    return asked or (config[options.HUB_ENABLED] and not is_named)


def check_configured(config: Config, *, standalone: bool) -> None:
    """Raise ExecutorError("not_configured") without a server and a token, or the hub.

    A locked keychain may hold one: the link waits for it.
    """
    if standalone:
        return
    server = config[options.SERVER_URL]
    try:
        if not server or TokenSources(config).current(server) is None:
            raise ExecutorError("not_configured")
    except ExecutorError as error:
        if error.code not in WAITING:
            raise


def _make_folders(config: Config) -> None:
    """What people look for in the home is there from the start, as the guides draw it."""
    for folder in (config[options.WORKSPACE_ROOT], config.home.skills_cache):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            # What needs it says so; the rest of the executor works.
            _log.warning("cannot make %s: %s", folder, error.strerror)


async def serve(
    config: Config,
    *,
    standalone: bool,
    own_command: Sequence[str],
    load: Load,
    on_ready: Callable[[Application], None],
    on_leave: Callable[[Callable[[], None]], None],
) -> None:
    """Run until asked to end. `on_leave` is given what ends it, to be bound to signals.

    Raises ExecutorError where it cannot start: `already_running`, `port_taken`, configuration.
    """
    config.home.create()
    with InstanceLock.acquire(config.home):
        _make_folders(config)
        application = Application(config, standalone=standalone, own_command=own_command, load=load)
        on_leave(application.leave)
        await application.start()
        try:
            on_ready(application)
            await application.wait()
        finally:
            await application.stop()
