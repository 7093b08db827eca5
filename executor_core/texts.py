"""Every sentence a person reads, in their language. Logs are English and do not come from here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from string import Formatter
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from executor_core.resources import resource_path

_T = TypeVar("_T")
_HAN = re.compile("[\u4e00-\u9fff]")
_ENDS = tuple(".!?:…。！？：")
_CLOSING = "\"')”’）"

LANGUAGES = ("en", "zh_CN")
PARTS = ("title", "detail", "hint")
"""Of the words of an error."""
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
    """The sentence `key`, with its placeholders filled. A missing key is a programming error.

    A value may be a list or itself a `Message`. `{count:one run|{count} runs}` has a singular.
    """
    return _Sentence(language or _current).vformat(catalogue(language or _current)[key], (), values)


def placeholders(keys: Iterable[str]) -> frozenset[str]:
    """The names that these sentences want values for; none for a sentence that there is not."""
    sentences = "".join(catalogue("en").get(key, "") for key in keys)
    return frozenset(name for _, name, _, _ in Formatter().parse(sentences) if name)


class _Sentence(Formatter):
    """Fills placeholders in one language."""

    def __init__(self, language: str) -> None:
        self._language = language

    def format_field(self, value: object, format_spec: str) -> str:
        one, is_counted, many = format_spec.partition("|")
        if is_counted:
            return one if str(value) == "1" else many
        if isinstance(value, Message):
            return value.text(self._language)
        if isinstance(value, list | tuple):
            return ("、" if self._language == "zh_CN" else ", ").join(map(str, value))
        return format(value, format_spec)


class Message(Struct, frozen=True, omit_defaults=True):
    """What a person is told, put into words only where their language is known.

    `code` never changes. It is the key of one sentence (`text`), or names an error with three:
    `error.<code>.title` (fits a notification), `.detail` (what happened, with the value that
    mattered) and `.hint` (what to do). `values` fill the placeholders. `retry_at` is when a limit
    that was reached is reset, if that is known. The `given_` words are those of whoever sent or
    recorded it; they stand where the code and the values have none here.
    """

    code: str
    values: Mapping[str, str | int | float | Message | list[str] | None] = {}
    retry_at: datetime | None = None
    given_title: str = msgspec.field(default="", name="title")
    given_detail: str = msgspec.field(default="", name="detail")
    given_hint: str = msgspec.field(default="", name="hint")

    def text(self, language: str | None = None) -> str:
        """The one sentence of that key."""
        return text(self.code, language=language, **self.values)

    def words(self, language: str | None = None) -> tuple[str, str, str]:
        """Title, detail and hint of an error, in `language` or in that of the process."""
        try:
            title, detail, hint = (
                text(f"error.{self.code}.{part}", language=language, **self.values).strip()
                for part in PARTS
            )
        except (LookupError, ValueError):
            # From another version of ours: it had other values, or a code that is unknown here.
            return self.given_title or self.code, self.given_detail, self.given_hint
        if self.retry_at is not None:
            time = self.retry_at.astimezone().strftime("%Y-%m-%d %H:%M (UTC%z)")
            hint = f"{text('agents.resets_at', language=language, time=time)} {hint}".strip()
        return title, detail, hint

    @property
    def title(self) -> str:
        return self.words()[0]

    @property
    def detail(self) -> str:
        return self.words()[1]

    @property
    def hint(self) -> str:
        return self.words()[2]

    @property
    def sentence(self) -> str:
        """Everything a person needs, in one paragraph."""
        return paragraph(*self.words())

    def __str__(self) -> str:
        return self.text()


def in_words(value: _T, language: str | None = None) -> _T:
    """`value` for a reader: every error in it with its words, in `language` or the process's."""
    new: Any = value
    if isinstance(value, Message):
        title, detail, hint = value.words(language)
        new = structs.replace(value, given_title=title, given_detail=detail, given_hint=hint)
    elif isinstance(value, Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        said = {name: in_words(old, language) for name, old in fields.items()}
        changed = {name: words for name, words in said.items() if words is not fields[name]}
        new = structs.replace(value, **changed) if changed else value
    elif isinstance(value, tuple | list):
        new = type(value)(in_words(part, language) for part in value)
    return new  # type: ignore[no-any-return]


def paragraph(*parts: str) -> str:
    """The parts that are not empty as sentences: each that another follows ends like one.

    A title is a heading, and the detail may be the words of somebody else.
    """
    *before, last = [part.strip() for part in parts if part.strip()] or [""]
    return "".join(_ended(part) for part in before) + last


def _ended(part: str) -> str:
    is_chinese = _HAN.search(part) is not None
    if part.rstrip(_CLOSING)[-1:] not in _ENDS:
        part += "。" if is_chinese else "."
    return part if part[-1] in "。！？" else f"{part} "
