"""Progress of ours: shown while it lasts, and nothing of it stays beside the answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

_Json = dict[str, Any]

PASSING = frozenset({"fetching", "git_cloning", "git_progress", "model_retry", "silent"})
"""Notices that mean nothing any more once the agent goes on. The others stay with the answer."""


class NoteBlock:
    """One line in a block of its own (servers from v1.7.12; older ones pass over it).

    Pages draw a block of thoughts, and none that is empty: so it is emptied to take it away.
    """

    def __init__(self, subtask_id: int) -> None:
        self._subtask_id = subtask_id
        self._count = 0
        self._shown = ""
        self._words = ""
        self._at: datetime | None = None

    def say(self, words: str, at: datetime | None) -> None:
        """Show these words in place of the last ones; none take the block away."""
        self._words, self._at = words, at

    @property
    def is_news(self) -> bool:
        return self._words != self._shown

    def take(self) -> list[tuple[str, _Json]]:
        """Events and their data for what the server has not heard yet."""
        if not self.is_news:
            return []
        is_new, self._shown = not self._shown, self._words
        self._count += is_new
        block_id = f"note_{self._subtask_id}_{self._count}"
        content = {"content": self._words, "status": "streaming" if self._words else "done"}
        if not is_new:
            return [("response.block.updated", {"block_id": block_id, "updates": content})]
        block: _Json = {"id": block_id, "type": "thinking", **content}
        if self._at is not None:
            block["timestamp"] = int(self._at.timestamp() * 1000)
        return [("response.block.created", {"block": block})]
