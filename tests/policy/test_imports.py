"""Who may import whom: the arrows of the design, as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.policy.code import Import, imports, python_files

# What each room may import besides itself and the leaves.
ARROWS: dict[str, set[str]] = {
    "process": set(),
    "journal": set(),
    "config": set(),
    "web": set(),
    "workspace": {"process"},
    "agents": {"process"},
    "executor": {"agents", "workspace", "journal"},
    "links": {"executor"},
    "control": {"executor", "journal", "workspace"},  # of the last two only frozen values
    "api": {"control", "services.interface", "web"},
    "hub": {"web"},
    # What the services can be asked is for everybody; what they do knows the rooms that do it.
    "services.interface": {"control", "workspace"},  # of them rows and frozen values
    "services": {
        "agents", "config", "control", "links", "process", "services.interface", "workspace",
    },
    "app": {
        "agents", "api", "config", "control", "executor", "hub", "journal", "links", "process",
        "services", "services.interface", "web", "workspace",
    },
    # Of the agents the demo agent's process, which is a hidden verb, and what can be installed.
    "cli": {"agents", "app", "config", "control", "services", "services.interface"},
    "__main__": {"cli"},
}  # fmt: skip

# Modules that every room may use, and what they use of each other.
LEAVES: dict[str, set[str]] = {
    "__init__": set(),
    "aside": {"errors"},
    "model": {"texts"},
    "changes": set(),
    "clock": set(),
    "jobs": set(),
    "jwt": set(),
    "loopback": set(),
    "proxies": {"errors", "loopback"},
    "outbound": {"proxies"},
    "open_files": set(),
    "resources": set(),
    "unicode": set(),
    "texts": {"resources"},
    "errors": {"texts"},
    "help_pages": {"errors", "resources", "texts"},
}

# The hub decodes the wire by itself, so that a misreading cannot agree with itself.
WITHOUT: dict[str, set[str]] = {"hub": {"model"}}

FOR_THE_DESKTOP = {
    "__init__", "clock", "control", "errors", "help_pages", "jobs", "model", "resources",
    "services.interface", "texts", "unicode",
}  # fmt: skip
# The one file that puts the window and the executor together.
START_OF_THE_DESKTOP = {"app", "cli", "config", "services"}
OF_THE_DESKTOP = {"desktop", "PySide6", "shiboken6", "qasync"}

# The same for the rooms and the files of the desktop. `windows` loads the windows by their names.
DESKTOP_ARROWS: dict[str, set[str]] = {
    "__init__": set(),
    "system": set(),
    "parts": {"system"},
    "windows": {"parts", "system"},
    "tray": {"parts", "system", "windows"},
    "runs": {"parts", "system"},
    "log": {"parts", "system"},
    "settings": {"parts", "system"},
    "doctor": {"parts", "system"},
    "help": {"parts"},
    "first_run": {"parts", "runs", "settings", "system"},
    "session": {"parts", "system", "tray", "windows"},
    "start": {"parts", "session", "system", "tray"},
}


def room_of(module: str) -> str | None:
    """The room or leaf of executor_core that a dotted name lies in; None for other packages."""
    package, _, rest = module.partition(".")
    if package != "executor_core":
        return None
    name, _, rest = rest.partition(".")
    front = f"{name}.{rest.partition('.')[0]}"
    if front in ARROWS:
        return front
    return name if name in ARROWS or name in LEAVES else "__init__"


def home_of(path: Path) -> str:
    """The room or leaf that a file of executor_core or the desktop belongs to."""
    front = ".".join(path.with_suffix("").parts[1:3])
    return front if front in ARROWS else path.parts[1].removesuffix(".py")


def may_import(room: str) -> set[str]:
    if room in LEAVES:
        return LEAVES[room] | {room, "__init__"}
    return ARROWS[room] | LEAVES.keys() - WITHOUT.get(room, set()) | {room}


def violations(found: Iterable[Import]) -> list[str]:
    """The imports of files of executor_core that no arrow allows."""
    return [
        str(one)
        for one in found
        if one.module.partition(".")[0] in OF_THE_DESKTOP
        or ((target := room_of(one.module)) and target not in may_import(home_of(one.path)))
    ]


def desktop_violations(found: Iterable[Import]) -> list[str]:
    """The imports of files of the desktop that no arrow allows."""
    return [
        str(one)
        for one in found
        if one.module.startswith("desktop.")
        and one.module.split(".")[1] not in DESKTOP_ARROWS[home_of(one.path)] | {home_of(one.path)}
    ]


def core_imports() -> list[Import]:
    return [one for path in python_files("executor_core") for one in imports(path)]


def test_rooms_import_only_along_the_arrows() -> None:
    assert violations(core_imports()) == []


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("executor_core/agents/claude_code.py", "executor_core.links.device"),
        ("executor_core/links/device/link.py", "executor_core.agents"),
        ("executor_core/hub/tasks.py", "executor_core.model.RunRequest"),
        ("executor_core/hub/tasks.py", "executor_core.links.device.wire"),
        ("executor_core/web/guard.py", "executor_core.config"),
        ("executor_core/model.py", "executor_core.errors"),
        ("executor_core/app.py", "PySide6.QtCore"),
        ("executor_core/cli/root.py", "desktop.tray"),
    ],
)
def test_an_import_against_the_arrows_is_found(path: str, module: str) -> None:
    assert violations([Import(Path(path), 1, module)]) == [f"{path}:1 imports {module}"]


def test_every_room_of_the_code_is_in_the_table() -> None:
    homes = {home_of(path) for path in python_files("executor_core")}
    assert homes <= ARROWS.keys() | LEAVES.keys()


@pytest.mark.parametrize("arrows", [ARROWS | LEAVES, DESKTOP_ARROWS])
def test_the_arrows_have_no_cycle(arrows: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {error.args[1]}")


def test_the_nouns_need_only_the_standard_library_and_msgspec() -> None:
    foreign = {
        one.module if one.module.startswith("executor_core.") else one.module.partition(".")[0]
        for one in imports(Path("executor_core/model.py"))
        if one.module.partition(".")[0] not in sys.stdlib_module_names
    }
    assert foreign == {"msgspec", "executor_core.texts.Message"}


def desktop_imports() -> list[Import]:
    return [one for path in python_files("desktop") for one in imports(path)]


def test_the_desktop_is_a_client_of_control_and_the_nouns() -> None:
    allowed = FOR_THE_DESKTOP | {None}
    wrong = [
        str(one)
        for one in desktop_imports()
        if room_of(one.module) not in allowed
        and not (home_of(one.path) == "start" and room_of(one.module) in START_OF_THE_DESKTOP)
    ]
    assert wrong == []


def test_rooms_of_the_desktop_import_only_along_the_arrows() -> None:
    assert {home_of(path) for path in python_files("desktop")} == DESKTOP_ARROWS.keys()
    assert desktop_violations(desktop_imports()) == []


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("desktop/runs/model.py", "desktop.tray.glance.Glance"),
        ("desktop/parts/window.py", "desktop.windows.Windows"),
        ("desktop/help.py", "desktop.start"),
    ],
)
def test_an_import_against_the_arrows_of_the_desktop_is_found(path: str, module: str) -> None:
    assert desktop_violations([Import(Path(path), 1, module)]) == [f"{path}:1 imports {module}"]
