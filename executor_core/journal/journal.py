"""The runs of this computer in SQLite: who asked, how each ended, and whether it was delivered.

The outbox is not a second store: it is the runs whose outcome is recorded and not yet acknowledged.
Keys, tokens and the prompts of servers are never written; a queued run therefore cannot survive a
crash, it is answered instead. What this computer was asked itself is in `reply_to`, for a retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs
from msgspec.structs import replace

from executor_core.aside import JOURNAL_VERSION, connect, open_database
from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.model import Outcome, RunRequest, RunState, Source, Timings

_log = logging.getLogger("executor.journal")
_T = TypeVar("_T")

MAX_RUNS = 10_000
"""Finished and delivered runs beyond this are forgotten, oldest first."""
MAX_SESSIONS = 10_000
MAX_TITLE = 120
RESERVE_BYTES = 8 * 2**20
"""Some hundred results of the usual length; one that needs more waits for room in memory."""
_CHUNK = bytes(2**20)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)

_FAILURES = (sqlite3.Error, OSError, ValueError, OverflowError, msgspec.MsgspecError)
"""The disk does not take it, or SQLite has no form for it; to the run both are the same."""
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError)
"""What is on disk is not what we write."""

_SCHEMA = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    request_key TEXT NOT NULL,
    conversation_key TEXT NOT NULL,
    address TEXT,
    reply_to TEXT NOT NULL,
    agent TEXT NOT NULL,
    title TEXT NOT NULL,
    task_id INTEGER,
    subtask_id INTEGER,
    state TEXT NOT NULL,
    accepted_at TEXT NOT NULL,
    started_at TEXT,
    outcome BLOB,
    awaits_delivery INTEGER NOT NULL,
    delivered_at TEXT,
    delivery_error TEXT
);
CREATE INDEX runs_by_time ON runs (accepted_at);
CREATE INDEX runs_by_request ON runs (request_key);
CREATE INDEX runs_open ON runs (awaits_delivery) WHERE awaits_delivery;
CREATE INDEX runs_unfinished ON runs (run_id) WHERE outcome IS NULL;
CREATE TABLE sessions (
    conversation_key TEXT NOT NULL,
    agent TEXT NOT NULL,
    session_id TEXT NOT NULL,
    used_at TEXT NOT NULL,
    PRIMARY KEY (conversation_key, agent)
);
"""


class RunRow(Struct, kw_only=True, frozen=True):
    """A run as journal, status and outbox know it. `outcome` is None until it ended.

    The fields are the columns of the table.
    """

    run_id: str
    source: Source
    request_key: str
    conversation_key: str
    address: str | None
    reply_to: dict[str, Any]
    agent: str
    title: str
    task_id: int | None
    subtask_id: int | None
    state: RunState = RunState.QUEUED
    accepted_at: datetime
    started_at: datetime | None = None
    outcome: Outcome | None = None
    awaits_delivery: bool
    delivered_at: datetime | None = None
    delivery_error: str | None = None

    @property
    def end(self) -> Outcome:
        """The outcome of a run that has ended, such as every one in an outbox."""
        assert self.outcome is not None
        return self.outcome

    def ended(self, outcome: Outcome) -> RunRow:
        """The same with its end."""
        started_at = outcome.timings.started_at
        return replace(self, state=outcome.state, started_at=started_at, outcome=outcome)


_OF_REQUEST = tuple(n for n in RunRow.__struct_fields__ if n in RunRequest.__struct_fields__)


def row_of(request: RunRequest, accepted_at: datetime) -> RunRow:
    """How a run is recorded, or will be once the disk takes it."""
    fields = {name: getattr(request, name) for name in _OF_REQUEST}
    fields["title"] = request.title[:MAX_TITLE]
    awaits = request.address is not None
    return RunRow(**fields, accepted_at=accepted_at, awaits_delivery=awaits)


