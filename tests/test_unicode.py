"""What others wrote reaches a screen as text and nothing else."""

from __future__ import annotations

import json

import pytest

from executor_core.unicode import one_line, plain_json, visible


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("plain 中文 🎉 e\u0301 👨\u200d👩", "plain 中文 🎉 e\u0301 👨\u200d👩"),
        ("a\tb\nc\r\nd", "a\tb\nc\nd"),
        ("\x1b]52;c;Y2Fz\x07", "\\x1b]52;c;Y2Fz\\x07"),
        ("50%\rdone", "50%\\rdone"),
        ("\x9b2J", "\\x9b2J"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("\u2066x\u2069 \u2028", "\\u2066x\\u2069 \\u2028"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(words: str, seen: str) -> None:
    assert visible(words) == seen


def test_a_line_stays_one() -> None:
    assert one_line("a\nb\tc") == "a\\nb c"


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "cp1252", "gbk", "ascii"])
def test_json_loses_nothing_and_steers_nothing(encoding: str) -> None:
    value = {"text": "中文 🎉 \x9b2J \u202e é"}
    written = plain_json(json.dumps(value, ensure_ascii=False), encoding)
    assert json.loads(written.encode(encoding).decode(encoding)) == value
    assert not set(written) & {"\x9b", "\u202e"}
    assert ("中文" in written) is (encoding in ("utf-8", "UTF8"))
