"""The one error type: a stable code, and values for the words that a person reads."""

from __future__ import annotations

from executor_core.texts import PARTS, Message, paragraph, placeholders


class ExecutorError(Exception):
    """Something a person should know about: raised as a code and values, kept as a `Message`.

    `str()` is English, for the log.
    """

    def __init__(self, code: str, /, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values

    @property
    def message(self) -> Message:
        """What is kept and sent of it: the values that its words name, as text or numbers."""
        named = placeholders(f"error.{self.code}.{part}" for part in PARTS)
        values = {name: _plain(self.values[name]) for name in self.values if name in named}
        return Message(self.code, values)

    def __str__(self) -> str:
        title, detail, hint = self.message.words("en")
        return " ".join(filter(None, (f"{title}:", paragraph(detail, hint), f"[{self.code}]")))


def _plain(value: object) -> str | int | float | Message | list[str] | None:
    match value:
        case None | int() | float() | Message():
            return value
        case list() | tuple():
            return [str(part) for part in value]
        case _:
            return str(value)
