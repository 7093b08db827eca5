"""The doctor's checks and the diagnostics bundle.

Each check is a small function from values to verdicts and says nothing about where the values come
from: gathering them is the business of `desk.health`, which knows the rooms.
"""

from executor_core.health.examination import Look, examine
from executor_core.health.server_look import Certificate, ServerLook, look_at_server

__all__ = ["Certificate", "Look", "ServerLook", "examine", "look_at_server"]
