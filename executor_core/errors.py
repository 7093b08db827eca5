"""The one error type: a stable code, and words for a person in the language of the process."""

from __future__ import annotations

from executor_core.model import ErrorInfo, paragraph
from executor_core.texts import text


class ExecutorError(Exception):
    """Something a person should know about.

    `code` never changes and selects three texts of the catalogue: `error.<code>.title` (fits a
    notification), `.detail` (what happened, with the value that mattered) and `.hint` (what to do).
    `values` fill their placeholders. `str()` is English, for the log.
    """

    def __init__(self, code: str, /, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values

    @property
    def info(self) -> ErrorInfo:
        """The error in the words of the process's language."""
        return self.in_language(None)

    def in_language(self, language: str | None) -> ErrorInfo:
        """The error in the words of one language; None is that of the process."""
        title, detail, hint = (
            text(f"error.{self.code}.{part}", language=language, **self.values).strip()
            for part in ("title", "detail", "hint")
        )
        return ErrorInfo(code=self.code, title=title, detail=detail, hint=hint)

    def __str__(self) -> str:
        info = self.in_language("en")
        words = (f"{info.title}:", paragraph(info.detail, info.hint), f"[{self.code}]")
        return " ".join(filter(None, words))
