"""Brings a task's attachments to disk, and tells the agent where they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from executor_core.model import Attachment
from executor_core.texts import text
from executor_core.workspace.fetch import Server
from executor_core.workspace.names import folded, safe_file_name
from executor_core.workspace.unusable import Unusable

MAX_FILE_BYTES = 200 * 2**20
MAX_TASK_BYTES = 500 * 2**20
"""All attachments of one message together."""
MAX_ATTACHMENTS = 50

_PLACE = re.compile(r"\[attachment:(\d{1,19})\]")
_NOT_PLAIN = re.compile(r"[^\w.+/-]")


class Fetched(Struct, frozen=True, kw_only=True):
    """An attachment that is at `path`, or why it is not."""

    attachment: Attachment
    name: str
    path: Path | None = None
    size_bytes: int = 0
    problem: str = ""


async def fetch_attachments(
    server: Server, attachments: Sequence[Attachment], folder: Path
) -> list[Fetched]:
    """Fetch all into `folder`, in order; what cannot be had has a `problem` instead of a path."""
    fetched: list[Fetched] = []
    left = MAX_TASK_BYTES
    for count, (attachment, name) in enumerate(
        zip(attachments, file_names(attachments), strict=True)
    ):
        try:
            if count >= MAX_ATTACHMENTS:
                raise Unusable(text("attachment.too_many", limit=MAX_ATTACHMENTS))
            size = await _fetch(server, attachment, folder / name, min(left, MAX_FILE_BYTES))
        except Unusable as error:
            fetched.append(Fetched(attachment=attachment, name=name, problem=str(error)))
        else:
            left -= size
            path = folder / name
            fetched.append(Fetched(attachment=attachment, name=name, path=path, size_bytes=size))
    return fetched


async def _fetch(server: Server, attachment: Attachment, target: Path, limit: int) -> int:
    """By another name first: a retry finds what it fetched the last time, whole or not at all."""
    part = target.with_name(f".{attachment.id}.part")
    path = f"/api/attachments/{attachment.id}/executor-download"
    try:
        await asyncio.to_thread(part.unlink, missing_ok=True)
        size = await server.file(path, {}, part, limit)
        await asyncio.to_thread(part.replace, target)
    except OSError as error:
        raise Unusable(text("fetch.not_written", reason=error.strerror)) from error
    return size


def file_names(attachments: Iterable[Attachment]) -> list[str]:
    """A safe name for each; no two of them are one file anywhere."""
    names: list[str] = []
    taken: set[str] = set()
    for attachment in attachments:
        name = safe_file_name(attachment.name, f"attachment-{attachment.id}")
        if folded(name) in taken:
            name = safe_file_name(f"{attachment.id}-{name}", f"attachment-{attachment.id}")
        while folded(name) in taken:
            name = f"{len(names)}-{name}"
        taken.add(folded(name))
        names.append(name)
    return names


def with_attachments(prompt: str, fetched: Sequence[Fetched]) -> str:
    """The prompt with paths for its `[attachment:ID]`, and behind it a list of all files."""
    if not fetched and not _PLACE.search(prompt):
        return prompt
    known = {str(one.attachment.id): one for one in fetched}
    prompt = _PLACE.sub(lambda found: _in_place(known, found[1]), prompt)
    if not fetched:
        return prompt
    lines = "\n".join(_line(one) for one in fetched)
    return f"{prompt}\n\n<attachment>\n{lines}\n</attachment>"


def _in_place(known: Mapping[str, Fetched], number: str) -> str:
    one = known.get(str(int(number)))
    if one is None:
        return f"[attachment {number} is unavailable]"
    return str(one.path) if one.path else f"[attachment {one.name} is unavailable: {one.problem}]"


def _line(one: Fetched) -> str:
    kind = _NOT_PLAIN.sub("", one.attachment.media_type)[:100] or "unknown type"
    if one.path is None:
        return f"- {one.name} ({kind}) is unavailable: {one.problem}"
    return f"- {one.name} ({kind}, {one.size_bytes} bytes): {one.path}"
