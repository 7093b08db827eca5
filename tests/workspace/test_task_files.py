"""What a task brings is there before its agent starts, and what cannot be had is said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from executor_core.model import (
    Attachment,
    Image,
    Notice,
    RunRequest,
    SkillRef,
    Source,
    TaskFiles,
    TaskFolder,
)
from executor_core.workspace import FileFetcher, Site, Workspaces, attachments, fetch, sweep_skills
from executor_core.workspace.skills import LEDGER
from tests.support.clock import JumpingClock
from tests.support.material_server import TOKEN, MaterialServer, material_server
from tests.support.skill_archives import skill_zip, zip_of

OWN = "The user's own skill."


@pytest.fixture
async def shop() -> AsyncIterator[MaterialServer]:
    async with material_server() as running:
        yield running


class Bench:
    """A workspace root, a run's folder and a project, and what was said."""

    def __init__(self, tmp_path: Path, shop: MaterialServer, clock: JumpingClock) -> None:
        self.clock = clock
        self.shop = shop
        self.root = tmp_path / "workspace"
        self.runs = tmp_path / "runs"
        self.project = tmp_path / "project"
        self.project.mkdir()
        self.notices: list[Notice] = []
        self.images: tuple[Image, ...] = ()
        self.stop = asyncio.Event()
        self.workspaces = self.make(clears_cache=False)

    def make(self, *, clears_cache: bool) -> Workspaces:
        cache = self.root.parent / "cache" / "skills"
        return Workspaces(
            self.root, (), None, FileFetcher(cache, clears_cache=clears_cache, clock=self.clock)
        )

    def request(
        self, *, prompt: str = "Do it.", run_id: str = "run_1", **brought: Any
    ) -> RunRequest:
        return RunRequest(
            run_id=run_id,
            source=Source.DEVICE,
            request_key="k",
            agent="claude_code",
            prompt=prompt,
            workspace=TaskFolder(name="7"),
            conversation_key="c",
            address="server#1",
            task_id=7,
            subtask_id=9,
            task_files=TaskFiles(server=self.shop.url, token=TOKEN, **brought),
        )

    def site(
        self, agent: str = "claude_code", *, run_id: str = "run_1", home: bool = False
    ) -> Site:
        scratch = self.runs / run_id
        scratch.mkdir(parents=True, exist_ok=True)
        private_home = self.workspaces.private_home("7", agent) if home else None
        return Site(
            folder=self.project,
            task_folder="7",
            scratch=scratch,
            agent=agent,
            private_home=private_home,
        )

    @asynccontextmanager
    async def with_files(
        self,
        request: RunRequest,
        site: Site | None = None,
        *,
        is_follow_up: bool = False,
        workspaces: Workspaces | None = None,
    ) -> AsyncIterator[str]:
        async with (workspaces or self.workspaces).with_files(
            request,
            site or self.site(),
            is_follow_up=is_follow_up,
            emit=self.notices.append,
            stop=self.stop,
        ) as told:
            self.images = told.images
            yield told.prompt

    @property
    def attachments(self) -> Path:
        return self.root / "7" / ".wegent" / "attachments" / "9"

    @property
    def skills(self) -> Path:
        return self.project / ".claude" / "skills"

    def problems(self) -> list[str]:
        return [notice.text for notice in self.notices if notice.code != "fetching"]


@pytest.fixture
def bench(tmp_path: Path, shop: MaterialServer, clock: JumpingClock) -> Bench:
    return Bench(tmp_path, shop, clock)


def file(number: int, name: str = "a.txt", **more: Any) -> Attachment:
    return Attachment(id=number, name=name, **more)


# --- attachments -------------------------------------------------------------------------------


