"""Standard streams that are closed, full or not there, and a Ctrl-C at the worst moment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.executor_process import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="closes streams by a POSIX shell")


def by_shell(home: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A command line as a POSIX shell runs it; `w` is the program."""
    environment = dict(os.environ)  # noqa: TID251  the cleaned one of the tests
    environment |= {"WEGENT_EXECUTOR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment |= {"TMPDIR": str(home)}
    home.mkdir()
    program = f'w() {{ {shlex.quote(sys.executable)} -m executor_core "$@"; }}'
    return subprocess.run(
        ["/bin/sh", "-c", f"{program}; {line}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


HASTY = """
import sys
class CtrlC:
    def find_spec(self, name, *_):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from executor_core.cli.main import main
main()
"""


def test_ctrl_c_while_the_program_still_loads_is_code_130_and_silent(home: Path) -> None:
    done = by_shell(home, f"{shlex.quote(sys.executable)} -c '{HASTY}'")
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", ["config", "config --help"])
def test_an_output_that_takes_nothing_is_a_sentence_and_no_fault_of_ours(
    home: Path, arguments: str
) -> None:
    done = by_shell(home, f"w {arguments} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "Not everything could be written: No space left on device.\n"
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("config set device.name -", 6, "device.name (as given) is ''"),
        ("login --backend-url https://wegent.example.com", 1, "--token -"),
        ("exec -", 1, "has no prompt"),
    ],
)
def test_a_closed_standard_input_is_an_empty_one(
    home: Path, arguments: str, code: int, said: str
) -> None:
    closed = by_shell(home, f"w {arguments} <&-")
    assert (closed.returncode, said in closed.stderr) == (code, True), closed.stderr
