"""How this computer reaches servers: the proxy in between, and whose certificates it trusts."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from executor_core.proxies import proxy_for


def client_session(url: str, **options: Any) -> aiohttp.ClientSession:
    """A session for requests to `url` and what it leads to; `options` are the session's own.

    The trust is read anew, because a program that runs for months outlives certificates. Raises
    the errors of `proxy_for`.
    """
    proxy = proxy_for(url)
    if urlsplit(url).scheme == "https":
        options["connector"] = aiohttp.TCPConnector(ssl=trust())
    return aiohttp.ClientSession(proxy=proxy, **options)


def trust() -> ssl.SSLContext:
    """The authorities that the system, or the file in SSL_CERT_FILE, trusts now.

    The same on every Python: since 3.13 its default also refuses chains without an Authority Key
    Identifier, which authorities of companies make, and which browsers, curl and git take.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
