"""Reads where a task works: a folder, a repository, and whose login opens it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from executor_core.links.device.fields import Json, fields_of, positive, text_of
from executor_core.model import (
    Folder,
    GitAuthor,
    GitClone,
    GitCredential,
    TaskFolder,
    Workspace,
)

_VARIABLES = {
    "GIT_DOMAIN": ("git_domain", "gitDomain"),
    "GIT_REPO": ("git_repo", "gitRepo"),
    "GIT_REPO_ID": ("git_repo_id", "gitRepoId"),
    "BRANCH_NAME": ("branch_name", "branchName"),
    "GIT_URL": ("git_url", "gitUrl"),
}
"""What programs of a task are told, and where a task says it: itself, or in `repository`."""
_MAX_VALUE = 2_000


def read_workspace(body: Json, task_id: int) -> Workspace:
    """The folder that the task names (servers from 2026-05), which a repository is cloned into
    where it is empty or missing; else the repository's in the folder of the project or the task.
    """
    place = text_of(body.get("project_workspace_path"))
    url = _said(body, "GIT_URL")
    if url and body.get("skip_git_clone") is not True:
        user = fields_of(body.get("user"))
        project = None if place else positive(body.get("project_id"))
        return GitClone(
            task_folder=f"projects/{project}" if project else str(task_id),
            url=url,
            place=place,
            branch=_said(body, "BRANCH_NAME").strip() or None,
            repo_name=text_of(body.get("git_repo")) or None,
            credential=_git_credential(user),
            author=_git_author(user),
        )
    return Folder(path=place) if place else TaskFolder(name=str(task_id))


def repository_variables(body: Json) -> dict[str, str]:
    """`GIT_URL` and the like, as far as the task says them; never a login inside an address."""
    said = {name: _said(body, name).strip()[:_MAX_VALUE] for name in _VARIABLES}
    said["GIT_URL"] = _without_login(said["GIT_URL"])
    return {name: value for name, value in said.items() if value and value.isprintable()}


def _said(body: Json, name: str) -> str:
    repository = fields_of(fields_of(body.get("workspace")).get("repository"))
    flat, nested = _VARIABLES[name]
    value = body.get(flat) or repository.get(nested) or ""  # an id of 0 is none
    return str(value) if isinstance(value, int) else text_of(value)


def _without_login(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https"):
        return url  # what stands before the @ of an ssh address is no secret
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _git_credential(user: Json) -> GitCredential | None:
    """The user's login to a git server: `git_login` from v1.5, before that `user_name`."""
    token = text_of(user.get("git_token"))
    if not token:
        return None
    login = text_of(user.get("git_login")) or text_of(user.get("user_name"))
    return GitCredential(host=text_of(user.get("git_domain")), token=token, login=login)


def _git_author(user: Json) -> GitAuthor | None:
    """In whose name commits are made; without an address, the vendor's form of a private one."""
    login = text_of(user.get("git_login")) or text_of(user.get("user_name"))
    email = text_of(user.get("git_email"))
    if not email and (git_id := text_of(user.get("git_id"))) and login:
        email = f"{git_id}+{login}@users.noreply.github.com"
    return GitAuthor(name=login, email=email) if login and email else None
