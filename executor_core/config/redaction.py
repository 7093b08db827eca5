"""Taking secrets out of text: those that were registered, and those that look like one."""

from __future__ import annotations

import base64
import json
import math
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 6
_SHORTEST_IN_WORK = 12
"""Shorter ones are placeholders more often than keys ("ollama"), and ordinary words to an agent."""
_LONGEST = 4096
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

    Those of the program itself stay, and those of work as long as it goes on. Of the others it
    remembers the last 256, since words of a run that has ended may still be on their way.
    """

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._held: Counter[str] = Counter()
        self._secrets: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._forms: tuple[str, ...] = ()
        self._forms_in_work: tuple[str, ...] = ()
        self._beginnings: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def register(self, secret: str) -> None:
        """Never show `secret` again, in any of its spellings. Under 6 characters it is ignored.

        Of more than 256 those that came later are remembered like those of work that has ended.
        """
        with self._lock:
            if len(self._lasting) < _MOST and len(secret) >= _SHORTEST:
                self._lasting.add(secret)
            self._know((secret,))

    def hold(self, secrets: Collection[str]) -> None:
        """Do not show these, at least until each was released as often as it was held."""
        with self._lock:
            self._held.update(secrets)
            self._know(secrets)

    def release(self, secrets: Collection[str]) -> None:
        """The work that held these has ended."""
        with self._lock:
            self._held -= Counter(secrets)
            self._know(secrets)

    def _know(self, secrets: Iterable[str]) -> None:
        """These are the latest; the oldest of those that nobody needs give way."""
        before = set(self._secrets)
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                if secret not in self._secrets:
                    self._secrets[secret] = spellings(secret)
                self._secrets.move_to_end(secret)
        needed = self._lasting | self._held.keys()
        for secret in [one for one in self._secrets if one not in needed][:-_MOST]:
            del self._secrets[secret]
        if self._secrets.keys() != before:
            self._prepare()

    def _prepare(self) -> None:
        self._forms = _longest_first(self._secrets.values())
        long = (f for s, f in self._secrets.items() if len(s) >= _SHORTEST_IN_WORK)
        self._forms_in_work = _longest_first(long)
        firsts = {form[0] for form in self._forms_in_work}
        self._beginnings = {
            first: tuple(form for form in self._forms_in_work if form[0] == first)
            for first in firsts
        }

    def redact(self, text: str) -> str:
        """`text` with every secret replaced by `***`."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        for pattern in _PATTERNS:
            text = pattern.sub(_mask, text)
        return text

    def hide(self, text: str) -> str:
        """`text` of somebody's work without the secrets; what only looks like one stays."""
        for form in self._forms_in_work:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def holds_one(self, data: bytes) -> bool:
        """Whether somebody's work has a secret in it."""
        text = data.decode("utf-8", "replace")
        return any(form in text for form in self._forms_in_work)

    def unfinished(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a secret."""
        forms = self._forms_in_work
        if not forms or not text:
            return 0
        tail = text[-len(forms[0]) :]
        for start, first in enumerate(tail):
            rest = tail[start:]
            if any(form.startswith(rest) for form in self._beginnings.get(first, ())):
                return len(rest)
        return 0


def _longest_first(groups: Iterable[frozenset[str]]) -> tuple[str, ...]:
    return tuple(sorted(frozenset[str]().union(*groups), key=len, reverse=True))


def _mask(match: re.Match[str]) -> str:
    kept = match.groupdict().get("keep")
    return MASK if kept is None else f'{kept}"{MASK}"'


def spellings(secret: str) -> frozenset[str]:
    """`secret` as it may stand in a log: plain, URL-encoded, JSON- and Python-escaped, base64, hex.

    A long one is known by its pieces: how far `unfinished` looks back is bounded by the longest.
    """
    plain = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        in_hex := secret.encode("utf-8", "replace").hex(),
        in_hex.upper(),
    }
    encoded = {text for offset in range(3) for text in _base64_inside(secret.encode(), offset)}
    return frozenset(piece for whole in plain | encoded for piece in _pieces(whole))


def _pieces(whole: str) -> list[str]:
    """`whole` in parts of one size, so that none is so short that it occurs in any text."""
    size = math.ceil(len(whole) / math.ceil(len(whole) / _LONGEST))
    return [whole[start : start + size] for start in range(0, len(whole), size)]


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


def known_secrets() -> Redactor:
    """All that this process knows."""
    return _process


def register_secret(secret: str) -> None:
    """Keep `secret` out of everything this process logs or records from now on."""
    _process.register(secret)


def redact(text: str) -> str:
    """`text` without secrets; a plain function that other rooms can be handed."""
    return _process.redact(text)
