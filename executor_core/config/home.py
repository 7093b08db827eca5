"""The folder `<home>`: its paths, its creation, and the locks of those who use it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from executor_core.aside import make_place
from executor_core.config.errors import ConfigError, reason_of
from executor_core.config.files import NOFOLLOW
from executor_core.config.kinds import Where
from executor_core.config.options import HOME
from executor_core.errors import ExecutorError

if sys.platform == "win32":
    from executor_core.config.lock_windows import try_lock
else:
    from executor_core.config.lock_posix import try_lock

_log = logging.getLogger("executor.config")
_LOOK_S = 0.01
_EXEC = "exec"


@dataclass(frozen=True)
class Home:
    """All paths below `<home>`. Nothing is created by asking for one."""

    path: Path

    @property
    def config_toml(self) -> Path:
        """The only configuration file that we write."""
        return self.path / "config.toml"

    @property
    def config_env(self) -> Path:
        """Shell assignments, read only."""
        return self.path / "config.env"

    @property
    def device_config(self) -> Path:
        """The configuration of the original executor, read only."""
        return self.path / "device-config.json"

    @property
    def device_id(self) -> Path:
        """This device's id."""
        return self.path / "device_id"

    @property
    def token(self) -> Path:
        """The token, where there is no keychain and the user chose a file."""
        return self.path / "token"

    @property
    def accounts(self) -> Path:
        """Whose tasks are done here, per server."""
        return self.path / "accounts.json"

    @property
    def api_json(self) -> Path:
        """Address and token of the running instance."""
        return self.path / "api.json"

    @property
    def pause_json(self) -> Path:
        """Until when nothing new is begun, and why; it is there while that is so."""
        return self.path / "pause.json"

    @property
    def users_json(self) -> Path:
        """Who may sign in to the local API, with hashes of their passwords."""
        return self.path / "users.json"

    @property
    def users_lock(self) -> Path:
        """Locked by whoever is changing users.json."""
        return self.path / "users.lock"

    @property
    def first_password(self) -> Path:
        """The password that the owner was given at the first start, until they set their own."""
        return self.path / "first-password"

    @property
    def lock(self) -> Path:
        """Locked by the running instance for its life."""
        return self.path / "lock"

    @property
    def config_lock(self) -> Path:
        """Locked by whoever is changing config.toml."""
        return self.path / "config.lock"

    @property
    def journal_db(self) -> Path:
        """Runs and outbox."""
        return self.path / "journal.db"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.path / "runs"

    @property
    def hub_db(self) -> Path:
        """The hub's data."""
        return self.path / "hub.db"

    @property
    def workspace(self) -> Path:
        """Where tasks work, unless configured otherwise."""
        return self.path / "workspace"

    @property
    def logs(self) -> Path:
        """Where logs are written, unless configured otherwise."""
        return self.path / "logs"

    @property
    def skills_cache(self) -> Path:
        """Skills fetched from servers."""
        return self.path / "cache" / "skills"

    def create(self) -> None:
        """Make the folder (0700) if it is missing, and see that it can be written.

        Raises:
            ConfigError: `home_not_a_folder`, `home_not_writable`, and those of `check_owner`.
        """
        self.check_owner()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError("home_not_a_folder", home=self.path) from error
        except OSError as error:
            reason = reason_of(error)
            raise ConfigError("home_not_writable", home=self.path, reason=reason) from error

    def check_owner(self) -> None:
        """See that nobody else may change what is obeyed here: settings, addresses, tokens.

        Raises:
            ConfigError: `home_of_another` or `home_open_to_others`; their hint mends it.
        """
        if os.name != "posix":
            return
        is_closed = False
        for place in (self.path, self.config_toml, self.config_env, self.api_json):
            if is_closed and not place.is_symlink():
                continue
            try:
                status = place.stat()
            except OSError:  # it is not there, or cannot be read either
                continue
            if place is self.path:
                is_closed = not status.st_mode & (stat.S_IXGRP | stat.S_IXOTH)
            # In a container, folders of the host belong to somebody whom root stands for.
            if status.st_uid not in (os.getuid(), 0) and os.getuid() != 0:
                raise ConfigError("home_of_another", path=place)
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                command = f"chmod go-w {shlex.quote(str(place))}"
                raise ConfigError("home_open_to_others", path=place, command=command)


def working_folder(instead: Path) -> Path:
    """The folder that this process works in; `instead` where somebody has deleted it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return instead


def user_home(environment: Mapping[str, str]) -> Path:
    """The user's home folder, by the environment and else by the operating system.

    Raises:
        ConfigError: `no_user_home`.
    """
    named = environment.get("USERPROFILE" if os.name == "nt" else "HOME")
    try:
        return Path(named) if named else Path.home()
    except RuntimeError as error:
        raise ConfigError("no_user_home") from error


def find_home(environment: Mapping[str, str]) -> Home:
    """The home that the environment names, else `~/.wegent-executor`.

    Raises:
        ConfigError: `no_user_home`.
    """
    raw = environment.get(HOME.environment[0], "").strip() or str(HOME.default)
    at_home = Path() if os.path.isabs(raw) else user_home(environment)
    where = Where(base=working_folder(at_home), user_home=at_home)
    return Home(HOME.kind.parse(raw, where))


class InstanceLock:
    """The right to be the one instance of a home; the system drops it when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, home: Home, *, for_exec: bool = False) -> InstanceLock:
        """Take the lock at once or not at all. The home must exist.

        `for_exec`: to live for one `exec`, which nobody can ask anything.

        Raises:
            ExecutorError: `already_running`, or `exec_at_work` where that is all it does, with the
                process id of the other instance ("?" if it is unknown) as `values["pid"]`.
            ConfigError: `home_not_writable`.
        """
        try:
            descriptor = _open_lock(home.lock)
            try:
                _claim(descriptor, home, for_exec)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            reason = reason_of(error)
            raise ConfigError("home_not_writable", home=home.lock, reason=reason) from error
        return cls(descriptor)

    def release(self) -> None:
        """Let the next instance start. Repeating is harmless."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):  # the descriptor is gone either way
            os.ftruncate(descriptor, 0)
        # The file stays: removing it would let two instances lock two files of one name.
        os.close(descriptor)

    def __enter__(self) -> InstanceLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def locked(file: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock `file`, made where it is missing, after waiting for others. Blocks.

    Raises:
        TimeoutError: others held it for so long. Any other OSError: it cannot be locked.
    """
    gives_up_at = time.monotonic() + patience_s
    descriptor = _open_lock(file)
    try:
        while not try_lock(descriptor):
            if time.monotonic() >= gives_up_at:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            time.sleep(_LOOK_S)  # noqa: TID251  never on the loop
        yield
    finally:
        os.close(descriptor)


def _open_lock(file: Path) -> int:
    make_place(file, _log)
    return os.open(file, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)


def _claim(descriptor: int, home: Home, for_exec: bool) -> None:
    """Lock the open file and write our process id into it, and what we are."""
    if not try_lock(descriptor):
        pid, _, what = os.read(descriptor, 30).decode("ascii", "replace").strip().partition("\n")
        code = "exec_at_work" if what == _EXEC else "already_running"
        raise ExecutorError(code, home=home.path, pid=pid if pid.isdigit() else "?")
    os.ftruncate(descriptor, 0)
    what = f"{_EXEC}\n" if for_exec else ""
    os.write(descriptor, f"{os.getpid()}\n{what}".encode())
