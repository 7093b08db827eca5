"""What is known of the user's variables, so that no agent gives it away."""

from __future__ import annotations

from pathlib import Path

from executor_core.config.home import Home
from executor_core.config.layers import load
from executor_core.config.redaction import known_secrets
from executor_core.services.computer import make_host
from tests.support.clock import JumpingClock


def test_the_keys_among_the_users_variables_are_secrets_and_paths_and_names_are_not(
    tmp_path: Path, clock: JumpingClock
) -> None:
    socket = tmp_path / "agent-socket-of-ssh"
    socket.touch()
    environment = {
        "HOME": str(tmp_path),
        "GROQ_API_KEY": "groq-of-the-user-0123",
        "AWS_SECRET_ACCESS_KEY": "/starts/with/a/slash/0123",
        "SSH_AUTH_SOCK": str(socket),
        "MY_KEY": str(socket),
        "GIT_AUTHOR_EMAIL": "alice.author@example.com",
    }
    make_host(load(Home(tmp_path / "home"), environment), clock)
    hide = known_secrets().hide
    assert hide("groq-of-the-user-0123 /starts/with/a/slash/0123") == "*** ***"
    for plain in (str(socket), "alice.author@example.com"):
        assert hide(plain) == plain
