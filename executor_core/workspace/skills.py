"""Puts a task's skills where its agent looks for them, for the time of one run.

Each lies in a folder that keeps itself out of every repository: its own `.gitignore` covers all of
it, and says which run put it there. Only such folders are ever replaced or removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from executor_core.texts import text
from executor_core.workspace.archives import MARK, unpack_skill
from executor_core.workspace.names import is_safe_name
from executor_core.workspace.removal import remove_tree
from executor_core.workspace.unusable import Unusable

_log = logging.getLogger("executor.workspace")

PROJECT_FOLDERS: Mapping[str, tuple[str, ...]] = {"claude_code": (".claude", "skills")}
"""Where agents look for skills inside a project; in a private home of their own, in `skills`."""
LEDGER = "skills.json"
"""In the folder of a run: what it put where, so that the next start can tidy up after a crash."""
_MARK_TEXT = "Put here by Wegent Executor for one run, and removed after it."


class SkillPlace(Struct, frozen=True):
    """The folder `parts` below `root`. An agent that does not look there has to be told of it."""

    root: Path
    parts: tuple[str, ...]
    is_known_to_agent: bool


class Ledger(Struct, frozen=True):
    """Folders of skills, and the folders around them that had to be made."""

    skills: tuple[str, ...]
    around: tuple[str, ...]


class Placed(Struct, frozen=True, kw_only=True):
    """A skill that is at `path`; `problem` says why it is not, or why another one is there."""

    name: str
    path: Path | None = None
    problem: str = ""


def place_skills(
    archives: Sequence[tuple[str, Path]], place: SkillPlace, run_id: str, ledger: Path
) -> list[Placed]:
    """Unpack archives by the names of their skills. Blocking.

    A skill of the user's own is never touched: it is the one that counts.
    """
    folder = place.root.joinpath(*place.parts)
    around = [place.root.joinpath(*place.parts[: n + 1]) for n in range(len(place.parts))]
    try:
        _refuse_links(around)
        missing = [path for path in around if not path.exists()]
        names = [name for name, _ in archives if is_safe_name(name)]
        planned = tuple(str(folder / name) for name in names)
        ledger.write_bytes(msgspec.json.encode(Ledger(planned, tuple(map(str, missing)))))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except Unusable as error:
        return [Placed(name=name, problem=str(error)) for name, _ in archives]
    except OSError as error:
        problem = text("skill.not_written", reason=error.strerror)
        return [Placed(name=name, problem=problem) for name, _ in archives]
    return [_place(name, archive, folder / name, run_id) for name, archive in archives]


def _place(name: str, archive: Path, target: Path, run_id: str) -> Placed:
    if not is_safe_name(name):
        return Placed(name=name, problem=text("skill.name"))
    try:
        if os.path.lexists(target):
            if _placed_by(target) is None:
                return Placed(name=name, path=target, problem=text("skill.yours"))
            remove_tree(target)
        target.mkdir(mode=0o700)
        (target / MARK).write_text(f"# {run_id}\n# {_MARK_TEXT}\n*\n", encoding="utf-8")
        try:
            unpack_skill(archive, target)
        except BaseException:
            remove_tree(target)
            raise
    except Unusable as error:
        return Placed(name=name, problem=str(error))
    except OSError as error:
        return Placed(name=name, problem=text("skill.not_written", reason=error.strerror))
    return Placed(name=name, path=target)


def remove_skills(ledger: Path, run_id: str) -> None:
    """Remove what the run put anywhere, and the folders made for it where they are empty. Blocking.

    Harmless to repeat; what cannot be removed is tried again at the next start.
    """
    try:
        noted = msgspec.json.decode(ledger.read_bytes(), type=Ledger)
        for path in map(Path, noted.skills):
            _refuse_links([path.parent])
            if _placed_by(path) == run_id:
                remove_tree(path)
        for path in reversed([Path(made) for made in noted.around]):
            with contextlib.suppress(OSError):  # somebody else's things are in it: it stays
                path.rmdir()
        ledger.unlink()
    except FileNotFoundError:
        return
    except (OSError, msgspec.MsgspecError, Unusable) as error:
        _log.warning("%s: skills could not be removed: %s", run_id, error)


def sweep_skills(runs: Path) -> None:
    """Remove what runs of an earlier process left. Blocking."""
    for ledger in runs.glob(f"*/{LEDGER}"):
        remove_skills(ledger, ledger.parent.name)


def _placed_by(folder: Path) -> str | None:
    """The run that put a skill there; None for a skill of the user's own."""
    try:
        if folder.is_symlink():
            return None
        lines = (folder / MARK).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    is_ours = len(lines) > 1 and lines[1] == f"# {_MARK_TEXT}"
    return lines[0].removeprefix("# ") if is_ours else None


def _refuse_links(folders: Iterable[Path]) -> None:
    for folder in folders:
        if folder.is_symlink():
            raise Unusable(text("skill.folder_is_link", path=folder))
