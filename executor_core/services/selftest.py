"""A round trip through the server that this computer works for, step by step.

A hub of ours is asked for the answer. On Wegent's own servers the task is followed in the executor
that gets it, until the server has acknowledged its result: an API key may send, but not look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from executor_core.clock import Clock
from executor_core.control import RunSummary, Status
from executor_core.errors import ExecutorError
from executor_core.links.dispatch import send_task, team_for_devices
from executor_core.links.server import Access, user_ask
from executor_core.model import TWIN, LinkState, LinkStatus, Outcome, RunState
from executor_core.proxies import proxy_for
from executor_core.services.account import problem_of
from executor_core.services.devices import devices_of
from executor_core.services.reach import Load, Reach, access_of, status_of
from executor_core.services.server_look import look_at_server
from executor_core.texts import Message, text

LOOK_AGAIN_S = 0.25
_ENDS = ("COMPLETED", "FAILED", "CANCELLED")


class Mark(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Step(Struct, kw_only=True, frozen=True):
    """One step, how long it took, and what came of it; `error` says what to do where it failed."""

    name: str
    title: str
    mark: Mark
    seconds: float
    note: str = ""
    error: Message | None = None


class _Failed(Exception):
    def __init__(self, error: Message) -> None:
        super().__init__(error.code)
        self.error = error


class SelfTest:
    """One test. `timeout_s` is for all of it; what is still running then is cancelled."""

    def __init__(
        self,
        load: Load,
        reach: Reach,
        clock: Clock,
        *,
        prompt: str,
        timeout_s: float,
        team_id: int | None = None,
        skips_dispatch: bool = False,
    ) -> None:
        self._load = load
        self._reach = reach
        self._clock = clock
        self._prompt = prompt
        self._ends_at = clock.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._team_id = team_id
        self._skips_dispatch = skips_dispatch
        self._access = Access(server="", token="")
        self._device_id = ""
        self._task: dict[str, Any] = {}
        self._sent_at = clock.now()

    async def run(self) -> AsyncGenerator[Step, None]:
        """Every step as soon as it is done; the first that fails is the last."""
        steps: list[tuple[str, Callable[[], Awaitable[Step | str]]]] = [
            ("token", self._find_token),
            ("connect", self._connect),
            ("sign_in", self._sign_in),
            ("device", self._find_device),
            ("dispatch", self._dispatch),
            ("answer", self._follow),
        ]
        for name, work in steps:
            step = await self._timed(name, work)
            yield step
            if step.mark is Mark.FAILED or (name == "dispatch" and step.mark is Mark.SKIPPED):
                return

    async def _timed(self, name: str, work: Callable[[], Awaitable[Step | str]]) -> Step:
        began = self._clock.monotonic()
        title = text(f"selftest.{name}")
        try:
            async with asyncio.timeout(max(0.0, self._ends_at - began)):
                said = await work()
        except TimeoutError:
            error = ExecutorError("selftest_timeout", step=title, seconds=f"{self._timeout_s:g}")
            step = _failed(name, error.message)
        except ExecutorError as found:
            step = _failed(name, found.message)
        except _Failed as failure:
            step = _failed(name, failure.error)
        else:
            step = said if isinstance(said, Step) else _step(name, Mark.OK, said)
        seconds = round(self._clock.monotonic() - began, 3)
        return replace(step, title=title, seconds=seconds)

    # --- steps -----------------------------------------------------------------------------

    async def _find_token(self) -> str:
        self._access = await access_of(self._load, self._reach)
        return self._access.server

    async def _connect(self) -> str:
        server = self._access.server
        proxy = await asyncio.to_thread(proxy_for, server)
        look = await look_at_server(server, proxy, self._clock)
        if (problem := problem_of(look, self._clock)) is not None:
            raise _Failed(problem)
        return ""

    async def _sign_in(self) -> Step | str:
        try:
            answer = await user_ask(self._access, "GET", "/api/hub")  # ours alone has this
        except ExecutorError as error:
            if error.code != "api_key_not_enough":
                raise
            return _step("sign_in", Mark.SKIPPED, text("selftest.api_key"))
        if isinstance(answer.body, dict) and answer.body.get("hub") is True:
            self._access = replace(self._access, is_hub=True)
            return str(answer.body.get("user") or "")
        user = (await user_ask(self._access, "GET", "/api/users/me")).fields()
        return str(user.get("user_name") or "")

    async def _find_device(self) -> str:
        status = await status_of(self._reach)
        if status is None:
            raise ExecutorError("not_running")
        link = _link_to(status, self._access.server)
        if link.state is not LinkState.ONLINE:
            raise _link_failure(link)
        self._device_id = status.device_id
        if status.paused or status.draining:
            raise ExecutorError("device_takes_nothing")
        try:
            devices = await devices_of(self._access, status.device_id)
        except ExecutorError as error:
            if error.code != "api_key_not_enough":
                raise
            return status.device_name
        mine = next((one for one in devices if one.is_this), None)
        if mine is None or mine.status == "offline":
            code = "device_not_listed" if mine is None else "device_listed_offline"
            raise ExecutorError(code, device_id=status.device_id, server=self._access.server)
        return mine.name

    async def _dispatch(self) -> Step | str:
        if self._skips_dispatch:
            return _step("dispatch", Mark.SKIPPED, text("selftest.skipped"))
        if not self._access.is_hub:
            return await self._send()
        body = {"prompt": self._prompt, "device_id": self._device_id}
        self._task = (await user_ask(self._access, "POST", "/api/tasks", body)).fields()
        return text("selftest.task", task=self._task["id"])

    async def _send(self) -> Step | str:
        """Only by hand where a key does not suffice: for the list of teams, or on older servers."""
        self._sent_at = self._clock.now()
        try:
            team_id = self._team_id or await team_for_devices(self._access)
            task_id = await send_task(
                self._access, team_id=team_id, device_id=self._device_id, message=self._prompt
            )
        except ExecutorError as error:
            if error.code != "api_key_not_enough":
                raise
            needs = "selftest.no_dispatch" if self._team_id else "selftest.no_team"
            return _step("dispatch", Mark.SKIPPED, text(needs))
        self._task = {"id": task_id}
        return text("selftest.task", task=task_id)

    async def _follow(self) -> str:
        return await (self._follow_at_hub() if self._access.is_hub else self._follow_here())

    async def _follow_here(self) -> str:
        run: RunSummary | None = None
        try:
            while True:
                async with self._reach() as control:
                    run = next(filter(self._is_its_run, await control.runs()), None)
                    detail = await control.run(run.run_id) if run else None
                if detail and detail.outcome and detail.delivered is not False:
                    return _answer_in(detail.outcome)
                await self._clock.sleep(LOOK_AGAIN_S)
        except asyncio.CancelledError:
            if run is not None:
                with suppress(ExecutorError):  # that the time is over is what counts
                    async with self._reach() as control:
                        await control.cancel(run.run_id)
            raise

    def _is_its_run(self, run: RunSummary) -> bool:
        """Another server may have given that number to a task of its own, once."""
        return run.task_id == self._task["id"] and run.accepted_at >= self._sent_at

    async def _follow_at_hub(self) -> str:
        path = f"/api/tasks/{self._task['id']}"
        try:
            while (answer := self._task["messages"][-1])["status"] not in _ENDS:
                await self._clock.sleep(LOOK_AGAIN_S)
                self._task = (await user_ask(self._access, "GET", path)).fields()
        except asyncio.CancelledError:
            with suppress(ExecutorError):  # that the time is over is what counts
                await user_ask(self._access, "POST", f"{path}/cancel", {})
            raise
        if answer["status"] != "COMPLETED":
            reason = answer.get("error") or answer["status"]
            raise ExecutorError("selftest_task_failed", reason=reason)
        return str(answer["text"])


def _answer_in(outcome: Outcome) -> str:
    if outcome.state is not RunState.COMPLETED:
        reason = outcome.error.sentence if outcome.error else outcome.state
        raise ExecutorError("selftest_task_failed", reason=reason)
    return outcome.text


def _step(name: str, mark: Mark, note: str = "", error: Message | None = None) -> Step:
    return Step(name=name, title="", mark=mark, seconds=0.0, note=note, error=error)


def _failed(name: str, error: Message) -> Step:
    return _step(name, Mark.FAILED, error=error)


def _link_to(status: Status, server: str) -> LinkStatus:
    found = next((link for link in status.links if link.server == server), None)
    if found is None:
        others = ", ".join(link.server for link in status.links) or "–"
        raise ExecutorError("works_for_another_server", server=server, others=others)
    return found


def _link_failure(link: LinkStatus) -> ExecutorError:
    code = "link_rejected" if link.state is LinkState.REJECTED else "link_offline"
    code = "link_twin" if link.code == TWIN else code
    return ExecutorError(code, server=link.server, reason=link.reason or link.state)
