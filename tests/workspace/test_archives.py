"""Archives of skills: good ones arrive whole, bad ones leave nothing outside of their folder."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_core.workspace import skills
from executor_core.workspace.fetch import Unusable
from executor_core.workspace.files import is_safe_name, safe_file_name
from executor_core.workspace.skills import unpack_skill
from tests.support.skill_archives import skill_md, skill_zip, zip_of

MD = skill_md("s")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "target"
    folder.mkdir(parents=True)
    return folder


def unpack(data: bytes, target: Path) -> list[str]:
    """The files that came out, relative to the skill's folder."""
    archive = target.parent / "skill.zip"
    archive.write_bytes(data)
    unpack_skill(archive, target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_a_skill_arrives_without_the_folder_around_it(target: Path) -> None:
    assert unpack(skill_zip("fishing"), target) == ["SKILL.md", "scripts/run.sh"]
    assert "name: fishing" in (target / "SKILL.md").read_text()


def test_a_skill_without_a_folder_around_it_arrives_too(target: Path) -> None:
    assert unpack(zip_of({"SKILL.md": MD, "a/b.txt": "x"}), target) == ["SKILL.md", "a/b.txt"]


def test_programs_stay_programs_and_nothing_is_for_others(target: Path) -> None:
    unpack(zip_of({"s/SKILL.md": MD}, mode=stat.S_IFREG | 0o4777), target)
    assert stat.S_IMODE((target / "SKILL.md").stat().st_mode) == 0o700


def test_leavings_of_other_systems_and_a_gitignore_of_its_own_are_left_out(target: Path) -> None:
    files = {"s/SKILL.md": MD, "__MACOSX/s/._SKILL.md": "", "s/.DS_Store": "", "s/.gitignore": "!x"}
    assert unpack(zip_of(files), target) == ["SKILL.md"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "s/../../evil",
        "/etc/evil",
        "//host/evil",
        "C:/evil",
        "s\\..\\evil",
        "s/./evil",
        "s//evil",
        "s/.git/hooks/evil",
        "s/.GIT/evil",
        "s/..",
        "s/aux.txt",
        "s/COM1",
        "s/evil.",
        "s/evil ",
        "s/e:vil",
        "s/e\nvil",
        "s/" + "x" * 200,
        "s/" + "d/" * 20 + "x",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, target: Path) -> None:
    with pytest.raises(Unusable):
        unpack(zip_of({"s/SKILL.md": MD, name: "evil"}), target)
    root = target.parent.parent
    assert [path for path in root.rglob("*") if "evil" in path.name] == []
    assert not Path("/etc/evil").exists()


def test_a_name_with_a_hidden_end_is_refused(target: Path) -> None:
    data = zip_of({"s/SKILL.md": MD, "s/evilX.txt": "evil"})
    with pytest.raises(Unusable, match="not safe"):
        unpack(data.replace(b"evilX", b"evil\0"), target)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK])
def test_links_and_devices_are_refused(kind: int, target: Path) -> None:
    files = {"s/link": "/etc/passwd"}
    data = zip_of(files, mode=kind | 0o777)
    with pytest.raises(Unusable, match="link"):
        unpack(data, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    "names",
    [
        ("s/Readme", "s/README"),
        ("s/stra\u00dfe", "s/STRASSE"),
        ("s/caf\u00e9", "s/cafe\u0301"),
        ("s/a", "s/A/b"),
        ("s/a", "s/a/b"),
    ],
)
def test_two_names_that_are_one_file_somewhere_are_refused(
    names: tuple[str, str], target: Path
) -> None:
    with pytest.raises(Unusable, match="same file"):
        unpack(zip_of({"s/SKILL.md": MD, names[0]: "1", names[1]: "2"}), target)


