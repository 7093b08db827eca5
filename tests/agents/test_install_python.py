"""Installing what PyPI has: an environment of its own, and a link once it has answered."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from executor_core.agents.install import Package, package_of
from executor_core.agents.install_python import PythonInstaller
from executor_core.errors import ExecutorError
from executor_core.process import Login
from tests.agents.test_install import Computer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")

SHAKES_HANDS = """#!/bin/sh
read line
echo '{"id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}'
read line
echo '{"id":2,"error":{"code":-32000,"message":"sign in"}}'
"""
# Python as far as it matters here: an environment, a package in it, and that package's version.
PYTHON = """#!/bin/sh
echo "$*" >> "@LOG@"
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
  "-m pip install "*)
    @PIP@
    cp "@AGENT@" "$(dirname "$0")/vibe-acp";;
  "-c "*) echo 9.8.7;;
esac
"""


class PythonComputer(Computer):
    """A user's home with a Python of the test's own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environments = self.local / "share" / "wegent-executor" / "agents"
        self.program_path = self.local / "bin" / "vibe-acp"

    def python(self, pip: str = ":", agent: str = SHAKES_HANDS, name: str = "python3") -> None:
        file = self.home.parent / "agent"
        file.write_text(agent)
        file.chmod(0o755)
        script = PYTHON.replace("@LOG@", str(self.log)).replace("@PIP@", pip)
        (self.bin / name).write_text(script.replace("@AGENT@", str(file)))
        (self.bin / name).chmod(0o755)

    async def install_it(self) -> tuple[str, Path]:
        host = self.host(self.local / "bin")
        async with asyncio.timeout(40):
            installer = await PythonInstaller.find(host)
            return await installer.install(package(), self.said.append)


def package() -> Package:
    found = package_of("mistral_vibe")
    assert found is not None
    return found


@pytest.fixture
def computer(tmp_path: Path) -> PythonComputer:
    computer = PythonComputer(tmp_path)
    computer.python()
    return computer


async def test_it_gets_an_environment_of_its_own_and_a_link_on_the_path(
    computer: PythonComputer,
) -> None:
    assert await computer.install_it() == ("9.8.7", computer.program_path)
    [environment] = computer.environments.iterdir()
    assert computer.program_path.resolve() == environment / "bin" / "vibe-acp"
    assert "mistral-vibe" in " ".join(computer.said)


async def test_an_update_takes_the_place_of_the_old_one(computer: PythonComputer) -> None:
    await computer.install_it()
    [old] = computer.environments.iterdir()
    await computer.install_it()
    [new] = computer.environments.iterdir()
    assert new != old
    assert computer.program_path.resolve().is_relative_to(new)


@pytest.mark.parametrize(
    ("pip", "agent", "reason"),
    [
        ("echo 'ERROR: No matching distribution' >&2; exit 1", SHAKES_HANDS, "No matching"),
        (
            "echo 'ERROR: Ignored versions that require a different python version' >&2; exit 1",
            SHAKES_HANDS,
            "newer Python",
        ),
        (":", "#!/bin/sh\nexit 3\n", "does not start"),
    ],
)
async def test_when_it_fails_the_old_one_still_works(
    computer: PythonComputer, pip: str, agent: str, reason: str
) -> None:
    await computer.install_it()
    before = computer.content()
    computer.python(pip, agent)
    with pytest.raises(ExecutorError) as caught:
        await computer.install_it()
    assert caught.value.code == "install_failed"
    assert reason in caught.value.message.detail
    assert computer.content() == before


async def test_what_somebody_else_put_there_is_not_touched(computer: PythonComputer) -> None:
    computer.program_path.parent.mkdir(parents=True)
    computer.program_path.write_text("mine")
    with pytest.raises(ExecutorError, match="install_in_the_way"):
        await computer.install_it()
    assert computer.program_path.read_text() == "mine"


async def test_without_python_it_says_what_to_install(computer: PythonComputer) -> None:
    (computer.bin / "python3").unlink()
    host = computer.host()
    host.use_login(Login(str(computer.bin)))
    with pytest.raises(ExecutorError) as caught:
        await PythonInstaller.find(host)
    assert caught.value.code == "python_missing"
    assert "uv" in caught.value.message.hint


async def test_uv_is_preferred(computer: PythonComputer) -> None:
    computer.python(name="uv")
    command = (await PythonInstaller.find(computer.host())).command(package())
    assert command.startswith("uv venv ")
