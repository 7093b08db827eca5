"""Where a run works: a folder of the task's own, or one of the user's that is trusted."""

from executor_core.workspace.workspaces import Workspaces

__all__ = ["Workspaces"]
