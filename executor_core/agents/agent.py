"""What an agent is to the executor. One file each stands behind this; nothing above knows which."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct, field

from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Availability,
    Image,
    Member,
    ModelConfig,
    Permission,
)

UNATTENDED_ONLY = frozenset({Permission.UNATTENDED})
Emit: TypeAlias = Callable[[AgentEvent], None]


class Assignment(Struct, kw_only=True, frozen=True):
    """One run, as its agent needs it.

    `scratch` is the run's private folder (0700) for files that the agent's command names.
    `private_home` is where the agent keeps its state when the task brings its own model access;
    None leaves the user's own home and login in force. `session_id` resumes a conversation, or with
    `is_fork` begins a new one that goes on from it. `members` may be handed work.
    `mcp_servers` are as in the RunRequest. `extra_args` are for the agent's own command. Of
    `model.env` only the agent's `task_variables` are left.
    `is_trusted`: what `folder` configures in the agent counts; else only its instructions do.
    `is_awaited` is set once somebody waits for the end of the run: work that goes on behind the
    answer is not waited for any more.
    """

    run_id: str
    prompt: str
    folder: Path
    scratch: Path
    images: tuple[Image, ...] = ()
    private_home: Path | None = None
    session_id: str | None = None
    is_fork: bool = False
    members: tuple[Member, ...] = ()
    model: ModelConfig = ModelConfig()
    system_prompt: str = ""
    permission: Permission = Permission.UNATTENDED
    mcp_servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    extra_args: tuple[str, ...] = ()
    is_trusted: bool = False
    is_awaited: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def brings_access(self) -> bool:
        """True if the user's own login and settings for the model must not be used.

        Also where nothing is left of what the task wanted to set instead of them.
        """
        return self.private_home is not None or self.model.brings_access


class Agent(Protocol):
    """A coding agent on this computer."""

    extra_args: ClassVar[ExtraArgs] = {}
    """The further arguments that its command takes."""
    enforces: ClassVar[frozenset[Permission]] = UNATTENDED_ONLY
    """What it can be held to. A run that allows less than all of these is refused."""
    can_fork: ClassVar[bool] = False
    """Whether it can begin a conversation that goes on from another and leaves that as it is."""
    takes_members: ClassVar[bool] = False
    """Whether it knows agents that it may hand work to."""
    task_variables: ClassVar[Collection[str]] = frozenset()
    """The names that a task may set in its environment, in capital letters."""

    @property
    def name(self) -> str:
        """The stable name, for example `claude_code`."""

    async def availability(self) -> Availability:
        """Check it; cheap when nothing changed since the last check."""

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        """Work until the agent's last word, or until `stop` is set.

        Calls `emit` for everything in between. When this returns or raises, no process of the run
        is left. After `stop` the result is not looked at. Raises ExecutorError if the agent cannot
        be started.
        """


class Dialogue(Protocol):
    """The conversation with one agent process over its pipes, without doing any I/O."""

    def outgoing(self) -> bytes:
        """What to write now. Asked for at the start and after every line; empty for nothing."""

    def feed(self, line: bytes) -> Iterable[AgentEvent]:
        """The events in one line of output. An AgentResult among them is the last word."""

    def interrupt(self) -> bytes | None:
        """What to write to end the turn politely, if the agent has such a word.

        Its input is closed behind it, so that the agent then ends.
        """

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        """The result of a process that ended without a last word."""


class Wait(Struct, kw_only=True, frozen=True):
    """How long an agent that says nothing is waited for, and what is told then.

    `limit_s` counts from its last line; None is without limit. A wait for what goes on in the
    background, behind the answer, counts from its own beginning, and is over once the run
    `is_awaited`. `then` ends with an AgentResult; without it the silence is a failure.
    """

    limit_s: float | None = None
    is_background: bool = False
    then: tuple[AgentEvent, ...] = ()


FOR_TOOL = Wait()
"""A tool is at work: that may take hours."""
FOR_MODEL = Wait(limit_s=12 * 60.0)
"""The model is at work. Agents give up a request by themselves after ten minutes at most."""


@runtime_checkable
class KnowsWait(Protocol):
    """A dialogue that knows what its agent is at."""

    def waits(self) -> Wait:
        """What the agent is waited for now. Asked for after every line."""


@runtime_checkable
class ReadsStderr(Protocol):
    """A dialogue with an agent that says on stderr what its answers do not tell."""

    def feed_stderr(self, line: bytes) -> Iterable[AgentEvent]:
        """The events in one line of stderr. An AgentResult among them is the last word."""


class Extra(NamedTuple):
    """An option with a value: what the value must match, and how it is written for people."""

    pattern: str
    shown: str


ExtraArgs: TypeAlias = Mapping[str, Extra]
"""By the long name of the option. None of them may change what the agent is allowed to do."""


def checked_extra_args(agent: str, table: ExtraArgs, given: Sequence[str]) -> list[str]:
    """`given` with each option as `--name=value`; `--name value` is understood as well.

    Raises ExecutorError("extra_arg_refused") naming the first that `agent` does not take.
    """
    left = list(given)
    checked: list[str] = []
    while left:
        name, is_joined, value = left.pop(0).partition("=")
        extra = table.get(name)
        if extra is None:
            raise _refused(agent, table, name)
        if not is_joined:
            value = left.pop(0) if left else ""
        if not re.fullmatch(extra.pattern, value):
            raise _refused(agent, table, f"{name} {value}".strip())
        checked.append(f"{name}={value}")
    return checked


def _refused(agent: str, table: ExtraArgs, argument: str) -> ExecutorError:
    allowed = ", ".join(f"{name} {extra.shown}" for name, extra in table.items()) or "–"
    return ExecutorError("extra_arg_refused", agent=agent, argument=argument[:80], allowed=allowed)


_MOST_NAMES = 8


class TaskVariables(NamedTuple):
    """What a task's variables came to; `refused` holds names only, sorted."""

    kept: dict[str, str]
    refused: tuple[str, ...]


def task_variables(names: Collection[str], wanted: Mapping[str, str]) -> TaskVariables:
    """Those of `wanted` that are among `names`, in any case, under the name as it is listed."""
    listed = {name: wanted[name] for name in wanted if name in names}
    spelled = {name.upper(): value for name, value in wanted.items() if name.upper() in names}
    kept = {name: value for name, value in (spelled | listed).items() if "\0" not in value}
    refused = {name for name in wanted if name.upper() not in kept}
    return TaskVariables(kept, tuple(sorted(refused)))


def named(names: Collection[str]) -> str:
    """`names` for a sentence: what a stranger wrote is cut."""
    shown = [name if name.isprintable() else ascii(name) for name in names]
    more = ["…"] if len(shown) > _MOST_NAMES else []
    return ", ".join([name[:60] for name in shown[:_MOST_NAMES]] + more)
