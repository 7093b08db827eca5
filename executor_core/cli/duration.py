"""Durations as people type them."""

from __future__ import annotations

import math
import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_DIGITS = 9


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
    found = re.fullmatch(rf"(\d{{1,{_LONGEST_DIGITS}}}(?:\.\d{{1,3}})?)([smhd]?)", typed)
    return float(found[1]) * _UNITS[found[2] or "m"] if found else 0
