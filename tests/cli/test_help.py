"""Help and usage errors: complete in both languages, with examples."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from executor_core.cli.root import cli
from executor_core.texts import LANGUAGES, catalogue
from tests.cli.conftest import ZH, Cli


def visible_commands(
    command: click.Command, key: str = "help.main"
) -> Iterator[tuple[str, click.Command]]:
    """`command` and all below it that are listed, each with the key of its text."""
    yield key, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from visible_commands(found, f"{key.removesuffix('.main')}.{name}")


COMMANDS = dict(visible_commands(cli))


def keys() -> Iterator[str]:
    """Every text that help needs."""
    for key, command in COMMANDS.items():
        yield key
        for param in command.params:
            if isinstance(param, click.Option) and param.name != "is_json":
                yield f"{key}.{param.name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_has_exactly_the_texts_that_the_commands_need(language: str) -> None:
    found = {key for key in catalogue(language) if key.startswith("help.")}
    assert found == set(keys())


@pytest.mark.parametrize("key", COMMANDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_help_is_in_the_users_language_and_has_an_example(
    command: Cli, key: str, language: str
) -> None:
    path = [] if key == "help.main" else key.split(".")[1:]
    result = command(*path, "--help", env={"WEGENT_EXECUTOR_LANGUAGE": language})
    assert result.exit_code == 0
    first_line = catalogue(language)[key].split("\n")[0]
    assert first_line in " ".join(result.stdout.split()).replace("- ", "-")
    assert f"$ wegent-executor {' '.join(path)}".rstrip() in result.stdout.replace("| ", "$ ")
    assert catalogue(language)["cli.help.options"] in result.stdout


@pytest.mark.parametrize("key", COMMANDS)
def test_chinese_help_has_no_word_of_the_library(command: Cli, key: str) -> None:
    path = [] if key == "help.main" else key.split(".")[1:]
    said = command(*path, "--help", env=ZH).stdout
    assert not [word for word in ("OPTIONS", "COMMAND", "ARGS", "required") if word in said]


def test_an_english_line_of_help_ends_within_eighty_columns(command: Cli) -> None:
    for key in COMMANDS:
        path = [] if key == "help.main" else key.split(".")[1:]
        assert all(len(line) <= 80 for line in command(*path, "--help").stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "english", "chinese"),
    [
        (["nonsense"], "There is no command nonsense.", "没有命令 nonsense。"),
        (["runs", "nonsense"], "There is no command nonsense.", "没有命令 nonsense。"),
        (["--nonsense"], "There is no option --nonsense.", "没有选项 --nonsense。"),
        (["status", "--nonsense"], "There is no option --nonsense.", "没有选项 --nonsense。"),
        (["api"], "A command is missing: user.", "缺少命令：user。"),
        (["api", "user"], "missing: add, remove, list.", "缺少命令：add, remove, list。"),
        (["runs", "keep", "x"], "--branch is missing.", "缺少 --branch。"),
        (["exec"], "PROMPT is missing.", "缺少 PROMPT。"),
        (["exec", "x", "--cwd"], "--cwd is not used like this.", "--cwd 的用法不对。"),
        (["runs", "--limit", "0"], "from 1 to 500", "1 到 500"),
        (["runs", "--limit", "x"], "from 1 to 500", "1 到 500"),
        (["pause", "--for", "soon"], "such as 90s, 30m", "例如 90s、30m"),
        (["pause", "--for", "0"], "such as 90s, 30m", "例如 90s、30m"),
        (["pause", "--for", "9" * 400], "such as 90s, 30m", "例如 90s、30m"),
        (["status", "a", "b"], "do not fit the command", "参数与命令不符"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_code_2(
    command: Cli, arguments: list[str], english: str, chinese: str
) -> None:
    for words, env in ((english, {}), (chinese, ZH)):
        result = command(*arguments, env=env)
        assert result.exit_code == 2
        assert words in result.stderr.splitlines()[-1]
        assert result.stdout == ""


def test_the_version_is_a_line_for_scripts(command: Cli) -> None:
    assert command("--version").stdout.count(".") == 2
