"""One HTTP listener on loopback, and the guard in front of its first route.

Who may ask is decided here; what is answered is not: rooms register their own routes.
"""

from executor_core.web.guard import Verifier
from executor_core.web.listener import (
    OWNER,
    Access,
    Handler,
    Listener,
    read_json,
    user_of,
)
from executor_core.web.sse import ServerEvent, last_event_id

__all__ = [
    "OWNER",
    "Access",
    "Handler",
    "Listener",
    "ServerEvent",
    "Verifier",
    "last_event_id",
    "read_json",
    "user_of",
]
