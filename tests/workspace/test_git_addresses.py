"""What a task may name, and what it may not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_core.errors import ExecutorError
from executor_core.workspace.remote import (
    check_branch,
    folder_name,
    is_home_of,
    parse_remote,
)


@pytest.mark.parametrize(
    ("url", "clean", "origin"),
    [
        ("https://GitHub.com/a/b.git", "https://github.com/a/b.git", "https://github.com"),
        ("https://git.example.com:8443/a", "https://git.example.com:8443/a", None),
        ("https://h.example:443/a", "https://h.example/a", "https://h.example"),
        ("https://me:pw@h.example/a", "https://h.example/a", "https://h.example"),
        ("http://[::1]:3000/a/b", "http://[::1]:3000/a/b", "http://[::1]:3000"),
        ("https://h.example/组/项目.git", "https://h.example/组/项目.git", "https://h.example"),
        ("ssh://git@h.example:2222/a.git", "ssh://git@h.example:2222/a.git", None),
        ("git@h.example:group/a.git", "git@h.example:group/a.git", "ssh://h.example"),
    ],
)
def test_an_address_is_cleaned_of_passwords(url: str, clean: str, origin: str | None) -> None:
    remote = parse_remote(url)
    assert remote.url == clean
    assert origin is None or remote.origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "--upload-pack=touch x",
        "-u",
        "ext::sh -c touch% x",
        "ext::x",
        "fd::7",
        "git://h.example/a",
        "ftp://h.example/a",
        "https://",
        "https:///a",
        "https://h.example",
        "https://h.example/",
        "https://-oProxyCommand=x/a",
        "ssh://-oProxyCommand=x/a",
        "ssh://git@-x/a",
        "ssh://-x@h.example/a",
        "git@h.example:-oProxyCommand=x",
        "git@-h:a",
        "git@h.example::a",
        "h.example:a",
        "C:relative",
        "https://h.example/a%0ahost=other",
        "https://h.example/a\nhost=other",
        "https://h.ex%61mple/a",
        "https://h.example/a?private_token=x",
        "https://h.example/a#b",
        "https://h.example:0/a",
        "https://h.example:99999/a",
        "https://h.example\\@other.example/a",
        "file://server/share/a",
        "relative/path",
        "https://h.example/" + "a" * 2_000,
    ],
)
def test_an_address_that_could_make_git_do_something_else_is_refused(url: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        parse_remote(url)
    assert caught.value.code == "git_url_refused"


def test_a_refused_address_is_shown_without_its_login() -> None:
    with pytest.raises(ExecutorError) as caught:
        parse_remote("ftp://me:secret@h.example/a?token=secret")
    assert "h.example/a" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_local_path_is_told_from_an_address() -> None:
    assert parse_remote("file:///srv/../srv/a%20b.git").path == "/srv/a b.git"
    assert parse_remote("/srv/a.git").scheme == "file"


@pytest.mark.parametrize(
    ("host", "url", "belongs"),
    [
        ("github.com", "https://github.com/a/b", True),
        ("GitHub.com", "https://github.com/a/b", True),
        ("github.com", "https://github.com.evil.example/a", False),
        ("github.com", "https://evil.example/github.com", False),
        ("github.com", "https://sub.github.com/a", False),
        ("github.com", "https://github.com:8443/a", False),
        ("github.com:8443", "https://github.com:8443/a", True),
        ("https://github.com", "http://github.com/a", False),
        ("http://git.lan:3000", "http://git.lan:3000/a", True),
        ("git.lan", "http://git.lan/a", True),
        ("github.com", "git@github.com:a/b", False),
        ("", "https://github.com/a", False),
        ("[", "https://github.com/a", False),
    ],
)
def test_a_credential_belongs_to_one_server(host: str, url: str, belongs: bool) -> None:
    assert is_home_of(host, parse_remote(url)) is belongs


@pytest.mark.parametrize("name", ["main", "feature/a-b_c.1", "功能/一", "v1.2", "a-b"])
def test_branches_that_git_knows_are_taken(name: str) -> None:
    check_branch(name)


@pytest.mark.parametrize(
    "name",
    ["-x", "--upload-pack=x", "a b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a",
     "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a@{1}", "@", "a\n", "x" * 251],
)  # fmt: skip
def test_branches_that_git_cannot_have_are_refused(name: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        check_branch(name)
    assert caught.value.code == "git_branch_refused"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("acme/app.git", "app"),
        ("acme/app.git/", "app"),
        ("app", "app"),
        ("git@h:app.git", "app"),
        ("a b", "a-b"),
        ("..", "repository"),
        (".git", "repository"),
        ("", "repository"),
        ("项目", "repository"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("ends.", "ends"),
        ("CON", "repository-CON"),
        ("nul.txt", "repository-nul.txt"),
        ("a\\..\\b", "b"),
    ],
)
def test_a_repository_gets_a_safe_folder(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@given(st.text())
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", folder_name(name))
    assert not folder_name(name).endswith((".", "/"))