def test_the_same_name_twice_is_refused(target: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("s/SKILL.md", MD)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("s/SKILL.md", "another")
    with pytest.raises(Unusable, match="same file"):
        unpack(packed.getvalue(), target)


def test_a_bomb_is_refused_before_it_goes_off(target: Path) -> None:
    with pytest.raises(Unusable, match="too big"):
        unpack(zip_of({"s/SKILL.md": MD, "s/zeros": bytes(8 * 2**20)}), target)
    assert list(target.iterdir()) == []


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_said(target: Path) -> None:
    data = bytearray(zip_of({"s/SKILL.md": MD, "s/zeros": bytes(3 * 2**20)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.rindex(signature)
        data[at + offset : at + offset + 4] = struct.pack("<I", 1000)
    with pytest.raises(Unusable, match="damaged"):
        unpack(bytes(data), target)
    assert all(path.stat().st_size <= 1000 for path in target.rglob("*") if path.is_file())


def test_too_many_files_are_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skills, "MAX_ENTRIES", 10)
    with pytest.raises(Unusable, match="more than 10"):
        unpack(zip_of({f"s/{number}": "" for number in range(11)}), target)


def test_too_much_in_all_is_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skills, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(Unusable, match="too big"):
        unpack(zip_of({"s/SKILL.md": MD, "s/a": "a" * 600, "s/b": "b" * 600}), target)


@pytest.mark.parametrize(
    "files", [{"s/README.md": ""}, {"a/SKILL.md": MD, "b/SKILL.md": MD}, {"s/t/SKILL.md": MD}, {}]
)
def test_what_holds_no_skill_is_refused(files: dict[str, str], target: Path) -> None:
    with pytest.raises(Unusable, match=r"SKILL\.md"):
        unpack(zip_of(files), target)


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"<html>login</html>", skill_zip("s")[:-30]])
def test_what_is_no_archive_is_refused(data: bytes, target: Path) -> None:
    with pytest.raises(Unusable, match="damaged"):
        unpack(data, target)


def test_an_encrypted_entry_is_refused(target: Path) -> None:
    data = bytearray(zip_of({"s/SKILL.md": MD}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(Unusable, match="encrypted"):
        unpack(bytes(data), target)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_unpacked_and_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packed = bytearray(skill_zip("fishing"))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    target = tmp_path_factory.mktemp("damaged") / "target"
    target.mkdir()
    with contextlib.suppress(Unusable):
        unpack(bytes(packed), target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["skill.zip", "target"]


# --- archives from Windows ---------------------------------------------------------------------


def from_windows(files: dict[bytes, str], *, extra: dict[bytes, bytes] | None = None) -> bytes:
    """An archive whose entries have these raw names, of which it says nothing."""
    packed = io.BytesIO()
    stand_ins = {f"{number}".rjust(len(raw), "x"): raw for number, raw in enumerate(files)}
    with zipfile.ZipFile(packed, "w") as archive:
        for stand_in, raw in stand_ins.items():
            entry = zipfile.ZipInfo(stand_in)
            entry.create_system = 0
            entry.extra = (extra or {}).get(raw, b"")
            archive.writestr(entry, files[raw])
    data = packed.getvalue()
    for stand_in, raw in stand_ins.items():
        data = data.replace(stand_in.encode(), raw)
    return data


def test_names_parted_by_backslashes_are_paths(target: Path) -> None:
    files = {b"s\\SKILL.md": MD, b"s\\scripts\\run.py": "x", b"s\\empty\\": ""}
    assert unpack(from_windows(files), target) == ["SKILL.md", "scripts/run.py"]


@pytest.mark.parametrize("name", [b"s\\..\\..\\evil", b"\\evil", b"C:\\evil", b"s\\.git\\evil"])
def test_backslashes_lead_nowhere_else_either(name: bytes, target: Path) -> None:
    with pytest.raises(Unusable, match="not safe"):
        unpack(from_windows({b"s\\SKILL.md": MD, name: "evil"}), target)
    assert [path for path in target.parent.parent.rglob("*") if "evil" in path.name] == []


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
@pytest.mark.parametrize("name", ["参考.md", "誠実/诚.md"])  # one of them holds the byte of "\\"
def test_names_of_a_chinese_computer_are_readable(name: str, encoding: str, target: Path) -> None:
    files = {b"s/SKILL.md": MD, f"s/{name}".encode(encoding): "x"}
    assert unpack(from_windows(files), target) == ["SKILL.md", name]


@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_name_beside_in_unicode_counts_unless_the_entry_was_renamed_since(
    is_renamed: bool, target: Path
) -> None:
    raw = "мир.md".encode("cp866")
    field = struct.pack("<BL", 1, zlib.crc32(b"old.md" if is_renamed else raw)) + "мир.md".encode()
    extra = {raw: struct.pack("<HH", 0x7075, len(field)) + field}
    found = unpack(from_windows({b"SKILL.md": MD, raw: "x"}, extra=extra), target)
    assert ("мир.md" in found) is not is_renamed


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("trace.png", "trace.png"),
        ("报告 v2.pdf", "报告 v2.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a:b*c?.txt", "a_b_c_.txt"),
        ("..", "file"),
        ("", "file"),
        ("  .hidden. ", "hidden"),
        ("nul.txt", "_nul.txt"),
        ("a\nb\x00.txt", "a_b_.txt"),
        ("x\u202egnp.exe", "x_gnp.exe"),
        ("half \ud83d.txt", "half _.txt"),
    ],
)
def test_a_name_of_others_becomes_a_safe_one(raw: str, name: str) -> None:
    assert safe_file_name(raw, "file") == name


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.text(max_size=400))
def test_every_name_becomes_a_safe_one(raw: str) -> None:
    name = safe_file_name(raw, "file")
    assert is_safe_name(name)
    assert len(name.encode()) < 255


def test_a_long_name_keeps_its_ending() -> None:
    name = safe_file_name("长" * 300 + ".png", "file")
    assert name.endswith("长.png")
    assert is_safe_name(name)
