"""HTTP over the control surface: a table of routes, and no rules of its own."""

from executor_core.api.routes import attach

__all__ = ["attach"]
