"""Where a run works: a folder of the task's own, a clone in it, or a trusted one of the user's.

It knows folders and git, but neither runs nor servers.
"""

from executor_core.workspace.clone import Cloner, GitAccess
from executor_core.workspace.git_token import decrypt_git_token
from executor_core.workspace.inventory import (
    CleanReport,
    Inventory,
    Kept,
    KeptBecause,
    WorkspaceInfo,
)
from executor_core.workspace.repository_state import WorkState
from executor_core.workspace.workspaces import Workspaces

__all__ = [
    "CleanReport",
    "Cloner",
    "GitAccess",
    "Inventory",
    "Kept",
    "KeptBecause",
    "WorkState",
    "WorkspaceInfo",
    "Workspaces",
    "decrypt_git_token",
]
