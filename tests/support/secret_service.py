"""A real Secret Service (gnome-keyring) on a private D-Bus session; needs its Debian packages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.private_session import PrivateSession, needs_programs


def needs_secret_service() -> None:
    """Skip the test where the programs are missing; in CI they must be there."""
    needs_programs("dbus-daemon", "gnome-keyring-daemon", "Xvfb")


class SecretService(PrivateSession):
    """A session with a keyring, or still without one."""

    def start_keyring(self, password: str | None, *more: str) -> None:
        """The keyring, unlocked with `password`; None leaves it locked."""
        argv = ["gnome-keyring-daemon", "--foreground", "--components=secrets", *more]
        if password is not None:
            argv.append("--unlock")
        # It prints its environment as soon as it can be used.
        self.start_ready(*argv, answer="" if password is None else f"{password}\n")

    def unlock(self, password: str) -> None:
        """As at the login of its user: an unlocked one takes the place of the one that runs."""
        self.start_keyring(password, "--replace")


@contextlib.contextmanager
def secret_service(
    folder: Path, password: str | None, *, with_display: bool = False
) -> Iterator[SecretService]:
    """Run it for the length of the block. What it keeps stays in `folder`, for another time."""
    service = SecretService(folder)
    try:
        service.open(with_display=with_display)
        service.start_keyring(password)
        yield service
    finally:
        service.close()
