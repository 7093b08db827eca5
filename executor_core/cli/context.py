"""What every verb starts from: the configuration, and the executor that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from executor_core.texts import use_language

if TYPE_CHECKING:
    from executor_core.config.layers import Config
    from executor_core.control import RemoteControl

_T = TypeVar("_T")


class Invocation:
    """The options that were given before the verb."""

    def __init__(self, given: Mapping[str, object], config_file: Path | None) -> None:
        self._given = given
        self._config_file = config_file

    def config(self) -> Config:
        """All layers, read and checked. Chooses the language of the process."""
        from executor_core.config.home import find_home
        from executor_core.config.layers import load, read_environment

        environment = read_environment()
        config = load(find_home(environment), environment, self._given, self._config_file)
        use_language(config.language)
        return config

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
