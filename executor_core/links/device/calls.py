"""Honest answers to what newer servers ask of a device, beyond running tasks.

A server that waits for an answer gets one at once. Nothing here runs a command, opens a terminal or
changes this computer; what is not supported is refused in a form the server's pages can show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from executor_core.executor import Waiting
from executor_core.texts import text

_Json = dict[str, Any]

MAX_CAPACITY = 20
"""Servers refuse a heartbeat that offers more."""


class Capacity(Struct, kw_only=True, frozen=True):
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


def answer(event: str, data: object, capacity: Capacity) -> _Json:
    """The acknowledgement of a call from the server; unknown ones are refused like the rest."""
    body = data if isinstance(data, dict) else {}
    make = _ANSWERS.get(event, _unknown)
    return make(body, capacity)


def upgrade_declined(device_id: str) -> _Json:
    """The `device:upgrade_status` that answers `device:upgrade` (servers from v1.6.5)."""
    return {"device_id": device_id, "status": "skipped", "message": text("link.upgrade_declined")}


def wait_words(wait: Waiting, slots: int) -> str:
    """Why a run of this device does not begin yet, for the person who reads its chat."""
    return text(f"link.waiting_{wait.reason}", ahead=wait.ahead, slots=slots)


def _unknown(_body: _Json, _capacity: Capacity) -> _Json:
    """For programs: no person waits for the answer to a call that we have never heard of."""
    return {"success": False, "error": "unsupported"}


def _refused(_body: _Json, _capacity: Capacity) -> _Json:
    """In words: the server shows them to the person who pressed the button."""
    return {"success": False, "code": "unsupported", "error": text("link.call_unsupported")}


def _sync_capabilities(body: _Json, _capacity: Capacity) -> _Json:
    """Nothing asked is done; anything asked cannot be (servers from v1.7.13)."""
    kinds = ("skills", "plugins", "mcps")
    asked = [kind for kind in kinds if body.get(kind)]
    answer_: _Json = {kind: list[_Json]() for kind in kinds}
    if not asked:
        return {"success": True, **answer_, "errors": []}
    words = text("link.capabilities_unsupported", kinds=", ".join(asked))
    return {"success": False, "error": words, **answer_, "errors": [words]}


def _command(_body: _Json, _capacity: Capacity) -> _Json:
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


def _rpc(body: _Json, capacity: Capacity) -> _Json:
    """`runtime:rpc` (from v2.0.1): what we know is answered, the rest by the agreed code."""
    match body.get("method"):
        case "runtime.capacity.get":
            return capacity.as_heartbeat()
        case "runtime.settings.get":
            return {"maxConcurrentTasks": capacity.limit}
        case method:
            words = text("link.rpc_unsupported", method=str(method)[:100])
            return {"success": False, "code": "unsupported_method", "error": words}


_ANSWERS: dict[str, Callable[[_Json, Capacity], _Json]] = {
    "device:sync_capabilities": _sync_capabilities,
    "device:execute_command": _command,
    "device:start_terminal_session": _refused,
    "device:start_code_server_session": _refused,
    "device:run_extension": _refused,
    "terminal:attach": _refused,
    "runtime:rpc": _rpc,
}
