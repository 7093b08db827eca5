"""Runs that change the files of a repository, as far as the record of them is concerned."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from executor_core.model import Artifact, Notice
from executor_core.workspace import FileStatus, Recorder, RunChanges, read_changes

SECRET = "canary-0badc0ffee-secret"
FILES = {
    "README.md": b"# Hello\n\none\ntwo\nthree\n",
    "src/app.py": b"print('hello')\n" * 20,
    "src/gone.txt": b"soon gone\n",
    "crlf.txt": b"one\r\ntwo\r\n",
    "tail.txt": b"no newline at the end",
    "logo.bin": bytes(range(256)),
    ".gitignore": b".env\n*.o\nbuild/\n",
}


def tree_of(folder: Path) -> dict[str, object]:
    """Everything below a folder but git's own: bytes, targets of links, whether it is a program."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] == ".git":
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def inside(git_dir: Path) -> dict[str, bytes]:
    """Every file of a repository's own."""
    return {
        str(path.relative_to(git_dir)): path.read_bytes()
        for path in git_dir.rglob("*")
        if path.is_file()
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


Change = Callable[[], object]


class Recorded:
    """`await recorded(change)` is a run that makes this change; what it left as artifacts."""

    def __init__(self, recorder: Recorder, folder: Path, run_folder: Path) -> None:
        self.recorder = recorder
        self.folder = folder
        self.run_folder = run_folder
        self.told: list[Notice] = []

    async def __call__(self, change: Change) -> tuple[Artifact, ...]:
        begun = await self.recorder.begin(self.folder, self.run_folder, self.told.append)
        assert begun is not None
        done = change()
        if asyncio.iscoroutine(done):
            await done
        return await self.recorder.finish(begun)

    @property
    def changes(self) -> RunChanges:
        return read_changes(self.run_folder)

    @property
    def left_out(self) -> dict[str, str]:
        return {one.path: one.reason.value for one in self.changes.left_out}

    @property
    def statuses(self) -> dict[str, FileStatus]:
        return {file.path: file.status for file in self.changes.files}


def change_everything(folder: Path) -> None:
    write(
        folder,
        {
            "README.md": b"# Hello\n\none\nTWO\nthree\n",
            "crlf.txt": b"one\r\nTWO\r\n",
            "tail.txt": b"still no newline at the end",
            "logo.bin": bytes(reversed(range(256))),
            'new/ä é \t"q".txt': "你好\n".encode(),
            "empty.txt": b"",
        },
    )
    (folder / "src/gone.txt").unlink()
    (folder / "src/app.py").rename(folder / "src/main.py")
    (folder / "link").symlink_to("README.md")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
