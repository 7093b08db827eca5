"""The address of a server as people paste it, made into the one form that the links use."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from executor_core.config.errors import ConfigError
from executor_core.config.kinds import Where
from executor_core.loopback import is_loopback

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[^\s/\\?#@%<>\"'`{}|^\x00-\x20\x7f]+")


def normalise(raw: str, allow_plain_http: bool = False) -> str:
    """The base address, `http(s)://host[:port][/prefix]`, without a trailing slash.

    Web socket schemes, `/api…`, `/socket.io…`, query and fragment are dropped; a missing scheme
    means https, or http on this computer.

    Raises:
        ConfigError: `server_url_invalid`, `server_url_userinfo`, or `server_url_plain_http` when
            the token would cross a network unencrypted and the user has not opted in.
    """
    parts, port = _split(raw.strip())
    host = parts.hostname or ""
    scheme = _SCHEMES[parts.scheme] if parts.scheme else "http" if is_loopback(host) else "https"
    shown_host = f"[{host}]" if ":" in host else host
    if scheme == "http" and not is_loopback(host) and not allow_plain_http:
        raise ConfigError("server_url_plain_http", host=shown_host)
    shown_port = "" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}"
    return f"{scheme}://{shown_host}{shown_port}{_prefix(parts.path)}"


def parse(raw: object, _: Where) -> str:
    """The parser of an option: whether plain http is allowed is another option's matter."""
    if not isinstance(raw, str):
        raise ValueError(raw)
    try:
        return normalise(raw, allow_plain_http=True)
    except ConfigError as error:
        raise ValueError(error.code) from error


def is_private(url: str) -> bool:
    """True if nobody on the way to a normalised address can read along."""
    return url.startswith("https:") or is_loopback(urlsplit(url).hostname or "")


def origin(url: str) -> str:
    """Scheme, host and port of a normalised address: what a stored token belongs to."""
    return "/".join(url.split("/", 3)[:3])


def _split(raw: str) -> tuple[SplitResult, int | None]:
    """The parts of `raw` and its port; a scheme is empty or one of ours, the host is plausible."""
    scheme, found, rest = raw.partition("://")
    if not found:
        scheme, rest = "", raw.removeprefix("//")
    try:
        parts = urlsplit(f"{scheme}://{rest}" if scheme else f"//{rest}")
        port = parts.port
    except ValueError:
        raise _invalid(raw) from None
    if "@" in parts.netloc:
        raise ConfigError("server_url_userinfo")
    known = not scheme or parts.scheme in _SCHEMES
    if not known or port == 0 or not _HOST.fullmatch(parts.hostname or ""):
        raise _invalid(raw)
    return parts, port


def _invalid(raw: str) -> ConfigError:
    """Only what comes after a possible password is shown."""
    return ConfigError("server_url_invalid", url=raw.rpartition("@")[2][:100])


def _prefix(path: str) -> str:
    """The sub-path that a reverse proxy serves the server under, or nothing."""
    kept: list[str] = []
    for segment in map(str.strip, path.split("/")):
        if segment in ("api", "socket.io"):
            break
        if segment not in ("", ".", ".."):
            kept.append(segment)
    return "".join(f"/{segment}" for segment in kept)
