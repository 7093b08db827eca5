"""How git gets at a server: the task's login for its own, the user's helpers for all others.

A login is lent to one git process, for one server, and is kept nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

from executor_core.workspace.git_address import Remote

_TOKEN, _LOGIN, _TOLD = "WEGENT_GIT_TOKEN", "WEGENT_GIT_LOGIN", "WEGENT_GIT_TOLD"
# git's own shell runs them, also on Windows; what is secret they find in the environment.
_ANSWER = rf"""printf 'username=%s\npassword=%s\n' "${_LOGIN}" "${_TOKEN}" """
_HELPER = f'!f() {{ test "$1" = get && {_ANSWER}; }}; f'
_WITNESS = f'!f() {{ cat >/dev/null; echo "$1" >>"${_TOLD}"; }}; f'
"""The last to be asked: what it hears tells more surely than git's words how a login ended."""

_TRANSPORTS = frozenset({"https", "http", "ssh", "git", "file"})
"""What the user's own settings may turn an address into; `ext` and the like start programs."""
_WITH_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)")


class Login(Struct, frozen=True):
    """What git tells the server at `origin`."""

    origin: str
    name: str
    token: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


def lent(login: Login | None, told: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
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
    found = _WITH_SCHEME.match(rewritten)
    if found is None:
        scheme = "file" if rewritten.startswith(("/", "\\")) else "ssh"
    else:
        scheme = found[1].lower() if found[2] == "://" else ""
    return ":".join(sorted({remote.scheme} | ({scheme} & _TRANSPORTS)))
