"""Spawns, owns and ends one process tree per run, and decides what environment it sees.

It knows nothing of agents, runs or the executor: a tree is an argv, a folder, an environment and
a marker that every descendant inherits.
"""

from executor_core.process.environment import (
    TaskVariables,
    child_environment,
    safe_task_variables,
)
from executor_core.process.login_path import find_program, login_shell_path
from executor_core.process.marker import MARKER, marker_of
from executor_core.process.orphans import reap_orphans
from executor_core.process.process_table import resources_by_run
from executor_core.process.sweep import left_behind, sweep
from executor_core.process.tree import ProcessTree
from executor_core.process.will import last_will

__all__ = [
    "MARKER",
    "ProcessTree",
    "TaskVariables",
    "child_environment",
    "find_program",
    "last_will",
    "left_behind",
    "login_shell_path",
    "marker_of",
    "reap_orphans",
    "resources_by_run",
    "safe_task_variables",
    "sweep",
]
