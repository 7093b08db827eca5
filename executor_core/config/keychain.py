"""The keychain of the operating system, for one secret per server.

Every call may block for up to five seconds (a locked keychain asks the user): keep it off the loop.
The library is imported by the first call and never before.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "wegent-executor"
LIMIT_S = 5.0
ASK_AGAIN_S = 60.0
"""A locked keychain that cannot be looked at without a question is asked anew after so long."""
_PIECE = 1000  # Windows keeps 1280 UTF-16 characters per entry, and tokens get longer than that
_INDEX = re.compile(r"pieces:([0-9]{1,2}):([0-9a-f]{64})")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Found:
    """The keychain has the secret."""

    secret: str = field(repr=False)


@dataclass(frozen=True)
class Absent:
    """The keychain works and has no such secret."""


@dataclass(frozen=True)
class NoKeychain:
    """This session has no keychain that keeps secrets."""


@dataclass(frozen=True)
class Blocked:
    """There is a keychain, but it is locked, said no, or did not answer in time."""

    reason: str
    is_locked: bool = False
    """It waits for its user; otherwise it refused."""
    is_asking: bool = False
    """Its question stands and was not answered yet."""


@dataclass(frozen=True)
class Done:
    """The change is made."""


Trouble: TypeAlias = NoKeychain | Blocked


def _system_keyring() -> KeyringBackend:
    import keyring

    return keyring.get_keyring()


class Keychain:
    """Reads and writes with a time limit. A call that hangs is left to its daemon thread; until it
    ends, other calls are `Blocked` at once, so that the user sees one prompt and not many. Whoever
    sent the prompt away is not asked again by a read, as long as it is seen to be locked."""

    def __init__(
        self, backend: Callable[[], KeyringBackend] = _system_keyring, limit_s: float = LIMIT_S
    ) -> None:
        self._backend = backend
        self._limit_s = limit_s
        self._hanging: threading.Thread | None = None
        self._sent_away_at: float | None = None
        self._lock = threading.Lock()

    def read(self, account: str) -> Found | Absent | Trouble:
        """The secret of `account`."""

        from keyring.errors import KeyringLocked

        def work(backend: KeyringBackend) -> Found | Absent:
            if self._sent_away_at is not None and _stays_locked(backend, self._sent_away_at):
                raise KeyringLocked
            self._sent_away_at = None  # it is asked now; another no counts from then on
            secret = _join(backend, account)
            return Absent() if secret is None else Found(secret)

        return self._call(work)

    def ask_again(self) -> None:
        """The user acts: the next read may ask, whatever was answered before."""
        self._sent_away_at = None

    def write(self, account: str, secret: str) -> Done | Trouble:
        """Keep `secret` for `account`, replacing another one; what is there is not written."""

        def work(backend: KeyringBackend) -> Done:
            if _join(backend, account) != secret:
                _split(backend, account, secret)
            return Done()

        return self._call(work)

    def delete(self, account: str) -> Done | Absent | Trouble:
        """Forget the secret of `account`."""

        def work(backend: KeyringBackend) -> Done | Absent:
            stored = backend.get_password(SERVICE, account)
            if stored is None:
                return Absent()
            backend.delete_password(SERVICE, account)
            _delete_pieces(backend, account, 0, _count(stored))
            return Done()

        return self._call(work)

    def _call(self, work: Callable[[KeyringBackend], _R]) -> _R | Trouble:
        with self._lock:
            if self._hanging is not None and self._hanging.is_alive():
                return Blocked(
                    "still waiting for an earlier answer", is_locked=True, is_asking=True
                )
            answers: queue.SimpleQueue[_R | Trouble] = queue.SimpleQueue()
            worker = threading.Thread(
                target=lambda: answers.put(self._noted(_answer(self._backend, work))),
                name="keychain",
                daemon=True,  # a prompt that nobody answers must not keep the process from ending
            )
            worker.start()
            try:
                answer = answers.get(timeout=self._limit_s)
            except queue.Empty:
                self._hanging = worker
                reason = f"no answer within {self._limit_s:g} s"
                return Blocked(reason, is_locked=True, is_asking=True)
            worker.join()
            return answer

    def _noted(self, answer: _R | Trouble) -> _R | Trouble:
        """Also of an answer that came too late for whoever asked."""
        if not (isinstance(answer, Blocked) and answer.is_locked):
            self._sent_away_at = None
        elif self._sent_away_at is None:
            self._sent_away_at = time.monotonic()
        return answer


_process = Keychain()


def system_keychain() -> Keychain:
    """The one that everything in this process asks, so that there is one prompt at a time."""
    return _process


def _answer(
    connect: Callable[[], KeyringBackend], work: Callable[[KeyringBackend], _R]
) -> _R | Trouble:
    from keyring.errors import KeyringLocked, NoKeyringError

    try:
        backend = connect()
        return work(backend) if _keeps_secrets(backend) else NoKeychain()
    except NoKeyringError:
        return NoKeychain()
    except Exception as error:  # the top of a thread; backends raise whatever their system raises
        return Blocked(type(error).__name__, is_locked=isinstance(error, KeyringLocked))


def _stays_locked(backend: KeyringBackend, since: float) -> bool:
    """Whether it is known to be locked without asking its user; for others it is a matter of time.

    `keyring` itself unlocks whatever it looks at.
    """
    first = next(iter(getattr(backend, "backends", ())), backend)
    if type(first).__module__ != "keyring.backends.SecretService":
        return time.monotonic() < since + ASK_AGAIN_S
    import secretstorage

    with contextlib.closing(secretstorage.dbus_init()) as bus:
        return bool(secretstorage.get_default_collection(bus).is_locked())


def _keeps_secrets(backend: KeyringBackend) -> bool:
    kind = type(backend)
    if kind.__module__.startswith(("keyring.backends.fail", "keyring.backends.null")):
        return False
    return "plaintext" not in kind.__name__.lower()


# --- secrets longer than an entry --------------------------------------------------------------


def _split(backend: KeyringBackend, account: str, secret: str) -> None:
    """Pieces first and the index last, so that a reader never finds half of a secret."""
    before = _count(backend.get_password(SERVICE, account) or "")
    pieces: list[str] = []
    index = secret
    if len(secret) > _PIECE or _INDEX.fullmatch(secret):
        pieces = [secret[at : at + _PIECE] for at in range(0, len(secret), _PIECE)]
        index = f"pieces:{len(pieces)}:{hashlib.sha256(secret.encode()).hexdigest()}"
    for number, piece in enumerate(pieces):
        backend.set_password(SERVICE, f"{account}#{number}", piece)
    backend.set_password(SERVICE, account, index)
    _delete_pieces(backend, account, len(pieces), before)


def _join(backend: KeyringBackend, account: str) -> str | None:
    stored = backend.get_password(SERVICE, account)
    match = _INDEX.fullmatch(stored or "")
    if match is None:
        return stored
    pieces = (backend.get_password(SERVICE, f"{account}#{n}") or "" for n in range(int(match[1])))
    secret = "".join(pieces)
    whole = hashlib.sha256(secret.encode()).hexdigest() == match[2]
    return secret if whole else None


def _count(stored: str) -> int:
    match = _INDEX.fullmatch(stored)
    return int(match[1]) if match else 0


def _delete_pieces(backend: KeyringBackend, account: str, first: int, end: int) -> None:
    from keyring.errors import PasswordDeleteError

    for number in range(first, end):
        with contextlib.suppress(PasswordDeleteError):  # it is gone, which is what was wanted
            backend.delete_password(SERVICE, f"{account}#{number}")
