"""The help pages: complete in both languages, in a Markdown that everybody can show, and true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from executor_core import help_pages
from executor_core.cli.root import cli
from executor_core.resources import resource_path
from executor_core.texts import LANGUAGES, catalogue
from tests.cli.conftest import ZH, Cli

TOPICS = help_pages.topics()
WANTED = {
    "connect", "token", "devices", "slots", "workspaces", "agents", "local-api", "console",
    "privacy", "troubleshooting",
}  # fmt: skip
COMMAND = re.compile(r"^wegent-executor\b.*|(?<=`)wegent-executor\b[^`]*(?=`)", re.MULTILINE)
# Besides headings: a list item and its continuation, or words; no tables, links, HTML or emphasis.
FOREIGN = re.compile(r"^\s*([*+>|]|\d+\.|-{2,}|={2,}|#{3,})|\]\(|\*\*|<[a-z/]|__")


def commands(page: str) -> list[str]:
    # A command in the middle of a sentence may go over the end of its line.
    prose: list[str] = []
    code: list[str] = []
    for number, part in enumerate(page.split("```")):
        (code if number % 2 else prose).append(part)
    joined = " ".join(" ".join(prose).split())
    return COMMAND.findall("\n".join(code)) + COMMAND.findall(joined)


def every_command() -> Iterator[tuple[str, str]]:
    for language in LANGUAGES:
        for topic in TOPICS:
            for line in commands(help_pages.page(topic, language)):
                yield f"{language}/{topic}", line


def parse(arguments: list[str]) -> None:
    """Take a command line apart as the program does, without doing anything."""
    context = cli.make_context("wegent-executor", list(arguments))
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


def test_both_languages_have_the_same_topics() -> None:
    found = {
        language: {path.name for path in resource_path(f"help/{language}").iterdir()}
        for language in LANGUAGES
    }
    assert found["en"] == found["zh_CN"] == {f"{topic}.md" for topic in TOPICS}
    assert set(TOPICS) >= WANTED


def test_both_languages_have_the_same_headings_and_the_same_code() -> None:
    for topic in TOPICS:
        shapes = [
            re.findall(r"^(#+|```)", help_pages.page(topic, language), re.MULTILINE)
            for language in LANGUAGES
        ]
        assert shapes[0] == shapes[1], topic
        blocks = [help_pages.page(topic, language).split("```")[1::2] for language in LANGUAGES]
        assert blocks[0] == blocks[1], topic


def test_every_check_has_its_page_and_every_page_its_check() -> None:
    kinds = {
        key.split(".")[1] for key in catalogue("en") if re.fullmatch(r"check\.\w+\.title", key)
    }
    assert {help_pages.topic_of(kind) for kind in kinds} == set(
        filter(help_pages.is_of_check, TOPICS)
    )
    assert help_pages.topic_of("agent.claude_code") == "check-agent"


def test_pages_keep_to_the_markdown_that_is_shown() -> None:
    for language in LANGUAGES:
        for topic in TOPICS:
            page = help_pages.page(topic, language)
            assert re.match(r"# \S.*\n\n", page), topic
            assert page.count("\n# ") == 0
            assert page.count("```") % 2 == 0
            prose = re.sub(r"`[^`\n]+`", "", "".join(page.split("```")[::2]))
            assert [line for line in prose.splitlines() if FOREIGN.search(line)] == []
            if language == "en":
                assert max(map(len, page.splitlines())) <= 80, topic


def test_every_command_of_a_page_is_understood() -> None:
    found = list(every_command())
    assert len(found) > 100
    for place, line in found:
        try:
            parse(shlex.split(line)[1:])
        except click.UsageError as error:
            pytest.fail(f"{place}: {line}: {error.message}")


@pytest.mark.parametrize("line", ["nonsense", "status --nonsense", "exec", "runs nonsense"])
def test_a_command_that_is_not_understood_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())


def test_every_option_that_a_page_names_exists() -> None:
    from executor_core.config.options import OPTIONS

    groups = {name.partition(".")[0] for name in OPTIONS if "." in name}
    for language in LANGUAGES:
        for topic in TOPICS:
            for name in re.findall(r"`([a-z]+\.[a-z_]+)`", help_pages.page(topic, language)):
                is_file = name.rpartition(".")[2] in ("toml", "env", "db", "json")
                assert is_file or name in OPTIONS or name.partition(".")[0] not in groups, name


def test_topics_are_listed_with_their_titles(command: Cli) -> None:
    result = command("help")
    assert result.exit_code == 0
    for topic in TOPICS:
        assert re.search(
            rf"^  {topic} +{re.escape(help_pages.title(topic, 'en'))}$", result.stdout, re.MULTILINE
        )
    assert "检查：网络" in command("help", env=ZH).stdout


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_shown_in_the_users_language(command: Cli, topic: str) -> None:
    for language in LANGUAGES:
        result = command("help", topic, env={"WEGENT_EXECUTOR_LANGUAGE": language})
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == help_pages.title(topic, language)
        assert "```" not in result.stdout
        assert not any(line.startswith("#") for line in result.stdout.splitlines())


def test_the_name_of_a_command_shows_its_help(command: Cli) -> None:
    assert command("help", "pause").stdout == command("pause", "--help").stdout


def test_a_topic_that_is_near_none_is_not_taken_for_one(command: Cli) -> None:
    said = command("help", "zzz").stderr
    assert "Did you mean" not in said
    assert "`wegent-executor help` lists all." in said


def test_an_unknown_topic_names_the_nearest(command: Cli) -> None:
    result = command("help", "worksapces")
    assert result.exit_code == 1
    assert "workspaces" in result.stderr
    assert "demo" not in command("help", "demo-agent").stdout


def test_help_works_where_the_configuration_is_wrong(command: Cli) -> None:
    assert command("help", "connect", env={"LOG_LEVEL": "LOUD"}).exit_code == 0
