"""Reads what a task brings besides words, in the spellings of all generations."""

from __future__ import annotations

from collections.abc import Iterable

from executor_core.links.device.fields import (
    Json,
    field_wrong,
    fields_of,
    first_of,
    items_of,
    positive,
    text_of,
)
from executor_core.model import Attachment, Materials, SkillRef
from executor_core.texts import text

MAX_NAME = 1_000


def read_materials(body: Json, *, server: str, token: str) -> Materials:
    """Attachments and skills. The task's own token goes before `token`, that of the connection.

    Raises ExecutorError("task_field_wrong") for an entry that names nothing.
    """
    preferred = tuple(_names(body, "user_selected_skills"))
    return Materials(
        server=server,
        token=text_of(body.get("auth_token")) or token,
        attachments=tuple(_attachments(items_of(body.get("attachments")))),
        skills=tuple(_skills(body, preferred)),
        preferred_skills=preferred,
    )


def _attachments(entries: Iterable[object]) -> Iterable[Attachment]:
    for index, entry in enumerate(entries):
        found = fields_of(entry)
        number = positive(found.get("id"))
        if number is None:
            raise field_wrong(f"attachments[{index}]", text("allowed.attachment"))
        size = found.get("file_size")
        name = text_of(found.get("original_filename")) or text_of(found.get("filename"))
        yield Attachment(
            id=number,
            name=name[:MAX_NAME],
            subtask_id=positive(found.get("subtask_id")),
            size_bytes=positive(size),
            media_type=text_of(found.get("mime_type"))[:MAX_NAME],
        )


def _skills(body: Json, preferred: tuple[str, ...]) -> Iterable[SkillRef]:
    """Every skill that is named anywhere, once; numbers come from the newer servers' references."""
    bot = first_of(body.get("bot"))
    names = [*_names(bot, "skills", "bot[0].")]
    for field in ("skill_names", "preload_skills", "skills"):
        names += _names(body, field)
    references = _references(body, bot)
    namespace = text_of(body.get("team_namespace"))[:MAX_NAME] or "default"
    for name in dict.fromkeys([*names, *preferred]):
        reference = references.get(name, {})
        yield SkillRef(
            name=name,
            namespace=text_of(reference.get("namespace"))[:MAX_NAME] or namespace,
            skill_id=positive(reference.get("skill_id")),
            version=text_of(reference.get("content_hash"))[:MAX_NAME],
        )


def _references(body: Json, bot: Json) -> dict[str, Json]:
    configs = map(fields_of, items_of(body.get("skill_configs")))
    found: dict[str, Json] = {text_of(config.get("name")): config for config in configs}
    for holder, field in ((body, "preload_skill_refs"), (body, "skill_refs"), (bot, "skill_refs")):
        entries = fields_of(holder.get(field)).items()
        found |= {name: fields_of(reference) for name, reference in entries}
    return found


def _names(body: Json, field: str, prefix: str = "") -> Iterable[str]:
    """The names in a list of names, or of objects that have one."""
    for index, entry in enumerate(items_of(body.get(field))):
        name = text_of(entry) or text_of(fields_of(entry).get("name"))
        if not name:
            raise field_wrong(f"{prefix}{field}[{index}]", text("allowed.skill"))
        yield name[:MAX_NAME]
