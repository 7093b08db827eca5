"""The messages of one answer as they grow, and how much of a tool's output is kept."""

from __future__ import annotations

from collections.abc import Iterator

from executor_core.agents.failures import notice
from executor_core.model import AgentEvent, AgentResult, Notice, TextDelta, Usage
from executor_core.texts import Message

MAX_DENIED = 10
MAX_NAME = 100
"""So many of the things that were denied are named, in so many characters each."""


class Answer:
    """What an agent says in one turn: messages by id, each a paragraph of the answer.

    Its words are told as they come. A message that the agent gives up, since it asks the model
    anew, was told already: it is taken back by a notice, and by the text of the result.
    """

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._id: object = None
        self._growing = ""
        self._has_spoken = False
        self._goes_on = False
        self._is_as_told = True

    @property
    def is_empty(self) -> bool:
        return not self._growing and not self._kept

    def more(self, message_id: object, words: str) -> Iterator[AgentEvent]:
        """`words` are the next of that message."""
        if not words:
            return
        if message_id != self._id:
            self.close()
            self._id = message_id
        # Two messages of one answer are paragraphs, not one run-on word.
        is_next = not self._growing and self._has_spoken and not self._goes_on
        self._growing += words
        self._has_spoken = True
        yield TextDelta(text="\n\n" + words if is_next else words)

    def whole(self, message_id: object, words: str) -> Iterator[AgentEvent]:
        """That message is complete and reads `words`; what was not told of it is told now."""
        told = self._growing if message_id == self._id else ""
        if words.startswith(told):
            yield from self.more(message_id, words[len(told) :])
        else:
            yield from self.abandon()
            yield from self.more(message_id, words)
        self.close()

    def close(self) -> None:
        """What comes next is another message."""
        self._kept = self._said()
        self._goes_on = self._goes_on and not self._growing
        self._id, self._growing = None, ""

    def go_on(self) -> None:
        """The message that was complete last is not: what comes next goes on where it stops."""
        self.close()
        self._goes_on = bool(self._kept)

    def abandon(self) -> Iterator[AgentEvent]:
        """The message that is not complete yet never will be."""
        if self._growing:
            self._id, self._growing, self._is_as_told = None, "", False
            yield notice("notice.text_abandoned")

    def result(self, error: Message | None = None, usage: Usage | None = None) -> AgentResult:
        """The last word of the turn, as far as it has come."""
        said = self._said()
        return AgentResult(
            final_text="\n\n".join(said[-1:] if self._is_as_told else said),
            replaces_text=not self._is_as_told,
            error=error,
            usage=usage,
        )

    def _said(self) -> list[str]:
        if not self._growing:
            return self._kept
        if self._goes_on:
            return [*self._kept[:-1], self._kept[-1] + self._growing]
        return [*self._kept, self._growing]


class Denied:
    """What the agent asked for and was not permitted, in the order of the asking."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, what: str) -> None:
        if len(self._names) < MAX_DENIED:
            self._names[" ".join(what.split())[:MAX_NAME]] = None

    @property
    def names(self) -> str:
        return ", ".join(self._names)

    def notices(self) -> Iterator[Notice]:
        for what in self._names:
            yield notice("notice.tool_denied", tool=what, what="")


MAX_CHARS = 64 * 1024


def cut_output(words: str, limit: int = MAX_CHARS) -> str:
    """About `limit` characters of `words`: four fifths from its head, the rest from its tail."""
    if len(words) <= limit:
        return words
    tail = limit // 5
    left_out = len(words) - limit
    return f"{words[: limit - tail]}\n[… {left_out} …]\n{words[-tail:]}"
