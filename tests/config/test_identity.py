from __future__ import annotations

import hashlib
import logging
import re
import stat
import uuid
from pathlib import Path

import pytest

from executor_core.config import hardware
from executor_core.config.home import Home
from executor_core.config.identity import IdentityReaders, device_id, device_name, id_of
from executor_core.config.layers import load

MACHINE = "0123456789abcdef0123456789abcdef"
HW = f"hw-{hashlib.sha256(MACHINE.encode()).hexdigest()[:12]}"


def readers(machine: str | None = MACHINE, mac: str | None = "0a1b2c3d4e5f") -> IdentityReaders:
    return IdentityReaders(lambda: machine, lambda: mac, lambda: "aaaaaaaaaaaa")


@pytest.mark.parametrize(
    ("in_file", "configured", "machine", "mac", "expected"),
    [
        ("from-file\n", "from_config", MACHINE, "0a1b2c3d4e5f", "from-file"),
        ("\ufefffrom-file", "", None, None, "from-file"),
        ("\n", "from_config", None, None, "from_config"),
        (None, "from_config", MACHINE, "0a1b2c3d4e5f", "from_config"),
        (None, "", MACHINE, "0a1b2c3d4e5f", HW),
        (None, "", None, "0a1b2c3d4e5f", "mac-0a1b2c3d4e5f"),
        (None, "", None, None, "uuid-aaaaaaaaaaaa"),
    ],
)
def test_the_id_comes_from_the_first_place_that_has_one(
    home: Home,
    in_file: str | None,
    configured: str,
    machine: str | None,
    mac: str | None,
    expected: str,
) -> None:
    if in_file is not None:
        home.device_id.write_text(in_file, encoding="utf-8")
    assert device_id(home, configured, readers(machine, mac)) == expected


def test_an_id_is_kept_when_its_origin_changes(home: Home) -> None:
    first = device_id(home, "", readers())
    assert first == HW
    assert device_id(home, "other", readers(machine="b" * 32)) == first
    assert home.device_id.read_text() == f"{first}\n"
    assert stat.S_IMODE(home.device_id.stat().st_mode) == 0o600


def test_an_id_that_the_user_sets_counts_for_as_long_as_it_is_set(home: Home) -> None:
    home.device_id.write_text("written")
    home.device_config.write_text('{"device_id": "of-another-program"}')
    assert id_of(load(home, {}, {})) == "written"
    home.config_toml.write_text('[device]\nid = "mine"\n')
    assert id_of(load(home, {}, {})) == "mine"
    home.config_toml.unlink()
    assert id_of(load(home, {}, {})) == "written"


def test_an_id_that_cannot_be_written_is_used_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path / "missing")
    with caplog.at_level(logging.WARNING):
        assert device_id(home, "", readers()) == HW
    assert len(caplog.records) == 1
    assert str(home.device_id) in caplog.text
    assert device_id(home, "", readers()) == HW


@pytest.mark.parametrize("bad", ["has:colon", "a" * 94, "two\nlines", "空格", "a b", "x\0"])
def test_an_id_that_the_server_would_misread_is_set_aside_and_the_file_named(
    home: Home, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    home.device_id.write_text(bad, encoding="utf-8")
    assert device_id(home, "", readers()) == HW
    assert str(home.device_id) in caplog.text
    assert home.device_id.with_name("device_id.damaged-1").read_text(encoding="utf-8") == bad


def test_an_id_that_is_damaged_comes_back_from_its_copy(home: Home) -> None:
    home.device_id.write_text("written-by-hand")
    assert device_id(home, "", readers()) == "written-by-hand"
    home.device_id.write_bytes(b"\xff\0")
    assert device_id(home, "", readers()) == "written-by-hand"


def test_an_id_that_is_linked_stays_a_link(home: Home, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    home.device_id.symlink_to(tmp_path / "elsewhere")
    assert device_id(home, "", readers()) == "mine"
    assert home.device_id.is_symlink()


def test_the_longest_id_is_accepted(home: Home) -> None:
    home.device_id.write_text("a" * 93)
    assert device_id(home, "", readers()) == "a" * 93


def test_a_folder_in_its_place_is_set_aside(home: Home) -> None:
    home.device_id.mkdir()
    assert device_id(home, "", readers()) == HW
    assert home.device_id.read_text() == f"{HW}\n"


def test_this_computer_gives_the_same_id_twice(tmp_path: Path) -> None:
    missing = Home(tmp_path / "missing")
    if hardware.machine_id() is None and hardware.mac_address() is None:
        pytest.skip("this computer has neither a machine id nor a network card")
    first, second = device_id(missing), device_id(missing)
    assert first == second
    assert re.fullmatch(r"(hw|mac)-[0-9a-f]{12}", first)


def test_a_random_mac_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid, "getnode", lambda: 0x010000000001)
    assert hardware.mac_address() is None
    monkeypatch.setattr(uuid, "getnode", lambda: 0x020000000001)
    assert hardware.mac_address() == "020000000001"


def test_a_name_is_system_and_host_unless_one_is_configured() -> None:
    assert device_name(system="Linux", host="ada-pc") == "Linux - ada-pc"
    assert device_name("我的电脑", "Linux", "ada-pc") == "我的电脑"
    assert " - " in device_name()


def test_a_name_has_at_most_a_hundred_printable_code_points() -> None:
    assert device_name(system="Linux", host="🖥" * 200) == "Linux - " + "🖥" * 92
    assert device_name(system="Linux", host="a\nb") == "Linux - a b"
