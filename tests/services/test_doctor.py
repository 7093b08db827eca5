"""The doctor at work: on a home as it is found, and on what it puts right."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from executor_core.clock import SystemClock
from executor_core.config.home import Home, InstanceLock
from executor_core.config.layers import load
from executor_core.config.redaction import register_secret, spellings
from executor_core.errors import ExecutorError
from executor_core.process import MARKER, marker_of
from executor_core.services.computer import make_host
from executor_core.services.doctor import Doctor, cleaned
from executor_core.services.interface import Check
from tests.support.clock import JumpingClock
from tests.support.office import Office

NAMES = [
    "executor", "config", "network", "tls", "server", "clock", "token", "keychain",
    "agent.claude_code", "agent.codex", "agent.opencode", "environment", "git", "path", "folders",
    "files", "disk", "port", "leftovers", "tray",
]  # fmt: skip
MakeDoctor = Callable[..., Doctor]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home" / "ada" / "executor")


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A login shell that tells the PATH it was given."""
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nexec /bin/sh -c "$2"\n')
    shell.chmod(0o700)
    return shell


@pytest.fixture
def doctor(home: Home, shell: Path, tmp_path: Path) -> MakeDoctor:
    def make(environment: Mapping[str, str] | None = None, **more: object) -> Doctor:
        own = {
            "HOME": str(tmp_path / "home" / "ada"),
            "PATH": "/usr/bin:/bin",
            "SHELL": str(shell),
            "OPENRUNNER_ADDR": "127.0.0.1:0",
        }
        config = load(home, own | dict(environment or {}))
        clock = SystemClock()
        return Doctor(config, make_host(config, clock), clock, **more)  # type: ignore[arg-type]

    return make


async def examined(doctor: Doctor) -> dict[str, Check]:
    return {check.name: check async for check in doctor.examine()}


async def test_without_any_configuration_every_check_is_told_in_order(
    doctor: MakeDoctor, home: Home
) -> None:
    found = await examined(doctor())
    assert list(found) == NAMES
    assert found["executor"].verdict == "warning"
    assert {found[name].verdict for name in ("network", "tls", "server", "token")} == {"skipped"}
    assert "first starts" in found["folders"].reason
    assert found["git"].verdict == "ok"
    assert found["disk"].verdict == "ok"
    assert found["leftovers"].verdict == "ok"


async def test_a_running_executor_is_asked_for_its_links(
    doctor: MakeDoctor, tmp_path: Path, clock: JumpingClock
) -> None:
    office = Office(tmp_path / "office", clock)
    await office.open()
    try:
        found = await examined(doctor(control=office.local))
    finally:
        await office.close()
    assert found["executor"].verdict == "ok"
    assert str(os.getpid()) in found["executor"].reason
    assert office.listener.base_url in found["port"].reason


async def test_a_home_that_others_may_look_into_is_made_private(
    doctor: MakeDoctor, home: Home
) -> None:
    home.create()
    home.path.chmod(0o755)
    home.token.write_text("a-token-of-mine\n")
    home.token.chmod(0o644)
    one = doctor()
    check = (await examined(one))["folders"]
    assert check.verdict == "failed"
    assert check.fix is not None
    assert (await one.fix("folders")).verdict == "ok"
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.token.stat().st_mode) == 0o600
    with pytest.raises(ExecutorError) as caught:
        await one.fix("folders")
    assert caught.value.code == "nothing_to_fix"


@pytest.mark.parametrize("name", ["git", "agent.codex", "nonsense", "leftovers"])
async def test_what_offers_no_fix_is_refused(doctor: MakeDoctor, name: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        await doctor().fix(name)
    assert caught.value.code == "nothing_to_fix"


async def test_a_folder_that_cannot_be_written_to_is_named(
    doctor: MakeDoctor, home: Home, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    one = doctor({"LOCAL_WORKSPACE_ROOT": str(tmp_path / "file" / "below")})
    check = (await examined(one))["folders"]
    assert check.verdict == "failed"
    assert "file" in check.reason


async def test_a_home_that_is_a_file_fails_in_words(doctor: MakeDoctor, home: Home) -> None:
    one = doctor()
    home.path.parent.mkdir(parents=True)
    home.path.write_text("a file")
    found = await examined(one)
    assert found["folders"].verdict == "failed"
    assert str(home.path) in found["agent"].reason


async def test_a_marked_process_younger_than_the_doctor_is_left_alone(doctor: MakeDoctor) -> None:
    one = doctor()
    script = "import sys; sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdin=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", MARKER: marker_of(one._host.owner, "run_1")},
    )
    try:
        # A process that started after the doctor could be anybody's next run: it is left alone.
        assert (await examined(one))["leftovers"].verdict == "ok"
    finally:
        process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()


