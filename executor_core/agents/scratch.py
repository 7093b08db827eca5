"""Files in a run's private folder: pictures that no model can be shown, and secrets."""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path

from msgspec.structs import replace

from executor_core.agents.agent import Assignment
from executor_core.agents.failures import notice
from executor_core.model import Image, Notice

MCP_FILE = "mcp_servers.json"


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only this user can read (0600), anew."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def forget_secrets(scratch: Path) -> None:
    """Delete them; also of a run that a crash of ours cut off. Nothing there is fine."""
    (scratch / MCP_FILE).unlink(missing_ok=True)


MAX_BASE64 = 5 * 2**20
"""Characters of one picture; the strictest of the services refuses more."""

_SIGNS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
"""What all the services take, by how such a file begins."""


def with_usable_images(assignment: Assignment) -> tuple[Assignment, tuple[Notice, ...]]:
    """The assignment with pictures that a model can be shown, and what the person is told.

    The rest are files in the run's private folder, named behind the prompt. A label that does not
    fit its picture is put right.
    """
    kept: list[Image] = []
    lines: list[str] = []
    notices: list[Notice] = []
    for number, image in enumerate(assignment.images, 1):
        try:
            content = base64.b64decode(image.data)
        except (binascii.Error, ValueError):
            notices.append(notice("notice.image_unreadable", number=number))
            continue
        kind = next((kind for sign, kind in _SIGNS if sign.match(content)), None)
        if kind is not None and len(image.data) <= MAX_BASE64:
            kept.append(replace(image, media_type=kind))
            continue
        path = assignment.scratch / f"picture-{number}.{_ending(kind or image.media_type)}"
        _write(path, content)
        lines.append(f"- picture {number}: {path}")
        notices.append(notice("notice.image_as_file", number=number, name=path.name))
    if lines:
        listed = "\n".join(("Pictures that cannot be shown are files:", *lines))
        prompt = f"{assignment.prompt}\n\n{listed}"
        assignment = replace(assignment, prompt=prompt)
    return replace(assignment, images=tuple(kept)), tuple(notices)


def _ending(media_type: str) -> str:
    """`svg` for image/svg+xml; a media type is a word of somebody else."""
    found = re.search(r"/(?:x-)?([a-z0-9]{1,10})", media_type.lower())
    return found[1] if found else "bin"


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
