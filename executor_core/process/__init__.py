"""Spawns, owns and ends one process tree per run, and decides what environment it sees.

It knows nothing of agents, runs or the executor: a tree is an argv, a folder, an environment and
a marker that every descendant inherits.
"""

from executor_core.process.environment import (
    child_environment,
    is_listed,
    owners_environment,
    worth_telling,
)
from executor_core.process.login_shell import Login, ask_login_shell
from executor_core.process.marker import MARKER, marker_of
from executor_core.process.processes import (
    last_will,
    left_behind,
    reap_orphans,
    resources_by_run,
    sweep,
)
from executor_core.process.programs import find_program
from executor_core.process.tree import ProcessTree

__all__ = [
    "MARKER",
    "Login",
    "ProcessTree",
    "ask_login_shell",
    "child_environment",
    "find_program",
    "is_listed",
    "last_will",
    "left_behind",
    "marker_of",
    "owners_environment",
    "reap_orphans",
    "resources_by_run",
    "sweep",
    "worth_telling",
]
