"""What an agent does of all that we need, seen on the real program: the verdicts of our tables.

`verdict(subject)` plays every scenario once and says in a word what was seen. With a scripted model
all of them can be seen; an agent that takes no address for its model is seen up to its login. As a
program it tries one agent of the catalogue: `python -m tests.agents.conformance NAME PROGRAM`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from executor_core.agents import AgentHost, ClaudeCode
from executor_core.agents.acp import AcpAgent
from executor_core.agents.agent import Agent
from executor_core.agents.catalog import known_agent
from executor_core.agents.codex import Codex
from executor_core.agents.opencode import OpenCode
from executor_core.errors import ExecutorError
from executor_core.model import AgentResult, Image, ModelConfig, Permission, SessionStarted
from tests.support.agent_stage import Run, agent_host, assignment, running
from tests.support.chat_api import chat_api
from tests.support.model_api import Hang, Turn, model_api, say, use
from tests.support.openai_api import openai_api, shell
from tests.support.openai_api import say as openai_say

KEY = "sk-conformance"
WORD = "conformance-word"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
LIMIT_S = 60.0
CANCEL_LIMIT_S = 8.0
_LOGIN = frozenset({"agent_not_signed_in", "model_key_refused", "opencode_not_signed_in"})

YES, NO, OFFERED, LOGIN, NOT_TRIED = "yes", "no", "offered", "login", "not_tried"
Script = Sequence[Any]


@dataclass(frozen=True)
class Model:
    """A scripted model: how it is served, how an agent is led to it, and what it may say.

    `variables` and `config` get its address, and `variables` a folder for what else is needed;
    `writes` is the turn in which a file is written.
    """

    serve: Callable[[Any], AbstractAsyncContextManager[Any]]
    writes: Callable[[Path], Any]
    says: Callable[[str], Any] = say
    hangs: Callable[[], Any] = Hang
    config: Callable[[str], ModelConfig] = lambda url: ModelConfig()
    variables: Callable[[str, Path], Mapping[str, str]] = lambda url, folder: {}


@dataclass(frozen=True)
class Subject:
    """One agent on trial. `make` gets the variables that lead it to the model."""

    program: Path
    make: Callable[[AgentHost, Mapping[str, str]], Agent]
    model: Model | None = None


@dataclass
class Stage:
    """A fresh computer for one scenario."""

    subject: Subject
    folder: Path
    url: str = ""
    host: AgentHost = field(init=False)
    agent: Agent = field(init=False)

    def __post_init__(self) -> None:
        model = self.subject.model
        self.host = agent_host(self.folder, self.subject.program)
        self.agent = self.subject.make(
            self.host, model.variables(self.url, self.folder) if model else {}
        )

    def run(self, prompt: str = "Say hello.", **more: Any) -> AbstractAsyncContextManager[Run]:
        model = self.subject.model
        fields: dict[str, Any] = {"model": model.config(self.url) if model else ModelConfig()}
        if fields["model"].brings_access:
            (self.folder / "private").mkdir(exist_ok=True)
            fields["private_home"] = self.folder / "private"
        return running(self.agent, self.host, assignment(self.folder, prompt, **fields | more))


async def verdict(subject: Subject) -> dict[str, str]:
    """A word per scenario."""
    seen: dict[str, str] = {}
    for name, play in SCENARIOS.items():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                async with asyncio.timeout(3 * LIMIT_S):
                    seen[name] = await play(subject, Path(folder))
            except (ExecutorError, TimeoutError) as error:
                seen[name] = error.code if isinstance(error, ExecutorError) else "silent"
            except Exception as error:
                seen[name] = type(error).__name__
    return seen


def _api(subject: Subject, *turns: Any) -> AbstractAsyncContextManager[Any]:
    if subject.model is None:
        return nullcontext()
    last = subject.model.says(WORD)
    rest = list(turns)

    def turn(request: Any) -> Any:
        # What offers no tools is the agent's own side work, such as a title.
        return rest.pop(0) if rest and request.body.get("tools") else last

    return subject.model.serve(turn)


def _word(result: AgentResult) -> str:
    if result.error is None:
        return YES
    return LOGIN if result.error.code in _LOGIN else result.error.code


async def _prompt(subject: Subject, folder: Path) -> str:
    async with _api(subject) as api:
        stage = Stage(subject, folder, api.url if api else "")
        async with stage.run() as run:
            word = _word(await run.result(LIMIT_S))
            return "other_words" if api and word == YES and WORD not in run.text else word


async def _cancel(subject: Subject, folder: Path) -> str:
    """In the middle of a turn: over in time, and no process is left."""
    turns = [subject.model.hangs()] * 9 if subject.model else []
    async with _api(subject, *turns) as api:
        stage = Stage(subject, folder, api.url if api else "")
        async with stage.run() as run:
            if api:
                await api.wait_for_requests(1, LIMIT_S)
            else:
                await run.until(lambda: _has_begun(run), LIMIT_S)
            if run.of(AgentResult):
                return NOT_TRIED
            took_s = await run.cancel()
            return YES if took_s <= CANCEL_LIMIT_S and not run.processes() else NO


def _has_begun(run: Run) -> bool:
    return bool(run.of(SessionStarted) or run.of(AgentResult))


async def _resume(subject: Subject, folder: Path) -> str:
    """Another process goes on in the session, and the model sees what was said before."""
    async with _api(subject) as api:
        stage = Stage(subject, folder, api.url if api else "")
        async with stage.run("Remember heliotrope.") as run:
            first = await run.result(LIMIT_S)
            if not run.of(SessionStarted) or (first.error and api):
                return NOT_TRIED
            session_id = run.session_id
        async with stage.run("What was it?", session_id=session_id) as run:
            again = await run.result(LIMIT_S)
            if api is None:  # nothing was said, so that only the session itself can be seen
                return OFFERED if run.of(SessionStarted) else _word(again)
            seen = "heliotrope" in json.dumps(api.requests[-1].body)
            return _word(again) if again.error else YES if seen else NO


async def _permission(subject: Subject, folder: Path) -> str:
    """Where work in the folder is permitted, a file outside of it is not written."""
    if subject.model is None:
        return NOT_TRIED
    outside, inside = Path.home() / f"{folder.name}.txt", folder / "ws" / "inside.txt"
    for path in (inside, outside):
        async with _api(subject, subject.model.writes(path)) as api:
            stage = Stage(subject, folder, api.url)
            async with stage.run(permission=Permission.WORKSPACE_WRITE) as run:
                if (result := await run.result(LIMIT_S)).error and path == inside:
                    return _word(result)
    was_written = outside.exists()
    outside.unlink(missing_ok=True)
    return NO if was_written else YES if inside.exists() else "nothing_written"


async def _images(subject: Subject, folder: Path) -> str:
    image = Image(media_type="image/png", data=PIXEL)
    async with _api(subject) as api:
        if api is None:
            return NOT_TRIED
        stage = Stage(subject, folder, api.url)
        async with stage.run("What is this?", images=(image,)) as run:
            result = await run.result(LIMIT_S)
            has_it = any(PIXEL[:40] in json.dumps(asked.body) for asked in api.requests)
            return _word(result) if result.error else YES if has_it else NO


async def _handshake(subject: Subject, folder: Path) -> str:
    async with _api(subject) as api:
        stage = Stage(subject, folder, api.url if api else "")
        if not isinstance(stage.agent, AcpAgent):
            found = await stage.agent.availability()
            return YES if found.version else NO
        (folder / "ws").mkdir()
        offer = await stage.agent.offer(folder / "ws")
        return LOGIN if offer.needs_login else YES


SCENARIOS = {
    "handshake": _handshake,
    "prompt": _prompt,
    "cancel": _cancel,
    "resume": _resume,
    "permission": _permission,
    "images": _images,
}


# --- the models ----------------------------------------------------------------------------------


def _key(model: str, protocol: str | None = None) -> Callable[[str], ModelConfig]:
    return lambda url: ModelConfig(model=model, api_key=KEY, base_url=url, protocol=protocol)


def _write(tool: str, path: str, content: str) -> Callable[[Path], Turn]:
    return lambda file: use(tool, **{path: str(file), content: "hi\n"})


ANTHROPIC = Model(
    serve=model_api,
    writes=_write("Write", "file_path", "content"),
    config=_key("claude-sonnet-4-5"),
)
RESPONSES = Model(
    serve=openai_api,
    says=openai_say,
    writes=lambda file: shell(f"echo hi > {file}"),
    config=_key("gpt-5.5"),
)
CHAT = Model(
    serve=chat_api,
    writes=_write("write", "filePath", "content"),
    config=_key("m1"),
)
OURS: dict[str, tuple[type[Any], Model]] = {
    "claude_code": (ClaudeCode, ANTHROPIC),
    "codex": (Codex, RESPONSES),
    "opencode": (OpenCode, CHAT),
}


def ours(name: str, program: Path) -> Subject:
    """One of the three, against the scripted model of its kind."""
    agent, model = OURS[name]
    return Subject(program, lambda host, _: agent(host), model)


def of_catalogue(name: str, program: Path, model: Model | None = None) -> Subject:
    """An agent of the catalogue, as it was installed at `program`."""
    known = known_agent(name)
    assert known is not None, name

    def make(host: AgentHost, variables: Mapping[str, str]) -> Agent:
        return AcpAgent(host, replace(known, env={**known.env, **variables}))

    return Subject(program, make, model)


def _codex_home(url: str, folder: Path) -> dict[str, str]:
    """A configuration that names the model at `url`."""
    home = folder / "codex"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        'model = "gpt-5.5"\nmodel_provider = "task"\n[model_providers.task]\nname = "Task"\n'
        f'base_url = "{url}"\nenv_key = "TASK_KEY"\nwire_api = "responses"\n'
        "requires_openai_auth = false\n"
    )
    return {"CODEX_HOME": str(home), "TASK_KEY": KEY}


# How those are led to a model that take an address for it from their environment.
LED: dict[str, Model] = {
    "claude_acp": Model(
        serve=model_api,
        writes=_write("Write", "file_path", "content"),
        variables=lambda url, _: {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY},
    ),
    "codex_acp": Model(
        serve=openai_api,
        says=openai_say,
        writes=lambda file: shell(f"echo hi > {file}"),
        variables=_codex_home,
    ),
    "qwen_code": Model(
        serve=chat_api,
        writes=_write("write_file", "file_path", "content"),
        variables=lambda url, _: {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": KEY,
            "OPENAI_MODEL": "m1",
        },
    ),
}


if __name__ == "__main__":
    tried, file = sys.argv[1], Path(sys.argv[2])
    subject = ours(tried, file) if tried in OURS else of_catalogue(tried, file, LED.get(tried))
    print(json.dumps(asyncio.run(verdict(subject))))
