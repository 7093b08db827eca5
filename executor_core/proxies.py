"""Which proxy our own connections go through: that of the environment, else of the system.

Read as curl, git and the agents read it: in capitals or not, `ALL_PROXY` where nothing more precise
is set, with or without a scheme, and `NO_PROXY` as names, addresses, networks and ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from executor_core.errors import ExecutorError
from executor_core.loopback import is_loopback

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str | None:
    """The proxy for an http(s) address; never for this computer.

    May ask the system, so it can block for a moment. Raises ExecutorError `proxy_unusable`, or
    `proxy_not_spoken` for socks and the like, which name the variable.
    """
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return None
    proxies = getproxies()
    # The second one knows the exceptions of Windows and macOS.
    if is_excepted(url, proxies.get("no", "")) or proxy_bypass(host):
        return None
    return chosen(url, proxies)


def chosen(url: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy among `proxies`, which are by scheme in small letters, `all` for any."""
    scheme = urlsplit(url).scheme
    name = next((name for name in (scheme, "all") if proxies.get(name, "").strip()), None)
    if name is None:
        return None
    variable, given = f"{name}_proxy".upper(), proxies[name].strip()
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_whole = SplitResult("", "", "", "", ""), False
    shown = given.rpartition("@")[2][:100]  # what stands before it may be a password
    if parts.scheme not in _PORTS and parts.scheme:
        raise ExecutorError("proxy_not_spoken", variable=variable, scheme=parts.scheme)
    if not is_whole:
        raise ExecutorError("proxy_unusable", variable=variable, proxy=shown)
    return f"{parts.scheme}://{parts.netloc}"


def is_excepted(url: str, exceptions: str) -> bool:
    """Whether `NO_PROXY` names the host of `url`.

    An entry is `*`, a name (also of what lies below it, with or without a leading dot or `*.`), an
    address or a network, and perhaps a port; entries stand between commas or spaces.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    return any(
        _matches(entry.lower(), host, port) for entry in exceptions.replace(",", " ").split()
    )


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of the two is a name, or has a port
    name, colon, wanted_port = entry.rpartition(":")
    if colon and wanted_port.isdecimal():
        return int(wanted_port) == port and _matches(name, host, port)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
