"""What becomes of an agent's events on their way to file and door.

Deltas that come faster than they can be handled go on together (`Gathering`), no secret passes
(`EventRedactor`), and failures that repeat without end are noticed (`Repeats`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from enum import Enum
from itertools import groupby
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from executor_core.model import (
    AgentEvent,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.unicode import mended

_Delta: TypeAlias = TextDelta | ReasoningDelta
_encoder = msgspec.json.Encoder()
_V = TypeVar("_V", bound=Struct)

FEW = 8
"""So many deltas of one turn of the loop are passed on as they came; no model writes as fast."""
_MOST_CHARACTERS = 64 * 1024
MAX_IDENTICAL_ERRORS = 50
"""So many in a row end a run. Agents that give up by themselves do so earlier."""
MAX_CALLS = 100
FAST_S = 60.0
"""Failures that are further apart are no row."""
FAST_CALL_S = 2.0
"""A call that takes longer has waited, or worked."""


class Gathering:
    """Holds deltas until the turn of the loop in which they came is over, or another event comes.

    Order and words stay the same; many of one kind become one.
    """

    def __init__(self, pass_on: Callable[[AgentEvent], None]) -> None:
        self._pass_on = pass_on
        self._held: list[_Delta] = []
        self._characters = 0

    def take(self, event: AgentEvent) -> None:
        """One event, as it happens. What the agent sent along with a delta keeps it apart."""
        if not isinstance(event, _Delta) or event.raw is not None:
            self.flush()
            self._pass_on(event)
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self.flush)
        self._held.append(event)
        self._characters += len(event.text)
        if self._characters > _MOST_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Pass on what is held."""
        held, self._held, self._characters = self._held, [], 0
        if len(held) <= FEW:
            for event in held:
                self._pass_on(event)
            return
        for kind, deltas in groupby(held, type):
            self._pass_on(kind(text="".join(delta.text for delta in deltas)))


class Secrets(Protocol):
    """The secrets that this process knows."""

    def hold(self, secrets: Collection[str]) -> None:
        """Know these as well, for as long as they are held."""

    def release(self, secrets: Collection[str]) -> None:
        """Those who held them have ended."""

    def hide(self, text: str) -> str:
        """`text` without them, in whatever spelling they stand there."""

    def unfinished(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of one."""


class EventRedactor:
    """What passes through it holds no secret, not even one that is split over several deltas, and
    no half character, which neither disk nor wire could take.

    The end of a delta that may begin a secret waits for what comes next.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._waiting: _Delta | None = None

    def through(self, event: AgentEvent) -> Iterator[AgentEvent]:
        """`event`, and what waited for it; a delta may have to wait itself."""
        if not isinstance(event, _Delta):
            yield from self.rest()
            yield self._clean(event)
            return
        if self._waiting is not None:
            if type(self._waiting) is type(event):
                event = replace(event, text=self._waiting.text + event.text)
                self._waiting = None
            else:
                yield from self.rest()
        whole = mended(event.text)
        words = self._secrets.hide(whole)
        said = len(words) - self._secrets.unfinished(words)
        if said < len(words):
            self._waiting = type(event)(text=words[said:])
        if said:
            # What the agent sent along may hold what is taken out of the text, or waits.
            raw = event.raw if words[:said] == whole else None
            visible = replace(event, text=words[:said], raw=raw)
            yield visible if raw is None else self._clean(visible)

    def rest(self) -> Iterator[AgentEvent]:
        """What still waits; nothing follows that could make a secret of it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            yield waiting

    def _clean(self, event: AgentEvent) -> AgentEvent:
        # One look at everything: hundreds of spellings of secrets are looked for. What is changed
        # are values, though: a secret may be a word of our own format.
        with suppress(UnicodeEncodeError):
            written = _encoder.encode(event).decode()
            if self._secrets.hide(written) == written:
                return event
        return _with_texts(event, lambda text: self._secrets.hide(mended(text)))


def _with_texts(value: _V, change: Callable[[str], str]) -> _V:
    """A copy of a struct with every text in it changed, names in objects and numbers (a key may be
    one) among them. Words of our own that the program goes by (kinds, states) are none."""
    return replace(
        value,
        **{
            name: _changed(field, change)
            for name, field in asdict(value).items()
            if not isinstance(field, int | float)
        },
    )


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case Enum():
            return value
        case str():
            return change(value)
        case Struct():
            return _with_texts(value, change)
        case dict():
            return {_changed(name, change): _inner(v, change) for name, v in value.items()}
        case list() | tuple():
            return type(value)(_inner(v, change) for v in value)
    return value


def _inner(value: Any, change: Callable[[str], str]) -> Any:
    """Inside a list or an object a number that is a secret may become a text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = change(str(value))
        return value if shown == str(value) else shown
    return _changed(value, change)


class Repeats:
    """Counts identical errors in a row: a model service that fails, a tool call that fails.

    Retries are identical until the model says or does something. A tool call is identical if tool,
    input and output are; what the model says in between does not count as progress there. Whoever
    waits for something asks again and again as well, but takes its time: that is no failure.
    """

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, float]] = {}
        self._last: tuple[str, str] | None = None
        self._last_at = 0.0
        self.count = 0

    def is_stuck(self, event: AgentEvent, now: float) -> str | None:
        """The words of the error, once it came `MAX_IDENTICAL_ERRORS` times. `now` in seconds."""
        match event:
            case Notice(code="model_retry" as code, text=words):
                self._count((code, ""), now)
            case ToolStarted(call_id=call_id, name=name, input=tool_input):
                if len(self._calls) >= MAX_CALLS:
                    self._calls.clear()
                self._calls[call_id] = (f"{name} {tool_input!r}", now)
                self._forget("model_retry")
                return None
            case ToolFinished(call_id=call_id, output=words, is_error=is_error):
                call, since = self._calls.pop(call_id, ("", now))
                if not is_error or now - since >= FAST_CALL_S:
                    self._last = None
                    return None
                self._count((call, words), now)
            case TextDelta() | ReasoningDelta():
                self._forget("model_retry")
                return None
            case _:
                return None
        return words if self.count >= MAX_IDENTICAL_ERRORS else None

    def _count(self, failure: tuple[str, str], now: float) -> None:
        is_again = failure == self._last and now - self._last_at < FAST_S
        self.count = self.count + 1 if is_again else 1
        self._last, self._last_at = failure, now

    def _forget(self, kind: str) -> None:
        if self._last is not None and self._last[0] == kind:
            self._last = None
