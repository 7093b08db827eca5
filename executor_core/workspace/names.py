"""Names that come from elsewhere, made into names that every file system takes."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

MAX_NAME = 120
"""Characters; every one of them may be four bytes, and file systems take 255 or 510."""
_MAX_BYTES = 240

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\..*)?", re.I)
"""What Windows takes for a device, whatever follows the dot."""


def is_safe_name(name: str) -> bool:
    """Whether a file or folder may be called so on every system."""
    return (
        unicodedata.normalize("NFC", name) == _tidy(name)
        and name.lower() not in ("", ".", "..", ".git")
        and not _DEVICE.fullmatch(name)
        and len(name) <= MAX_NAME
        and len(name.encode()) <= _MAX_BYTES
        and name.isprintable()
    )


def safe_file_name(raw: str, fallback: str) -> str:
    """The last part of `raw` as a name that is safe; `fallback` where nothing of it is left."""
    name = _tidy(re.split(r"[/\\]", raw)[-1]).lstrip(".")
    name = "".join(character if character.isprintable() else "_" for character in name)
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = name.removesuffix(suffix)[: MAX_NAME - len(suffix)]
    while len((stem + suffix).encode()) > _MAX_BYTES:
        stem = stem[:-1]
    name = _tidy(stem + suffix)
    if _DEVICE.fullmatch(name):
        name = f"_{name}"
    return name if is_safe_name(name) else fallback


def folded(name: str) -> str:
    """Equal for two names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _tidy(name: str) -> str:
    written = name.encode("utf-8", "replace").decode()
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", written))
    return name.strip(" ").rstrip(". ")
