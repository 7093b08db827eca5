"""Signed tokens: JSON Web Tokens, HS256 and nothing else.

The library is imported by the first use: it takes a tenth of a second, and most executors never
make or see such a token. Who cannot wait on the loop calls `load` in a thread before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jwt.types import Options

_ALGORITHM = "HS256"
# What the library would compare with the real time is compared with the given one.
_OPTIONS: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


def load() -> None:
    """Import what the other functions need. Blocks."""
    import jwt  # noqa: F401


def sign(claims: Mapping[str, Any], key: str, *, now: datetime, life: timedelta) -> str:
    """A token that says `claims` and is good for so long."""
    import jwt

    return jwt.encode({**claims, "exp": int((now + life).timestamp())}, key, _ALGORITHM)


def verified(token: str, key: str, *, now: datetime) -> dict[str, Any] | None:
    """The claims of a token that was signed with `key` and has not expired; else None."""
    import jwt

    try:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[_ALGORITHM], options={**_OPTIONS, "require": ["exp"]}
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    expires = claims["exp"]
    return claims if isinstance(expires, int) and expires > now.timestamp() else None
