"""One HTTP listener on loopback, and the guard in front of its first route.

Who may ask is decided here; what is answered is not: rooms register their own routes.
"""

from executor_core.web import tokens
from executor_core.web.guard import Verifier
from executor_core.web.listener import (
    BODY_LIMIT_BYTES,
    OWNER,
    Access,
    Handler,
    Listener,
    download,
    error_response,
    read_json,
    user_of,
    words_for,
)
from executor_core.web.sse import ServerEvent, last_event_id
from executor_core.web.users import TOKEN_LIFE, User, Users, check_user_name

__all__ = [
    "BODY_LIMIT_BYTES",
    "OWNER",
    "TOKEN_LIFE",
    "Access",
    "Handler",
    "Listener",
    "ServerEvent",
    "User",
    "Users",
    "Verifier",
    "check_user_name",
    "download",
    "error_response",
    "last_event_id",
    "read_json",
    "tokens",
    "user_of",
    "words_for",
]
