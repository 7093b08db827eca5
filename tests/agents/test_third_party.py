"""Agents of other packages: the one in the room's README works as it stands there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from executor_core.agents import AgentHost, registry
from executor_core.agents.registry import ENTRY_POINTS, third_party
from tests.agents.test_availability import Computer
from tests.support.executor_process import ExecutorProcess

pytestmark = pytest.mark.slow

README = Path(registry.__file__).with_name("README.md")


class Good:
    """An agent in the least that one needs."""

    def __init__(self, host: AgentHost) -> None:
        self.name = "good"
        self.host = host

    async def availability(self) -> None: ...

    async def run(self) -> None: ...


def badly_named(host: AgentHost) -> Good:
    agent = Good(host)
    agent.name = "Not A Name"
    return agent


def without_run(_: AgentHost) -> object:
    return type("Half", (), {"name": "half", "availability": print})()


def failing(_: AgentHost) -> Good:
    raise RuntimeError("no license")


@pytest.fixture
def host(tmp_path: Path) -> AgentHost:
    return Computer(tmp_path).host


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of packages that seem to be installed."""
    points: list[EntryPoint] = []

    def entry_points(*, group: str) -> EntryPoints:
        assert group == ENTRY_POINTS
        return EntryPoints(points)

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return points


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{value}", ENTRY_POINTS)


def test_an_agent_of_another_package_is_made_with_the_host(
    installed: list[EntryPoint], host: AgentHost
) -> None:
    installed.append(point("good", "Good"))
    [agent] = third_party(host, taken=())
    assert isinstance(agent, Good)
    assert agent.host is host


@pytest.mark.parametrize("value", ["failing", "badly_named", "without_run", "not_there"])
def test_a_broken_one_is_logged_and_left_out_and_the_others_stay(
    installed: list[EntryPoint], host: AgentHost, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    installed += [point("a", value), point("good", "Good")]
    assert [agent.name for agent in third_party(host, taken=())] == ["good"]
    assert value in caplog.text


def test_a_taken_name_stays_with_who_has_it(
    installed: list[EntryPoint], host: AgentHost, caplog: pytest.LogCaptureFixture
) -> None:
    installed += [point("a", "Good"), point("b", "Good")]
    assert len(third_party(host, taken=())) == 1
    assert third_party(host, taken={"good"}) == []
    assert "taken" in caplog.text


def test_a_package_whose_import_fails_is_left_out(
    installed: list[EntryPoint], host: AgentHost, caplog: pytest.LogCaptureFixture
) -> None:
    installed.append(EntryPoint("gone", "no_such_package_at_all:Agent", ENTRY_POINTS))
    assert third_party(host, taken=()) == []
    assert "no_such_package_at_all" in caplog.text


# --- the one of the README -----------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def wheel_of_the_readme(folder: Path) -> Path:
    """Put together here as its pyproject.toml says: pip builds nothing without a network."""
    [text] = [block for block in blocks("toml") if "entry-points" in block]
    project, setup = tomllib.loads(text)["project"], tomllib.loads(text)["tool"]["setuptools"]
    [module], [code] = setup["py-modules"], blocks("python")
    [(group, points)] = project["entry-points"].items()
    entries = "".join(f"{name} = {value}\n" for name, value in points.items())
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    info = f"{stem}.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": "Metadata-Version: 2.1\n"
        f"Name: {project['name']}\nVersion: {project['version']}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{group}]\n{entries}",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, content)
    return path


async def test_the_package_of_the_readme_is_listed_and_works_once_it_is_installed(
    tmp_path: Path,
) -> None:
    target = tmp_path / "site"
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    argv += ["--disable-pip-version-check", "--target", str(target)]
    argv.append(str(wheel_of_the_readme(tmp_path)))
    await asyncio.to_thread(subprocess.run, argv, check=True, timeout=50)
    executor = ExecutorProcess(tmp_path, tmp_path / "empty")
    executor.env["PYTHONPATH"] += f":{target}"
    listed = {agent["name"]: agent for agent in await executor.json("agents")}
    assert listed["echo"]["is_usable"]
    assert Path(listed["echo"]["path"]).name == "cat"
    done = await executor.command("exec", "--agent", "echo", "one\ntwo")
    assert (done.code, done.out.strip()) == (0, "one\ntwo")


def test_the_module_of_the_readme_is_short() -> None:
    [code] = blocks("python")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 45
