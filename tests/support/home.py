"""A home of the tests' own: nothing they start can see or change what belongs to the user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import canaries

MARKER = "WEGENT_TEST_SESSION"
"""Every process that a test starts inherits this variable, so that none can hide."""

_FOREIGN_PREFIXES = (
    "ANTHROPIC_", "CLAUDE", "CODEX_", "DBUS_SESSION", "EXECUTOR_", "GIT_", "LC_", "LOCAL_",
    "OPENAI_", "OPENCODE_", "OPENRUNNER_", "SKILL_", "WEGENT_", "XDG_",
)  # fmt: skip
_FOREIGN_NAMES = ("DISPLAY", "LANGUAGE", "LOG_LEVEL", "WAYLAND_DISPLAY", "IS_SANDBOX")
_outer: Mapping[str, str] = {}


def outer_environment() -> Mapping[str, str]:
    """The environment as the test run was started: for npm, whose settings lie in the real home."""
    return _outer or os.environ  # noqa: TID251 - the two places in the tests that may


def move_into(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Point the home and every variable that we or an agent reads into `folder`."""
    global _outer
    environment = os.environ  # noqa: TID251 - see above
    _outer = dict(environment)
    for name in _outer:
        if name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN_NAMES:
            patch.delenv(name)
    home = folder / "home"
    for name, path in {
        "HOME": home,
        "USERPROFILE": home,
        "WEGENT_EXECUTOR_HOME": home / ".wegent-executor",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local" / "share",
        "XDG_STATE_HOME": home / ".local" / "state",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_RUNTIME_DIR": folder / "runtime",
    }.items():
        patch.setenv(name, str(path))
    for path in (home, folder / "runtime"):
        path.mkdir(mode=0o700)
    patch.setenv("LANG", "C.UTF-8")
    for name in ("NO_PROXY", "no_proxy"):
        patch.setenv(name, "127.0.0.1,localhost")
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    patch.setenv(MARKER, folder.name)
    for name, secret in canaries.ENVIRONMENT.items():
        patch.setenv(name, secret)
