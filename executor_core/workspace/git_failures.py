"""Turns what git said when it failed into one error with a reason and a fix."""

from __future__ import annotations

import re

from executor_core.errors import ExecutorError
from executor_core.workspace.git_address import Remote

MAX_REASON = 300

# The first that is found anywhere in git's words decides; git runs in the C locale.
_SIGNS: tuple[tuple[str, str], ...] = (
    (
        "git_disk_full",
        r"No space left on device|Disk quota exceeded|not enough space|unable to write file",
    ),
    ("git_branch_missing", r"Remote branch .* not found"),
    (
        "git_certificate",
        r"certificate problem|certificate verif|unable to get local issuer|SSL_ERROR|schannel:",
    ),
    (
        "git_unreachable",
        r"Could not resolve|Name or service not known|Failed to connect|Couldn't connect"
        r"|Connection (?:refused|timed out|reset|closed)|Network is unreachable|No route to host"
        r"|Operation too slow|Empty reply from server|early EOF|unexpected disconnect"
        r"|RPC failed; curl|The requested URL returned error: 5",
    ),
    ("git_ssh_refused", r"Permission denied \(|Host key verification failed"),
    (
        "git_login_missing",
        r"could not read (?:Username|Password)|terminal prompts disabled"
        r"|unable to get password from user",
    ),
    ("git_login_refused", r"Authentication failed|Access denied|returned error: 40[13]"),
    (
        "git_repository_missing",
        r"not found|does not appear to be a git repository|does not exist|no repository"
        r"|not valid: is this a git repository|info/refs not valid|returned error: 404",
    ),
)
_COMPILED = tuple((code, re.compile(f"(?i){pattern}")) for code, pattern in _SIGNS)
_OWN_WORDS = re.compile(r"(?m)^(?:fatal|error): (.+)$")


def failure_code(stderr: str) -> str:
    """The code for what git wrote; `git_failed` where nothing is recognised."""
    return next((code for code, sign in _COMPILED if sign.search(stderr)), "git_failed")


def clone_failure(
    stderr: str, remote: Remote, branch: str | None, trouble: str | None = None
) -> ExecutorError:
    """Why the clone of `remote` failed. `stderr` must have been rid of secrets and own paths.

    `trouble` with a login is surer than words, of which every version of git has its own.
    """
    code = trouble or failure_code(stderr)
    reasons = _OWN_WORDS.findall(stderr) or stderr.split("\n")[-1:]
    return ExecutorError(
        code,
        repository=remote.path.strip("/"),
        host=remote.shown_host if remote.host else remote.path,
        branch=branch or "",
        reason=reasons[0].strip()[:MAX_REASON],
    )
