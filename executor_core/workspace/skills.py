"""A task's skills: fetched once, unpacked where its agent looks for them, removed after the run.

Each lies in a folder that keeps itself out of every repository: its own `.gitignore` covers all of
it, and says which run put it there. Only such folders are ever replaced or removed. Archives come
from others: everything that is asked for is checked before it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from executor_core.model import SkillRef
from executor_core.texts import text
from executor_core.workspace.fetch import Server, Unusable
from executor_core.workspace.files import folded, is_safe_name, new_file, remove_tree

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


# --- the cache, `<home>/cache/skills` -----------------------------------------------------------

_log = logging.getLogger("executor.workspace")

MAX_ARCHIVE_BYTES = 10 * 2**20
MAX_CACHED = 100
"""Archives that are kept; those that were not used for longest go first."""
_KINDS = "/api/v1/kinds/skills"


class SkillCache:
    """Archives by server, account and skill: what one account may read says nothing of others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def archive(
        self, server: Server, skill: SkillRef, *, address: str, task_id: int | None, is_fresh: bool
    ) -> Path:
        """The skill's archive on disk; with `is_fresh` it is fetched even if it is there.

        Raises Unusable.
        """
        target = self._folder / f"{_key(address, skill)}.zip"
        if not is_fresh and await asyncio.to_thread(_touch, target):
            return target
        part = target.with_suffix(f".{secrets.token_hex(8)}.part")
        about: dict[str, str | int] = {} if task_id is None else {"task_id": task_id}
        number, namespace = skill.skill_id, skill.namespace
        if number is None:
            number, namespace = await _look_up(server, skill, about)
        path, query = f"{_KINDS}/{number}/download", {"namespace": namespace, **about}
        await server.file(path, query, part, MAX_ARCHIVE_BYTES)
        await asyncio.to_thread(self._keep, part, target)
        return target

    def _keep(self, part: Path, target: Path) -> None:
        try:
            part.replace(target)
            known = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for old in known[:-MAX_CACHED]:
                old.unlink(missing_ok=True)
        except OSError as error:
            if not target.exists():
                raise Unusable(text("fetch.not_written", reason=error.strerror)) from error
            _log.warning("the skills cache could not be tidied: %s", error)


async def _look_up(server: Server, skill: SkillRef, about: dict[str, str | int]) -> tuple[int, str]:
    """The number and the namespace under which the server has a skill of that name."""
    query = {"name": skill.name, "namespace": skill.namespace, **about}
    found = _first_item(await server.json(_KINDS, query))
    labels = found.get("labels")
    number = str(labels.get("id") if isinstance(labels, dict) else "")
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise Unusable(text("fetch.missing"))
    namespace = found.get("namespace")
    return int(number), namespace if isinstance(namespace, str) else skill.namespace


def _first_item(answer: Any) -> dict[str, Any]:
    """The metadata of the first skill in a server's list."""
    items = answer.get("items") if isinstance(answer, dict) else None
    item = items[0] if isinstance(items, list) and items else None
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _key(address: str, skill: SkillRef) -> str:
    return hashlib.sha256(msgspec.json.encode((address, skill))).hexdigest()[:32]


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except OSError:
        return False
    return True


# --- archives -----------------------------------------------------------------------------------

MAX_ENTRIES = 2_000
MAX_ENTRY_BYTES = 20 * 2**20
MAX_TOTAL_BYTES = 64 * 2**20
MAX_RATIO = 200
"""Times its packed size; an archive below `SMALL_BYTES` when unpacked may have any ratio."""
SMALL_BYTES = 2**20
MAX_DEPTH = 16

MARK = ".gitignore"
"""A skill's own one is left out: there lies ours, which keeps the skill out of a repository."""
_PIECE_BYTES = 64 * 1024
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_UNICODE_PATH = 0x7075
_WINDOWS = (0, 10, 11, 14)
"""Systems whose programs may part names by backslashes, as Windows PowerShell 5 does."""
_KNOWN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)