class Reserve:
    """Room on the disk that is kept for the ends of accepted runs: a file full of nothing.

    It is there from the first run that is accepted, and survives a crash, so that the next start
    has room for the ends of the runs that it cut off.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    def hold(self) -> None:
        """Take the room where it is not held yet. Raises OSError where the disk has too little."""
        if self._is_held():
            return
        flags = os.O_WRONLY | os.O_CREAT | _NOFOLLOW | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                _fill(descriptor, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.release()  # a part of it would be missing elsewhere
            raise

    def release(self) -> bool:
        """Give the room back; whether there was any."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False

    def _is_held(self) -> bool:
        with contextlib.suppress(OSError):
            return self._path.lstat().st_size >= self._size
        return False


def _fill(descriptor: int, size: int) -> None:
    """Have the system set real blocks apart: a file that only claims its length keeps no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    written = 0
    while written < size:
        written += os.write(descriptor, _CHUNK[: size - written])


class KnownRuns(Struct, kw_only=True, frozen=True):
    """Those that are over for everybody, newest first, and those that have not ended or arrived."""

    settled: tuple[str, ...]
    owed: frozenset[str]


class Journal:
    """The only reader and writer of `journal.db`, from one thread of its own.

    Every method is one durable transaction (WAL, synchronous=FULL). A failing disk raises
    ExecutorError("journal_failed"). With every run that is accepted, room for its end is kept.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._reserve = Reserve(path.with_name("reserve"))
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._db: sqlite3.Connection | None = None
        self._is_closed = False
        self._unreadable: set[object] = set()
        """Runs whose record cannot be read, which is said once."""

    async def open(self) -> None:
        """Open or create the file. A broken one is set aside; a newer one is refused.

        Raises ExecutorError `database_unusable` where the system does not let us have it.
        """
        try:
            await self._run(self._open)
        except ExecutorError as error:
            if error.code != "journal_failed":
                raise
            reason = error.values["reason"]
            raise ExecutorError("database_unusable", file=self._path, reason=reason) from error

    async def close(self) -> None:
        """Write what is left and let go of the file. Legal in every state, also twice."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()

    # --- the life of a run -----------------------------------------------------------------

    async def accept(self, request: RunRequest) -> None:
        """The run exists from now on, whatever happens to us."""

        def work() -> None:
            self._reserve.hold()
            with self._connection() as db:
                self._insert(db, request, self._clock.now())

        await self._run(work)

    async def start(self, run_id: str) -> None:
        """The run left the queue."""
        await self._write(
            "UPDATE runs SET state = ?, started_at = ? WHERE run_id = ? AND outcome IS NULL",
            RunState.RUNNING,
            self._now(),
            run_id,
        )

    async def finish(self, request: RunRequest, outcome: Outcome) -> None:
        """Record the one outcome of the run, and the run itself where it never was accepted."""

        def work() -> None:
            with self._connection() as db:
                self._insert(db, request, outcome.timings.accepted_at)
                _settle(db, request.run_id, outcome)

        await self._run(self._in_any_room(work))

    async def settle(self, run_id: str, outcome: Outcome) -> None:
        """Record the outcome of a run of an earlier process."""

        def work() -> None:
            with self._connection() as db:
                _settle(db, run_id, outcome)

        await self._run(self._in_any_room(work))

    async def delivered(self, run_id: str, error: str | None = None) -> None:
        """The server has it, or (`error`) has said for good that it will not take it."""
        await self._write(
            "UPDATE runs SET awaits_delivery = 0, delivered_at = ?, delivery_error = ?"
            " WHERE run_id = ?",
            self._now(),
            error,
            run_id,
        )

    # --- questions -------------------------------------------------------------------------

    async def unfinished(self) -> list[RunRow]:
        """Runs without an outcome: at start, those that a crash cut off."""
        return await self._rows("outcome IS NULL ORDER BY rowid")

    async def undelivered(self, source: Source) -> list[RunRow]:
        """The outbox of one door, oldest first."""
        return await self._rows(
            "awaits_delivery AND outcome IS NOT NULL AND source = ? ORDER BY rowid", source
        )

    async def run(self, run_id: str) -> RunRow | None:
        """One run, or None."""
        rows = await self._rows("run_id = ?", run_id)
        return rows[0] if rows else None

    async def recent(self, limit: int = 100, before: str | None = None) -> list[RunRow]:
        """The newest runs, newest first; with `before`, a run id, those older than that run."""
        order = "ORDER BY accepted_at DESC, rowid DESC LIMIT ?"
        if before is None:
            return await self._rows(f"1 {order}", limit)
        older = "(accepted_at, rowid) < (SELECT accepted_at, rowid FROM runs WHERE run_id = ?)"
        return await self._rows(f"{older} {order}", before, limit)

    async def latest(self, request_key: str) -> RunRow | None:
        """The newest run of a request, or None if it was never accepted (or is forgotten)."""
        rows = await self._rows("request_key = ? ORDER BY rowid DESC LIMIT 1", request_key)
        return rows[0] if rows else None

    async def kept(self, conversation_key: str, name: str) -> str | None:
        """The newest value of that name in a `reply_to` of the conversation, or None."""
        sql = (
            "SELECT CASE WHEN json_valid(reply_to) THEN json_extract(reply_to, '$.' || ?) END"
            " AS value FROM runs"
            " WHERE conversation_key = ? AND value IS NOT NULL ORDER BY rowid DESC LIMIT 1"
        )
        rows = await self._run(
            lambda: self._connection().execute(sql, (name, conversation_key)).fetchall()
        )
        return str(rows[0][0]) if rows else None

    # --- agent sessions --------------------------------------------------------------------

    async def session(self, conversation_key: str, agent: str) -> str | None:
        """The agent's own conversation to resume, if there is one."""
        sql = "SELECT session_id FROM sessions WHERE conversation_key = ? AND agent = ?"
        rows = await self._run(
            lambda: self._connection().execute(sql, (conversation_key, agent)).fetchall()
        )
        return str(rows[0][0]) if rows else None

    async def save_session(self, conversation_key: str, agent: str, session_id: str) -> None:
        """Remember the conversation for the next run of the same key."""
        await self._write(
            "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)",
            conversation_key,
            agent,
            session_id,
            self._now(),
        )

    async def forget_session(self, conversation_key: str, agent: str | None = None) -> None:
        """The next run of this key starts a new conversation, with `agent` or with all of them."""
        sql = "DELETE FROM sessions WHERE conversation_key = ? AND agent = coalesce(?, agent)"
        await self._write(sql, conversation_key, agent)

    async def prune(self) -> KnownRuns:
        """Forget the oldest settled runs over the bound; returns all that were known before."""
        return await self._run(self._prune)

    # --- in the thread ---------------------------------------------------------------------

    async def _run(self, work: Callable[[], _T]) -> _T:
        def guarded() -> _T:
            try:
                return work()
            except _FAILURES as error:
                reason = getattr(error, "strerror", None) or error
                raise ExecutorError("journal_failed", path=self._path, reason=reason) from error

        if self._is_closed:
            raise ExecutorError("journal_failed", path=self._path, reason="closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _in_any_room(self, work: Callable[[], None]) -> Callable[[], None]:
        """`work` for which the reserve is given up where the disk has no other room."""

        def carried_out() -> None:
            try:
                work()
            except (sqlite3.Error, OSError):
                if not self._reserve.release():
                    raise
                work()

        return carried_out

    async def _write(self, sql: str, *values: object) -> None:
        def work() -> None:
            with self._connection() as db:
                db.execute(sql, values)

        await self._run(work)

    async def _rows(self, where: str, *values: object) -> list[RunRow]:
        # `where` is always one of the literals above.
        columns = ", ".join(RunRow.__struct_fields__)
        sql = f"SELECT {columns} FROM runs WHERE {where}"  # noqa: S608
        found = await self._run(lambda: self._connection().execute(sql, values).fetchall())
        return [row for columns in found if (row := self._row(columns)) is not None]

    def _row(self, columns: tuple[Any, ...]) -> RunRow | None:
        """None for one that cannot be read at all, so that it does not hide the others."""
        fields = dict(zip(RunRow.__struct_fields__, columns, strict=True))
        run_id, written = fields["run_id"], fields["outcome"]
        try:
            row = _row_without_outcome(fields)
        except _UNREADABLE as error:
            self._complain(run_id, "is left out", error)
            return None
        if written is None:
            return row
        try:
            return replace(row, outcome=msgspec.json.decode(written, type=Outcome))
        except _UNREADABLE as error:
            self._complain(run_id, "counts as failed", error)
            return replace(row, state=RunState.FAILED, outcome=_unreadable(row, written))

    def _complain(self, run_id: object, answer: str, error: Exception) -> None:
        if run_id not in self._unreadable:
            self._unreadable.add(run_id)
            _log.error("the record of %s cannot be read and %s: %s", run_id, answer, error)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the journal is not open")
        return self._db

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = open_database(self._path, _connect, _log)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
            self._reserve.release()

    def _insert(self, db: sqlite3.Connection, request: RunRequest, accepted_at: datetime) -> None:
        fields = structs.asdict(row_of(request, accepted_at)) | {
            "reply_to": msgspec.json.encode(request.reply_to).decode(),
            "accepted_at": accepted_at.isoformat(),
        }
        places = ", ".join(f":{name}" for name in fields)
        db.execute(f"INSERT OR IGNORE INTO runs ({', '.join(fields)}) VALUES ({places})", fields)  # noqa: S608  our own names

    def _prune(self) -> KnownRuns:
        with self._connection() as db:
            known = db.execute(
                "SELECT run_id, outcome IS NOT NULL AND NOT awaits_delivery FROM runs"
                " ORDER BY rowid DESC"
            ).fetchall()
            settled = tuple(run_id for run_id, is_settled in known if is_settled)
            forgotten = [(run_id,) for run_id in settled[MAX_RUNS:]]
            db.executemany("DELETE FROM runs WHERE run_id = ?", forgotten)
            db.execute(
                "DELETE FROM sessions WHERE rowid IN"
                " (SELECT rowid FROM sessions ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
                (MAX_SESSIONS,),
            )
        owed = frozenset(run_id for run_id, is_settled in known if not is_settled)
        return KnownRuns(settled=settled, owed=owed)

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _connect(path: Path) -> sqlite3.Connection:
    return connect(path, _SCHEMA, version=JOURNAL_VERSION, newer="journal_newer")


def _settle(db: sqlite3.Connection, run_id: str, outcome: Outcome) -> None:
    """A second outcome of the same run changes nothing."""
    started_at = outcome.timings.started_at
    db.execute(
        # A start that had to wait for the disk was given the time at which it was written.
        "UPDATE runs SET state = ?, started_at = ?, outcome = ?"
        " WHERE run_id = ? AND outcome IS NULL",
        (
            outcome.state,
            started_at.isoformat() if started_at else None,
            msgspec.json.encode(outcome),
            run_id,
        ),
    )


def _row_without_outcome(fields: dict[str, Any]) -> RunRow:
    mended = {
        "reply_to": msgspec.json.decode(fields["reply_to"]),
        "awaits_delivery": bool(fields["awaits_delivery"]),
        "outcome": None,
    }
    return msgspec.convert(fields | mended, RunRow, strict=False)


class _Remains(Struct):
    text: str = ""


def _unreadable(row: RunRow, written: bytes) -> Outcome:
    """Stands in for an outcome that cannot be read, with the text of it that can."""
    try:
        words = msgspec.json.decode(written, type=_Remains).text
    except _UNREADABLE:
        words = ""
    return Outcome(
        state=RunState.FAILED,
        text=words,
        error=ExecutorError("record_unreadable").message,
        timings=Timings(
            accepted_at=row.accepted_at,
            started_at=row.started_at,
            finished_at=row.started_at or row.accepted_at,
        ),
    )