async def test_a_lock_that_is_held_in_silence_is_told_and_nothing_is_swept(
    doctor: MakeDoctor, home: Home
) -> None:
    home.create()
    with InstanceLock.acquire(home):
        found = await examined(doctor())
    assert found["executor"].verdict == "warning"
    assert str(os.getpid()) in found["executor"].reason
    assert found["leftovers"].verdict == "skipped"


async def test_a_taken_port_names_who_has_it(doctor: MakeDoctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        check = (await examined(doctor({"OPENRUNNER_ADDR": address})))["port"]
    assert check.verdict == "failed"
    assert address in check.reason
    assert str(os.getpid()) in check.reason


async def test_a_token_is_told_by_its_place_and_never_shown(doctor: MakeDoctor) -> None:
    environment = {"WEGENT_BACKEND_URL": "http://127.0.0.1:1", "WEGENT_TOKEN": "token-of-mine"}
    found = await examined(doctor(environment))
    assert found["token"].verdict == "ok"
    assert "WEGENT_TOKEN" in found["token"].reason
    assert found["network"].verdict == "failed"
    assert found["server"].verdict == "skipped"
    assert "token-of-mine" not in repr(found)


# --- the bundle ----------------------------------------------------------------------------------

CANARIES = {
    "WEGENT_AUTH_TOKEN": "canary-token/+=of ours".replace(" ", "-"),
    "ANTHROPIC_API_KEY": "canary+anthropic/key=",
    "GIT_TOKEN_AES_KEY": "canary-aes-key-of-32-characters!",
}


async def test_no_secret_of_any_kind_is_in_a_bundle(
    doctor: MakeDoctor, home: Home, tmp_path: Path
) -> None:
    home.create()
    api_token = "canary-owner-token-of-the-api"
    home.api_json.write_text(json.dumps({"url": "", "token": api_token, "pid": 1}))
    secrets = [*CANARIES.values(), api_token]
    log = home.path / "logs" / "executor.log"
    log.parent.mkdir()
    leaks = [form for secret in secrets for form in sorted(spellings(secret))]
    leaks += ["wg-canary-1234", "Bearer canary.5678", "sk-ant-canary-9", "http://u:canary@h/"]
    home_folder = tmp_path / "home" / "ada"
    lines = [
        f"2026-01-29 13:08:22 - [x] - [in /home/bob/x.py:1] - INFO - got {leak} in {home_folder}\n"
        for leak in leaks
    ]
    log.write_text("".join(lines))
    environment = {**CANARIES, "WEGENT_BACKEND_URL": "http://127.0.0.1:1", "CANARY_NAME": "canary"}
    ill = doctor(environment)
    target = await ill.save_bundle(tmp_path / "bundle.zip", await ill.bundle())
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(target) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    whole = "".join(files.values())
    for form in leaks:
        assert form not in whole
    assert whole.lower().count("canary") == 2  # the name of the variable, twice
    assert "CANARY_NAME" in files["environment.txt"]
    assert whole.count("got") == len(leaks)
    assert "ada" not in whole
    assert "bob" not in whole
    assert [one["name"] for one in json.loads(files["doctor.json"])] == NAMES
    assert "server.url = http://127.0.0.1:1" in files["settings.txt"]


async def test_a_bundle_of_a_running_executor_has_codes_and_no_words_of_people(
    doctor: MakeDoctor, tmp_path: Path, clock: JumpingClock
) -> None:
    office = Office(tmp_path / "office", clock)
    await office.open()
    try:
        run_id = await office.begin(prompt="a private prompt")
        await office.local.pause(reason="a private reason")
        files = await doctor(control=office.local).bundle()
        office.playing.finish()
    finally:
        await office.close()
    [run] = json.loads(files["runs.json"])
    assert (run["run_id"], run["state"]) == (run_id, "running")
    assert json.loads(files["status.json"])["paused"] is True
    assert "private" not in "".join(files.values())


def test_names_of_users_go_whatever_the_system() -> None:
    said = r'/home/bob/a /Users/eve/b C:\Users\Mallory\c "C:\\Users\\Mallory\\d" /users/ada/e'
    assert cleaned(said, "/users/ada") == r'~/a ~/b ~\c "~\\d" ~/e'


def test_a_secret_that_is_known_is_taken_out_of_a_bundle() -> None:
    register_secret("a secret with spaces")
    assert "secret" not in cleaned("x a secret with spaces y", None)


async def test_a_bundle_that_cannot_be_written_says_where(
    doctor: MakeDoctor, tmp_path: Path
) -> None:
    with pytest.raises(ExecutorError) as caught:
        await doctor().save_bundle(tmp_path / "nowhere" / "x.zip", {})
    assert caught.value.code == "bundle_not_written"
    assert "nowhere" in caught.value.message.detail
