"""A home that exists, and a way to load it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from executor_core.config.home import Home
from executor_core.config.layers import Config, load

Load = Callable[..., Config]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def config(home: Home) -> Load:
    """`load` for that home; the user's own home folder is `/users/ada`."""

    def load_it(
        environment: Mapping[str, str] | None = None,
        command_line: Mapping[str, object] | None = None,
        config_file: Path | None = None,
    ) -> Config:
        own = {"HOME": "/users/ada", "USERPROFILE": "/users/ada"}
        return load(home, {**own, **(environment or {})}, command_line, config_file)

    return load_it
