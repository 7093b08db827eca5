"""The agents of the Agent Client Protocol's own registry: what each is, and what we saw of it.

`resources/acp_agents.json` is a snapshot of facts, kept by hand; nothing here asks the network.
OpenCode, which is in that registry too, is one of our own three.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache

import msgspec
from msgspec import field

from executor_core.model import Value
from executor_core.resources import resource_path

_OURS = ("claude_code", "codex", "opencode")
_NEAR, _MOST_NEAR = 0.6, 3


class AcpDefinition(Value, kw_only=True, frozen=True):
    """An agent as three lines define it. `env` comes on top of the user's own variables."""

    name: str
    title: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"AcpDefinition({self.name!r}, {self.command[0]!r})"


class Download(Value, kw_only=True, frozen=True):
    """A program that its makers offer on `page`.

    `files` are the name and the SHA-256 of the archive of that `version`, by platform and machine
    (`linux-x86_64`), where its makers publish one.
    """

    page: str
    version: str | None = None
    files: dict[str, tuple[str, str]] = field(default_factory=dict)


class Source(Value, kw_only=True, frozen=True):
    """Where an agent comes from: one of the three."""

    npm: str | None = None
    pypi: str | None = None
    binary: Download | None = None


class SignIn(Value, kw_only=True, frozen=True):
    """What a person types, or which variables hold a key, to sign in. Either may be missing."""

    command: str | None = None
    variables: tuple[str, ...] = ()


class Seen(Value, kw_only=True, frozen=True):
    """Our own verdict: a word for each scenario of `tests/agents/conformance.py`."""

    version: str
    date: str
    scenarios: dict[str, str]


class KnownAgent(AcpDefinition, kw_only=True, frozen=True):
    """An agent of the registry. `also` are further names of it, `supersedes` programs before it."""

    install: Source
    sign_in: SignIn = SignIn()
    seen: Seen | None = None
    also: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()

    @property
    def is_installable(self) -> bool:
        """Whether `agents install` does it, and does not only say how."""
        return bool(self.install.npm or self.install.pypi)


@cache
def known_agents() -> tuple[KnownAgent, ...]:
    """All of them, whether they are installed or not."""
    raw = resource_path("acp_agents.json").read_bytes()
    return msgspec.json.decode(raw, type=tuple[KnownAgent, ...])


def known_agent(name: str) -> KnownAgent | None:
    """The agent of this name, however its dashes are written, or of one that it goes by too."""
    wanted = _plain(name)
    for agent in known_agents():
        if wanted in map(_plain, (agent.name, *agent.also)):
            return agent
    return None


def successor_of(program: str) -> KnownAgent | None:
    """What took the place of a program that is not kept up any more."""
    return next((agent for agent in known_agents() if program in agent.supersedes), None)


def nearest_names(name: str, known: Iterable[str] = ()) -> tuple[str, ...]:
    """The names that may have been meant, the likeliest first."""
    words = {_plain(one): one for one in (*_OURS, *known)}
    for agent in known_agents():
        spellings = (agent.name, agent.title, *agent.also, *agent.supersedes)
        words |= {_plain(one): agent.name for one in spellings}
    found = difflib.get_close_matches(_plain(name), words, n=2 * _MOST_NEAR, cutoff=_NEAR)
    return tuple(dict.fromkeys(words[one] for one in found))[:_MOST_NEAR]


def _plain(name: str) -> str:
    """A name without what people vary; of a package of npm, what stands behind its scope."""
    return name.lower().rpartition("/")[2].replace("-", "_").replace(" ", "_")
