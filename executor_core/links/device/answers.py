"""Honest answers to what newer servers ask of a device, beyond running tasks.

A server that waits for an answer gets one at once. Nothing here runs a command, opens a terminal or
changes this computer; what is not supported is refused in a form the server's pages can show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from executor_core.executor import Waiting
from executor_core.links.device.frames import Frame
from executor_core.texts import text

_Json = dict[str, Any]

MAX_CAPACITY = 20
"""Servers refuse a heartbeat that offers more."""


class RuntimeCapacity(Struct, kw_only=True, frozen=True):
    """Slots as the newest servers want to hear of them."""

    limit: int
    active_task_ids: tuple[str, ...]
    queued: int

    def as_heartbeat(self) -> _Json:
        """The `runtime_capacity` of a heartbeat (read from v2.0.11): ids unique and counted."""
        ids = list(dict.fromkeys(self.active_task_ids))[:MAX_CAPACITY]
        return {
            "limit": max(1, min(self.limit, MAX_CAPACITY)),
            "active": len(ids),
            "active_task_ids": ids,
            "queued": self.queued,
        }


class Question(Struct, frozen=True):
    """What a server asks, and what an answer may need: nothing else is told."""

    data: object
    capacity: RuntimeCapacity
    device_id: str

    @property
    def body(self) -> _Json:
        return self.data if isinstance(self.data, dict) else {}


_Answer: TypeAlias = Callable[[Question], _Json | tuple[_Json, Frame]]
"""The acknowledgement, and a frame to send behind it where the server waits for one."""
_ANSWERS: dict[str, _Answer] = {}


def _answers(*events: str) -> Callable[[_Answer], _Answer]:
    """The function answers these events. To answer another one, write its function: no more."""

    def register(make: _Answer) -> _Answer:
        _ANSWERS.update(dict.fromkeys(events, make))
        return make

    return register


def answer(event: str, question: Question) -> tuple[_Json, Frame | None]:
    """The acknowledgement of a call from the server, and what is sent then, if anything is."""
    if (make := _ANSWERS.get(event)) is None:
        # For programs: no person waits for the answer to a call that we have never heard of.
        return {"success": False, "error": "unsupported"}, None
    found = make(question)
    return found if isinstance(found, tuple) else (found, None)


def wait_words(wait: Waiting, slots: int) -> str:
    """Why a run of this device does not begin yet, for the person who reads its chat."""
    return text(f"link.waiting_{wait.reason}", ahead=wait.ahead, slots=slots)


@_answers("device:upgrade")
def _upgrade(question: Question) -> tuple[_Json, Frame]:
    """It is taken, and declined in a message of its own (servers from v1.6.5)."""
    words = text("link.upgrade_declined")
    said = {"device_id": question.device_id, "status": "skipped", "message": words}
    return {"success": True}, Frame("device:upgrade_status", said)


@_answers(
    "device:start_terminal_session",
    "device:start_code_server_session",
    "device:run_extension",
    "terminal:attach",
)
def _refused(_question: Question) -> _Json:
    """In words: the server shows them to the person who pressed the button."""
    return {"success": False, "code": "unsupported", "error": text("link.call_unsupported")}


@_answers("device:sync_capabilities")
def _sync_capabilities(question: Question) -> _Json:
    """Nothing asked is done; anything asked cannot be (servers from v1.7.13)."""
    kinds = ("skills", "plugins", "mcps")
    asked = [kind for kind in kinds if question.body.get(kind)]
    answer_: _Json = {kind: list[_Json]() for kind in kinds}
    if not asked:
        return {"success": True, **answer_, "errors": []}
    words = text("link.capabilities_unsupported", kinds=", ".join(asked))
    return {"success": False, "error": words, **answer_, "errors": [words]}


@_answers("device:execute_command")
def _command(_question: Question) -> _Json:
    """The full shape of a command's result, with the refusal as its error (from v1.7.13)."""
    return {
        "success": False,
        "exit_code": None,
        "stdout": "",
        "stderr": "",
        "duration": 0.0,
        "timed_out": False,
        "stdout_truncated": False,
        "stderr_truncated": False,
        "error": text("link.commands_off"),
    }


@_answers("runtime:rpc")
def _rpc(question: Question) -> _Json:
    """`runtime:rpc` (from v2.0.1): what we know is answered, the rest by the agreed code."""
    match question.body.get("method"):
        case "runtime.capacity.get":
            return question.capacity.as_heartbeat()
        case "runtime.settings.get":
            return {"maxConcurrentTasks": question.capacity.limit}
        case method:
            words = text("link.rpc_unsupported", method=str(method)[:100])
            return {"success": False, "code": "unsupported_method", "error": words}
