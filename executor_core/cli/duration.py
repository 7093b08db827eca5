"""Durations as people type them."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[float]):
    """`30m`, `2h`, `90s`, `1d`; a plain number means minutes. Becomes seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value).strip())
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no duration; write for example 90s, 30m, 2h or 1d", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "m"]
