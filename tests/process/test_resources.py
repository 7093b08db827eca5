"""What each run uses, found in one look at all processes."""

from __future__ import annotations

from uuid import uuid4

import psutil
import pytest

from executor_core.process import marker_of, resources_by_run
from executor_core.process.processes import measure
from tests.process.children import first_line, python, spawn

MIB = 2**20
BUSY = "x = bytearray(40 * 2**20); print('up', flush=True); input()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "print('up', flush=True); input()"])
child.wait()
"""


async def test_each_run_is_told_apart_and_only_those_of_the_owner_count() -> None:
    owner = uuid4().hex
    small = await spawn(python(PARENT), marker=marker_of(owner, "small"))
    big = await spawn(python(BUSY), marker=marker_of(owner, "big"))
    other = await spawn(python(BUSY), marker=marker_of(uuid4().hex, "other"))
    try:
        for tree in (small, big, other):
            await first_line(tree)
        found = resources_by_run(owner)
        assert found.keys() == {"small", "big"}
        assert [found[name].processes for name in ("small", "big")] == [2, 1]
        assert found["big"].rss_bytes > 40 * MIB
        assert 0 < found["small"].rss_bytes < 40 * MIB
        alone = measure([psutil.Process(big.pid)])
        assert found["big"].processes == alone.processes
        assert found["big"].rss_bytes == pytest.approx(alone.rss_bytes, rel=0.1)
    finally:
        for tree in (small, big, other):
            await tree.end()
    assert resources_by_run(owner) == {}


async def test_a_child_without_the_mark_counts_with_its_parent() -> None:
    owner = uuid4().hex
    clean = PARENT.replace('input()"]', 'input()"], env={}')
    tree = await spawn(python(clean), marker=marker_of(owner, "run"))
    try:
        await first_line(tree)
        assert resources_by_run(owner)["run"].processes == 2
    finally:
        await tree.end()
