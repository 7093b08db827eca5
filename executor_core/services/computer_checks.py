"""What is found on this computer comes to: token, executor, agents, programs, folders, …"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from executor_core.control import Status
from executor_core.model import TWIN, Availability, LinkState, LinkStatus
from executor_core.services.interface import Check, Verdict
from executor_core.services.words import check
from executor_core.texts import text

GIB = 2**30
FREE_WARNING_BYTES = 5 * GIB
FREE_FAILURE_BYTES = 1 * GIB
TOKEN_ENDS_SOON = timedelta(hours=24)
_MOST_FOLDERS = 6


class TokenFacts(Struct, frozen=True, kw_only=True):
    """What is known of the token without asking the server. `place` is None where there is none."""

    place: str | None
    expires_at: datetime | None = None
    refusal: str | None = None


def config(file: Path) -> Check:
    """The options; what is wrong with them says so itself."""
    return check("config", Verdict.OK, "config.ok", file=file)


def token(facts: TokenFacts | None, now: datetime) -> Check:
    """Whether there is a token that can be good. None: no server is configured."""
    if facts is None:
        return check("token", Verdict.SKIPPED, "no_server")
    if facts.place is None:
        return check("token", Verdict.FAILED, "token.missing")
    if facts.refusal is not None:
        return check("token", Verdict.FAILED, "token.refused", reason=facts.refusal)
    if facts.expires_at is None:
        return check("token", Verdict.OK, "token.ok", place=facts.place)
    at = facts.expires_at.astimezone().strftime("%Y-%m-%d %H:%M")
    if facts.expires_at <= now:
        return check("token", Verdict.FAILED, "token.expired", at=at, place=facts.place)
    is_soon = facts.expires_at - now < TOKEN_ENDS_SOON
    verdict = Verdict.WARNING if is_soon else Verdict.OK
    case = "token.ends_soon" if is_soon else "token.ok_until"
    return check("token", verdict, case, at=at, place=facts.place)


def executor(status: Status | None, holder: str | None) -> Check:
    """Whether an executor runs and is online. `holder` has the home's lock, and does not answer."""
    if status is None:
        if holder is None:
            return check("executor", Verdict.WARNING, "executor.none")
        return check("executor", Verdict.WARNING, "executor.silent", pid=holder)
    worst = next(iter(sorted(status.links, key=_badness, reverse=True)), None)
    if worst is None or worst.state is LinkState.ONLINE:
        case = "executor.draining" if status.draining else "executor.ok"
        case = "executor.paused" if status.paused else case
        used, most = status.slots.used, status.slots.max
        return check("executor", Verdict.OK, case, pid=status.pid, used=used, max=most)
    verdict = Verdict.WARNING if worst.state is LinkState.CONNECTING else Verdict.FAILED
    values = {"server": worst.server, "reason": worst.reason or ""}
    case = TWIN if worst.code == TWIN else worst.state.value
    return check("executor", verdict, f"executor.{case}", **values)


def _badness(link: LinkStatus) -> int:
    order = (LinkState.ONLINE, LinkState.CONNECTING, LinkState.STOPPED, LinkState.OFFLINE)
    return order.index(link.state) if link.state in order else len(order)


def agents(found: Sequence[Availability], installable: Sequence[str]) -> tuple[Check, ...]:
    """One check per agent. One that works is enough; where none does, every one has failed.

    One that is there and only lacks a login works for tasks that bring their own.
    """
    can_work = any(agent.is_usable or _only_lacks_login(agent) for agent in found)
    worse = Verdict.WARNING if can_work else Verdict.FAILED
    return tuple(_agent(one, worse, is_installable=one.name in installable) for one in found)


def _agent(found: Availability, worse: Verdict, *, is_installable: bool) -> Check:
    name = f"agent.{found.name}"
    if found.is_usable or found.problem is None:
        facts = ", ".join(
            fact for fact in (found.version, found.path, found.login, found.remark) if fact
        )
        return check(name, Verdict.OK, "agent.ok", facts=facts)
    if found.path is None and is_installable:
        return check(name, worse, "agent.missing", agent=found.name)
    problem = found.problem
    if _only_lacks_login(found):
        facts = ", ".join(fact for fact in (found.version, found.path) if fact)
        return check(name, Verdict.WARNING, "agent.no_login", facts=facts, advice=problem.hint)
    reason = " ".join(part for part in (problem.title + ":", problem.detail) if part)
    return check(name, worse, "agent.unusable", reason=reason.rstrip(":"), advice=problem.hint)


def _only_lacks_login(found: Availability) -> bool:
    return found.problem is not None and found.problem.code.endswith("not_signed_in")


def environment(names: Sequence[str], withheld: Sequence[str], silent: str | None) -> Check:
    """What agents get of the owner's environment, by name; `silent` is a shell without answer."""
    if silent is not None:
        return check("environment", Verdict.WARNING, "environment.silent", shell=silent)
    if withheld:
        case, kept = "environment.withheld", ", ".join(withheld)
        return check("environment", Verdict.OK, case, names=_listed(names), withheld=kept)
    return check("environment", Verdict.OK, "environment.ok", names=_listed(names))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or text("check.environment.none")


def git(version: str | None, path: Path | None) -> Check:
    """Whether tasks that bring a repository can work."""
    if path is None:
        return check("git", Verdict.WARNING, "git.missing")
    if version is None:
        return check("git", Verdict.FAILED, "git.broken", path=path)
    return check("git", Verdict.OK, "git.ok", version=version, path=path)


