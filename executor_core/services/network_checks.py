"""What a look at the server comes to: network, certificate, server, clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from executor_core.services.interface import Check, Verdict
from executor_core.services.server_look import Certificate, ServerLook
from executor_core.services.words import check

SOON = timedelta(days=14)
"""A certificate that ends within this time is worth a word."""
SKEW_WARNING_S = 60.0
SKEW_FAILURE_S = 300.0
"""Tokens are refused at about this distance."""

# OpenSSL's numbers (X509_V_ERR_…): what a person has to do differs.
_CASES = {
    **dict.fromkeys((9, 10), "tls.expired"),
    **dict.fromkeys((2, 18, 19, 20, 21), "tls.untrusted"),
    **dict.fromkeys((62, 64), "tls.wrong_name"),
}


def network(look: ServerLook | None) -> Check:
    """Whether the server, or the proxy in between, can be found and takes connections."""
    if look is None:
        return check("network", Verdict.SKIPPED, "network.no_server")
    values = {"server": look.server, "proxy": look.proxy}
    way = "_by_proxy" if look.proxy else ""
    if look.name_error is not None:
        case = f"network.no_name{way}"
        return check("network", Verdict.FAILED, case, reason=look.name_error, **values)
    if look.connect_error is not None:
        case = f"network.no_connection{way}"
        return check("network", Verdict.FAILED, case, reason=look.connect_error, **values)
    found = ", ".join(look.addresses[:3])
    return check("network", Verdict.OK, f"network.ok{way}", addresses=found, **values)


def tls(look: ServerLook | None, now: datetime) -> Check:
    """Whether the connection is private, and who vouches for it."""
    if look is None:
        return check("tls", Verdict.SKIPPED, "no_server")
    if not look.is_https:
        return check("tls", Verdict.SKIPPED, "tls.plain")
    if not look.is_reached:
        return check("tls", Verdict.SKIPPED, "not_reached")
    if look.tls_error is not None:
        return check("tls", Verdict.FAILED, "tls.failed", reason=look.tls_error)
    if look.certificate is None:
        return _tls_by_proxy(look)
    return _tls_of(look.certificate, now)


def _tls_by_proxy(look: ServerLook) -> Check:
    """The proxy is all that we reach by ourselves: only whether it went well is known."""
    if look.answer_error is not None:
        return check("tls", Verdict.SKIPPED, "not_reached")
    return check("tls", Verdict.OK, "tls.ok_by_proxy", proxy=look.proxy)


def _tls_of(certificate: Certificate, now: datetime) -> Check:
    expires = certificate.expires_at.date().isoformat()
    values: dict[str, object] = {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "expires": expires,
    }
    if certificate.problem is not None:
        number, reason = certificate.problem
        case = _CASES.get(number, "tls.other")
        return check("tls", Verdict.FAILED, case, reason=reason, **values)
    if certificate.expires_at - now < SOON:
        return check("tls", Verdict.WARNING, "tls.ends_soon", **values)
    return check("tls", Verdict.OK, "tls.ok", **values)


def server(look: ServerLook | None, dialect: str | None) -> Check:
    """Whether it is a Wegent server, and what is known of its generation."""
    if look is None:
        return check("server", Verdict.SKIPPED, "no_server")
    if not look.is_trusted:
        return check("server", Verdict.SKIPPED, "not_reached")
    if look.answer_error is not None:
        return check("server", Verdict.FAILED, "server.no_answer", reason=look.answer_error)
    if look.name is None:
        is_ill = (look.status or 0) >= 500
        case = "server.ill" if is_ill else "server.foreign"
        return check("server", Verdict.FAILED, case, server=look.server, status=look.status)
    name = " ".join(part for part in (look.name, look.version) if part)
    case = "server.ok" if dialect is None else "server.ok_dialect"
    return check("server", Verdict.OK, case, name=name, dialect=dialect)


def clock(look: ServerLook | None) -> Check:
    """Whether this computer and the server agree on the time."""
    if look is None:
        return check("clock", Verdict.SKIPPED, "no_server")
    if look.skew_s is None:
        return check("clock", Verdict.SKIPPED, "clock.unknown")
    off = abs(look.skew_s)
    if off <= SKEW_WARNING_S:
        return check("clock", Verdict.OK, "clock.ok", seconds=round(off))
    verdict = Verdict.WARNING if off <= SKEW_FAILURE_S else Verdict.FAILED
    case = "clock.ahead" if look.skew_s > 0 else "clock.behind"
    return check("clock", verdict, case, seconds=round(off))
