"""A real X desktop without a screen: a window manager, a panel with a tray, mouse and keyboard."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from PySide6.QtCore import QPoint, QRect
from PySide6.QtGui import QImage

from tests.support.private_session import PrivateSession, needs_programs

PANEL_HEIGHT = 40
_ICON_SIZES = range(12, PANEL_HEIGHT + 1)
_TRAYER = ("--edge", "bottom", "--align", "right", "--widthtype", "request", "--height", "32")
_WATCHER = "org.kde.StatusNotifierWatcher"
_STEP_S = 0.1
# One panel at the bottom with nothing but a tray: clocks and buttons would change by themselves.
_XFCE = """<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array">
    <value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=10;x=0;y=0"/>
      <property name="length" type="uint" value="100"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="size" type="uint" value="32"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/></property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="systray"/>
  </property>
</channel>
"""


def needs_desktop(panel: str) -> None:
    """Skip the test where the programs of a desktop are missing; in CI they must be there."""
    needs_programs("Xvfb", "dbus-daemon", "dbus-send", "openbox", "dunst", "xdotool", panel)


class RealDesktop(PrivateSession):
    """`panel` is trayer, which shows icons by XEmbed, or xfce4-panel, by StatusNotifier."""

    def __init__(self, folder: Path, panel: str) -> None:
        super().__init__(folder)
        self.has_notifier = panel == "xfce4-panel"
        self._name = panel
        self._panel: subprocess.Popen[str] | None = None
        self._empty = QImage()

    async def begin(self) -> None:
        """Show the panel, still without icons."""
        config = self.folder / "xdg_config_home/xfce4/xfconf/xfce-perchannel-xml"
        config.mkdir(parents=True)
        (config / "xfce4-panel.xml").write_text(_XFCE)
        await asyncio.to_thread(self.open, with_display=True, frame_buffer=self.folder)
        before = self.picture()
        self.start("openbox")
        await self._until(self._has_manager, "no window manager")
        self.start_panel()
        if self.has_notifier:  # trayer is as wide as its icons, and not seen without any
            await self._until(lambda: _panel_of(self.picture()) != _panel_of(before), "no panel")
        self._empty = await self._still()

    def start_panel(self) -> None:
        """Start the panel, also anew after `kill_panel`."""
        options = () if self.has_notifier else _TRAYER
        self._panel, _ = self.start(self._name, *options)

    async def start_notifications(self) -> None:
        """Show notifications from now on; a click on one means "open", as on most desktops."""
        config = self.folder / "dunstrc"
        config.write_text("[global]\nmouse_left_click = do_action, close_current\n")
        self.start("dunst", "-config", str(config))

        async def is_there() -> bool:
            names = await self._run(
                "dbus-send", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                "org.freedesktop.DBus.ListNames",
            )  # fmt: skip
            return "org.freedesktop.Notifications" in names

        await self._until(is_there, "no notification service")

    async def _has_manager(self) -> bool:
        return await self._run("xdotool", "get_num_desktops") not in ("", "0\n")

    async def kill_panel(self) -> None:
        """As when the panel crashes."""
        assert self._panel is not None
        self._panel.kill()
        await asyncio.to_thread(self._panel.wait, 10)

    async def registered_icons(self) -> str:
        """What the StatusNotifier host knows of, as D-Bus prints it."""
        return await self._run(
            "dbus-send", "--print-reply", f"--dest={_WATCHER}", "/StatusNotifierWatcher",
            "org.freedesktop.DBus.Properties.Get", f"string:{_WATCHER}",
            "string:RegisteredStatusNotifierItems",
        )  # fmt: skip

    async def until_registered(self) -> None:
        """Wait until a StatusNotifier host is there and knows of an icon."""
        async with asyncio.timeout(30):
            while "StatusNotifierItem" not in await self.registered_icons():
                await asyncio.sleep(0.05)

    # --- what is seen ---------------------------------------------------------------------

    def picture(self) -> QImage:
        """The whole screen as it is now."""
        # A window dump: a header of big-endian numbers, the colours, then the lines.
        dump = (self.folder / "Xvfb_screen0").read_bytes()
        numbers = struct.unpack(">25I", dump[:100])
        header, width, height, line, colours = (numbers[n] for n in (0, 4, 5, 12, 19))
        pixels = dump[header + 12 * colours :]
        return QImage(pixels, width, height, line, QImage.Format.Format_RGB32).copy()

    def save(self, name: str) -> None:
        """Keep a picture for people: in the folder of the test."""
        self.picture().save(str(self.folder / f"{name}.png"))

    async def icon(self) -> QPoint:
        """Wait until an icon stands still in the panel; its middle."""
        while True:
            now = await self._still()
            place = _changed(_panel_of(self._empty), _panel_of(now))
            if place.height() in _ICON_SIZES and place.width() in _ICON_SIZES:
                return place.center() + QPoint(0, now.height() - PANEL_HEIGHT)
            await self._until(lambda now=now: self.picture() != now, "no icon", 30)  # type: ignore[misc]

    async def _still(self) -> QImage:
        """A picture of a moment at which nothing moves in the panel."""
        pictures = [self.picture()]

        def is_still() -> bool:
            pictures.append(self.picture())
            return _panel_of(pictures[-1]) == _panel_of(pictures[-2])

        await self._until(is_still, "the panel never stood still")
        return pictures[-1]

    async def until_still(self) -> None:
        """Wait until nothing on the screen has moved for half a second."""
        pictures = [self.picture()]

        def is_still() -> bool:
            pictures.append(self.picture())
            return len(pictures) > 5 and all(one == pictures[-1] for one in pictures[-5:])

        await self._until(is_still, "the screen never stood still")

    async def until_changed(self, act: Callable[[], Awaitable[object]], what: str) -> QPoint:
        """Do something, and wait until much of the screen above the panel is different; where."""
        before = _above_panel(self.picture())
        await act()

        def change() -> QRect:
            return _changed(before, _above_panel(self.picture()))

        await self._until(lambda: change().width() > 60, f"no {what}")
        return change().center()

    # --- mouse and keyboard ---------------------------------------------------------------

    async def click(self, place: QPoint, button: int) -> None:
        """1 is the left button, 3 the right one."""
        where = (str(place.x()), str(place.y()))
        await self._run("xdotool", "mousemove", *where, "sleep", "0.2", "click", str(button))

    async def press(self, *keys: str) -> None:
        """One key after the other, by the names of X."""
        await self._run("xdotool", "key", "--delay", "150", *keys)

    async def until_window(self, title: str) -> None:
        """Wait until such a window is in front."""

        async def is_there() -> bool:
            return title in await self._run("xdotool", "getactivewindow", "getwindowname")

        await self._until(is_there, f"no window {title!r} in front", 20)

    async def until_no_window(self, title: str) -> None:
        """Wait until no such window can be seen."""

        async def is_gone() -> bool:
            return not await self._run("xdotool", "search", "--onlyvisible", "--name", title)

        await self._until(is_gone, f"window {title!r} is still there")

    async def _run(self, *argv: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run, argv, env=self.env, capture_output=True, text=True, timeout=20
        )
        return str(done.stdout)

    async def _until(
        self, is_so: Callable[[], bool | Awaitable[bool]], otherwise: str, limit_s: float = 15
    ) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            answer = is_so()
            if answer if isinstance(answer, bool) else await answer:
                return
            if time.monotonic() > deadline:
                self.save("last")
                raise AssertionError(f"{otherwise}: see {self.folder / 'last.png'}")
            await asyncio.sleep(_STEP_S)


def _panel_of(picture: QImage) -> QImage:
    return picture.copy(0, picture.height() - PANEL_HEIGHT, picture.width(), PANEL_HEIGHT)


def _above_panel(picture: QImage) -> QImage:
    return picture.copy(0, 0, picture.width(), picture.height() - PANEL_HEIGHT)


def _changed(before: QImage, after: QImage) -> QRect:
    """The rectangle around all that is different."""
    found = QRect()
    for y in range(after.height()):
        one, other = (_line(picture, y) for picture in (before, after))
        # A pixel is 32 bits; the first one of a line is the lowest of a little-endian number.
        bits = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
        if bits:
            first, last = ((bits & -bits).bit_length() - 1) // 32, (bits.bit_length() - 1) // 32
            found = found.united(QRect(first, y, last - first + 1, 1))
    return found


def _line(picture: QImage, y: int) -> bytes:
    return cast("memoryview", picture.constScanLine(y)).tobytes()


@asynccontextmanager
async def real_desktop(folder: Path, panel: str) -> AsyncIterator[RealDesktop]:
    """A desktop for the length of the block."""
    desktop = RealDesktop(folder, panel)
    try:
        await desktop.begin()
        yield desktop
    finally:
        await asyncio.to_thread(desktop.close)
        (folder / "Xvfb_screen0").unlink(missing_ok=True)
