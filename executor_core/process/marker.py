"""The signs by which a process of ours is recognised, whatever became of its parents.

The **marker** is a variable. `env -i`, sudo and daemons that clean up after themselves shed it.

The **tag** is a number in a resource limit that nothing uses: the CPU time of real-time programs,
two thousand years and more. Every descendant inherits it through fork and exec, into any session,
and no cleaned environment, closed descriptor or changed folder touches it. It says whose run a
process belongs to even when runs lie side by side, when all its parents are gone and when the
executor was killed; who adopts an orphan (a subreaper, a cgroup) would not tell the first without
a process per run, nor the last two. So the executor adopts nobody, and has nothing to reap.

What they do not find: what the system starts in a run's name (systemd-run, at, a container), what
took another user's rights and lost its parents. macOS and Windows have no tag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from typing import NamedTuple, TypeAlias

MARKER = "WEGENT_RUN_MARKER"
"""Inherited by every descendant; the value is `<owner>:<run_id>`, one owner per home."""

Sign: TypeAlias = str | int
"""A marker or a tag."""

_OWNER_BITS, _RUN_BITS = 29, 32
_TAGGED = 1 << (_OWNER_BITS + _RUN_BITS)  # microseconds, and less than what counts as unlimited


def marker_of(owner: str, run_id: str) -> str:
    """The value of `MARKER` for the run `run_id` of the executor `owner`."""
    return f"{owner}:{run_id}"


def run_id_of(marker: str, owner: str) -> str | None:
    """The run that a marker of `owner` names; None for a marker of somebody else."""
    prefix = f"{owner}:"
    return marker[len(prefix) :] if marker.startswith(prefix) else None


def tag_of(marker: str) -> int:
    """The tag that says the same as `marker`, but cannot be read back."""
    owner, _, run_id = marker.partition(":")
    return _tags_of(owner) | _number(run_id, _RUN_BITS)


def is_tag_of(tag: int, owner: str) -> bool:
    """Whether `tag` is the one of some run of `owner`."""
    return tag >> _RUN_BITS == _tags_of(owner) >> _RUN_BITS


def is_tag(limit: int) -> bool:
    """Whether a limit was set by us, or by somebody else as a limit."""
    return _TAGGED <= limit < 2 * _TAGGED


def signs_of(marker: str) -> frozenset[Sign]:
    """All that tells of a process that it belongs to the run of `marker`."""
    return frozenset((marker, tag_of(marker)))


def _tags_of(owner: str) -> int:
    return _TAGGED | _number(owner, _OWNER_BITS) << _RUN_BITS


def _number(name: str, bits: int) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest, "big") >> (len(digest) * 8 - bits)


# --- the process table --------------------------------------------------------------------------


class Row(NamedTuple):
    """A living process (no zombie), with the marker and the tag that it carries, if readable."""

    pid: int
    ppid: int
    marker: str | None
    tag: int | None = None

    def carries(self, signs: Container[Sign]) -> bool:
        """Whether one of `signs` is on it."""
        return self.marker in signs or self.tag in signs


def rows_by_psutil() -> list[Row]:
    """The process table where the system has no cheaper way to it."""
    import psutil

    rows: list[Row] = []
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            ppid = process.ppid()
        except psutil.Error:
            continue  # gone meanwhile, or none of our business
        try:
            marker = process.environ().get(MARKER)
        except (psutil.Error, OSError):
            marker = None  # not readable: only its ancestors can tell whose it is
        rows.append(Row(pid, ppid, marker))
    return rows
