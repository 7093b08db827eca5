"""The one way to data files: icons, catalogues, the console page."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def _root() -> Path:
    """`resources/` of a checkout, or its copy inside an installed package or a frozen bundle."""
    here = Path(__file__).resolve().parent
    installed = here / "_resources"
    return installed if installed.is_dir() else here.parent / "resources"


def resource_path(name: str) -> Path:
    """The path of the data file `name`, for example `i18n/en.json`."""
    return _root() / name
