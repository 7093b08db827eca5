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
from executor_core.texts import LANGUAGES, language_of, use_language

if TYPE_CHECKING:
    from executor_core.config.layers import Config
    from executor_core.control import RemoteControl
    from executor_core.desk.reach import Load, Reach

_T = TypeVar("_T")

_LONGEST_LINE = 100_000


class Invocation:
    """The options that were given before the verb; None for each that was not."""

    def __init__(self, given: Mapping[str, object], config_file: Path | None = None) -> None:
        self.given = given
        self._config_file = config_file

    def also(self, given: Mapping[str, object]) -> Invocation:
        """The same with more options given."""
        return Invocation({**self.given, **given}, self._config_file)

    def config(self) -> Config:
        """All layers, read and checked. Chooses the language and the colours of the process."""
        from executor_core.config.home import find_home
        from executor_core.config.layers import load, read_environment

        environment = read_environment()
        # What is wrong with the configuration is said in the language that it was going to choose.
        use_language(_language_of_terminal(environment))
        if environment.get("NO_COLOR"):
            click.get_current_context().color = False
        config = load(find_home(environment), environment, self.given, self._config_file)
        use_language(config.language)
        return config

    def desk(self) -> tuple[Load, Reach]:
        """What parts of the desk are built from: the configuration, and the executor that runs.

        The configuration is read once here, as `config` does it.
        """
        from executor_core.config.home import find_home
        from executor_core.config.layers import load, read_environment
        from executor_core.control import RemoteControl

        home = self.config().home
        environment = read_environment()
        read = partial(load, find_home(environment), environment, self.given, self._config_file)
        return read, partial(RemoteControl.of_home, home.api_json)

    def ask(self, question: Callable[[RemoteControl], Awaitable[_T]]) -> _T:
        """Ask the running executor of this <home>."""
        from executor_core.control import RemoteControl

        api_file = self.config().home.api_json

        async def run() -> _T:
            async with RemoteControl.of_home(api_file) as control:
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
    with suppress(ExecutorError):
        Invocation({}).config()


def _language_of_terminal(environment: Mapping[str, str]) -> str:
    from executor_core.config.options import LANGUAGE

    chosen = environment.get(LANGUAGE.environment[0], "").strip()
    if chosen in LANGUAGES:
        return chosen
    names = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return language_of(next((name for name in names if name), ""))
