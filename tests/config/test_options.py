from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_core.config import kinds, options
from executor_core.config.errors import ConfigError
from executor_core.config.kinds import Address, Kind, Where
from executor_core.config.options import OPTIONS, Option, option_named
from executor_core.loopback import is_loopback
from executor_core.texts import LANGUAGES, Message, text

WHERE = Where(base=Path("/base"), user_home=Path("/users/ada"))
EVERY = list(OPTIONS.values())

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("option", EVERY, ids=lambda option: option.name)
def test_every_option_has_help_in_both_languages(option: Option[object]) -> None:
    helps = {text(f"option.{option.name}", language=language) for language in LANGUAGES}
    assert len(helps) == len(LANGUAGES)
    assert all(help_.strip() for help_ in helps)


@pytest.mark.parametrize("option", EVERY, ids=lambda option: option.name)
def test_every_option_says_what_is_allowed_in_both_languages(option: Option[object]) -> None:
    for language in LANGUAGES:
        assert option.kind.allowed.text(language)


@pytest.mark.parametrize("option", EVERY, ids=lambda option: option.name)
def test_every_default_is_allowed(option: Option[object]) -> None:
    if option.default == "":
        assert option.empty is not None
    else:
        option.kind.parse(option.default, WHERE)


def test_no_environment_name_and_no_flag_serves_two_options() -> None:
    names = [name for option in EVERY for name in option.environment]
    flags = [option.flag for option in EVERY if option.flag]
    assert len(names) == len(set(names))
    assert len(flags) == len(set(flags))


def test_the_name_of_no_option_is_the_group_of_another() -> None:
    assert not [a for a in OPTIONS for b in OPTIONS if b.startswith(f"{a}.")]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        option_named("heartbeat.intervall")
    assert caught.value.code == "unknown_option"
    assert "heartbeat.interval_s" in caught.value.message.hint


@settings(deadline=None)
@given(raw=ANYTHING)
def test_parsers_answer_or_raise_value_error_whatever_a_file_holds(raw: object) -> None:
    for option in EVERY:
        try:
            option.kind.parse(raw, WHERE)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (kinds.size(1024, 1 << 40), "10MB", 10 * 1024 * 1024),
        (kinds.size(1024, 1 << 40), "10 mib", 10 * 1024 * 1024),
        (kinds.size(1024, 1 << 40), "1.5G", 1536 * 1024 * 1024),
        (kinds.size(1024, 1 << 40), "64kb", 65536),
        (kinds.size(1024, 1 << 40), 10485760, 10485760),
        (kinds.size(1024, 1 << 40), "10485760", 10485760),
        (kinds.size(1024, 1 << 40), "2048B", 2048),
        (kinds.size(1024, 1 << 40), "10", 10 * 1024 * 1024),
        (kinds.size(1024, 1 << 40), 4096, 4096 * 1024 * 1024),
        (kinds.seconds(1, 60), "1.5", 1.5),
        (kinds.seconds(1, 60), 30, 30.0),
        (kinds.integer(1, 32), "5", 5),
        (kinds.integer(1, 32), 5.0, 5),
        (kinds.switch(), "YES", True),
        (kinds.switch(), 0, False),
        (kinds.choice("DEBUG", "INFO"), "debug", "DEBUG"),
        (kinds.path(), "~/work", Path("/users/ada/work")),
        (kinds.path(), "~", Path("/users/ada")),
        (kinds.path(), "work", Path("/base/work")),
        (kinds.path(), "/work", Path("/work")),
        (kinds.path(), "~ada/work", Path("/base/~ada/work")),
        (kinds.paths(), "/a, ~/b", (Path("/a"), Path("/users/ada/b"))),
        (kinds.paths(), ["/a"], (Path("/a"),)),
        (kinds.texts(), "gpu, docker", ("gpu", "docker")),
        (kinds.address(), "127.0.0.1:8090", Address("127.0.0.1", 8090)),
        (kinds.address(), ":8090", Address("127.0.0.1", 8090)),
        (kinds.address(), "[::1]:0", Address("::1", 0)),
        (kinds.secret(), " bearer  wg-abc ", "wg-abc"),
    ],
)
def test_values_are_read_as_people_write_them(
    kind: Kind[object], raw: object, value: object
) -> None:
    assert kind.parse(raw, WHERE) == value


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (kinds.size(1024, 1 << 30), "10XB"),
        (kinds.size(1024, 1 << 30), "1KB2"),
        (kinds.size(1024, 1 << 30), "1..5MB"),
        (kinds.size(1024, 1 << 30), True),
        (kinds.size(1024, 1 << 30), "-1"),
        (kinds.size(1024 * 1024, 1 << 30), "5000"),
        (kinds.seconds(1, 60), "nan"),
        (kinds.seconds(1, 60), "inf"),
        (kinds.seconds(1, 60), True),
        (kinds.seconds(1, 60), 0.5),
        (kinds.integer(1, 32), 1.5),
        (kinds.integer(1, 32), 33),
        (kinds.integer(1, 32), 10**400),
        (kinds.switch(), "perhaps"),
        (kinds.switch(), 2),
        (kinds.path(), "a\0b"),
        (kinds.path(), 5),
        (kinds.address(), "8090"),
        (kinds.address(), "127.0.0.1:65536"),
        (kinds.address(), "a b:80"),
        (kinds.secret(), "two words"),
        (kinds.secret(), "line\nbreak"),
        (kinds.secret(), "密钥"),
        (kinds.line_of_text(), "two\nlines"),
        (kinds.texts(), {"a": 1}),
    ],
)
def test_values_that_are_not_allowed_are_refused(kind: Kind[object], raw: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a parser raises nothing else
        kind.parse(raw, WHERE)


def test_an_address_prints_as_it_is_written() -> None:
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "a.LOCALHOST."])
def test_names_of_this_computer_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "localhost.example.com", ""])
def test_other_names_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_phrase_speaks_the_language_it_is_asked_for() -> None:
    inner = Message("source.environment", {"name": "LOG_LEVEL"})
    error = ConfigError("bad_option", option="x", source=inner, value="y", allowed="z")
    assert "environment LOG_LEVEL" in str(error)
    assert inner.text("zh_CN") == "环境变量 LOG_LEVEL"


def test_types_are_known_to_the_reader() -> None:
    option: Option[float] = options.HEARTBEAT_INTERVAL_S
    assert option.kind.parse("30", WHERE) == 30.0
