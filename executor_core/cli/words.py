"""Help and usage errors in the user's language: click's mechanics, the catalogue's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import click

from executor_core.cli.context import choose_language
from executor_core.cli.duration import Duration
from executor_core.cli.out import say
from executor_core.texts import text

_USAGE = {
    "[OPTIONS]": "cli.help.any_options",
    "COMMAND [ARGS]...": "cli.help.a_command",
    "[COMMAND] [ARGS]...": "cli.help.maybe_a_command",
}
"""What click writes into a usage line."""
_SHARED = {"is_json": "cli.help.json"}
"""Options that mean the same everywhere."""


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


class Misuse(click.UsageError):
    """A command line that is not understood, as one sentence of ours."""

    def show(self, file: IO[Any] | None = None) -> None:
        choose_language()
        if self.ctx is not None:
            say(self.ctx.get_usage(), file=file, err=True)
            hint = text("cli.usage.hint", command=f"{self.ctx.command_path} --help")
            say(f"{hint}\n", file=file, err=True)
        say(_sentence(self.__cause__), file=file, err=True)


def _sentence(error: BaseException | None) -> str:
    match error:
        case click.NoSuchOption():
            return text("cli.usage.no_option", name=error.option_name)
        case click.MissingParameter(param=click.Option() as param):
            return text("cli.usage.missing", name=param.opts[0])
        case click.MissingParameter(param=click.Parameter() as param):
            return text("cli.usage.missing", name=param.human_readable_name.upper())
        case click.BadParameter(param=click.Parameter(type=Duration(most=most)) as param):
            key = "cli.usage.duration_up_to" if most else "cli.usage.duration"
            return text(key, name=param.opts[0], most=most)
        case click.BadParameter(param=click.Parameter(type=click.IntRange() as kind) as param):
            return text("cli.usage.range", name=param.opts[0], least=kind.min, most=kind.max)
        case click.BadOptionUsage():
            return text("cli.usage.option", name=error.option_name)
        case NoSuchVerb():
            return text("cli.usage.no_verb", name=error.name)
        case NoVerb():
            return text("cli.usage.no_command", names=", ".join(error.names))
        case _:
            return text("cli.usage.other")


class NoSuchVerb(click.UsageError):
    """A command that there is not."""

    def __init__(self, name: str, context: click.Context) -> None:
        super().__init__(name, context)
        self.name = name


class NoVerb(click.UsageError):
    """No command where one of these is needed."""

    def __init__(self, names: Iterable[str], context: click.Context) -> None:
        super().__init__("", context)
        self.names = tuple(names)


class Verb(click.Command):
    """A command whose help is `help.<path>` of the catalogue, its options `help.<path>.<name>`."""

    context_class = Context

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [text(_USAGE[piece]) if piece in _USAGE else piece for piece in pieces]

    def get_help(self, ctx: click.Context) -> str:
        _speak(ctx)
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
            raise Misuse(str(error), error.ctx or ctx) from error


class Verbs(Verb, click.Group):
    """A group of them."""

    command_class = Verb
    group_class = type

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not self.invoke_without_command:
            raise Misuse("", ctx) from NoVerb(self.commands, ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            error = NoSuchVerb(args[0], ctx)
            raise Misuse(str(error), ctx) from error
        return super().resolve_command(ctx, args)


def _speak(ctx: click.Context) -> None:
    choose_language()
    for key, command in visible_commands(ctx.find_root().command):
        command.help = text(key)
        command.short_help = command.help.split("\n\n")[0]
        for param in command.params:
            if isinstance(param, click.Option):
                own = f"{key}.{param.name}"
                param.help = text(_SHARED.get(param.name, own), default=param.default)


def visible_commands(
    command: click.Command, key: str = "help.main"
) -> Iterator[tuple[str, click.Command]]:
    """`command` and all below it, each with the key of its text."""
    yield key, command
    if isinstance(command, click.Group):
        prefix = "help" if key == "help.main" else key
        for name, part in command.commands.items():
            if not part.hidden:
                yield from visible_commands(part, f"{prefix}.{name}")


as_json = click.option("--json", "is_json", is_flag=True)
"""The option of verbs whose answer a program may want to read."""
