"""The checks that every request passes, as pure functions of its headers.

Loopback is no boundary: any page in a browser and any user of the machine can reach it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence

from executor_core.loopback import is_loopback

Verifier = Callable[[str], str | None]
"""A bearer token to the user's name, or None for a token that is not good."""

STATUS: dict[str, int] = {
    "bad_json": 400,
    "bad_request": 400,
    "bad_ticket": 401,
    "body_too_large": 413,
    "foreign_origin": 403,
    "internal": 500,
    "json_required": 415,
    "method_not_allowed": 405,
    "no_token": 401,
    "too_many_streams": 503,
    "unknown_path": 404,
    "wrong_host": 421,
}
"""The HTTP status of an error code; 400 for codes that are not listed."""

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


_USUAL_PORT = 80


def host_is_ours(host: str, port: int, *, is_remote_allowed: bool) -> bool:
    """Whether a `Host` header names this listener.

    A page that rebinds its name to 127.0.0.1 still sends its own name, so names are refused, but
    for those of loopback. A literal address cannot be rebound: every one of loopback is good, and
    any other where those are allowed.
    """
    name, colon, host_port = host.lower().rpartition(":")
    if not colon or host_port.endswith("]"):
        # Browsers leave the port away where it is the usual one.
        name, host_port = host.lower(), str(_USUAL_PORT)
    if host_port != str(port):
        return False
    name = name.removeprefix("[").removesuffix("]")
    return is_loopback(name) or (is_remote_allowed and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def refusal(
    hosts: Sequence[str],
    origins: Sequence[str],
    fetch_site: str | None,
    *,
    port: int,
    is_remote_allowed: bool,
) -> str | None:
    """The code of the reason to refuse a request for where it comes from, or None."""
    if len(hosts) != 1 or not host_is_ours(hosts[0], port, is_remote_allowed=is_remote_allowed):
        return "wrong_host"
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        return "foreign_origin"
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        return "foreign_origin"
    return None


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def same(left: str, right: str) -> bool:
    """Compare two secrets without telling by the time it takes where they differ."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def first_user(token: str, verifiers: Iterable[Verifier]) -> str | None:
    """The user that the first verifier knows the token for."""
    return next((user for verify in verifiers if (user := verify(token)) is not None), None)
