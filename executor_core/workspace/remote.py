"""Where a repository comes from: its address, who may log in there how, and what a refusal means.

Pure but for one file; asks no git.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import url2pathname

from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.loopback import is_loopback
from executor_core.workspace.files import DEVICE_NAME

MAX_URL = 2_000
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9a-f:]*:[0-9a-f:.]+")
_USER = re.compile(r"[A-Za-z0-9._+][A-Za-z0-9._+-]*")
_SCP = re.compile(r"(?P<user>[^@:/]+)@(?P<host>[^@:/]+):(?P<path>.+)")
_WITH_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://.+")

_BAD_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
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
    return f"repository-{safe}"[:MAX_NAME] if DEVICE_NAME.fullmatch(safe) else safe


# --- tokens ---------------------------------------------------------------------------------------

_BLOCK_BYTES = 16
_ABSENT = ("", "***")


def decrypt_git_token(value: str, *, key: str, iv: str) -> str | None:
    """The token in `value`; None where there is none (`***` is how servers mask it).

    Encrypted means AES-CBC with PKCS7 padding, in base64; `key` has 32 ASCII characters, `iv` 16.
    What does not decrypt to a token is taken for a plain one: many look like base64 themselves.
    """
    value = value.strip()
    if value in _ABSENT:
        return None
    try:
        sealed = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value
    if not sealed or len(sealed) % _BLOCK_BYTES:
        return value
    token = _decrypt(sealed, key.encode(), iv.encode())
    return token if token and token.isascii() and token.isprintable() else value


def _decrypt(sealed: bytes, key: bytes, iv: bytes) -> str | None:
    # Imported here: most tasks bring no encrypted token, and it takes 50 ms.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    unpadder = PKCS7(_BLOCK_BYTES * 8).unpadder()
    try:
        return (unpadder.update(padded) + unpadder.finalize()).decode("utf-8")
    except ValueError:  # also UnicodeDecodeError
        return None


# --- logging in -----------------------------------------------------------------------------------

_TOKEN, _LOGIN, _TOLD = "WEGENT_GIT_TOKEN", "WEGENT_GIT_LOGIN", "WEGENT_GIT_TOLD"
# git's own shell runs them, also on Windows; what is secret they find in the environment.
_ANSWER = rf"""printf 'username=%s\npassword=%s\n' "${_LOGIN}" "${_TOKEN}" """
_HELPER = f'!f() {{ test "$1" = get && {_ANSWER}; }}; f'
_WITNESS = f'!f() {{ cat >/dev/null; echo "$1" >>"${_TOLD}"; }}; f'
"""The last to be asked: what it hears tells more surely than git's words how a login ended."""

_KNOWN_TRANSPORTS = frozenset({"https", "http", "ssh", "git", "file"})
"""What the user's own settings may turn an address into; `ext` and the like start programs."""
_TRANSPORT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)")


class Login(Struct, frozen=True):
    """What git tells the server at `origin`."""

    origin: str
    name: str
    token: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


def login_settings(login: Login | None, told: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Settings and variables by which git asks us for a login, and only for that server.

    The user's helpers are neither asked there nor do they hear of the login. `told` is the file
    that `login_trouble` reads.
    """
    settings, variables = [], {_TOLD: str(told)}
    if login is not None:
        name = f"credential.{login.origin}.helper"
        settings = [(name, ""), (name, _HELPER)]
        variables |= {_LOGIN: login.name, _TOKEN: login.token}
    return [*settings, ("credential.helper", _WITNESS)], variables


def login_trouble(told: Path) -> str | None:
    """`git_login_refused` or `git_login_missing`, if a failed git had one of them. Blocks."""
    try:
        heard = told.read_text().split()
    except (OSError, ValueError):
        return None
    if "erase" in heard:
        return "git_login_refused"
    return "git_login_missing" if "get" in heard else None


def transports(remote: Remote, rewritten: str) -> str:
    """The protocols that git may use for `remote`, whose address the user's settings made
    `rewritten`.
    """
    found = _TRANSPORT.match(rewritten)
    if found is None:
        scheme = "file" if rewritten.startswith(("/", "\\")) else "ssh"
    else:
        scheme = found[1].lower() if found[2] == "://" else ""
    return ":".join(sorted({remote.scheme} | ({scheme} & _KNOWN_TRANSPORTS)))


# --- failures -------------------------------------------------------------------------------------

MAX_REASON = 300

# The first that is found anywhere in git's words decides; git runs in the C locale.
_SIGNS: tuple[tuple[str, str], ...] = (
    (
        "git_disk_full",
        r"No space left on device|Disk quota exceeded|not enough space|unable to write file",
    ),
    ("git_branch_missing", r"Remote branch .* not found"),
    (
        "git_certificate",
        r"certificate problem|certificate verif|unable to get local issuer|SSL_ERROR|schannel:",
    ),
    (
        "git_unreachable",
        r"Could not resolve|Name or service not known|Failed to connect|Couldn't connect"
        r"|Connection (?:refused|timed out|reset|closed)|Network is unreachable|No route to host"
        r"|Operation too slow|Empty reply from server|early EOF|unexpected disconnect"
        r"|RPC failed; curl|The requested URL returned error: 5",
    ),
    ("git_ssh_refused", r"Permission denied \(|Host key verification failed"),
    (
        "git_login_missing",
        r"could not read (?:Username|Password)|terminal prompts disabled"
        r"|unable to get password from user",
    ),
    ("git_login_refused", r"Authentication failed|Access denied|returned error: 40[13]"),
    (
        "git_repository_missing",
        r"not found|does not appear to be a git repository|does not exist|no repository"
        r"|not valid: is this a git repository|info/refs not valid|returned error: 404",
    ),
)
_COMPILED = tuple((code, re.compile(f"(?i){pattern}")) for code, pattern in _SIGNS)
_OWN_WORDS = re.compile(r"(?m)^(?:fatal|error): (.+)$")


def failure_code(stderr: str) -> str:
    """The code for what git wrote; `git_failed` where nothing is recognised."""
    return next((code for code, sign in _COMPILED if sign.search(stderr)), "git_failed")


def clone_failure(
    stderr: str, remote: Remote, branch: str | None, trouble: str | None = None
) -> ExecutorError:
    """Why the clone of `remote` failed. `stderr` must have been rid of secrets and own paths.

    `trouble` with a login is surer than words, of which every version of git has its own.
    """
    code = trouble or failure_code(stderr)
    reasons = _OWN_WORDS.findall(stderr) or stderr.split("\n")[-1:]
    return ExecutorError(
        code,
        repository=remote.path.strip("/"),
        host=remote.shown_host if remote.host else remote.path,
        branch=branch or "",
        reason=reasons[0].strip()[:MAX_REASON],
    )
