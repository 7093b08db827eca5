"""Brings a task's attachments to disk, and tells the agent where they are."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from msgspec import Struct

from executor_core.model import Attachment, Image
from executor_core.texts import text
from executor_core.workspace.fetch import Server, Unusable
from executor_core.workspace.files import folded, safe_file_name

MAX_FILE_BYTES = 200 * 2**20
MAX_TASK_BYTES = 500 * 2**20
"""All attachments of one message together."""
MAX_ATTACHMENTS = 50

MAX_PICTURE_BYTES = 3_750_000
"""Five million characters of base64, which is what model services take."""
MAX_PICTURES = 20

_PLACE = re.compile(r"\[attachment:(\d{1,19})\]")
_PATH_LABEL = r"File Path(?:\(already in sandbox\)| in Sandbox): "
"""Before the path that a file has in a container of the server's (servers from 2026-03)."""
_PICTURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
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
    """The prompt as it reads on this computer; what it does not speak of is listed behind it.

    Servers write `[attachment:ID]`, or a header with the path that the file has in a container of
    theirs, which may stand in the text as well. Both become the path here, or why there is none.
    """
    known = {one.attachment.id: one for one in fetched}
    told: set[int] = set()

    def reference(found: re.Match[str]) -> str:
        number = int(found[1])
        told.add(number)
        one = known.get(number)
        if one is None:
            return f"[Attachment {number} is unavailable]"
        if one.path is None:
            return f"[Attachment {one.name} is unavailable: {one.problem}]"
        return f"[Attachment downloaded to: {one.path}]"

    prompt = _PLACE.sub(reference, prompt)
    longest_first = sorted(fetched, key=lambda one: -len(one.attachment.name))
    # Two files may have one name: their headers tell them apart, other places do not.
    for before in (r"(?P<header>\| ID: {id} \|[^\n]*?)", ""):
        for one in longest_first:
            pattern = before.format(id=one.attachment.id) + _path_there(one.attachment)
            prompt, count = re.subn(pattern, partial(_path_here, one), prompt)
            told |= {one.attachment.id} if count else set()
    lines = "\n".join(_line(one) for one in fetched if one.attachment.id not in told)
    return f"{prompt}\n\n<attachment>\n{lines}\n</attachment>" if lines else prompt


def _path_there(attachment: Attachment) -> str:
    turn = attachment.subtask_id or r"\d+"
    name = re.escape(re.sub(r"[\r\n]", "", attachment.name))
    folder = rf"/home/user/\d+:executor:attachments/{turn}/"
    return rf"(?P<label>{_PATH_LABEL})?{folder}{name}" if name else r"(?!)(?P<label>)"


def _path_here(one: Fetched, found: re.Match[str]) -> str:
    header = found.groupdict().get("header") or ""
    if one.path is None:
        return f"{header}unavailable ({one.problem})"
    return f"{header}{'Local File Path: ' if found['label'] else ''}{one.path}"


def pictures(fetched: Iterable[Fetched]) -> tuple[Image, ...]:
    """Those that a model can be shown, judged by what is in the files. Blocking."""
    found = (_picture(one.path, one.size_bytes) for one in fetched if one.path is not None)
    return tuple(islice(filter(None, found), MAX_PICTURES))


def _picture(path: Path, size_bytes: int) -> Image | None:
    try:
        data = path.read_bytes() if size_bytes <= MAX_PICTURE_BYTES else b""
    except OSError:  # the agent has the path, and will find out why
        return None
    kinds = [kind for kind, beginning in _PICTURES.items() if beginning.match(data)]
    return (
        Image(media_type=kinds[0], data=b64encode(data).decode(), path=str(path)) if kinds else None
    )


def _line(one: Fetched) -> str:
    kind = _NOT_PLAIN.sub("", one.attachment.media_type)[:100] or "unknown type"
    if one.path is None:
        return f"- {one.name} ({kind}) is unavailable: {one.problem}"
    return f"- {one.name} ({kind}, {one.size_bytes} bytes): {one.path}"
