"""What a JWT says about itself, unverified: whose it is and when it ends.

Only the server can verify it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from executor_core.jwt import claims_of

_API_KEY = "wg-"


@dataclass(frozen=True)
class Claims:
    """All of it may be missing: an API key says nothing."""

    user_id: str | None = None
    user_name: str | None = None
    expires_at: datetime | None = None


def read_claims(token: str) -> Claims:
    """The claims that we use, each None where it is missing or of the wrong kind."""
    claims = claims_of(token)
    user_id, name = claims.get("user_id"), claims.get("sub")
    is_id = isinstance(user_id, int | str) and not isinstance(user_id, bool) and user_id != ""
    return Claims(
        user_id=str(user_id) if is_id else None,
        user_name=name if isinstance(name, str) and name else None,
        expires_at=_moment(claims.get("exp")),
    )


def is_api_key(token: str) -> bool:
    """Whether it is a personal key (`wg-…`), which says nothing about itself."""
    return token.startswith(_API_KEY)


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