async def test_an_attachment_lies_beside_the_work_and_the_prompt_names_it(bench: Bench) -> None:
    bench.shop.files[301] = b"trace"
    request = bench.request(
        prompt="See [attachment:301].",
        attachments=(file(301, "trace.png", media_type="image/png", size_bytes=5),),
    )
    async with bench.with_files(request) as prompt:
        path = bench.attachments / "trace.png"
        assert path.read_bytes() == b"trace"
        assert prompt == f"See [Attachment downloaded to: {path}]."
    assert bench.shop.tokens == {f"Bearer {TOKEN}"}
    assert bench.problems() == []
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_failed_attachment_is_said_to_the_agent_and_the_person(bench: Bench) -> None:
    bench.shop.files |= {1: b"good", 3: 403}
    request = bench.request(
        prompt="[attachment:2] [attachment:77]",
        attachments=(file(1), file(2, "b.txt"), file(3, "c.txt")),
    )
    async with bench.with_files(request) as prompt:
        assert "[Attachment b.txt is unavailable: the server does not have it]" in prompt
        assert "[Attachment 77 is unavailable]" in prompt
        listed = prompt.partition("<attachment>")[2].split()
        assert "a.txt" in listed
        assert "c.txt" in listed
        assert "b.txt" not in listed
        assert (bench.attachments / "a.txt").exists()
    assert [("b.txt" in one, "c.txt" in one) for one in bench.problems()] == [
        (True, False),
        (False, True),
    ]


def header(number: int, name: str, label: str = "File Path(already in sandbox)") -> str:
    """What a server of 2026 puts before the text of an attachment."""
    place = f"/home/user/7:executor:attachments/8/{name}"
    return f"[Attachment: {name} | ID: {number} | Type: text/plain | Size: 1 B | {label}: {place}]"


async def test_the_paths_of_a_container_become_those_of_this_computer(bench: Bench) -> None:
    bench.shop.files |= {1: b"one", 2: b"two", 3: 403}
    names = ("报告 [v2].txt", "报告 [v2].txt", "c.txt")
    request = bench.request(
        prompt=f"{header(1, names[0])}\n{header(2, names[1], 'File Path in Sandbox')}\n"
        f"{header(3, names[2])}\nCompare /home/user/7:executor:attachments/8/{names[0]}.",
        attachments=tuple(file(number, name) for number, name in enumerate(names, start=1)),
    )
    async with bench.with_files(request) as prompt:
        first, second = bench.attachments / names[0], bench.attachments / f"2-{names[1]}"
        assert f"ID: 1 | Type: text/plain | Size: 1 B | Local File Path: {first}]" in prompt
        assert f"ID: 2 | Type: text/plain | Size: 1 B | Local File Path: {second}]" in prompt
        assert "Size: 1 B | unavailable (the server refused it" in prompt
        assert prompt.endswith(f"Compare {first}.")
        assert "/home/user" not in prompt
        assert "<attachment>" not in prompt


async def test_a_file_of_another_turn_is_not_taken_for_one_of_this(bench: Bench) -> None:
    bench.shop.files[1] = b"one"
    there = "/home/user/7:executor:attachments/{}/a.txt"
    request = bench.request(
        prompt=f"{there.format(5)} and {there.format(8)}",
        attachments=(replace(file(1), subtask_id=8),),
    )
    async with bench.with_files(request) as prompt:
        assert prompt == f"{there.format(5)} and {bench.attachments / 'a.txt'}"


PNG = b"\x89PNG\r\n\x1a\n rest"


async def test_pictures_are_shown_to_the_agent_by_what_is_in_them(bench: Bench) -> None:
    bench.shop.files |= {1: PNG, 2: b"<svg/>", 3: b"\0\0\0 ftypheic", 4: b"\xff\xd8\xff\xe0 rest"}
    names = ("a.png", "b.svg", "c.heic", "d.png")
    kinds = ("image/png", "image/svg+xml", "image/heic", "image/png")
    brought = tuple(
        file(number, name, media_type=kind)
        for number, (name, kind) in enumerate(zip(names, kinds, strict=True), start=1)
    )
    async with bench.with_files(bench.request(attachments=brought)) as prompt:
        shown = [(image.media_type, Path(image.path).name) for image in bench.images]
        assert shown == [("image/png", "a.png"), ("image/jpeg", "d.png")]
        assert all(str(bench.attachments / name) in prompt for name in names)


async def test_pictures_that_the_server_put_into_the_prompt_are_not_shown_twice(
    bench: Bench,
) -> None:
    bench.shop.files[1] = PNG
    inline = (Image(media_type="image/png", data="AAAA"),)
    request = replace(bench.request(attachments=(file(1, "a.png"),)), images=inline)
    async with bench.with_files(request):
        assert bench.images == inline


async def test_names_of_others_stay_in_the_folder_and_apart(bench: Bench) -> None:
    names = ["../../../../evil", "A.txt", "a.TXT", "", "/etc/passwd"]
    bench.shop.files = {number: b"x" for number in range(1, 6)}
    request = bench.request(
        attachments=tuple(file(number, name) for number, name in enumerate(names, start=1))
    )
    async with bench.with_files(request):
        found = sorted(path.name for path in bench.attachments.iterdir())
    assert found == ["3-a.TXT", "A.txt", "attachment-4", "evil", "passwd"]


