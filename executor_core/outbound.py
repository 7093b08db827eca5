"""How this computer reaches servers: the proxy in between, and whose certificates it trusts."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from executor_core.loopback import is_loopback


def client_session(url: str, **options: Any) -> aiohttp.ClientSession:
    """A session for requests to `url` and what it leads to; `options` are the session's own.

    No proxy ever stands between us and this computer. The trust is read anew, because a program
    that runs for months outlives certificates.
    """
    parts = urlsplit(url)
    is_here = is_loopback(parts.hostname or "")
    if parts.scheme == "https":
        options["connector"] = aiohttp.TCPConnector(ssl=trust())
    return aiohttp.ClientSession(trust_env=not is_here, **options)


def trust() -> ssl.SSLContext:
    """The authorities that the system, or the file in SSL_CERT_FILE, trusts now.

    The same on every Python: since 3.13 its default also refuses chains without an Authority Key
    Identifier, which authorities of companies make, and which browsers, curl and git take.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def proxy_for(url: str) -> str | None:
    """The proxy that the system or the environment wants for `url`; never for this computer.

    For those who ask themselves: a library that opens `wss:` asks for that, which nobody sets.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
