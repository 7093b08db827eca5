from __future__ import annotations

from datetime import timedelta

import pytest

from desktop.parts.phrases import duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (172_800, "2 d")]
)
def test_a_duration_is_its_largest_unit(seconds: int, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words
