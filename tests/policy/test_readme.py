"""What the README tells people to type exists."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.policy.code import ROOT

README = ROOT / "README.md"
MAIN = "from executor_core.cli.main import main; main()"
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def code_of(readme: str) -> str:
    """Everything the README sets as code, one command per line."""
    return "\n".join(part.strip("`").strip() for part in CODE.findall(readme))


def targets_in(readme: str) -> set[str]:
    return set(re.findall(r"(?:^|\s)make ([a-z-]+)", code_of(readme)))


def verbs_in(readme: str) -> set[str]:
    return set(re.findall(r"wegent-executor ([a-z]+)", code_of(readme)))


@pytest.fixture(scope="module")
def readme() -> str:
    if not README.exists():
        pytest.skip("there is no README.md yet")
    return README.read_text(encoding="utf-8")


def test_every_make_target_of_the_readme_exists(readme: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert targets_in(readme) - targets == set()
    assert {"run", "test"} <= targets_in(readme)


def test_every_verb_of_the_readme_exists(readme: str) -> None:
    unknown = []
    for verb in sorted(verbs_in(readme)):
        argv = [sys.executable, "-c", MAIN, verb, "--help"]
        done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
        if done.returncode:
            unknown.append(verb)
    assert unknown == []


def test_commands_are_read_from_code_only() -> None:
    text = "To make changes, `make test`.\n```\nmake run ARGS=1\nwegent-executor status --json\n```"
    assert targets_in(text) == {"test", "run"}
    assert verbs_in(text) == {"status"}
