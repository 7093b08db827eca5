"""Attachments and skills on the hub: who may put them in, who gets them out, and their limits."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from executor_core.hub import library
from tests.hub.conftest import TOKEN, World
from tests.support.skill_archives import skill_md, skill_zip, zip_of


async def post(
    world: World, path: str, data: bytes, *, token: str = TOKEN, status: int = 200
) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    async with (
        aiohttp.ClientSession(world.base) as http,
        http.post(path, data=io.BytesIO(data), headers=headers) as answer,
    ):
        found = await answer.json()
        assert answer.status == status, found
        return found


async def get(world: World, path: str, token: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(world.base) as http,
        http.get(path, headers=headers) as answer,
    ):
        return answer.status, await answer.read()


async def uploaded(world: World, name: str = "shot.png", data: bytes = b"pixels") -> int:
    return int((await post(world, f"/api/attachments?name={quote(name)}", data))["id"])


def attachment(number: int) -> str:
    return f"/api/attachments/{number}/executor-download"


async def test_a_skill_packed_by_windows_powershell_is_taken(world: World) -> None:
    skill = await post(world, "/api/skills", zip_of({"s\\SKILL.md": skill_md("s")}))
    assert skill["name"] == "s"


async def test_a_task_carries_what_was_uploaded_in_the_new_shape(world: World) -> None:
    device = await world.registered()
    number = await uploaded(world, "截图 1.png")
    skill = await post(world, "/api/skills", skill_zip("fishing"))
    task = await world.owner.create("look", attachments=[number], skills=["fishing"])
    sent = await device.received("task:execute")
    assert sent["attachments"] == [
        {
            "id": number,
            "original_filename": "截图 1.png",
            "file_extension": ".png",
            "file_size": 6,
            "mime_type": "image/png",
        }
    ]
    assert sent["skill_names"] == sent["user_selected_skills"] == ["fishing"]
    assert sent["bot"][0]["skills"] == ["fishing"]
    assert sent["skill_configs"] == [{"name": "fishing", "skill_id": skill["id"]}]
    assert sent["skill_refs"]["fishing"]["skill_id"] == skill["id"]
    shown = await world.owner.task(task["id"])
    assert shown["skills"] == ["fishing"]
    [asked, answer] = shown["messages"]
    assert [one["name"] for one in asked["attachments"]] == ["截图 1.png"]
    assert answer["attachments"] == []

    token = sent["auth_token"]
    assert await get(world, attachment(number), token) == (200, b"pixels")
    status, listed = await get(
        world, "/api/v1/kinds/skills?name=fishing&namespace=default&task_id=1", token
    )
    assert (status, b'"id": "1"' in listed) == (200, True)
    path = f"/api/v1/kinds/skills/{skill['id']}/download?namespace=default"
    assert await get(world, path, token) == (200, skill_zip("fishing"))


async def test_a_task_carries_what_was_uploaded_in_the_old_shape(old_world: World) -> None:
    device = await old_world.registered()
    number = await uploaded(old_world)
    await post(old_world, "/api/skills", skill_zip("fishing"))
    await old_world.owner.create("look", attachments=[number], skills=["fishing"])
    sent = await device.received("task:execute")
    assert [one["id"] for one in sent["attachments"]] == [number]
    assert sent["bot"][0]["skills"] == sent["user_selected_skills"] == ["fishing"]
    assert "skill_refs" not in sent
    assert await get(old_world, attachment(number), sent["auth_token"]) == (200, b"pixels")


async def test_a_follow_up_brings_its_own_attachments_and_keeps_the_skills(world: World) -> None:
    device = await world.registered()
    await post(world, "/api/skills", skill_zip("fishing"))
    first, second = await uploaded(world, "1.png"), await uploaded(world, "2.png")
    task = await world.owner.create("look", attachments=[first], skills=["fishing"])
    await device.complete(await device.received("task:execute"), "ok")
    path = f"/api/tasks/{task['id']}/messages"
    await world.owner.call("POST", path, {"prompt": "more", "attachments": [second]})
    sent = await device.received("task:execute")
    assert [one["id"] for one in sent["attachments"]] == [second]
    assert sent["skill_names"] == ["fishing"]
    # The first one is still part of the task.
    assert (await get(world, attachment(first), sent["auth_token"]))[0] == 200


async def test_the_token_of_a_task_opens_the_things_of_that_task_alone(world: World) -> None:
    device = await world.registered()
    await post(world, "/api/skills", skill_zip("fishing"))
    mine, others, free = [await uploaded(world, f"{n}.png") for n in range(3)]
    task = await world.owner.create("look", attachments=[mine])
    token = (await device.received("task:execute"))["auth_token"]
    await device.complete({"task_id": task["id"], "subtask_id": 2, "message_id": 2}, "ok")
    await world.owner.create("look", attachments=[others], skills=["fishing"])
    assert (await get(world, attachment(mine), token))[0] == 200
    for path in (attachment(others), attachment(free), "/api/v1/kinds/skills/1/download"):
        assert (await get(world, path, token))[0] == 404
    assert await get(world, "/api/v1/kinds/skills", token) == (200, b'{"items": []}')
    for path in ("/api/tasks", "/api/devices"):
        assert (await get(world, path, token))[0] == 401
    await post(world, "/api/attachments?name=a", b"x", token=token, status=401)


async def test_what_a_user_has_does_not_exist_for_another(world: World) -> None:
    await world.registered()
    _, second = await world.second_user()
    number = await uploaded(world)
    await post(world, "/api/skills", skill_zip("fishing"))
    for path in (attachment(number), "/api/v1/kinds/skills/1/download"):
        assert (await get(world, path, second))[0] == 404
        assert (await get(world, path, TOKEN))[0] == 200
        assert (await get(world, path, "eyJnonsense"))[0] == 401
    assert await get(world, "/api/v1/kinds/skills", second) == (200, b'{"items": []}')
    client, _ = await world.second_user()
    assert (await client.call("GET", "/api/skills"))["items"] == []
    await client.call("DELETE", "/api/skills/1", status=404)
    await client.call("DELETE", f"/api/attachments/{number}", status=404)


async def test_an_attachment_belongs_to_one_message(world: World) -> None:
    device = await world.registered()
    number = await uploaded(world)
    await world.owner.create("look", attachments=[number])
    await device.received("task:execute")
    body = {"prompt": "again", "attachments": [number]}
    answer = await world.owner.call("POST", "/api/tasks", body, status=404)
    assert answer["error"]["code"] == "unknown_attachment"
    await world.owner.call("DELETE", f"/api/attachments/{number}", status=404)


async def test_a_deleted_task_takes_its_attachments_with_it(world: World) -> None:
    await world.registered()
    number = await uploaded(world)
    task = await world.owner.create("look", attachments=[number])
    await world.owner.call("DELETE", f"/api/tasks/{task['id']}")
    assert (await get(world, attachment(number), TOKEN))[0] == 404


async def test_an_upload_that_no_message_took_goes_after_a_day(world: World) -> None:
    first = await uploaded(world)
    await world.clock.advance(library.UNUSED_LIFE.total_seconds() + 1)
    second = await uploaded(world)
    assert (await get(world, attachment(first), TOKEN))[0] == 404
    await world.owner.call("DELETE", f"/api/attachments/{second}")
    assert (await get(world, attachment(second), TOKEN))[0] == 404


async def test_a_skill_is_replaced_by_a_newer_one_of_its_name(world: World) -> None:
    first = await post(world, "/api/skills", skill_zip("fishing"))
    second = await post(world, "/api/skills", skill_zip("fishing", body="Other."))
    assert first["id"] == second["id"]
    assert first["hash"] != second["hash"]
    assert (await world.owner.call("GET", "/api/skills"))["items"] == [second]
    await world.owner.call("DELETE", f"/api/skills/{first['id']}")
    assert await get(world, "/api/v1/kinds/skills", TOKEN) == (200, b'{"items": []}')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        zip_of({"SKILL.md": skill_md("x")}),
        zip_of({"a/README.md": ""}),
        zip_of({"a/SKILL.md": "", "b/SKILL.md": ""}),
        zip_of({"../SKILL.md": ""}),
        zip_of({"a b/SKILL.md": ""}),
    ],
)
async def test_what_is_no_skill_is_refused(data: bytes, world: World) -> None:
    answer = await post(world, "/api/skills", data, status=400)
    assert answer["error"]["code"] == "bad_skill"


@pytest.mark.parametrize("name", ["", "%00", "a/", "x" * 300])
async def test_an_attachment_needs_a_name(name: str, world: World) -> None:
    answer = await post(world, f"/api/attachments?name={name}", b"x", status=400)
    assert answer["error"]["code"] == "bad_field"


async def test_uploads_have_limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await post(world, "/api/attachments?name=a", b"", status=400)
    big = bytes(library.MAX_SKILL_BYTES + 1)
    answer = await post(world, "/api/skills", big, status=413)
    assert answer["error"]["code"] == "upload_too_big"
    await post(world, "/api/attachments?name=big", big)
    monkeypatch.setattr(library, "MAX_STORED_BYTES", len(big))
    answer = await post(world, "/api/attachments?name=one-more", b"x", status=409)
    assert answer["error"]["code"] == "library_full"


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("attachments", [7], 404),
        ("attachments", ["7"], 400),
        ("attachments", [True], 400),
        ("attachments", [2**70], 400),
        ("attachments", {}, 400),
        ("attachments", list(range(1, 40)), 400),
        ("skills", ["nope"], 404),
        ("skills", [1], 400),
    ],
)
async def test_what_a_message_cannot_bring_is_refused_and_makes_no_task(
    field: str, value: object, status: int, world: World
) -> None:
    await world.registered()
    await world.owner.call("POST", "/api/tasks", {"prompt": "x", field: value}, status=status)
    assert (await world.owner.call("GET", "/api/tasks"))["items"] == []


async def test_a_download_is_never_shown_by_a_browser(world: World) -> None:
    number = await uploaded(world, "a<b>.html", b"<script>")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(world.base) as http,
        http.get(attachment(number), headers=headers) as answer,
    ):
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
