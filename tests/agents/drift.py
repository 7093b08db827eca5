"""Tries the newest release of each agent before users meet it, and prints what has changed.

`make drift` looks at the three that are pinned: the scenarios of `conformance` with the version
that was last found good and with the newest, then the tests with the real program. Names in ARGS
(`make drift ARGS='gemini qwen_code'`) try agents of the catalogue that npm has against what was
last seen of them; `all` means every one. Exit code 1 where something became worse.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from executor_core.agents.catalog import KnownAgent, known_agents
from executor_core.agents.host import parts_of
from tests.agents.conformance import LED, Subject, of_catalogue, ours, verdict
from tests.support.real_cli import PINS, CannotInstall, Pin, installed, newest_version

ROOT = Path(__file__).parents[2]
REAL_TESTS = {
    "claude_code": ("test_real_claude_*.py",),
    "codex": ("test_codex_*real.py",),
    "opencode": ("test_opencode_real.py",),
}
"""Below `tests/agents`: what is held against the newest release of each."""
_RANK = {"yes": 3, "offered": 2, "login": 1}


def worsened(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The scenarios that went better before: a login that is asked for hides all behind it."""
    return [
        name
        for name, word in before.items()
        if _RANK.get(now.get(name, ""), 0) < _RANK.get(word, 0)
    ]


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line per scenario that ends in another way."""
    names = dict.fromkeys((*before, *now))
    return [
        f"  {name}: {before.get(name, '-')} -> {now.get(name, '-')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def pinned(name: str) -> bool:
    """One of our three. Whether its newest release is as good as the last that we tested."""
    pin = PINS[name]
    newest = newest_version(pin.package)
    if parts_of(newest) <= parts_of(pin.newest):
        print(f"{name}: {newest} is the newest, and tested")
        return True
    print(f"{name}: {newest} is newer than the last that was tested, {pin.newest}", flush=True)
    before = _tried(ours(name, installed(name, pin, pin.newest)))
    now = _tried(ours(name, installed(name, pin, newest)))
    is_good = _told(before, now)
    files = [str(file) for each in REAL_TESTS[name] for file in Path(__file__).parent.glob(each)]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", *files, "--cli"]
    done = subprocess.run([*command, f"{name}={newest}"], cwd=ROOT, check=False)
    if is_good and done.returncode == 0:
        print(f"{name}: all as before; the table of tested versions may say {newest}")
    return is_good and done.returncode == 0


def known(agent: KnownAgent) -> bool:
    """One of the catalogue, against what stands there."""
    assert agent.install.npm is not None
    newest = newest_version(agent.install.npm)
    pin = Pin(agent.install.npm, newest, agent.command[0], newest, has_version=False)
    now = _tried(of_catalogue(agent.name, installed(agent.name, pin, newest), LED.get(agent.name)))
    seen = agent.seen
    print(f"{agent.name}: {newest}, last seen {seen.version if seen else 'never'}")
    today = datetime.now(UTC).date().isoformat()
    print("  " + json.dumps({"version": newest, "date": today, "scenarios": now}))
    return _told(seen.scenarios if seen else {}, now)


def _tried(subject: Subject) -> dict[str, str]:
    return asyncio.run(verdict(subject))


def _told(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    for line in changes(before, now):
        print(line)
    return not worsened(before, now)


def main(names: Iterable[str]) -> int:
    wanted = set(names)
    offered = {agent.name: agent for agent in known_agents() if agent.install.npm}
    chosen = set(offered) if "all" in wanted else wanted & offered.keys()
    if unknown := wanted - offered.keys() - {"all"}:
        print(f"not in npm: {', '.join(sorted(unknown))}")
        return 2
    is_good = True
    for name in PINS if not chosen else sorted(chosen):
        try:
            is_good &= known(offered[name]) if chosen else pinned(name)
        except CannotInstall as error:
            print(f"{name}: {error}")
            is_good = False
        sys.stdout.flush()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
