"""Which token is sent to a server, where it came from, and where a new one is kept.

Strongest first: one entered in this process, the command line, the environment, the keychain,
`<home>/token`, config.env, device-config.json. One that the server refused is passed over.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from executor_core.config.errors import ConfigError, reason_of
from executor_core.config.files import UnsafeFileError, read_private, write_private
from executor_core.config.keychain import (
    Blocked,
    Found,
    Keychain,
    NoKeychain,
    system_keychain,
)
from executor_core.config.kinds import clean_token
from executor_core.config.layers import Config, Explanation, Layer, Setting
from executor_core.config.options import SERVER_TOKEN
from executor_core.config.redaction import register_secret
from executor_core.config.server_url import origin
from executor_core.errors import ExecutorError
from executor_core.texts import Message, text

_log = logging.getLogger("executor.config")

ASKING = "keychain_asking"
WAITING = (ASKING, "keychain_locked")
"""The codes of a keychain that waits for its user; it may give out a token any moment."""


@dataclass(frozen=True)
class Token:
    """A token and where it came from. The value is never shown."""

    value: str = field(repr=False)
    place: Message
    layer: Layer

    @property
    def source(self) -> str:
        """Where it came from, in the user's language."""
        return self.place.text()


class TokenSources:
    """All places that can hold a token. Calls may block for as long as the keychain does."""

    def __init__(self, config: Config, keychain: Keychain | None = None) -> None:
        self._home = config.home
        self._settings = config.settings_of(SERVER_TOKEN)
        self._keychain = keychain or system_keychain()
        self._entered: dict[str, Token] = {}
        self._refused: set[bytes] = set()
        self._warned: set[str] = set()
        self._shut: Blocked | None = None

    def current(self, server: str) -> Token | None:
        """The strongest token for the normalised address `server` that it has not refused.

        Places weaker than the answer are not asked: with a token in the environment no keychain
        prompt ever appears.

        Raises:
            ExecutorError: `keychain_asking`, `keychain_locked` or `keychain_blocked`, where no
                other place has one, so that nobody can tell whether there is one.
        """
        self._shut = None
        usable = (t for t in self._candidates(server) if _hash(t.value) not in self._refused)
        token = next(usable, None)
        if token is None and self._shut is not None:
            raise _shut(self._shut)
        return token

    def explain(self, server: str) -> tuple[Explanation, ...]:
        """Every place that has a token for `server`, the weakest first."""
        tokens = tuple(self._candidates(server))
        winner = next((t for t in tokens if _hash(t.value) not in self._refused), None)
        chain = []
        for token in reversed(tokens):
            is_refused = _hash(token.value) in self._refused
            shown = text("value.refused" if is_refused else "value.set")
            chain.append(Explanation(token.layer, token.source, shown, token is winner))
        return tuple(chain)

    def reload(self, server: str) -> None:
        """Another process saved or removed a token: forget refusals, and prefer what it saved."""
        self._refused.clear()
        self._keychain.ask_again()
        saved = self._from_keychain(server) or self._read_file(server)
        if saved is None:
            self._entered.pop(origin(server), None)
        else:
            self._entered[origin(server)] = Token(saved.value, saved.place, Layer.ENTERED)

    def refused(self, token: Token) -> None:
        """The server said no: pass over this value wherever it stands, until it is entered anew."""
        self._refused.add(_hash(token.value))

    def save(self, server: str, token: str, to_file: bool = False) -> Token:
        """Keep a token that a person entered for `server`; it is used at once.

        Raises:
            ExecutorError: `bad_token`, `no_keychain`, `keychain_asking`, `keychain_locked`,
                `keychain_blocked`, `token_not_written`. Nothing is then kept; only what waits for a
                locked keychain is, once its user unlocks it.
        """
        try:
            value = clean_token(token)
        except ValueError:
            raise ExecutorError("bad_token") from None
        register_secret(value)
        place = self._write_file(server, value) if to_file else self._write_keychain(server, value)
        entered = Token(value, place, Layer.ENTERED)
        self._entered[origin(server)] = entered
        self._refused.discard(_hash(value))
        return entered

    def forget(self, server: str) -> None:
        """Remove the token of `server` from the keychain, the file and memory.

        What stands in the environment and in files that we do not write stays.

        Raises:
            ExecutorError: `keychain_locked`, `keychain_blocked` or `token_not_written`; the rest
                is forgotten.
        """
        self._entered.pop(origin(server), None)
        if self._read_file(server) is not None:
            try:
                self._home.token.unlink(missing_ok=True)
            except OSError as error:
                raise self._not_written(error) from error
        answer = self._keychain.delete(origin(server))
        if isinstance(answer, Blocked):
            raise _shut(answer)

    def _candidates(self, server: str) -> Iterator[Token]:
        if (entered := self._entered.get(origin(server))) is not None:
            yield entered
        strongest_first = tuple(reversed(self._settings))
        yield from (_token(s) for s in strongest_first if s.layer >= Layer.ENVIRONMENT)
        yield from filter(None, (self._from_keychain(server),))
        yield from filter(None, (self._read_file(server),))
        yield from (_token(s) for s in strongest_first if s.layer < Layer.ENVIRONMENT)

    def _from_keychain(self, server: str) -> Token | None:
        match self._keychain.read(origin(server)):
            case Found(secret):
                return self._stored(secret, Message("source.keychain"), Layer.KEYCHAIN)
            case Blocked(reason) as shut:
                self._shut = shut
                self._warn_once("The keychain cannot be read: %s", reason)
        return None

    def _stored(self, raw: str, place: Message, layer: Layer) -> Token | None:
        try:
            value = clean_token(raw)
        except ValueError:
            self._warn_once("What is kept as a token is none: %s", place.text("en"))
            return None
        register_secret(value)
        return Token(value, place, layer)

    def _read_file(self, server: str) -> Token | None:
        """The token in the file. A second line binds it to the server it was entered for."""
        path = self._home.token
        try:
            raw, repaired = read_private(path)
        except FileNotFoundError:
            return None
        except UnsafeFileError:
            self._warn_once("%s is ignored: not a plain file of this user", str(path))
            return None
        except OSError as error:
            self._warn_once("The token file cannot be read: %s", reason_of(error))
            return None
        if repaired:
            _log.warning("%s was readable by other users; its mode is now 0600", path)
        value, _, bound_to = raw.decode("utf-8-sig", "replace").strip().partition("\n")
        if bound_to and bound_to.strip() != origin(server):
            return None
        place = Message("source.token_file", {"file": str(path)})
        return self._stored(value, place, Layer.TOKEN_FILE)

    def _write_file(self, server: str, value: str) -> Message:
        path = self._home.token
        try:
            write_private(path, f"{value}\n{origin(server)}\n".encode())
        except OSError as error:
            raise self._not_written(error) from error
        return Message("source.token_file", {"file": str(path)})

    def _write_keychain(self, server: str, value: str) -> Message:
        answer = self._keychain.write(origin(server), value)
        if isinstance(answer, NoKeychain):
            raise ExecutorError("no_keychain")
        if isinstance(answer, Blocked):
            raise _shut(answer)
        return Message("source.keychain")

    def _not_written(self, error: OSError) -> ConfigError:
        return ConfigError("token_not_written", file=self._home.token, reason=reason_of(error))

    def _warn_once(self, message: str, value: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _log.warning(message, value)


def _shut(answer: Blocked) -> ExecutorError:
    code = "keychain_locked" if answer.is_locked else "keychain_blocked"
    return ExecutorError(ASKING if answer.is_asking else code, reason=answer.reason)


def _token(setting: Setting) -> Token:
    return Token(clean_token(str(setting.raw)), setting.source, setting.layer)


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
