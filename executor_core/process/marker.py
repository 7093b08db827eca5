"""The variable by which a process of ours is recognised, whatever became of its parents."""

from __future__ import annotations

MARKER = "WEGENT_RUN_MARKER"
"""Inherited by every descendant; the value is `<owner>:<run_id>`, one owner per home."""


def marker_of(owner: str, run_id: str) -> str:
    """The value of `MARKER` for the run `run_id` of the executor `owner`."""
    return f"{owner}:{run_id}"


def run_id_of(marker: str, owner: str) -> str | None:
    """The run that a marker of `owner` names; None for a marker of somebody else."""
    prefix = f"{owner}:"
    return marker[len(prefix) :] if marker.startswith(prefix) else None
