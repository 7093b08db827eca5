from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_core.config.documents import line_of, read_env, read_json, read_toml
from executor_core.config.errors import ConfigError


@pytest.mark.parametrize(
    ("read", "content", "line"),
    [
        (read_toml, b"[log]\nlevel = \n", 2),
        (read_toml, b"a = 1\nb = [1,\n", 3),
        (read_toml, b"a = 1\nb = '\xff'\n", 2),
        (read_json, b'{\n "a": 1\n "b": 2}', 3),
        (read_json, b"[1]", 1),
    ],
)
def test_a_syntax_error_names_file_and_line(
    tmp_path: Path, read: object, content: bytes, line: int
) -> None:
    file = tmp_path / "settings"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(file)  # type: ignore[operator]
    assert caught.value.code == "config_syntax"
    assert f"{file}, line {line}: " in caught.value.message.detail
    assert "\n" not in caught.value.message.sentence


def test_a_line_of_config_env_that_is_no_assignment_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.env"
    file.write_text("A=1\n\nB='never closed\n")
    with pytest.raises(ConfigError) as caught:
        read_env(file, {})
    assert f"{file}, line 3: " in caught.value.message.detail


def test_a_byte_order_mark_is_tolerated_everywhere(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    for name, content in {"t": b"a = 1", "j": b'{"a": 1}', "e": b"a=1"}.items():
        (tmp_path / name).write_bytes(mark + content)
    assert read_toml(tmp_path / "t")[0] == {"a": 1}
    assert read_json(tmp_path / "j") == {"a": 1}
    assert read_env(tmp_path / "e", {})["a"].value == "1"


def test_files_that_are_missing_are_empty(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert read_toml(missing) == ({}, "")
    assert read_json(missing) == {}
    assert read_env(missing, {}) == {}


@pytest.mark.parametrize("read", [read_toml, read_json, lambda file: read_env(file, {})])
def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path)  # type: ignore[operator]
    assert caught.value.code == "config_unreadable"
    assert str(tmp_path) in caught.value.message.detail


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="1 MB"):
        read_toml(tmp_path / "big")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('export X="y"', "y"),
        ("X=y", "y"),
        ("  export   X = y ", "y"),
        ("X='$HOME'", "$HOME"),
        ('X="$HOME/a"', "/users/ada/a"),
        ("X=${HOME}/a", "/users/ada/a"),
        ("X=$UNKNOWN.", "."),
        (r'X="\$HOME"', "$HOME"),
        ("X=y # a comment", "y"),
        ("X=#y", "#y"),
        ('X=""', ""),
        ("# before\n\nX=y", "y"),
        ("A=1\nX=$A$A", "11"),
        ("X=一\r\nZ=2", "一"),
    ],
)
def test_config_env_is_read_as_people_write_it_to_be_sourced(
    tmp_path: Path, written: str, value: str
) -> None:
    file = tmp_path / "config.env"
    file.write_text(written, encoding="utf-8", newline="")
    assert read_env(file, {"HOME": "/users/ada"})["X"].value == value


def test_config_env_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.env"
    file.write_text(f"X=$(touch {tmp_path}/made)\nY=`touch {tmp_path}/made`\n")
    read_env(file, {})
    assert not (tmp_path / "made").exists()


TOML = """\
top = 1

[server]  # where
"url" = "a"
 proxy . host = "b"
table = { inner = 1 }

["log"]
level = '''
url = x'''
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("top", 1),
        ("server.url", 4),
        ("server.proxy.host", 5),
        ("server.table.inner", 6),
        ("log.level", 9),
        ("server.missing", None),
    ],
)
def test_the_line_of_a_key_is_found(name: str, line: int | None) -> None:
    assert line_of(TOML, name) == line


@settings(deadline=None)
@given(raw=st.binary(max_size=200))
def test_a_file_of_anything_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "anything"
    file.write_bytes(raw)
    refusals: list[ConfigError] = []
    for read in (read_toml, read_json, lambda path: read_env(path, {})):
        try:
            read(file)
        except ConfigError as error:
            refusals.append(error)
    assert all(str(file) in error.message.detail for error in refusals)


def test_a_home_that_is_a_file_is_no_fault_of_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match="home_not_a_folder") as caught:
        read_env(tmp_path / "home" / "config.env", {})
    assert caught.value.message.detail.startswith(str(tmp_path / "home ").strip())
    assert "config.env" not in caught.value.message.detail
