"""What every verb starts from: the configuration, and the executor that runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from executor_core.errors import ExecutorError
from executor_core.texts import use_language

if TYPE_CHECKING:
    from executor_core.config.home import Home
    from executor_core.config.layers import Config
    from executor_core.control import RemoteControl
    from executor_core.services.reach import Load, Reach

_T = TypeVar("_T")

_LONGEST_LINE = 100_000


class Invocation:
    """The options that were given before the verb; None for each that was not."""

    def __init__(self, given: Mapping[str, object], config_file: Path | None = None) -> None:
        self.given = given
        self._config_file = config_file

    def choose_language(self) -> None:
        """Speak as the user wishes, and in colours only where they like them."""
        from executor_core.config.layers import read_environment

        context = click.get_current_context(silent=True)
        if context is not None and read_environment().get("NO_COLOR"):
            context.color = False
        with suppress(ExecutorError):  # there is no home
            use_language(self.read().language)

    def also(self, given: Mapping[str, object]) -> Invocation:
        """The same with more options given."""
        return Invocation({**self.given, **given}, self._config_file)

    def home(self) -> Home:
        """Where everything is. No configuration is needed to find it."""
        from executor_core.config.home import find_home
        from executor_core.config.layers import read_environment

        home = find_home(read_environment())
        home.check_owner()
        return home

    def config(self) -> Config:
        """All layers, read and checked."""
        config = self.read()
        for problem in config.problems:
            raise problem
        return config

    def read(self) -> Config:
        """All layers as they are: what is wrong with them is found in it."""
        from executor_core.config.layers import read, read_environment

        environment = read_environment()
        return read(self.home(), environment, self.given, self._config_file)

    def desk(self) -> tuple[Load, Reach]:
        """What parts of the desk are built from: the configuration, and the executor that runs."""
        from executor_core.control import RemoteControl

        return self.config, partial(RemoteControl.of_home, self.home().api_json)

    def ask(self, question: Callable[[RemoteControl], Awaitable[_T]]) -> _T:
        """Ask the running executor of this <home>."""
        from executor_core.control import RemoteControl

        async def run() -> _T:
            async with RemoteControl.of_home(self.home().api_json) as control:
                return await question(control)

        return asyncio.run(run())


def invocation() -> Invocation:
    """The Invocation of the command that runs."""
    found = click.get_current_context().find_object(Invocation)
    assert found is not None
    return found


def standard_input() -> str:
    """All that was piped in."""
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def secret_line(question: str) -> str:
    """The first line that was piped in; a person at a terminal is asked, and it is not shown."""
    if sys.stdin.isatty():
        return str(click.prompt(question, hide_input=True, err=True))
    line = sys.stdin.buffer.readline(_LONGEST_LINE)
    return line.decode("utf-8", "replace").rstrip("\r\n")


def choose_language() -> None:
    """Speak the user's language where no command runs: in help, and about a wrong command line."""
    Invocation({}).choose_language()