async def test_a_retry_fetches_again_in_the_same_place(bench: Bench) -> None:
    request = bench.request(attachments=(file(1),))
    for content in (b"first", b"second"):
        bench.shop.files[1] = content
        async with bench.with_files(request):
            assert (bench.attachments / "a.txt").read_bytes() == content
    assert [path.name for path in bench.attachments.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("is_announced", [True, False])
async def test_what_is_too_large_is_not_kept(
    is_announced: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MAX_FILE_BYTES", 2**20)
    bench.shop.files[1] = bytes(2**20 + 1)
    bench.shop.is_chunked = not is_announced
    async with bench.with_files(bench.request(attachments=(file(1),))) as prompt:
        assert "it is larger than 1 MB" in prompt
    assert list(bench.attachments.glob("*")) == []


async def test_all_attachments_of_a_message_share_one_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MAX_TASK_BYTES", 100)
    bench.shop.files = {1: bytes(60), 2: bytes(60), 3: bytes(30)}
    request = bench.request(attachments=(file(1, "1"), file(2, "2"), file(3, "3")))
    async with bench.with_files(request):
        assert sorted(path.name for path in bench.attachments.iterdir()) == ["1", "3"]


async def test_the_disk_is_never_filled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "KEEP_FREE_BYTES", 2**60)
    bench.shop.files[1] = b"x"
    async with bench.with_files(bench.request(attachments=(file(1),))) as prompt:
        assert "the disk is almost full" in prompt
    assert list(bench.attachments.glob("*")) == []


async def test_a_redirect_to_another_host_does_not_get_the_token(bench: Bench) -> None:
    async with material_server() as other:
        for number, target in (
            (1, f"{other.url}/api/attachments/2/executor-download"),
            (2, "ftp:x"),
        ):
            bench.shop.files[number] = target
        request = bench.request(attachments=(file(1), file(2, "b")))
        async with bench.with_files(request) as prompt:
            assert prompt.count("must not get the task's token") >= 1
        assert other.asked == []
    assert len(bench.problems()) == 2


async def test_a_redirect_on_the_same_server_is_followed_but_not_for_ever(bench: Bench) -> None:
    place = "/base/api/attachments/{}/executor-download"
    bench.shop.files = {1: place.format(2), 2: b"here", 3: place.format(3)}
    async with bench.with_files(bench.request(attachments=(file(1), file(3, "b")))) as prompt:
        assert (bench.attachments / "a.txt").read_bytes() == b"here"
        assert "in circles" in prompt


async def test_a_server_that_never_answers_costs_five_minutes_and_not_the_task(
    bench: Bench,
) -> None:
    async def let_time_pass() -> None:
        await bench.shop.hanging.wait()
        await bench.clock.advance(fetch.FILE_LIMIT_S)

    bench.shop.files[1] = b"x"
    passing = asyncio.Task(let_time_pass())
    async with bench.with_files(bench.request(attachments=(file(999, "b"), file(1)))) as prompt:
        assert "it took more than 5 minutes" in prompt
        assert (bench.attachments / "a.txt").exists()
    await passing


async def test_a_cancel_does_not_wait_for_a_download(bench: Bench) -> None:
    async def cancel() -> None:
        await bench.shop.hanging.wait()
        bench.stop.set()

    cancelling = asyncio.Task(cancel())
    async with asyncio.timeout(5):
        async with bench.with_files(bench.request(attachments=(file(999),))):
            pass
    await cancelling
    assert list(bench.attachments.glob("*")) == []


@pytest.mark.parametrize("token", ["abc\r\ndef", "abc\0def"])
async def test_a_token_that_no_header_can_carry_costs_a_sentence(bench: Bench, token: str) -> None:
    request = bench.request(attachments=(file(1),), skills=(SkillRef(name="s", skill_id=1),))
    request = replace(request, task_files=replace(request.task_files, token=token))
    async with bench.with_files(request) as prompt:
        assert "a.txt (unknown type) is unavailable" in prompt
    assert len(bench.problems()) == 2


async def test_what_is_in_the_way_of_an_attachment_costs_a_sentence(bench: Bench) -> None:
    bench.shop.files |= {1: b"one", 2: b"two", 3: b"three"}
    for name in (".1.part", "b.txt"):
        (bench.attachments / name).mkdir(parents=True)
    asked = bench.request(attachments=(file(1), file(2, "b.txt"), file(3, "c.txt")))
    async with bench.with_files(asked) as prompt:
        assert prompt.count("could not be written to disk") == 2
        assert (bench.attachments / "c.txt").read_bytes() == b"three"


async def test_a_server_that_is_not_there_costs_a_sentence(bench: Bench) -> None:
    bench.shop.url = "http://127.0.0.1:1"
    async with bench.with_files(bench.request(attachments=(file(1),))) as prompt:
        assert "could not be reached" in prompt
    assert TOKEN not in " ".join(bench.problems())


@pytest.mark.parametrize("place", [".wegent", ".wegent/attachments", ".wegent/attachments/9"])
async def test_a_link_in_the_way_of_our_folder_is_not_followed(
    bench: Bench, tmp_path: Path, place: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = bench.root / "7" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(Exception, match="link"):
        async with bench.with_files(bench.request(attachments=(file(1),))):
            pass
    assert list(elsewhere.iterdir()) == []


async def test_a_task_that_brings_nothing_asks_nobody(bench: Bench) -> None:
    async with bench.with_files(bench.request(prompt="Hi")) as prompt:
        assert prompt == "Hi"
    assert (bench.shop.asked, bench.notices) == ([], [])
    assert not bench.root.exists()


# --- skills ------------------------------------------------------------------------------------


async def test_a_skill_is_in_the_project_for_the_time_of_the_run(bench: Bench) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    request = bench.request(
        skills=(SkillRef(name="fishing", skill_id=41),), preferred_skills=("fishing", "other")
    )
    async with bench.with_files(request) as prompt:
        assert (bench.skills / "fishing" / "SKILL.md").exists()
        assert (bench.skills / "fishing" / ".gitignore").read_text().splitlines()[-1] == "*"
        assert prompt == "The user picked these skills; use them first: fishing.\n\nDo it."
    assert list(bench.project.iterdir()) == []
    assert bench.shop.asked == ["/base/api/v1/kinds/skills/41/download?namespace=default&task_id=7"]


async def test_a_skill_without_a_number_is_looked_up_by_name(bench: Bench) -> None:
    bench.shop.skills[5] = skill_zip("fishing")
    bench.shop.names["fishing"] = 5
    missing = SkillRef(name="missing", namespace="team")
    request = bench.request(skills=(SkillRef(name="fishing", namespace="mine"), missing))
    async with bench.with_files(request):
        assert [path.name for path in bench.skills.iterdir()] == ["fishing"]
    assert bench.shop.asked[:2] == [
        "/base/api/v1/kinds/skills?name=fishing&namespace=mine&task_id=7",
        "/base/api/v1/kinds/skills/5/download?namespace=team&task_id=7",
    ]
    [problem] = bench.problems()
    assert "missing" in problem


async def test_a_private_home_gets_the_skills_and_the_project_none(bench: Bench) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    request = bench.request(skills=(SkillRef(name="fishing", skill_id=41),))
    site = bench.site(home=True)
    assert site.private_home is not None
    async with bench.with_files(request, site):
        assert (site.private_home / "skills" / "fishing" / "SKILL.md").exists()
        assert list(bench.project.iterdir()) == []
    assert list(site.private_home.iterdir()) == []


async def test_an_agent_that_looks_nowhere_is_told_where_the_skills_are(bench: Bench) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    request = bench.request(skills=(SkillRef(name="fishing", skill_id=41),))
    async with bench.with_files(request, bench.site("codex")) as prompt:
        folder = bench.root / "7" / ".wegent" / "skills" / "fishing"
        assert (folder / "SKILL.md").exists()
        assert f"- fishing: {folder}" in prompt
        assert list(bench.project.iterdir()) == []


async def test_a_skill_of_the_users_own_is_never_touched(bench: Bench) -> None:
    own = bench.skills / "fishing"
    own.mkdir(parents=True)
    (own / "SKILL.md").write_text(OWN)
    bench.shop.skills[41] = skill_zip("fishing")
    request = bench.request(skills=(SkillRef(name="fishing", skill_id=41),))
    async with bench.with_files(request):
        assert (own / "SKILL.md").read_text() == OWN
    assert (own / "SKILL.md").read_text() == OWN
    [problem] = bench.problems()
    assert "already has a skill of that name" in problem


async def test_what_a_crash_left_is_removed_at_the_next_start(bench: Bench) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    own = bench.skills / "own"
    own.mkdir(parents=True)
    request = bench.request(skills=(SkillRef(name="fishing", skill_id=41),))
    async with bench.with_files(request):
        ledger = bench.runs / "run_1" / LEDGER
        assert (bench.skills / "fishing").exists()
        # The process ends here: the next one finds the ledger and the skill.
        await asyncio.to_thread(sweep_skills, bench.runs)
        assert sorted(path.name for path in bench.skills.iterdir()) == ["own"]
        assert not ledger.exists()


async def test_the_skill_of_another_run_is_not_swept(bench: Bench) -> None:
    """A new run put the same skill there before the ledger of the old one was read."""
    bench.shop.skills[41] = skill_zip("fishing")
    skills = (SkillRef(name="fishing", skill_id=41),)
    async with bench.with_files(bench.request(skills=skills)):
        noted = (bench.runs / "run_1" / LEDGER).read_bytes()
    second = bench.request(run_id="run_2", skills=skills)
    async with bench.with_files(second, bench.site(run_id="run_2")):
        (bench.runs / "run_1" / LEDGER).write_bytes(noted)
        (bench.runs / "run_2" / LEDGER).rename(bench.runs / "kept")
        await asyncio.to_thread(sweep_skills, bench.runs)
        assert (bench.skills / "fishing" / "SKILL.md").exists()
        (bench.runs / "kept").rename(bench.runs / "run_2" / LEDGER)
    assert list(bench.project.iterdir()) == []


async def test_skills_are_not_put_behind_a_link(bench: Bench, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (bench.project / ".claude").symlink_to(elsewhere)
    bench.shop.skills[41] = skill_zip("fishing")
    async with bench.with_files(bench.request(skills=(SkillRef(name="fishing", skill_id=41),))):
        assert list(elsewhere.iterdir()) == []
    [problem] = bench.problems()
    assert "is a link" in problem


@pytest.mark.parametrize("name", ["..", "a/b", "../../evil", ".git", "con", "x" * 500])
async def test_the_name_of_a_skill_is_no_path(name: str, bench: Bench) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    async with bench.with_files(bench.request(skills=(SkillRef(name=name, skill_id=41),))):
        assert [path for path in bench.project.rglob("SKILL.md")] == []
    [problem] = bench.problems()
    assert "cannot be the name of a folder" in problem


async def test_a_bad_archive_leaves_no_half_a_skill(bench: Bench) -> None:
    bench.shop.skills = {1: zip_of({"s/SKILL.md": "x", "s/../../evil": "x"}), 2: skill_zip("good")}
    skills = (SkillRef(name="bad", skill_id=1), SkillRef(name="good", skill_id=2))
    async with bench.with_files(bench.request(skills=skills)):
        assert [path.name for path in bench.skills.iterdir()] == ["good"]
    [problem] = bench.problems()
    assert "bad" in problem


@pytest.mark.parametrize(
    ("clears_cache", "is_follow_up", "count"),
    [(False, False, 1), (True, True, 1), (True, False, 2)],
)
async def test_a_skill_is_fetched_anew_only_where_the_option_says_so(
    clears_cache: bool, is_follow_up: bool, count: int, bench: Bench
) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    request = bench.request(skills=(SkillRef(name="fishing", skill_id=41),))
    workspaces = bench.make(clears_cache=clears_cache)
    for _ in range(2):
        async with bench.with_files(request, is_follow_up=is_follow_up, workspaces=workspaces):
            assert (bench.skills / "fishing" / "SKILL.md").exists()
    assert len(bench.shop.asked) == count


async def test_one_account_does_not_get_what_another_cached(bench: Bench) -> None:
    bench.shop.skills[41] = skill_zip("fishing")
    request = bench.request(skills=(SkillRef(name="fishing", skill_id=41),))
    for address in ("server#1", "server#2"):
        async with bench.with_files(replace(request, address=address)):
            pass
    assert len(bench.shop.asked) == 2


async def test_a_folder_of_the_users_keeps_attachments_out_of_it(bench: Bench) -> None:
    bench.shop.files[1] = b"x"
    request = bench.request(attachments=(file(1),))
    async with bench.with_files(request):
        assert list(bench.project.iterdir()) == []
        assert (bench.attachments / "a.txt").exists()
