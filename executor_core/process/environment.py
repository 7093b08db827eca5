"""Decides what a child sees of the environment. Pure: it is handed all of it and reads none.

Three layers, each over the one before: what the owner has (`owners_environment`), the PATH along
which we look up programs, and what the caller adds for this child (`child_environment`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_OURS = ("WEGENT_*", "GIT_TOKEN_AES_KEY", "GIT_TOKEN_AES_IV")
_OUTER_AGENT = (  # what an agent tells the programs that it starts, should we be one of them
    "AI_AGENT",
    "CLAUDECODE",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_EXECPATH",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_EFFORT",
    "CLAUDE_ENV_FILE",
    "CLAUDE_PROJECT_DIR",
    "CODEX_CI",
    "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED",
    "CODEX_THREAD_ID",
    "GEMINI_CLI",
    "OPENCODE",
    "OPENCODE_PID",
)
_OF_A_SHELL = ("_", "OLDPWD", "PWD", "SHLVL")  # where another process stands
RESOLVING = "VSCODE_RESOLVING_ENVIRONMENT"
"""Set for a login shell that is only asked for its variables; people's start-up files know it."""
_SESSION = (  # they lead to something that lives as long as the session; a shell may start its own
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS"),
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "XDG_RUNTIME_DIR", "XDG_SESSION_*"),
)
_NEVER = (*_OURS, *_OUTER_AGENT, *_OF_A_SHELL, RESOLVING)

_BUNDLE_SIGNS = ("_MEIPASS2", "_PYI_APPLICATION_HOME_DIR", "_PYI_ARCHIVE_FILE")
_BY_BUNDLE = (  # a frozen bundle points them into itself
    *("_MEIPASS*", "_PYI*", "LD_*", "DYLD_*", "LIBPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("PYTHON*", "QT_*", "QML*"),
)
# PyInstaller keeps the user's own value of what it overwrites under this name.
_KEPT_BY_BUNDLE = re.compile(r"(?P<name>(?:LD|DYLD)_\w+|LIBPATH|SSL_CERT_(?:FILE|DIR))_ORIG")

_USUAL = (  # every program has them: not worth a word
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "TERM", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("TMPDIR", "TEMP", "TMP", "HOSTNAME", "MAIL", "EDITOR", "VISUAL", "PAGER", "HIST*"),
    *("COLORTERM", "TERM_*", "LS_COLORS", "LESS*", "PS1", "BASH_FUNC_*", "NO_PROXY", "no_proxy"),
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_*", "DBUS_*", "DESKTOP_*", "SESSION_*"),
    *("GNOME_*", "GTK_*", "GDM*", "KDE_*", "QT_*", "VTE_VERSION", "WINDOW*", "XMODIFIERS"),
    *("ALLUSERSPROFILE", "APPDATA", "COMMONPROGRAM*", "COMPUTERNAME", "COMSPEC", "HOMEDRIVE"),
    *("HOMEPATH", "LOCALAPPDATA", "NUMBER_OF_PROCESSORS", "OS", "PATHEXT", "PROCESSOR_*"),
    *("PROGRAM*", "PSMODULEPATH", "PUBLIC", "SYSTEMDRIVE", "SYSTEMROOT", "USERDOMAIN*"),
    *("USERNAME", "USERPROFILE", "WINDIR", "__CF*", "XPC_*", "COMMAND_MODE", "LaunchInstanceID"),
)

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def owners_environment(
    started: Mapping[str, str],
    login: Mapping[str, str],
    *,
    withheld: Collection[str] = (),
    ignore_case: bool = False,
) -> dict[str, str]:
    """What the owner has: of the environment we were started with and of the login shell's.

    Where they differ a terminal wins over the shell, for what was typed there last; over an icon or
    a service the shell wins, as in a terminal that is opened from there, but not over what belongs
    to the session. Without our own secrets, what a bundle or an outer agent put in, and `withheld`:
    names, `*` at the end for any rest.
    """
    started = without_bundle(started)
    stays, never = ("*",) if has_terminal(started) else _SESSION, (*_NEVER, *withheld)
    last = {name: value for name, value in started.items() if is_listed(name, stays)}
    merged = {**started, **login, **last}.items()
    return {name: value for name, value in merged if not is_listed(name, never, ignore_case)}


def has_terminal(started: Mapping[str, str]) -> bool:
    """Whether it looks as if we were started in a terminal, behind the user's start-up files."""
    return started.get("TERM", "") not in ("", "dumb")


def without_bundle(started: Mapping[str, str]) -> dict[str, str]:
    """`started` as it was before a frozen bundle, if we are one, made it fit for itself."""
    if not any(sign in started for sign in _BUNDLE_SIGNS):
        return dict(started)
    kept = {
        name: value
        for name, value in started.items()
        if not is_listed(name, _BY_BUNDLE) and not _KEPT_BY_BUNDLE.fullmatch(name)
    }
    for name, value in started.items():
        if value and (found := _KEPT_BY_BUNDLE.fullmatch(name)):
            kept[found["name"]] = value
    return kept


def child_environment(
    owners: Mapping[str, str], *, path: str, extra: Mapping[str, str], platform: str
) -> dict[str, str]:
    """The environment of a child: `owners`, then `path`, then `extra`.

    `platform` is a `sys.platform`. `extra` wins and is not looked at. Loopback never goes through a
    proxy.
    """
    windows = platform == "win32"
    path_names = [name for name in owners if windows and name.upper() == "PATH"]
    child = {name: value for name, value in owners.items() if name not in path_names}
    child |= {"PATH": path, "TERM": "dumb", **extra}
    return child | _no_proxy(extra, child, windows)


def worth_telling(names: Collection[str]) -> tuple[str, ...]:
    """Those of `names` that not every program gets, sorted."""
    return tuple(sorted(name for name in names if not is_listed(name, _USUAL, ignore_case=True)))


def is_listed(name: str, patterns: Collection[str], ignore_case: bool = False) -> bool:
    """Whether `name` is among `patterns`, where `*` at the end stands for any rest."""
    if ignore_case:
        name, patterns = name.upper(), [pattern.upper() for pattern in patterns]
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
        for pattern in patterns
    )


def _no_proxy(extra: Mapping[str, str], child: Mapping[str, str], windows: bool) -> dict[str, str]:
    spellings = ("NO_PROXY", "no_proxy")
    given = (source[name] for source in (extra, child) for name in spellings if source.get(name))
    hosts = [host.strip() for host in next(given, "").split(",") if host.strip()]
    value = ",".join(dict.fromkeys((*hosts, *_LOOPBACK)))
    return {name: value for name in (spellings[:1] if windows else spellings)}
