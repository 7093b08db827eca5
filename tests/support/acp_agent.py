"""A real ACP agent, on the agent's side of the protocol's own library, that does what it is told.

A program: `python -m tests.support.acp_agent [ability …]`. The prompt is a list of steps as JSON
(`steps` below writes it). Sessions are files in its working folder, so that another process can
resume them. Abilities: `load`, `resume`, `image`, `signed_out`, `old` (speaks version 0).
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import acp
from acp import schema

from executor_core.jobs import Jobs

SESSION = "session-1"


def steps(*wanted: list[Any]) -> str:
    """The prompt of a turn that goes these steps."""
    return json.dumps(wanted)


class ScriptedAgent:
    """One session; each step is a method of its name."""

    def __init__(self, abilities: list[str]) -> None:
        self._abilities = abilities
        self._stopped = asyncio.Event()
        self._jobs = Jobs("agent")
        self._client: Any = None  # the library's client is a protocol of 20 methods

    def on_connect(self, conn: Any) -> None:
        self._client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        resume = schema.SessionResumeCapabilities() if "resume" in self._abilities else None
        return schema.InitializeResponse(
            protocol_version=0 if "old" in self._abilities else protocol_version,
            agent_capabilities=schema.AgentCapabilities(
                load_session="load" in self._abilities,
                prompt_capabilities=schema.PromptCapabilities(image="image" in self._abilities),
                session_capabilities=schema.SessionCapabilities(resume=resume),
            ),
        )

    async def new_session(self, cwd: str, **_: Any) -> schema.NewSessionResponse:
        if "signed_out" in self._abilities:
            raise acp.RequestError.auth_required()
        self._history = Path(cwd) / f"{SESSION}.txt"
        self._history.write_text("", encoding="utf-8")
        return schema.NewSessionResponse(session_id=SESSION)

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> schema.LoadSessionResponse:
        self._resume(cwd, session_id)
        for line in self._history.read_text(encoding="utf-8").splitlines():
            await self._tell(acp.update_user_message_text(line))
            await self._tell(acp.update_agent_message_text("told before"))
        return schema.LoadSessionResponse()

    async def resume_session(
        self, cwd: str, session_id: str, **_: Any
    ) -> schema.ResumeSessionResponse:
        self._resume(cwd, session_id)
        return schema.ResumeSessionResponse()

    def _resume(self, cwd: str, session_id: str) -> None:
        self._history = Path(cwd) / f"{session_id}.txt"
        if not self._history.exists():
            raise acp.RequestError.internal_error({"details": "no such session"})

    async def prompt(self, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        words = "".join(getattr(block, "text", "") for block in prompt)
        self._images = [block for block in prompt if isinstance(block, schema.ImageContentBlock)]
        with self._history.open("a", encoding="utf-8") as history:
            history.write(words + "\n")
        self._words = words
        reason = "end_turn"
        wanted, _end = json.JSONDecoder().raw_decode(words, words.index("[["))
        for name, *arguments in wanted:
            reason = await getattr(self, f"_{name}")(*arguments) or reason
            if self._stopped.is_set():
                reason = "cancelled"
                break
        usage = schema.Usage(
            input_tokens=100, output_tokens=20, cached_read_tokens=5, total_tokens=125
        )
        return schema.PromptResponse(stop_reason=reason, usage=usage)  # type: ignore[arg-type]

    async def cancel(self, **_: Any) -> None:
        self._stopped.set()

    async def _tell(self, update: Any) -> None:
        await self._client.session_update(session_id=SESSION, update=update)

    # --- steps ---

    async def _say(self, *parts: str) -> None:
        for part in parts:
            await self._tell(acp.update_agent_message_text(part))

    async def _think(self, words: str) -> None:
        await self._tell(acp.update_agent_thought_text(words))

    async def _recall(self) -> None:
        """Say all prompts of the session, and how many images this one has."""
        await self._say(f"{self._history.read_text(encoding='utf-8')}|{len(self._images)}")

    async def _plan(self, *entries: str) -> None:
        plan = [acp.plan_entry(entry, status="pending") for entry in entries]
        await self._tell(acp.update_plan(plan))

    async def _cost(self, amount: float) -> None:
        cost = schema.Cost(amount=amount, currency="USD")
        update = schema.UsageUpdate(session_update="usage_update", size=1000, used=100, cost=cost)
        await self._tell(update)

    async def _edit(self, path: str, content: str, kind: str = "edit") -> str | None:
        """Ask whether it may write the file; write it, or say that it may not."""
        call: dict[str, Any] = {"title": f"{kind} {path}", "kind": kind}
        call |= {"locations": [schema.ToolCallLocation(path=path)], "raw_input": {"path": path}}
        await self._tell(acp.start_tool_call("call-1", status="pending", **call))
        options = [
            schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
            schema.PermissionOption(option_id="always", name="Always", kind="allow_always"),
            schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
        ]
        answer = await self._client.request_permission(
            session_id=SESSION,
            options=options,
            tool_call=schema.ToolCallUpdate(tool_call_id="call-1"),
        )
        chosen = answer.outcome
        if not isinstance(chosen, schema.AllowedOutcome) or chosen.option_id != "yes":
            await self._tell(acp.update_tool_call("call-1", status="failed"))
            return None
        old = Path(path).read_text(encoding="utf-8") if Path(path).exists() else None
        Path(path).write_text(content, encoding="utf-8")
        diff = acp.tool_diff_content(path=path, new_text=content, old_text=old)
        await self._tell(acp.update_tool_call("call-1", status="completed", content=[diff]))
        return None

    async def _open(self, kind: str) -> None:
        """Begin a tool call that is never finished."""
        await self._tell(acp.start_tool_call("call-9", "never done", kind=kind))  # type: ignore[arg-type]

    async def _ask_for_file(self) -> None:
        """Ask the client for a file, though it offers none."""
        try:
            await self._client.read_text_file(session_id=SESSION, path="/etc/hostname")
        except acp.RequestError as error:
            await self._say(f"refused with {error.code}")

    async def _shell(self, script: str, escapes: bool) -> None:
        await asyncio.create_subprocess_exec("/bin/sh", "-c", script, start_new_session=escapes)

    async def _print(self, words: str) -> None:
        """Break the protocol: a line on stdout that is no message."""
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    async def _reveal(self, file: str) -> None:
        """Tell all that it was given, and the words in that file, in every way that there is."""
        words = json.loads(Path(file).read_text(encoding="utf-8"))
        everything = [*os.environ.values(), *sys.argv, *words]  # noqa: TID251  what an agent sees
        forms = [form for word in everything for form in _spellings(word)]
        for form in [*forms, *(word.encode().hex() for word in words)]:
            half = len(form) // 2
            for part in (form[:half], form[half:] + "\n"):
                await self._tell(acp.update_agent_message_text(part))
            for part in (form[:half], form[half:] + "\n"):
                await self._tell(acp.update_agent_thought_text(part))
            call = acp.start_tool_call("call-2", form, kind="execute", raw_input={"command": form})
            await self._tell(call)
            content = [acp.tool_content(acp.text_block(form))]
            await self._tell(acp.update_tool_call("call-2", status="completed", content=content))
            print(form, file=sys.stderr, flush=True)

    async def _say_late(self, words: str) -> None:
        """Say it a moment after the turn is over."""
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, lambda: self._jobs.spawn(self._say(words), "late"))

    async def _wait(self) -> None:
        await self._stopped.wait()

    async def _stop(self, reason: str) -> str:
        return reason

    async def _fail(self, words: str, data: Any = None) -> None:
        raise acp.RequestError(-32603, f"Internal error: {words}", data)

    async def _die(self, code: int) -> None:
        sys.stderr.write("Something broke.\n")
        sys.stderr.flush()
        os._exit(code)


def _spellings(word: str) -> tuple[str, ...]:
    return word, base64.b64encode(word.encode()).decode(), quote(word, safe="")


if __name__ == "__main__":
    agent: Any = ScriptedAgent(sys.argv[1:])  # it has only what the tests need of 20 methods
    asyncio.run(acp.run_agent(agent, use_unstable_protocol=True))
