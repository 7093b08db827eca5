"""Reads what a person answered to the form that ended the turn before (servers of August 2026)."""

from __future__ import annotations

from executor_core.links.device.fields import Json, fields_of, text_of
from executor_core.links.device.frames import encode


def with_form_answer(prompt: str, body: Json) -> str:
    """The prompt, with the answer behind it where it is not in there already.

    `interactive_form_answer` has `status` ("answered" or "cancelled"), `answers` by question id,
    and `message`: the same in words, which servers usually make the prompt of the new turn.
    """
    answer = fields_of(body.get("interactive_form_answer"))
    message = text_of(answer.get("message")).strip()
    if not answer or (prompt.strip() and (not message or message in prompt)):
        return prompt
    kept = {name: answer[name] for name in ("status", "answers") if name in answer}
    return "\n\n".join(filter(None, (prompt, message or encode(kept).decode())))
