"""Whatever a run does to whatever repository: undo is byte for byte before, redo is after."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from executor_core.agents import AgentHost
from executor_core.workspace import Recorder, read_changes, redo, undo
from tests.support.git_server import GIT
from tests.workspace.changes import tree_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NAMES = ["a.txt", "A.TXT", "d/a.txt", "d/e/b.md", "d", "-x", 'q"\n.txt', "组.md", "bad\udce9"]
CONTENTS = [
    b"",
    b"one\n",
    b"one\r\ntwo\r\n",
    b"one\ntwo\r\n",
    b"$Id$\n",
    bytes(range(256)),
    b"x" * 9,
]
SETTINGS = [(), ("autocrlf", "true"), ("autocrlf", "input"), ("eol", "crlf"), ("filemode", "false")]
ATTRIBUTES = [b"", b"* text=auto\n", b"* text eol=crlf\n", b"*.md ident\n*.txt -text\n"]

change = st.tuples(
    st.sampled_from(NAMES),
    st.one_of(
        st.none(),
        st.tuples(st.sampled_from(CONTENTS), st.booleans()),
        st.sampled_from(["a.txt", "d", "/etc", "nowhere"]),
    ),
)
changes = st.lists(change, max_size=6)


def apply(top: Path, wanted: list[tuple[str, object]]) -> None:
    """Make files, programs and links, or delete; whatever is in the way goes."""
    for name, what in wanted:
        place = top / name
        for above in reversed(place.parents):
            if above.is_relative_to(top) and (above.is_symlink() or above.is_file()):
                above.unlink()
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.is_dir():
            shutil.rmtree(place)
        if what is None:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            place.symlink_to(what)
        else:
            assert isinstance(what, tuple)
            place.write_bytes(what[0])
            place.chmod(0o755 if what[1] else 0o644)


def run_git(top: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=top, check=True, capture_output=True)


@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    committed=changes,
    uncommitted=changes,
    done=changes,
    setting=st.sampled_from(SETTINGS),
    attributes=st.sampled_from(ATTRIBUTES),
    is_checked_out_anew=st.booleans(),
)
def test_undo_and_redo_are_exact(
    host: AgentHost,
    committed: list[tuple[str, object]],
    uncommitted: list[tuple[str, object]],
    done: list[tuple[str, object]],
    setting: tuple[str, ...],
    attributes: bytes,
    is_checked_out_anew: bool,
) -> None:
    def prepare(top: Path) -> None:
        run_git(top, "init", "-q", "-b", "main")
        (top / ".gitattributes").write_bytes(attributes)
        apply(top, committed)
        if setting:
            run_git(top, "config", f"core.{setting[0]}", setting[1])
        run_git(top, "add", "-A")
        run_git(top, "commit", "-q", "-m", "first")
        if is_checked_out_anew:
            run_git(top, "rm", "-r", "-q", "-f", ".")
            top.mkdir(exist_ok=True)
            run_git(top, "checkout", "-q", "HEAD", "--", ".")
        apply(top, uncommitted)

    async def live(top: Path, run_folder: Path) -> None:
        before = tree_of(top)
        recorder = Recorder(host, lambda _: False, [])
        begun = await recorder.begin(top, run_folder)
        assert begun is not None
        await asyncio.to_thread(apply, top, done)
        after = tree_of(top)
        await recorder.finish(begun)
        changes = read_changes(run_folder)
        assert not changes.unrecorded
        unknown = {one.path for one in changes.left_out}
        assert all(one.reason == "converted" for one in changes.left_out)
        if changes.folder is None:
            assert before == after or unknown
            return
        await undo(host, run_folder)
        has_modes = setting != ("filemode", "false")
        assert known(tree_of(top), unknown, has_modes) == known(before, unknown, has_modes)
        if read_changes(run_folder).is_undone:
            await redo(host, run_folder)
            assert tree_of(top) == after

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "app").mkdir()
        (Path(place) / "run").mkdir()
        prepare(Path(place) / "app")
        asyncio.run(live(Path(place) / "app", Path(place) / "run"))


def known(tree: dict[str, object], unknown: set[str], has_modes: bool) -> dict[str, object]:
    """What a record knows of a tree: nothing of some files, and modes only where git does."""
    return {
        name: what if has_modes or isinstance(what, str) else what[:1]  # type: ignore[index]
        for name, what in tree.items()
        if name not in unknown
    }
