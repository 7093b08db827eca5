"""What lies in the repository, and what must not stand in any of its files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.policy.code import ROOT, repository_files

FOLDERS = {"desktop", "executor_core", "packaging", "resources", "tests"}
FILES = {
    "build.spec", "pyproject.toml", "README.md",
    "CHANGELOG.md", "LICENSE", "Makefile", "requirements.lock",
}  # fmt: skip

# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = [
    r"\b" + host.replace(".", r"\.") + r"\b"
    for host in ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "deb." + "debian.org")
] + [
    r"(?<![\w.~-])/wor" + r"k/",
    r"(?<![\w-])shar" + r"ed/",
    r"--(extra-)?index" + r"-url[ =]http",
]


def findings(text: str) -> list[str]:
    """What of a file's text belongs to one machine, or names a registry."""
    return [found[0] for pattern in FORBIDDEN for found in re.finditer(pattern, text)]


def test_the_top_level_is_the_list_of_the_design() -> None:
    folders = {path.parts[0] for path in repository_files() if len(path.parts) > 1}
    files = {path.name for path in repository_files() if len(path.parts) == 1}
    assert {name for name in folders if not name.startswith(".")} <= FOLDERS
    assert {name for name in files if not name.startswith(".")} <= FILES


def test_packaging_is_no_package() -> None:
    # It would shadow the distribution of that name that pytest and PyInstaller import.
    assert Path("packaging/__init__.py") not in repository_files()


def test_every_folder_of_tests_is_a_package() -> None:
    # Two test files of one name would otherwise be one module for pytest and mypy.
    folders = {
        path.parent
        for path in repository_files()
        if path.parts[0] == "tests" and path.suffix == ".py"
    }
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = {}
    for path in repository_files():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        if matches := findings(text):
            found[str(path)] = matches
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "see /wor" + "k/main/x",
        "../shar" + "ed/DESIGN.md",
        "https://pypi" + ".org/simple",
        "--index" + "-url=https://x",
    ],
)
def test_a_forbidden_mention_is_found(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize("text", ["~/work" + "/repo", "network/x", "is shared / by", "homework/1"])
def test_an_innocent_mention_is_not(text: str) -> None:
    assert not findings(text)


def test_every_folder_of_code_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        ".".join(path.parent.parts)
        for path in repository_files()
        if path.parts[0] in ("executor_core", "desktop") and path.suffix == ".py"
    }
    packages = set(project["tool"]["setuptools"]["packages"])
    assert folders == packages - {"executor_core._resources"}
