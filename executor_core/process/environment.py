"""Declares what a child sees of our environment, and which names a task may set.

Pure: it is handed the environment and reads none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_USER = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR")
_SESSION = (  # so that the user's own tools work: ssh keys, keychain, browser, clipboard
    "SSH_AUTH_SOCK",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_*",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "DOCKER_HOST",
    "KUBECONFIG",
)
_TOOL_HOMES = (
    "ANDROID_HOME",
    "BUN_INSTALL",
    "CARGO_HOME",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PNPM_HOME",
    "PYENV_ROOT",
    "RUSTUP_HOME",
    "VOLTA_HOME",
)
_NETWORK = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
)
_AGENTS = (  # keys, logins and base URLs that the user set for the agents
    "ANTHROPIC_*",
    "CLAUDE_CODE_USE_*",
    "CLAUDE_CODE_SKIP_BEDROCK_AUTH",
    "CLAUDE_CODE_SKIP_VERTEX_AUTH",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CONFIG_DIR",
    "OPENAI_*",
    "CODEX_HOME",
    "CODEX_API_KEY",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_DIR",
    "OPENROUTER_API_KEY",
    "DEEPSEEK_API_KEY",
    "DASHSCOPE_API_KEY",
    "GEMINI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "XAI_API_KEY",
    "ZAI_API_KEY",
    "AWS_*",
    "AZURE_*",
    "CLOUD_ML_REGION",
    "GOOGLE_*",
    "VERTEX_*",
)
_WINDOWS = (
    "ALLUSERSPROFILE",
    "APPDATA",
    "COMMONPROGRAMFILES",
    "COMMONPROGRAMFILES(X86)",
    "COMMONPROGRAMW6432",
    "COMPUTERNAME",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATHEXT",
    "PROCESSOR_*",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "PROGRAMW6432",
    "PSMODULEPATH",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERDOMAIN",
    "USERNAME",
    "USERPROFILE",
    "WINDIR",
)

INHERITED = _USER + _SESSION + _TOOL_HOMES + _NETWORK + _AGENTS
"""What passes from our environment into a child's; `*` at the end stands for any rest."""

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # a frozen bundle points them into itself
_BUNDLE_SIGNS = ("_MEIPASS2", "_PYI_APPLICATION_HOME_DIR", "_PYI_ARCHIVE_FILE")
# PyInstaller keeps the user's own value of what it overwrites under this name.
_KEPT_BY_BUNDLE = re.compile(r"(?P<name>(?:LD|DYLD)_\w+|LIBPATH|SSL_CERT_(?:FILE|DIR))_ORIG")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def child_environment(
    base: Mapping[str, str], *, path: str, extra: Mapping[str, str], platform: str
) -> dict[str, str]:
    """The environment of a child: the declared part of `base`, then `path`, then `extra`.

    `platform` is a `sys.platform`. `extra` wins and is not filtered: what a task supplied must have
    passed `safe_task_variables`. Loopback never goes through a proxy.
    """
    windows = platform == "win32"
    names = INHERITED + (_WINDOWS if windows else ())
    if not any(sign in base for sign in _BUNDLE_SIGNS):
        names += _CERTIFICATES
    child = {name: value for name, value in base.items() if _is_listed(name, names, windows)}
    for name, value in base.items():
        if value and (kept := _KEPT_BY_BUNDLE.fullmatch(name)):
            child[kept["name"]] = value
    child |= {"PATH": path, "TERM": "dumb", **extra}
    return child | _no_proxy(base, child, windows)


def _is_listed(name: str, patterns: tuple[str, ...], ignore_case: bool) -> bool:
    name = name.upper() if ignore_case else name
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
        for pattern in patterns
    )


def _no_proxy(base: Mapping[str, str], child: Mapping[str, str], windows: bool) -> dict[str, str]:
    spellings = ("NO_PROXY", "no_proxy")
    given = (source[name] for source in (child, base) for name in spellings if source.get(name))
    hosts = [host.strip() for host in next(given, "").split(",") if host.strip()]
    value = ",".join(dict.fromkeys((*hosts, *_LOOPBACK)))
    return {name: value for name in (spellings[:1] if windows else spellings)}


# --- what a task may set -------------------------------------------------------------------------

REFUSED = (
    # where programs and libraries are found
    *("PATH", "PATHEXT", "LD_*", "DYLD_*", "LIBPATH", "SHLIB_PATH"),
    # code that an interpreter runs before the program
    *("PYTHON*", "NODE_OPTIONS", "NODE_PATH", "BASH_ENV", "BASH_FUNC_*", "ENV", "PERL*", "RUBY*"),
    *("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "ELECTRON_RUN_AS_NODE", "ZDOTDIR"),
    # how a shell reads its input
    *("SHELL", "COMSPEC", "IFS", "PROMPT_COMMAND", "PS4", "CDPATH", "SHELLOPTS", "BASHOPTS"),
    # what other programs start on their own
    *("GIT_*", "SSH_ASKPASS", "NPM_CONFIG_*"),
    # who the user is, and where
    *("HOME", "USER", "LOGNAME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "WINDIR"),
    # ours, a bundle's and an outer agent's
    *("WEGENT_*", "_MEIPASS*", "_PYI*", "QT_*", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT"),
)
"""Names that a task may not set, in any case; `*` at the end stands for any rest."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TaskVariables(NamedTuple):
    """What a task's variables came to; `refused` holds names only, sorted."""

    kept: dict[str, str]
    refused: tuple[str, ...]


def safe_task_variables(variables: Mapping[str, str]) -> TaskVariables:
    """Take out the names by which a task could make other programs run other code."""
    kept = {
        name: value
        for name, value in variables.items()
        if _NAME.fullmatch(name)
        and "\0" not in value
        and not _is_listed(name, REFUSED, ignore_case=True)
    }
    return TaskVariables(kept, tuple(sorted(variables.keys() - kept.keys())))
