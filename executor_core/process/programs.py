"""Where programs lie, and what is started in place of batch files.

Batch files of Windows are not programs: `cmd.exe` runs them, and reads their arguments again.
However an argument is quoted, `%`, `&` or `"` in it may become commands. What a server says must
not, so the program behind the usual batch files of package managers is started instead of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from executor_core.errors import ExecutorError
from executor_core.process._system import system

_BEHIND = re.compile(r'"(?:%~?dp0%?\\?)([^"%]+)"\s+%\*', re.IGNORECASE)
"""What the last line of a shim of npm, pnpm or yarn hands all arguments to."""
_SCRIPTS = (".js", ".cjs", ".mjs")
_HARMLESS = re.compile(r"[\w .,:;=@+/\\~-]*")
_MOST_BYTES = 64 * 1024


def find_program(name: str, path: str) -> Path | None:
    """The absolute path of the first executable `name` on `path`, or of an absolute `name`.

    On Windows also with the usual suffixes, real programs before batch files of one folder.
    """
    if os.path.dirname(name):
        candidates: Iterable[Path] = _spellings(Path(name)) if os.path.isabs(name) else ()
    else:
        folders = (Path(folder) for folder in path.split(os.pathsep) if os.path.isabs(folder))
        candidates = (spelling for folder in folders for spelling in _spellings(folder / name))
    return next((file for file in candidates if file.is_file() and os.access(file, os.X_OK)), None)


def _spellings(program: Path) -> list[Path]:
    if program.suffix.lower() in system.EXECUTABLE_SUFFIXES:
        return [program]
    return [program.with_name(program.name + suffix) for suffix in system.EXECUTABLE_SUFFIXES]


def unwrapped(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """`argv` with the program behind a batch file in place of it; anything else as it is.

    A batch file that hides its program gets only arguments in which nothing can be a command.
    Raises ExecutorError `batch_file_refused` for others.
    """
    file = Path(argv[0])
    if file.suffix.lower() not in system.BATCH_SUFFIXES:
        return list(argv)
    if (program := _behind(file, env)) is not None:
        return [*program, *argv[1:]]
    if all(_HARMLESS.fullmatch(argument) for argument in argv[1:]):
        return list(argv)
    raise ExecutorError("batch_file_refused", program=file)


def _behind(file: Path, env: Mapping[str, str]) -> list[str] | None:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            named = _BEHIND.findall(opened.read(_MOST_BYTES))
    except OSError:
        return None  # its start will tell why
    for name in reversed(named):
        target = Path(os.path.normpath(file.parent / name.replace("\\", os.sep)))
        if not target.is_file():
            continue
        if target.suffix.lower() == ".exe":
            return [str(target)]
        if target.suffix.lower() in _SCRIPTS and (node := _node(file.parent, env)):
            return [node, str(target)]
    return None


def _node(folder: Path, env: Mapping[str, str]) -> str | None:
    """The interpreter beside the shim, else the one on the child's PATH."""
    path = next((value for name, value in env.items() if name.upper() == "PATH"), "")
    folders = [folder, *(Path(name) for name in path.split(os.pathsep) if os.path.isabs(name))]
    found = (place / "node.exe" for place in folders)
    return next((str(program) for program in found if program.is_file()), None)
