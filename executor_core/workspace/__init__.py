"""Where a run works: a folder of the task's own, a clone in it, or a trusted one of the user's.

It knows folders and git, but neither runs nor servers.
"""

from executor_core.workspace.changes import (
    Beginning,
    ChangedFile,
    FileStatus,
    Recorder,
    RunChanges,
    read_changes,
)
from executor_core.workspace.clone import Cloner, GitAccess
from executor_core.workspace.git import GitHost
from executor_core.workspace.inventory import (
    CleanReport,
    FoldersInUse,
    Inventory,
    Kept,
    KeptBecause,
    WorkspaceInfo,
    WorkState,
    overlaps,
)
from executor_core.workspace.remote import decrypt_git_token
from executor_core.workspace.skills import sweep_skills
from executor_core.workspace.task_files import FileFetcher, Site
from executor_core.workspace.undo import Restoration, keep, redo, undo
from executor_core.workspace.workspaces import Workspaces

__all__ = [
    "Beginning",
    "ChangedFile",
    "CleanReport",
    "Cloner",
    "FileFetcher",
    "FileStatus",
    "FoldersInUse",
    "GitAccess",
    "GitHost",
    "Inventory",
    "Kept",
    "KeptBecause",
    "Recorder",
    "Restoration",
    "RunChanges",
    "Site",
    "WorkState",
    "WorkspaceInfo",
    "Workspaces",
    "decrypt_git_token",
    "keep",
    "overlaps",
    "read_changes",
    "redo",
    "sweep_skills",
    "undo",
]
