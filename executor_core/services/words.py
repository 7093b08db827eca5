"""Checks in the words of the catalogue.

`check.<name>.title`, then for each case `check.<case>` and, where there is something to do,
`check.<case>.hint`; `check.<case>.fix` says what the doctor itself can do.
"""

from __future__ import annotations

from executor_core.services.interface import Check, Verdict
from executor_core.texts import has_text, text


def title_of(name: str) -> str:
    """What the check is called; with the part after the dot, where there are several of a kind."""
    kind, _, one = name.partition(".")
    return text(f"check.{kind}.title", one=one).strip()


def check(name: str, verdict: Verdict, case: str, /, **values: object) -> Check:
    """The check `name` in the case `case`, for example `disk.low`."""
    return Check(
        name=name,
        title=title_of(name),
        verdict=verdict,
        reason=text(f"check.{case}", language=None, **values),
        hint=_optional(f"check.{case}.hint", values) or "",
        fix=_optional(f"check.{case}.fix", values),
    )


def _optional(key: str, values: dict[str, object]) -> str | None:
    return text(key, language=None, **values) if has_text(key) else None