def path(own: str, used: str) -> Check:
    """Along which folders programs are looked up, and what our own PATH lacks of them."""
    ours = own.split(os.pathsep)
    folders = [folder for folder in used.split(os.pathsep) if folder]
    more = [folder for folder in folders if folder not in ours]
    shown = _some(folders)
    if more:
        return check("path", Verdict.OK, "path.more", folders=shown, more=_some(more))
    return check("path", Verdict.OK, "path.same", folders=shown)


def _some(folders: Sequence[str]) -> str:
    left = ["…"] if len(folders) > _MOST_FOLDERS else []
    return os.pathsep.join([*folders[:_MOST_FOLDERS], *left])


class FolderFacts(Struct, frozen=True, kw_only=True):
    """What was found at our folders. `unwritable` come with the system's reason."""

    home: Path
    exists: bool
    readable_by_others: tuple[Path, ...] = ()
    unwritable: tuple[tuple[Path, str], ...] = ()


def folders(facts: FolderFacts) -> Check:
    """Whether the home is there and private, and our folders can be written to."""
    if facts.unwritable:
        path, reason = facts.unwritable[0]
        return check("folders", Verdict.FAILED, "folders.unwritable", path=path, reason=reason)
    if facts.readable_by_others:
        names = ", ".join(map(str, facts.readable_by_others[:_MOST_FOLDERS]))
        return check("folders", Verdict.FAILED, "folders.open", names=names, home=facts.home)
    case = "folders.ok" if facts.exists else "folders.none"
    return check("folders", Verdict.OK, case, home=facts.home)


class FileFacts(Struct, frozen=True, kw_only=True):
    """How the files are that we alone write. `unusable` come with their reader's reason.

    `newer` were written by a newer program; `aside` are those that were damaged once.
    """

    home: Path
    unusable: tuple[tuple[Path, str], ...] = ()
    newer: tuple[Path, ...] = ()
    aside: tuple[Path, ...] = ()


def files(facts: FileFacts) -> Check:
    """Whether the files of the home can be used."""
    if facts.unusable:
        names = ", ".join(f"{path} ({reason})" for path, reason in facts.unusable[:_MOST_FOLDERS])
        return check("files", Verdict.FAILED, "files.damaged", names=names)
    if facts.newer:
        names = ", ".join(map(str, facts.newer))
        return check("files", Verdict.FAILED, "files.newer", names=names)
    if facts.aside:
        names = ", ".join(map(str, facts.aside[:_MOST_FOLDERS]))
        return check("files", Verdict.WARNING, "files.aside", names=names)
    return check("files", Verdict.OK, "files.ok", home=facts.home)


def disk(free: Sequence[tuple[Path, int]]) -> Check:
    """Whether there is room: by the fullest of the disks that we write to."""
    where, least_bytes = min(free, key=lambda one: one[1])
    values = {"path": where, "free": f"{least_bytes / GIB:.1f}"}
    if least_bytes < FREE_FAILURE_BYTES:
        return check("disk", Verdict.FAILED, "disk.full", **values)
    if least_bytes < FREE_WARNING_BYTES:
        return check("disk", Verdict.WARNING, "disk.low", **values)
    return check("disk", Verdict.OK, "disk.ok", **values)


def keychain(*, is_there: bool, blocked: str | None) -> Check:
    """Whether secrets can be kept by the system. `blocked` is why it did not answer."""
    if blocked is not None:
        return check("keychain", Verdict.WARNING, "keychain.blocked", reason=blocked)
    if not is_there:
        return check("keychain", Verdict.SKIPPED, "keychain.none")
    return check("keychain", Verdict.OK, "keychain.ok")


class PortFacts(Struct, frozen=True, kw_only=True):
    """The address that is configured, the one in use, and who else has the configured port.

    `holder` is "" for somebody unknown and None for nobody; `refusal` is why it cannot be opened.
    """

    address: str
    in_use: str | None = None
    holder: str | None = None
    refusal: str | None = None
    is_fixed: bool = False


def port(facts: PortFacts) -> Check:
    """Whether the local API is, or would be, where it was configured to be."""
    values = {"address": facts.address, "in_use": facts.in_use, "reason": facts.refusal}
    if facts.refusal is not None:
        return check("port", Verdict.FAILED, "port.refused", **values)
    if facts.holder is None:
        case = "port.free" if facts.in_use is None else "port.ok"
        return check("port", Verdict.OK, case, **values)
    who = "known" if facts.holder else "unknown"
    if facts.in_use is not None:
        case = f"port.other_{who}"
    else:
        case = f"port.fixed_{who}" if facts.is_fixed else f"port.taken_{who}"
    is_fatal = facts.is_fixed and facts.in_use is None
    verdict = Verdict.FAILED if is_fatal else Verdict.WARNING
    return check("port", verdict, case, holder=facts.holder, **values)


def leftovers(pids: Sequence[int] | None) -> Check:
    """Whether processes of runs that have ended still live. None: whose they are cannot be told."""
    if pids is None:
        return check("leftovers", Verdict.SKIPPED, "leftovers.unknown")
    if not pids:
        return check("leftovers", Verdict.OK, "leftovers.none")
    shown = ", ".join(map(str, pids[:20]))
    return check("leftovers", Verdict.WARNING, "leftovers.some", count=len(pids), pids=shown)


def tray(*, has_display: bool, is_installed: bool, is_shown: bool | None) -> Check:
    """Whether the desktop shows our icon. `is_shown` is None where nobody can tell."""
    if not has_display:
        return check("tray", Verdict.SKIPPED, "tray.no_display")
    if is_shown is None:
        case = "tray.not_asked" if is_installed else "tray.not_installed"
        return check("tray", Verdict.SKIPPED, case)
    verdict = Verdict.OK if is_shown else Verdict.WARNING
    return check("tray", verdict, "tray.ok" if is_shown else "tray.none")