def unpack_skill(archive: Path, folder: Path) -> None:
    """Unpack a skill into the existing `folder`, without the one folder around it.

    Blocking. Raises Unusable with the reason: no skill, a name or a link that leads elsewhere, or
    more than the limits above. What was written until then stays; what is there is not replaced.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            for path, entry in _files(zipped).items():
                _write(zipped, entry, folder / path)
    except _DAMAGE as error:
        raise Unusable(text("archive.broken")) from error
    except OSError as error:
        raise Unusable(text("archive.not_written", reason=error.strerror)) from error


def _files(zipped: zipfile.ZipFile) -> Mapping[PurePosixPath, zipfile.ZipInfo]:
    """What to write and where, relative to the skill's folder."""
    entries = zipped.infolist()
    if len(entries) > MAX_ENTRIES:
        raise Unusable(text("archive.too_many", limit=MAX_ENTRIES))
    named = [(_name(entry), entry) for entry in entries]
    for name, entry in named:
        _check(name, entry)
    _check_sizes(entries)
    files = [(name, entry) for name, entry in named if not name.endswith("/")]
    paths = {PurePosixPath(name): entry for name, entry in files}
    paths = {path: e for path, e in paths.items() if not set(path.parts) & set(_IGNORED)}
    _check_collisions(paths, [name for name, _ in files])
    tops = {path.parts[0] for path in paths}
    if PurePosixPath("SKILL.md") not in paths and len(tops) == 1:
        [top] = tops
        paths = {path.relative_to(top): e for path, e in paths.items() if len(path.parts) > 1}
    if PurePosixPath("SKILL.md") not in paths:
        raise Unusable(text("archive.no_skill"))
    return {path: entry for path, entry in paths.items() if str(path) != MARK}


def _name(entry: zipfile.ZipInfo) -> str:
    """What its maker called it, with a slash between folders and behind one."""
    # `filename` ends at a NUL and has its separators changed; what was written counts.
    name = entry.orig_filename
    if not name.isascii() and not entry.flag_bits & _UTF8_NAME:
        name = _unicode_path(entry) or _decoded(name.encode("cp437"))
    return name.replace("\\", "/") if entry.create_system in _WINDOWS else name


def _unicode_path(entry: zipfile.ZipInfo) -> str:
    """The same name in a field of its own, as WinRAR and 7-Zip add it; empty without one.

    It counts only if it was made for this very name: a tool may have renamed the entry since.
    """
    extra, crc = entry.extra, zlib.crc32(entry.orig_filename.encode("cp437"))
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BL", 1, crc):
            return field[5:].decode()
    return ""


def _decoded(raw: bytes) -> str:
    """A name in the bytes of a system that says nothing about them: macOS, or a Chinese Windows."""
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):  # the next one may fit
            return raw.decode(encoding)
    return raw.decode("cp437")


def _check(name: str, entry: zipfile.ZipInfo) -> None:
    parts = name.removesuffix("/").split("/")
    if len(parts) > MAX_DEPTH or not all(map(is_safe_name, parts)):
        raise Unusable(text("archive.name", name=_shown(name)))
    if entry.compress_type not in _KNOWN_METHODS:
        raise Unusable(text("archive.broken"))
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & _ENCRYPTED:
        raise Unusable(text("archive.link", name=_shown(name)))


def _check_sizes(entries: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    largest = max((entry.file_size for entry in entries), default=0)
    is_bomb = total > SMALL_BYTES and total > packed * MAX_RATIO
    if largest > MAX_ENTRY_BYTES or total > MAX_TOTAL_BYTES or is_bomb:
        raise Unusable(text("archive.too_big", limit=MAX_TOTAL_BYTES // 2**20))


def _check_collisions(paths: Mapping[PurePosixPath, object], names: Sequence[str]) -> None:
    """No two entries may be one file, and no file a folder, on any file system."""
    files = {folded(str(path)) for path in paths}
    folders = {folded(str(parent)) for path in paths for parent in path.parents}
    listed = [folded(name) for name in names if not set(name.split("/")) & set(_IGNORED)]
    if len(files) < len(listed) or files & folders:
        raise Unusable(text("archive.collision"))


def _write(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_program = (entry.external_attr >> 16) & stat.S_IXUSR
    mode = 0o700 if is_program else 0o600
    with new_file(target, mode) as file, zipped.open(entry) as packed:
        shutil.copyfileobj(packed, file, _PIECE_BYTES)  # never more than the entry's stated size


def _shown(name: str) -> str:
    return repr(name[:80])
