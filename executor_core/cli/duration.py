"""Durations as people type them."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_DIGITS = 9


class Duration(click.ParamType[float]):
    """`30m`, `2h`, `90s`, `1d`; a plain number means minutes. Becomes seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(rf"(\d{{1,{_LONGEST_DIGITS}}}(?:\.\d{{1,3}})?)([smhd]?)", str(value))
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no duration", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "m"]
