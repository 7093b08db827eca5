"""The frame of every verb: click's mechanics with the catalogue's words, and what a verb needs.

A verb is one short function. Its help is `help.<path>` of the catalogue, and that of its options
`help.<path>.<name>`. What it raises becomes one sentence and an exit code; no traceback reaches a
person. The configuration and the running executor it gets from `invocation()`.
"""

from __future__ import annotations

import asyncio
import functools
import math
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from executor_core.cli.out import Exit, exit_code, say, say_error
from executor_core.errors import ExecutorError
from executor_core.texts import text, use_language

if TYPE_CHECKING:
    from executor_core.config.home import Home
    from executor_core.config.layers import Config
    from executor_core.control import RemoteControl
    from executor_core.services.reach import Load, Reach

_T = TypeVar("_T")

_LONGEST_LINE = 100_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_USAGE = {
    "[OPTIONS]": "cli.help.any_options",
    "COMMAND [ARGS]...": "cli.help.a_command",
    "[COMMAND] [ARGS]...": "cli.help.maybe_a_command",
}
"""What click writes into a usage line."""
_SHARED = {"is_json": "cli.help.json"}
"""Options that mean the same everywhere."""

as_json = click.option("--json", "is_json", is_flag=True)
"""For verbs whose answer a program may want to read."""
agreed = click.option("--yes", "is_agreed", is_flag=True)
"""For verbs that else ask a person."""
dry_run = click.option("--dry-run", "is_dry", is_flag=True)
"""For verbs that can say what they would do."""
at_server = click.option("--backend-url", metavar="URL")
"""For verbs that may go to another server than the configured one; for `invocation`."""


# --- what every verb starts from ---------------------------------------------------------------


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

    def reach(self) -> tuple[Load, Reach]:
        """What the services are built from: the configuration, and the executor that runs."""
        from executor_core.control import RemoteControl

        return self.config, functools.partial(RemoteControl.of_home, self.home().api_json)

    def ask(
        self,
        question: Callable[[RemoteControl], Awaitable[_T]],
        otherwise: Callable[[], _T] | None = None,
    ) -> _T:
        """Ask the running executor of this <home>; `otherwise` answers where none runs."""
        from executor_core.control import RemoteControl

        async def run() -> _T:
            async with RemoteControl.of_home(self.home().api_json) as control:
                return await question(control)

        try:
            return asyncio.run(run())
        except ExecutorError as error:
            if otherwise is None or error.code != "not_running":
                raise
        return otherwise()


def invocation(server: str | None = None) -> Invocation:
    """The Invocation of the command that runs, perhaps at another server."""
    found = click.get_current_context().find_object(Invocation)
    assert found is not None
    if server:
        return Invocation({**found.given, "server.url": server}, found._config_file)
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


# --- what is typed wrong -----------------------------------------------------------------------


class Duration(click.ParamType[float]):
    """`30m`, `2h`, `90s`, `1d`; a plain number means minutes. Becomes seconds."""

    name = "duration"

    def __init__(self, most: str = "") -> None:
        """`most` is the longest that is taken, as people type it; without it any is."""
        self.most = most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = _seconds(str(value))
        if not 0 < seconds <= (_seconds(self.most) if self.most else math.inf):
            self.fail(f"{value!r} is no duration", param, ctx)
        return seconds


def _seconds(typed: str) -> float:
    """0 for what is no duration."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", typed)
    return float(found[1]) * _UNITS[found[2] or "m"] if found else 0


class Misuse(click.UsageError):
    """A command line that is not understood, as one sentence of ours: `cli.usage.<key>`."""

    def __init__(self, context: click.Context, key: str = "other", **values: Any) -> None:
        super().__init__(key, context)
        self._key = key
        self._values = values

    def show(self, file: IO[Any] | None = None) -> None:
        choose_language()
        if self.ctx is not None:
            say(self.ctx.get_usage(), file=file, err=True)
            hint = text("cli.usage.hint", command=f"{self.ctx.command_path} --help")
            say(f"{hint}\n", file=file, err=True)
        say(text(f"cli.usage.{self._key}", **self._values), file=file, err=True)


def missing(context: click.Context, param: click.Parameter | None = None) -> Misuse:
    """The parameter, else the command's first, was not given."""
    param = param or context.command.params[0]
    is_option = isinstance(param, click.Option)
    name = param.opts[0] if is_option else param.human_readable_name.upper()
    return Misuse(context, "missing", name=name)


def _misuse(error: click.UsageError, context: click.Context) -> Misuse:
    match error:
        case Misuse():
            return error
        case click.NoSuchOption():
            return Misuse(context, "no_option", name=error.option_name)
        case click.MissingParameter(param=click.Parameter() as param):
            return missing(context, param)
        case click.BadParameter(param=click.Parameter(type=Duration(most=most)) as param):
            key = "duration_up_to" if most else "duration"
            return Misuse(context, key, name=param.opts[0], most=most)
        case click.BadParameter(param=click.Parameter(type=click.IntRange() as kind) as param):
            return Misuse(context, "range", name=param.opts[0], least=kind.min, most=kind.max)
        case click.BadOptionUsage():
            return Misuse(context, "option", name=error.option_name)
        case _:
            return Misuse(context)


# --- verbs and groups of them ------------------------------------------------------------------


class Formatter(click.HelpFormatter):
    """Headings from the catalogue."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, f"{text('cli.help.usage')} ")

    def write_heading(self, heading: str) -> None:
        key = {"Options": "cli.help.options", "Commands": "cli.help.commands"}.get(heading)
        super().write_heading(text(key) if key else heading)

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **more: Any) -> None:
        required = text("cli.help.required")
        said = [(name, words.replace("[required]", required)) for name, words in rows]
        super().write_dl(said, *args, **more)


class Context(click.Context):
    """Makes the formatter above."""

    formatter_class = Formatter


class Verb(click.Command):
    """A command as the head of this file says."""

    context_class = Context

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [text(_USAGE[piece]) if piece in _USAGE else piece for piece in pieces]

    def get_help(self, ctx: click.Context) -> str:
        choose_language()
        key = _key(ctx)
        self.help = text(key)
        for param in self.params:
            if isinstance(param, click.Option):
                own = f"{key}.{param.name}"
                param.help = text(_SHARED.get(param.name or "", own), default=param.default)
        return super().get_help(ctx)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = text("cli.help.help")
        return option

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _misuse(error, error.ctx or ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ExecutorError as error:
            say_error(error)
            sys.exit(exit_code(error))
        except (KeyboardInterrupt, click.Abort):
            say(err=True)
            sys.exit(Exit.INTERRUPTED)


class Verbs(Verb, click.Group):
    """A group of them."""

    command_class = Verb
    group_class = type

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not self.invoke_without_command:
            raise Misuse(ctx, "no_command", names=", ".join(self.commands))
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            raise Misuse(ctx, "no_verb", name=args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        key = _key(ctx).removesuffix(".main")
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(one, text(f"{key}.{one}").split("\n\n")[0]) for one in names])


def _key(ctx: click.Context) -> str:
    """Where the texts of a command are: `help.runs.show`, `help.main` for the program itself."""
    return ".".join(("help", *(ctx.command_path.split()[1:] or ["main"])))


def group(listing: Callable[..., None]) -> Verbs:
    """A group whose own function says what there is, where none of its verbs was given."""

    @functools.wraps(listing)
    def alone(*args: Any, **kwargs: Any) -> None:
        if click.get_current_context().invoked_subcommand is None:
            listing(*args, **kwargs)

    return click.group(cls=Verbs, invoke_without_command=True)(alone)
