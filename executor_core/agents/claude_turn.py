"""When a run of Claude Code is over: everything that decides it is in this file, and is pure.

One prompt brings one turn, but a process may say `result` many times:

- What the agent left in the background (a sub-agent, a shell command) ends some time after the
  turn that began it. Its end is told with `task_notification`, and brings a further turn with an
  `init` and a `result` of its own. That turn belongs to the answer.
- With `--resume` what an earlier process left behind is reported first, in a turn *before* the
  prompt's own, with an empty `result`. That turn is not the answer.

A failure of either is the end. Otherwise a run is over when the prompt is answered, no turn runs,
none is about to begin, and nothing is left in the background that may still report. Sub-agents are
waited for as long as they take; commands as long as the caller allows, for many of them are servers
that never end.

2.1.332 tells all that is in the background with `background_tasks_changed`, and with a `result` how
many turns are queued behind it. 2.1.197 tells neither: there, a task that was told to start and not
told to end by the end of the turn is in the background, because a turn ends behind its foreground.
What ends there while a turn runs may be told to that turn alone: then `task_updated` is all that is
heard of its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

SETTLE_S = 5.0
"""How soon behind a notification the turn that it brings begins; the CLI takes a tenth of it."""
_SUB_AGENTS = frozenset({"local_agent", "local_workflow"})


class State(StrEnum):
    """Where the conversation stands."""

    ASKED = "asked"
    """The prompt is not answered yet, whatever turns run."""
    ANSWERED = "answered"
    """It is, and no turn runs."""
    FURTHER = "further"
    """It is, and a turn runs that something from the background brought."""
    FAILED = "failed"
    """One of these turns failed, and nothing is waited for."""


class Told(StrEnum):
    """What moves it."""

    BEGAN = "a turn began"
    ANSWER = "a result of a prompt"
    REPORT = "a result of a notification"
    FAILURE = "a result that is a failure"


MOVES: dict[tuple[State, Told], State] = {
    (State.ASKED, Told.BEGAN): State.ASKED,
    (State.ASKED, Told.ANSWER): State.ANSWERED,
    (State.ASKED, Told.REPORT): State.ASKED,
    (State.ANSWERED, Told.BEGAN): State.FURTHER,
    (State.FURTHER, Told.BEGAN): State.FURTHER,
    (State.FURTHER, Told.ANSWER): State.ANSWERED,
    (State.FURTHER, Told.REPORT): State.ANSWERED,
    (State.ASKED, Told.FAILURE): State.FAILED,
    (State.ANSWERED, Told.FAILURE): State.FAILED,
    (State.FURTHER, Told.FAILURE): State.FAILED,
}


class IllegalMove(Exception):
    """The CLI told something that has no meaning where the conversation stands."""


class Task(NamedTuple):
    """Something at work beside the turn: the CLI's `task_type`, its name, and the call it is of."""

    kind: str
    words: str
    call_id: str = ""

    @property
    def is_sub_agent(self) -> bool:
        return self.kind in _SUB_AGENTS


class Turn:
    """Follows one process from its prompt to the end of all that this brings."""

    def __init__(self) -> None:
        self.state = State.ASKED
        self._tasks: dict[str, Task] = {}
        self._stopped: dict[str, Task] = {}
        self._calls: set[str] = set()
        self._is_report_due = False

    # --- what the CLI tells ---

    def began(self) -> None:
        """An `init`: the turn takes what was reported before it."""
        self._move(Told.BEGAN)
        self._is_report_due = False
        self._calls.clear()

    def ended(self, told: Told, queued: int | None) -> None:
        """A `result`: `queued` turns follow it, where the version counts them."""
        self._move(told)
        self._calls.clear()
        if queued is not None:
            self._is_report_due = bool(queued)
            self._stopped.clear()

    def tool_called(self, call_id: str) -> None:
        self._calls.add(call_id)

    def tool_returned(self, call_id: str) -> None:
        self._calls.discard(call_id)

    def task_started(self, task_id: str, task: Task) -> None:
        self._tasks[task_id] = task

    def task_stopped(self, task_id: str) -> None:
        """It works no more: its report follows soon, or the turn that runs was told."""
        task = self._tasks.get(task_id)
        if task is not None and task.call_id not in self._calls:
            self._stopped[task_id] = self._tasks.pop(task_id)

    def task_ended(self, task_id: str) -> Task | None:
        """What is reported; None for something that an earlier process left behind.

        The end of what was in the foreground is the result of its call, and no report.
        """
        task = self._tasks.pop(task_id, None) or self._stopped.pop(task_id, None)
        if task is None or task.call_id not in self._calls:
            self._is_report_due = True
        return task

    def background_is(self, tasks: Mapping[str, Task]) -> None:
        """All that is in the background now."""
        known = self._tasks
        self._tasks = {task_id: known.get(task_id, task) for task_id, task in tasks.items()}
        if self.state is State.ANSWERED and known.keys() - tasks.keys():
            self._is_report_due = True

    def _move(self, told: Told) -> None:
        if (state := MOVES.get((self.state, told))) is None:
            raise IllegalMove(f"{told} while {self.state}")
        self.state = state

    # --- what it means ---

    @property
    def left(self) -> tuple[Task, ...]:
        """What is at work in the background; nothing while a turn runs, which may wait for it."""
        return tuple(self._tasks.values()) if self.state is State.ANSWERED else ()

    @property
    def is_over(self) -> bool:
        is_due = self.left or self._stopped or self._is_report_due
        return self.state is State.FAILED or (self.state is State.ANSWERED and not is_due)

    @property
    def is_using_tool(self) -> bool:
        return bool(self._calls)

    def may_take_s(self, background_s: float) -> float | None:
        """How long to wait behind the answer, where commands are given `background_s`."""
        if any(task.is_sub_agent for task in self.left):
            return None
        return background_s if self.left else SETTLE_S
