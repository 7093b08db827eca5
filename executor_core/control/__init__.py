"""The one public surface of a running executor.

`LocalControl` is the executor in this process, `RemoteControl` the one behind the loopback API.
Their callers (CLI, API, window) cannot tell them apart.
"""

from executor_core.control.control import Control, RunDetail, RunSummary, Slots, Status, Submission
from executor_core.control.local import LocalControl, Presence
from executor_core.control.pause import Pause
from executor_core.control.remote import Address, RemoteControl
from executor_core.executor import CancelAnswer
from executor_core.workspace import CleanReport, Restoration, RunChanges, WorkspaceInfo

__all__ = [
    "Address",
    "CancelAnswer",
    "CleanReport",
    "Control",
    "LocalControl",
    "Pause",
    "Presence",
    "RemoteControl",
    "Restoration",
    "RunChanges",
    "RunDetail",
    "RunSummary",
    "Slots",
    "Status",
    "Submission",
    "WorkspaceInfo",
]
