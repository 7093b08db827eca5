"""Slots, queue, admission and the life of a run.

`machine` decides and does no I/O; `executor` carries out. Nothing here knows a wire format.
"""

from executor_core.executor.executor import Executor
from executor_core.executor.machine import Waiting
from executor_core.executor.port import (
    Accepted,
    Admission,
    CancelAnswer,
    Door,
    Duplicate,
    Refused,
)
from executor_core.journal import RunRow

__all__ = [
    "Accepted",
    "Admission",
    "CancelAnswer",
    "Door",
    "Duplicate",
    "Executor",
    "Refused",
    "RunRow",
    "Waiting",
]
