"""What git says when it fails, and what the user is told."""

from __future__ import annotations

import pytest

from executor_core.workspace.remote import clone_failure, failure_code, parse_remote

SAID = {
    "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output":
        "git_disk_full",
    "error: unable to write file a.bin\nfatal: unable to checkout working tree": "git_disk_full",
    "warning: Could not find remote branch x to clone.\n"
    "fatal: Remote branch x not found in upstream origin": "git_branch_missing",
    "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate":
        "git_certificate",
    "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none":
        "git_certificate",
    "fatal: unable to access 'https://h/': Could not resolve host: h": "git_unreachable",
    "fatal: unable to access 'https://h/': Operation too slow. Less than 1 bytes/sec transferred":
        "git_unreachable",
    "error: RPC failed; curl 56 Recv failure: Connection reset by peer\nfatal: early EOF":
        "git_unreachable",
    "fatal: unable to access 'https://h/': The requested URL returned error: 503":
        "git_unreachable",
    "ssh: Could not resolve hostname h: Name or service not known\n"
    "fatal: Could not read from remote repository.": "git_unreachable",
    "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.":
        "git_ssh_refused",
    "Host key verification failed.\nfatal: Could not read from remote repository.":
        "git_ssh_refused",
    "fatal: could not read Username for 'https://h': terminal prompts disabled":
        "git_login_missing",
    "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://h/'":
        "git_login_refused",
    "fatal: unable to access 'https://h/': The requested URL returned error: 403":
        "git_login_refused",
    "remote: Repository not found.\nfatal: repository 'https://h/' not found":
        "git_repository_missing",
    "fatal: https://h/info/refs not valid: is this a git repository?": "git_repository_missing",
    "fatal: something new": "git_failed",
    "": "git_failed",
}  # fmt: skip


@pytest.mark.parametrize(("stderr", "code"), SAID.items())
def test_what_git_said_becomes_a_code(stderr: str, code: str) -> None:
    assert failure_code(f"Cloning into 'app'...\n{stderr}") == code


@pytest.mark.parametrize("stderr", SAID)
def test_every_failure_can_be_told(stderr: str) -> None:
    error = clone_failure(stderr, parse_remote("https://h.example/a/b.git"), "x")
    assert error.message.title
    assert error.message.detail


def test_the_reason_is_gits_first_own_word_and_short() -> None:
    stderr = "Cloning into 'app'...\nremote: hello\nfatal: " + "odd " * 200 + "\nfatal: later"
    error = clone_failure(stderr, parse_remote("https://h.example/a/b.git"), None)
    reason = str(error.values["reason"])
    assert reason.startswith("odd odd")
    assert len(reason) <= 300
