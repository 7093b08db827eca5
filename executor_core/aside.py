"""What stands in the place of one of our files and cannot be used is set aside, never deleted."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from executor_core.errors import ExecutorError

_COMPANIONS = ("", "-wal", "-shm")
_DAMAGE = {1, 11, 26}
"""SQLITE_ERROR (tables that are not ours), SQLITE_CORRUPT, SQLITE_NOTADB; all else may pass."""
JOURNAL_VERSION = 1
HUB_VERSION = 1
"""Of the databases that this program writes; a newer one is left to a newer program."""
MOST_VERSIONS = 1000
"""A file that claims to be of a later version than this is not newer, but damaged."""


def set_aside(path: Path) -> Path:
    """Rename it to the first free `NAME.damaged-1`, `-2` …; raises OSError where it cannot be."""
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    aside = next(name for name in names if not os.path.lexists(name))
    path.rename(aside)
    return aside


def is_out_of_place(path: Path) -> bool:
    """Whether a link, a folder or the like stands where a file of ours belongs."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def make_place(path: Path, log: logging.Logger) -> None:
    """Set aside what is out of place there."""
    if is_out_of_place(path):
        log.error("%s was no file of ours; it is kept as %s", path, set_aside(path))


def open_database(
    path: Path, connect: Callable[[Path], sqlite3.Connection], log: logging.Logger
) -> sqlite3.Connection:
    """`connect(path)`; what is damaged there is set aside with its companions, for a new one.

    What may pass is raised: a full disk, missing rights, somebody who has it locked.
    """
    for suffix in _COMPANIONS:
        make_place(path.with_name(path.name + suffix), log)
    try:
        return connect(path)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        aside = set_database_aside(path)
        log.error("%s was damaged (%s); it is kept as %s", path, error, aside)
        return connect(path)


def connect(
    path: Path, schema: str, *, version: int, newer: str, is_repeatable: bool = False
) -> sqlite3.Connection:
    """Our database at `path`, for its owner alone; made by `schema` where it is new.

    A schema that is repeatable completes the tables of an older file. `newer` is the code of the
    ExecutorError for a file of a later version; a damaged one is a DatabaseError.
    """
    # SQLite gives its side files the mode of the database, so it must be right from the start.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))
    with suppress(OSError):
        path.chmod(0o600)
    db = sqlite3.connect(path, timeout=5, check_same_thread=False)
    db.text_factory = readable
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > MOST_VERSIONS:
            raise sqlite3.DatabaseError("no version of ours")
        if found > version:
            raise ExecutorError(newer, path=path)
        if found == 0 or is_repeatable:
            db.executescript(f"BEGIN; {schema} PRAGMA user_version = {version}; COMMIT;")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        db.close()
        raise
    return db


def set_database_aside(path: Path) -> Path:
    """The same for a database, with what SQLite keeps beside it: together they may be rescued."""
    aside = set_aside(path)
    ending = aside.name.removeprefix(path.name)
    for suffix in _COMPANIONS[1:]:
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(companion.with_name(companion.name + ending))
    return aside


def look_at_database(path: Path) -> tuple[int, str | None]:
    """Its version, and why it cannot be used; (0, None) where it is not there. Changes nothing."""
    if is_out_of_place(path):
        return 0, "not a plain file"
    if not path.exists():
        return 0, None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.text_factory = readable
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            verdict = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return 0, str(error) if is_damage(error) else None
    if version > MOST_VERSIONS:
        return 0, "no version of ours"
    return version, None if verdict == "ok" else verdict


def readable(letters: bytes) -> str:
    """A text of a database; one broken letter must not make all of them unreadable."""
    return letters.decode(errors="replace")


def is_damage(error: Exception) -> bool:
    """Whether it says that the content is broken; our own verdicts carry no number of SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return not isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in _DAMAGE
