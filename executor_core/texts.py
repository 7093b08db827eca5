"""Every sentence a person reads, in their language. Logs are English and do not come from here."""

from __future__ import annotations

import re
from functools import cache

import msgspec

from executor_core.resources import resource_path

LANGUAGES = ("en", "zh_CN")
_current = "en"
_BY_TAG = {"en": "en", "zh": "zh_CN"}
_WISH = re.compile(r"\s*([A-Za-z]+)[-\w]*\s*(?:;\s*q=([01](?:\.\d*)?)\s*)?", re.ASCII)


@cache
def catalogue(language: str) -> dict[str, str]:
    """All texts of one language, by key."""
    raw = resource_path(f"i18n/{language}.json").read_bytes()
    return msgspec.json.decode(raw, type=dict[str, str])


def language_of(locale: str) -> str:
    """The catalogue for a locale name such as `zh_CN.UTF-8`; English for every other language."""
    return "zh_CN" if locale.lower().startswith("zh") else "en"


def accepted_language(header: str) -> str | None:
    """The catalogue that an `Accept-Language` header likes best; None where it names none."""
    best, most = None, 0.0
    for part in header.split(","):
        wish = _WISH.fullmatch(part)
        weight = float(wish[2] or 1) if wish else 0
        if wish and weight > most and wish[1].lower() in _BY_TAG:
            best, most = _BY_TAG[wish[1].lower()], weight
    return best


def use_language(language: str) -> None:
    """Choose the language of the process, once, at start."""
    global _current
    if language not in LANGUAGES:
        raise ValueError(f"no catalogue for {language!r}; there are {', '.join(LANGUAGES)}")
    _current = language


def current_language() -> str:
    """The language of the process, one of `LANGUAGES`."""
    return _current


def has_text(key: str) -> bool:
    """Whether there is such a sentence."""
    return key in catalogue(_current)


def text(key: str, /, *, language: str | None = None, **values: object) -> str:
    """The sentence `key`, with its placeholders filled. A missing key is a programming error."""
    return catalogue(language or _current)[key].format(**values)
