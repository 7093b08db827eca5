"""Starting the executor itself: headless here, or as the tray application where there is one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from executor_core import open_files
from executor_core.cli.frame import Invocation
from executor_core.cli.out import say
from executor_core.errors import ExecutorError
from executor_core.services.programs import DESKTOP_PROGRAM, PROGRAM, has_display, sibling
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.app import Application
    from executor_core.config.layers import Config


class Front(Protocol):
    """Starts the executor: headless here, or under a window."""

    def __call__(
        self, invocation: Invocation, *, no_gui: bool, standalone: bool, token_given: bool
    ) -> None: ...


def start(invocation: Invocation, *, no_gui: bool, standalone: bool, token_given: bool) -> None:
    """Run until SIGTERM, SIGINT, `stop` or the end of a drain."""
    config = invocation.config()
    is_on_desktop = has_display(config.environment)
    if is_on_desktop and not no_gui:
        _become_desktop_if_installed()

    from executor_core.app import check_configured, is_standalone, serve

    standalone = is_standalone(config, standalone)
    check_configured(config, standalone=standalone)
    with at_work(config, token_given=token_given):
        asyncio.run(
            serve(
                config,
                standalone=standalone,
                own_command=own_command(),
                load=invocation.reach()[0],
                on_ready=lambda app: greet(app, open_browser=standalone and is_on_desktop),
                on_leave=leave_on_signals,
            )
        )


@contextmanager
def at_work(config: Config, *, token_given: bool) -> Iterator[None]:
    """While the executor lives, headless or under a window: its log, and the first things in it."""
    # Before the log, whose folder would make its parents readable by everybody.
    config.home.create()
    open_files.raise_limit()
    # A terminal gets sentences; a service's journal gets the log.
    end_logs = set_up_logs(
        config, None if sys.stderr is None or sys.stderr.isatty() else sys.stderr
    )
    try:
        _say_warnings(config, token_given=token_given)
        yield
    except ExecutorError:
        raise
    except Exception:
        logging.getLogger("executor.app").exception("ended by an unexpected error")
        raise
    finally:
        end_logs()


def own_command() -> list[str]:
    """What starts this program again."""
    if getattr(sys, "frozen", False):
        # The tray's program beside it would load Qt for every child.
        return [str(sibling(PROGRAM))]
    return [sys.executable, "-m", "executor_core"]


def _become_desktop_if_installed() -> None:
    """The tray application takes over this process; it reads the same options."""
    program = sibling(DESKTOP_PROGRAM)
    if program.is_file():
        os.execv(program, [str(program), *sys.argv[1:]])  # noqa: S606  no shell is the point
    say(text("cli.no_desktop"))


def set_up_logs(config: Config, stderr: TextIO | None = None) -> Callable[[], None]:
    """Write the log into its file, and to `stderr` too; returns what ends that."""
    from executor_core.config import options
    from executor_core.config.logs import LogFile, set_up_logging

    file = LogFile(
        folder=config[options.LOG_DIR],
        name=config[options.LOG_FILE],
        max_bytes=config[options.LOG_MAX_SIZE_BYTES],
        backup_count=config[options.LOG_BACKUP_COUNT],
    )
    return set_up_logging(file, config[options.LOG_LEVEL], stderr).close


def _say_warnings(config: Config, *, token_given: bool) -> None:
    log = logging.getLogger("executor.app")
    for warning in config.warnings:
        log.warning("%s", warning.text("en"))
        say(warning.text(), err=True)
    if token_given:
        log.warning("--token can be seen by other users of this computer; `login` keeps it hidden")


def greet(app: Application, *, open_browser: bool) -> None:
    """Tell the terminal who runs here, and where the console is."""
    presence = app.presence
    say(text("cli.started", version=presence.version, name=presence.device_name))
    if (url := app.console_url()) is not None:
        say(text("cli.console", url=url))
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    if app.new_password is not None:
        say(text("cli.first_password", path=app.new_password))
    say(text("cli.how_to_stop"))
    sys.stdout.flush()


def leave_on_signals(leave: Callable[[], None]) -> None:
    """Have SIGINT, SIGTERM and the terminal's end call `leave` on the running loop."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        for number in numbers:
            signal.signal(number, lambda *_: leave())
        return
    loop = asyncio.get_running_loop()
    for number in (*numbers, signal.SIGHUP):
        loop.add_signal_handler(number, leave)
