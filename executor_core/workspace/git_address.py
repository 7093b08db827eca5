"""What a task may name: repository addresses, branches and folder names. Pure; asks no git."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import url2pathname

from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.loopback import is_loopback

MAX_URL = 2_000
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9a-f:]*:[0-9a-f:.]+")
_USER = re.compile(r"[A-Za-z0-9._+][A-Za-z0-9._+-]*")
_SCP = re.compile(r"(?P<user>[^@:/]+)@(?P<host>[^@:/]+):(?P<path>.+)")
_WITH_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://.+")

_BAD_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED_NAME = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
MAX_NAME = 100


class Remote(Struct, kw_only=True, frozen=True):
    """A repository that git may be given. `url` has no password in it.

    `scheme` is `https`, `http`, `ssh` or `file`; `host` is in lower case; `path` is decoded.
    `login` and `password` are what the task had written into the address; the latter is a secret.
    """

    scheme: str
    url: str
    path: str
    host: str = ""
    port: int = 0
    login: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Remote({self.url!r})"

    @property
    def is_http(self) -> bool:
        """True if git logs in with a name and a password."""
        return self.scheme in ("https", "http")

    @property
    def origin(self) -> str:
        """Scheme, host and port: the only place where the credential may go."""
        return f"{self.scheme}://{self.shown_host}"

    @property
    def shown_host(self) -> str:
        """The host, with its port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if the server runs on this computer."""
        return is_loopback(self.host)


def parse_remote(url: str) -> Remote:
    """The repository that a task's `url` names.

    Only https, http, ssh (also as `git@host:path`) and local paths are known. Raises ExecutorError
    `git_url_refused` for everything else: other schemes make git start programs.
    """
    url = url.strip()
    if len(url) > MAX_URL or not url.isprintable() or " " in url or url.startswith("-"):
        raise _refused(url)
    if os.path.isabs(url):
        return _local(url)
    if _WITH_SCHEME.fullmatch(url):
        return _with_scheme(url)
    if (short := _SCP.fullmatch(url)) is None:
        raise _refused(url)
    user, host, path = short["user"], short["host"], short["path"]
    if not _USER.fullmatch(user) or not _HOST.fullmatch(host) or path.startswith(("-", ":")):
        raise _refused(url)
    return Remote(scheme="ssh", url=url, host=host.lower(), port=22, path=path)


def _with_scheme(url: str) -> Remote:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(url) from None
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return _local(url2pathname(parts.path))
    host, default = parts.hostname or "", _DEFAULT_PORTS.get(parts.scheme)
    is_odd = "\\" in url or parts.query or parts.fragment or port == 0
    if default is None or is_odd or not _HOST.fullmatch(host):
        raise _refused(url)
    path = unquote(parts.path)
    if not path.isprintable() or not path.strip("/") or path.startswith("/-"):
        raise _refused(url)
    return _network(parts, host, port or default, path)


def _network(parts: SplitResult, host: str, port: int, path: str) -> Remote:
    login, password = unquote(parts.username or ""), unquote(parts.password or "")
    bare = Remote(scheme=parts.scheme, url="", host=host, port=port, path=path)
    at = ""
    if parts.scheme == "ssh" and login:
        if not _USER.fullmatch(login):
            raise _refused(parts.geturl())
        at = f"{login}@"
    url = f"{bare.scheme}://{at}{bare.shown_host}{parts.path}"
    return Remote(
        scheme=bare.scheme, url=url, host=host, port=port, path=path, login=login, password=password
    )


def _local(path: str) -> Remote:
    real = os.path.realpath(path)
    return Remote(scheme="file", url=real, path=real)


def _refused(url: str) -> ExecutorError:
    """Without what may be a login: all in front of the last @."""
    shown = url.rpartition("@")[2].partition("?")[0][:MAX_NAME]
    return ExecutorError("git_url_refused", url=shown)


def is_home_of(host: str, remote: Remote) -> bool:
    """True if a credential of the account at `host` belongs to the server of `remote`.

    Scheme and port count where `host` names them; without a port it is the scheme's usual one.
    """
    scheme, found, _ = host.partition("://")
    try:
        parts = urlsplit(host if found else f"//{host}")
        port = parts.port
    except ValueError:
        return False
    return (
        remote.is_http
        and (not found or scheme.lower() == remote.scheme)
        and (parts.hostname or "") == remote.host
        and (port or _DEFAULT_PORTS[remote.scheme]) == remote.port
    )


def check_branch(branch: str) -> None:
    """Raises ExecutorError `git_branch_refused` for what git cannot have as a branch."""
    if not can_be_branch(branch):
        raise ExecutorError("git_branch_refused", branch=repr(branch[:MAX_NAME]))


def can_be_branch(name: str) -> bool:
    """Whether git can have a branch of that name."""
    is_bad = name.startswith(("-", "/", ".")) or name.endswith(("/", ".")) or name == "@"
    return not (is_bad or len(name) > 250 or _BAD_IN_BRANCH.search(name))


def folder_name(name: str) -> str:
    """The folder for a repository called `name`, which may also be its whole path.

    The last part, in letters, digits, dot, dash and underscore; never hidden, never a name that
    some system reserves, 100 characters at most.
    """
    last = name.rstrip("/").replace("\\", "/").replace(":", "/").rpartition("/")[2]
    safe = _BAD_IN_NAME.sub("-", last.removesuffix(".git"))[:MAX_NAME].strip(".-")
    if not safe:
        return "repository"
    return f"repository-{safe}"[:MAX_NAME] if _RESERVED_NAME.fullmatch(safe) else safe
