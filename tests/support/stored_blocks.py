"""What a server of dialect R keeps of a run while it is told: the blocks that its pages draw."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class StoredBlocks:
    """The blocks of every subtask, in the order in which the frames were *handled*."""

    def __init__(self) -> None:
        self._of: dict[int, list[Json]] = {}

    def of(self, subtask_id: int) -> list[Json]:
        """Those that a page would draw: an empty one shows nothing."""
        blocks = self._of.get(subtask_id, [])
        return [block for block in blocks if block["type"] == "tool" or block["content"]]

    def story(self, subtask_id: int) -> list[str]:
        """The same in words, for comparisons."""
        return [
            f"{block['type']} {block.get('content') or block['name'] + ' ' + block['status']}"
            for block in self.of(subtask_id)
        ]

    def take(self, event: str, body: Json) -> None:
        """One result event has come to its turn."""
        blocks, data = self._of.setdefault(body["subtask_id"], []), body["data"]
        match event:
            case "response.output_text.delta":
                self._append(blocks, "text", data["delta"])
            case "response.reasoning_summary_part.added":
                self._append(blocks, "thinking", data["part"]["text"])
            case "response.output_item.added":
                item = data["item"]
                blocks.append(
                    {"id": item["call_id"], "type": "tool", "name": item["name"]}
                    | {"status": "pending"}
                )
            case "response.function_call_arguments.done":
                self._update(blocks, data["call_id"], status="pending")
            case "response.output_item.done":
                item = data["item"]
                status = "error" if item["status"] == "failed" else "done"
                self._update(blocks, item["call_id"], status=status, output=item["output"])
            case "response.block.created":
                blocks.append(dict(data["block"]))
            case "response.block.updated":
                self._update(blocks, data["block_id"], **data["updates"])

    def _append(self, blocks: list[Json], kind: str, words: str) -> None:
        last = blocks[-1] if blocks else {}
        if last.get("type") == kind and "id" not in last:
            last["content"] += words
        else:
            blocks.append({"type": kind, "content": words})

    def _update(self, blocks: list[Json], block_id: str, **changes: Any) -> None:
        for block in blocks:
            if block.get("id") == block_id:
                block |= changes
