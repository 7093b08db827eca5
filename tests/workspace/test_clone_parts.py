"""Submodules and large files are there after a clone, or missed in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor_core.model import GitClone, GitCredential, Notice
from executor_core.workspace import Workspaces, clone
from tests.support.git_server import GitServer, git

CANARY = "canary-91aa4e7730"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
)


async def link(outer: Path, url: str, path: str, commit: str) -> None:
    """A submodule in a bare repository, as somebody wrote it who has no scruples."""
    modules = f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
    before = await git(outer, "show", "main:.gitmodules") if (outer / "marked").exists() else ""
    (outer / "marked").touch()
    blob = await git(outer, "hash-object", "-w", "--stdin", data=(before + "\n" + modules).encode())
    listed = await git(outer, "ls-tree", "-r", "main")
    kept = [line for line in listed.splitlines() if not line.endswith("\t.gitmodules")]
    lines = [*kept, f"100644 blob {blob}\t.gitmodules", f"160000 commit {commit}\t{path}"]
    tree = await git(outer, "mktree", data="\n".join(lines).encode() + b"\n")
    made = await git(outer, "commit-tree", "-p", "main", "-m", "sub", tree)
    await git(outer, "update-ref", "refs/heads/main", made)


class Told(list[Notice]):
    """What the chat hears."""

    def of(self, code: str) -> list[str]:
        return [notice.text for notice in self if notice.code == code]


async def prepared(server: GitServer, workspaces: Workspaces, url: str) -> tuple[Path, Told]:
    told = Told()
    given = GitCredential(host=server.host, token=CANARY, login="alice")
    wanted = GitClone(task_folder="1", url=url, credential=given)
    return await workspaces.prepare(wanted, emit=told.append), told


async def test_submodules_of_submodules_are_fetched_with_the_tasks_login(
    server: GitServer, workspaces: Workspaces
) -> None:
    urls = {name: await server.add(f"acme/{name}", token=CANARY) for name in ("a", "b", "c")}
    heads = {n: await git(server.folder / f"acme/{n}.git", "rev-parse", "main") for n in urls}
    await link(server.folder / "acme/b.git", "../c.git", "deep", heads["c"])
    heads["b"] = await git(server.folder / "acme/b.git", "rev-parse", "main")
    await link(server.folder / "acme/a.git", urls["b"], "part", heads["b"])
    folder, told = await prepared(server, workspaces, urls["a"])
    assert (folder / "part" / "README.md").exists()
    assert (folder / "part" / "deep" / "README.md").exists()
    assert told.of("submodule_missing") == []
    assert await git(folder, "status", "--porcelain") == ""
    text = "".join(p.read_text("latin-1") for p in (folder / ".git").rglob("config"))
    assert CANARY not in text


async def test_a_submodule_that_cannot_be_had_is_missed_in_words(
    server: GitServer, workspaces: Workspaces, tmp_path: Path
) -> None:
    url = await server.add("app", token=CANARY)
    bare, proof = server.folder / "app.git", tmp_path / "proof"
    await git(tmp_path, "init", "-q", "secret")
    bad = {
        "gone": "../no-such.git",
        "program": f"ext::sh -c touch% {proof}",
        "option": f"--upload-pack=touch {proof}",
        "local": f"file://{tmp_path}/secret",
        "shell": f"!touch {proof}",
    }
    for path, address in bad.items():
        await link(bare, address, path, "1" * 40)
    folder, told = await prepared(server, workspaces, url)
    missed = told.of("submodule_missing")
    assert (folder / "README.md").exists()
    assert sorted(words.split()[2].rstrip(":") for words in missed) == sorted(bad)
    assert not proof.exists()


async def test_a_path_without_a_submodule_is_none(
    server: GitServer, workspaces: Workspaces
) -> None:
    modules = b'[submodule "x"]\n\tpath = ../../x\n\turl = ../x.git\n'
    url = await server.add("app", token=CANARY, files={".gitmodules": modules, "a": b""})
    _, told = await prepared(server, workspaces, url)
    assert told.of("submodule_missing") == []


async def test_of_endless_submodules_not_all_are_fetched(
    server: GitServer, workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clone, "MAX_SUBMODULES", 1)
    url = await server.add("app", token=CANARY)
    head = await git(server.folder / "app.git", "rev-parse", "main")
    for path in ("one", "two"):
        await link(server.folder / "app.git", url, path, head)
    folder, told = await prepared(server, workspaces, url)
    assert len(told.of("submodule_missing")) == 1
    assert (folder / "one" / "README.md").exists()


async def test_large_files_that_are_not_there_are_named(
    server: GitServer, workspaces: Workspaces
) -> None:
    files = {
        ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
        "model.bin": POINTER,
        "small.bin": b"no pointer",
        "notes.txt": POINTER,
    }
    url = await server.add("app", token=CANARY, files=files)
    folder, told = await prepared(server, workspaces, url)
    assert (folder / "model.bin").read_bytes() == POINTER
    [words] = told.of("lfs_missing")
    assert "model.bin" in words
    assert "small.bin" not in words
    assert "notes.txt" not in words
