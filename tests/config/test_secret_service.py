"""Tokens in a real Secret Service (gnome-keyring), by the real program."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.secret_service import SecretService, needs_secret_service, secret_service

pytestmark = pytest.mark.slow

TOKEN = "eyJ" + "".join(chr(97 + n % 26) for n in range(5000))
PASSWORD = "of-the-keyring"


@pytest.fixture(autouse=True)
def _programs() -> None:
    needs_secret_service()


class _Takes(BaseHTTPRequestHandler):
    """A server that takes every user token."""

    url = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(autouse=True)
def server() -> Iterator[None]:
    """Where the program signs in."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Takes) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        _Takes.url = f"http://127.0.0.1:{running.server_port}"
        yield
        running.shutdown()
        thread.join()


@pytest.fixture
def unlocked(tmp_path: Path) -> Iterator[SecretService]:
    with secret_service(tmp_path, PASSWORD) as service:
        yield service


def run(
    service: SecretService, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """One command of the program, with the session that the service gives it."""
    home = service.env["HOME"] + "/executor"
    return subprocess.run(
        [sys.executable, "-m", "executor_core", *arguments],
        env=service.env | {"WEGENT_EXECUTOR_HOME": home, "LANG": "C.UTF-8"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def login(service: SecretService, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return run(service, "login", "--backend-url", _Takes.url, "--token", "-", stdin=token)


def test_a_long_token_is_kept_and_found_by_another_process(unlocked: SecretService) -> None:
    done = login(unlocked)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keychain" in done.stdout
    assert "keychain" in run(unlocked, "config", "explain", "server.token").stdout
    kept = [p for p in Path(unlocked.env["HOME"]).rglob("*") if p.is_file()]
    assert not any(TOKEN[:60].encode() in path.read_bytes() for path in kept)


def test_a_token_replaces_a_longer_one_and_logout_forgets_it(unlocked: SecretService) -> None:
    login(unlocked)
    assert login(unlocked, "short-token").returncode == 0
    assert run(unlocked, "logout").returncode == 0
    assert "keychain" not in run(unlocked, "config", "explain", "server.token").stdout


@pytest.mark.parametrize("with_display", [False, True])
def test_a_locked_keychain_is_said_and_nothing_hangs(tmp_path: Path, with_display: bool) -> None:
    with secret_service(tmp_path, PASSWORD) as service:
        assert login(service).returncode == 0
    with secret_service(tmp_path, None, with_display=with_display) as service:
        began = time.monotonic()
        refused = login(service, "another-token")
        assert refused.returncode != 0
        assert "keychain" in refused.stderr
        assert "Traceback" not in refused.stderr
        # Five seconds for each question, and nobody answers the prompt.
        assert time.monotonic() - began < 30


def test_an_executor_waits_for_a_locked_keychain_and_goes_on_once_it_is_unlocked(
    tmp_path: Path,
) -> None:
    with secret_service(tmp_path, PASSWORD) as service:
        assert login(service).returncode == 0
    with secret_service(tmp_path, None) as service, started(service):
        assert "Unlock it" in until_said(service, "keychain")
        service.unlock(PASSWORD)
        # It has the token now: what stands in its way is the server, which speaks no Socket.IO.
        assert "keychain" not in until_said(service, "Wegent server")


@contextmanager
def started(service: SecretService) -> Iterator[None]:
    """The executor, headless, as a login item starts it."""
    home = service.env["HOME"] + "/executor"
    argv = [sys.executable, "-m", "executor_core", "--no-gui"]
    env = service.env | {"WEGENT_EXECUTOR_HOME": home, "LANG": "C.UTF-8"}
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, "it did not wait"
    finally:
        process.terminate()
        process.wait(20)


def until_said(service: SecretService, words: str) -> str:
    """What `status` says as soon as these words are in it."""
    ends_at = time.monotonic() + 30
    while words not in (said := run(service, "status").stdout):
        assert time.monotonic() < ends_at, said
    return said


def test_without_a_service_the_file_is_offered(tmp_path: Path) -> None:
    service = SecretService(tmp_path)
    try:
        service.open()
        refused = login(service)
        assert refused.returncode != 0
        assert "--file" in refused.stderr
    finally:
        service.close()
