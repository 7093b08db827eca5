"""Taking secrets out of text: those that were registered, and those that look like one."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import OrderedDict
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 6
_MOST = 256

_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*",
        r"\bwg-[\w-]{6,}",
        r"\bsk-[\w-]{8,}",  # also sk-ant-…
        r"\b(?:gh[opusr]_|github_pat_|glpat-)[\w-]{8,}",
        r"(?i)(?<=\bbearer\s)\s*[\w.~+/=-]{6,}",
        r"(?<=://)[^\s/@]+(?=@)",
        r"(?i)(?<=access_token=)[^&\s\"']+",
        r"(?i)(?<=[?&]token=)[^&\s\"']+",
        r"""(?i)(?P<keep>["']\w*(?:token|api_?key|password|secret)["']\s*:\s*)(?:"[^"]*"|'[^']*')""",
    )
)


class Redactor:
    """The secrets this process knows, and a way to remove them from text. Safe across threads.

    It remembers the last 256 secrets; registering one again keeps it.
    """

    def __init__(self) -> None:
        self._secrets: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._forms: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def register(self, secret: str) -> None:
        """Never show `secret` again, in any of its spellings. Under 6 characters it is ignored."""
        if len(secret) < _SHORTEST:
            return
        with self._lock:
            known = secret in self._secrets
            self._secrets[secret] = self._secrets[secret] if known else spellings(secret)
            self._secrets.move_to_end(secret)
            if known:
                return
            if len(self._secrets) > _MOST:
                self._secrets.popitem(last=False)
            forms = frozenset().union(*self._secrets.values())
            self._forms = tuple(sorted(forms, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """`text` with every secret replaced by `***`."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        for pattern in _PATTERNS:
            text = pattern.sub(_mask, text)
        return text


def _mask(match: re.Match[str]) -> str:
    kept = match.groupdict().get("keep")
    return MASK if kept is None else f'{kept}"{MASK}"'


def spellings(secret: str) -> frozenset[str]:
    """`secret` as it may stand in a log: plain, URL-encoded, JSON- and Python-escaped, base64."""
    plain = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }
    encoded = {text for offset in range(3) for text in _base64_inside(secret.encode(), offset)}
    return frozenset(plain | encoded)


def _base64_inside(secret: bytes, offset: int) -> tuple[str, str]:
    """The base64 characters that depend on `secret` alone when `offset` bytes precede it.

    With offset 0 and no remainder this is the whole encoding; else the mixed characters at the ends
    (as in the `user:secret` of basic authentication) are left out.
    """
    padded = bytes(offset) + secret
    start = (0, 2, 3)[offset]
    end = len(padded) * 8 // 6
    cut = slice(start, end)
    return (
        base64.b64encode(padded).decode()[cut],
        base64.urlsafe_b64encode(padded).decode()[cut],
    )


_process = Redactor()


def register_secret(secret: str) -> None:
    """Keep `secret` out of everything this process logs from now on."""
    _process.register(secret)


def redact(text: str) -> str:
    """`text` without secrets; a plain function that other rooms can be handed."""
    return _process.redact(text)
