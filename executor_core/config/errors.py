"""What is wrong with the configuration, in words that name the place to correct it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor_core.errors import ExecutorError
from executor_core.model import ErrorInfo
from executor_core.texts import text


@dataclass(frozen=True)
class Phrase:
    """A piece of a sentence that is put into words only when its language is known."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, language: str | None = None) -> str:
        """The words, in `language` or in the language of the process."""
        return text(self.key, language=language, **said_in(language, self.values))

    def __str__(self) -> str:
        return self.text()


def said_in(language: str | None, values: Mapping[str, object]) -> dict[str, object]:
    """`values` with every phrase among them put into words."""
    return {
        name: value.text(language) if isinstance(value, Phrase) else value
        for name, value in values.items()
    }


class ConfigError(ExecutorError):
    """The program cannot start as it is configured (exit code 6). Values may be phrases."""

    def in_language(self, language: str | None) -> ErrorInfo:
        values = said_in(language, self.values)
        title, detail, hint = (
            text(f"error.{self.code}.{part}", language=language, **values)
            for part in ("title", "detail", "hint")
        )
        return ErrorInfo(code=self.code, title=title, detail=detail, hint=hint)


def reason_of(error: OSError) -> str:
    """What the operating system said, without its number and without the path."""
    return error.strerror or type(error).__name__
