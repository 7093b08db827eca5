"""Skills as the server packed them, fetched once: `<home>/cache/skills`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from executor_core.model import SkillRef
from executor_core.texts import text
from executor_core.workspace.fetch import Server
from executor_core.workspace.unusable import Unusable

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
