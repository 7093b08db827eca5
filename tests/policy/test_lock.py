"""requirements.lock is clean, agrees with pyproject.toml, and is complete on every platform."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.policy.code import ROOT

_CONDITION = r"(sys_platform|python_version|platform_machine) (==|!=|<) \"[\w.]+\""
LINE = re.compile(rf"[a-z0-9-]+==[0-9][\w.]*( ; {_CONDITION}( or {_CONDITION})?)?")
ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": system}
    | {"platform_machine": "x86_64"}
    | {"platform_system": name, "os_name": os, "platform_python_implementation": "CPython"}
    for version in ("3.11", "3.12", "3.13")
    for system, name, os in (
        ("linux", "Linux", "posix"),
        ("darwin", "Darwin", "posix"),
        ("win32", "Windows", "nt"),
    )
]


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def wanted_by_us() -> list[Requirement]:
    """What pyproject.toml asks for, with the desktop and the tools of developers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = [*project["dependencies"], *extras["dev"], *extras["desktop"]]
    return [Requirement(name) for name in names]


def needed_by(requirement: Requirement, environment: dict[str, str]) -> list[Requirement]:
    """What the installed distribution asks for in that environment, also for its extras."""
    try:
        lines = requires(requirement.name) or []
    except PackageNotFoundError:
        return []  # of another platform, so its own needs cannot be read here
    extras = {"", *requirement.extras}
    return [
        needed
        for needed in map(Requirement, lines)
        if needed.marker is None
        or any(needed.marker.evaluate(environment | {"extra": extra}) for extra in extras)
    ]


def missing(locked: dict[str, Requirement], environment: dict[str, str]) -> list[str]:
    """What is needed in that environment and not locked for it."""
    todo = [
        wanted
        for wanted in wanted_by_us()
        if wanted.marker is None or wanted.marker.evaluate(environment)
    ]
    seen: set[tuple[str, frozenset[str]]] = set()
    found: list[str] = []
    while todo:
        needed = todo.pop()
        name = canonicalize_name(needed.name)
        if (name, frozenset(needed.extras)) in seen:
            continue
        seen.add((name, frozenset(needed.extras)))
        lock = locked.get(name)
        if lock is None or (lock.marker and not lock.marker.evaluate(environment)):
            found.append(name)
            continue
        version = str(lock.specifier).removeprefix("==")
        if not needed.specifier.contains(version, prereleases=True):
            found.append(f"{name} {version} is not {needed.specifier}")
        todo += needed_by(needed, environment)
    return sorted(found)


def locked() -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lock_lines())}


def test_every_line_is_one_exact_version_and_nothing_else() -> None:
    assert [line for line in lock_lines() if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda e: f"{e['sys_platform']}-{e['python_version']}"
)
def test_the_lock_is_complete(environment: dict[str, str]) -> None:
    assert missing(locked(), environment) == []


def test_a_package_that_is_not_locked_for_a_platform_is_found() -> None:
    everywhere = locked()
    without = everywhere | {"colorama": Requirement('colorama==0.4.6; sys_platform == "linux"')}
    without.pop("aiohttp")
    assert missing(without, ENVIRONMENTS[2]) == ["aiohttp", "colorama"]
