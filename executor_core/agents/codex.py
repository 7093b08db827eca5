"""Codex: its two commands, and the environment that both get.

`codex app-server` streams what the model writes word by word; `codex exec` gives whole messages,
and every event in Codex's own words, for doors that forward them.
"""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from executor_core.agents.agent import Agent, Assignment, Dialogue, Emit, Extra, checked_extra_args
from executor_core.agents.codex_dialogue import (
    KEY_PROVIDER,
    SANDBOXES,
    TASK_PROVIDER,
    CodexDialogue,
    CodexExecDialogue,
)
from executor_core.agents.codex_items import TITLE, task_key
from executor_core.agents.failures import notice
from executor_core.agents.host import AgentHost, Probe
from executor_core.agents.json_access import Json
from executor_core.agents.mcp import mcp_servers
from executor_core.agents.repository import instructions, places, withheld
from executor_core.agents.scratch import write_secret
from executor_core.errors import ExecutorError
from executor_core.model import AgentResult, Availability, ModelConfig, Permission

NAME = "codex"
EXEC_NAME = "codex_exec"
MINIMUM_VERSION = (0, 169, 0)
"""The app server calls itself experimental; older ones were never seen to understand us."""
MAX_PROMPT = 1_048_576
"""Characters; Codex refuses more."""
EXTRA_ARGS = {
    "--config": Extra(
        r"model_reasoning_effort=(minimal|low|medium|high|xhigh)|model_verbosity=(low|medium|high)",
        "model_reasoning_effort=minimal|low|medium|high|xhigh, "
        "--config model_verbosity=low|medium|high",
    )
}

_VENDOR_VARIABLES = re.compile(r"(AZURE_)?OPENAI_|CODEX_", re.IGNORECASE)
_UNFIT = frozenset({"anthropic", "gemini"})
"""Kinds of model API that Codex cannot speak."""
_QUIET = (
    "check_for_update_on_startup=false",
    "analytics.enabled=false",
    # Without this a refused connection is tried again for ever.
    "features.unbounded_connection_retries=false",
)
_EXEC_PERMISSIONS = {
    Permission.READ_ONLY: "--sandbox=read-only",
    Permission.UNATTENDED: "--dangerously-bypass-approvals-and-sandbox",
    Permission.WORKSPACE_WRITE: "--sandbox=workspace-write",
}
_SESSION = re.compile(r"[0-9A-Za-z][\w-]*")
SETTINGS = (".codex/config.toml", ".codex/hooks.json", ".codex/hooks", ".codex/rules")
_INSTRUCTIONS = ("AGENTS.override.md", "AGENTS.md")


class Codex(Agent):
    """The user's own `codex`, through its app server."""

    name = NAME
    extra_args = EXTRA_ARGS
    enforces = frozenset(SANDBOXES)
    task_variables = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL"})

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    async def availability(self) -> Availability:
        found = await self._probed()
        if not _is_signed_out(found):
            return found
        # The login command knows neither keys in the environment nor the user's other providers.
        login = access_without_login(self._host.environment({}))
        if login is None:
            return found
        return replace(found, is_usable=True, login=login, problem=None)

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        program, env = await self._prepared(assignment)
        if words := await self._instructions(assignment, emit):
            both = [words, assignment.system_prompt]
            assignment = replace(assignment, system_prompt="\n\n".join(filter(None, both)))
        return await self._host.drive(
            CodexDialogue(assignment, provider=provider(assignment, env)),
            [str(program), *arguments(assignment)],
            assignment,
            emit,
            stop,
            env=env,
        )

    async def _instructions(self, assignment: Assignment, emit: Emit) -> str:
        """Those of a folder that is not trusted, of which Codex then reads nothing by itself."""
        for told in withheld(assignment, TITLE, SETTINGS):
            emit(told)
        if assignment.is_trusted:
            return ""
        return await asyncio.to_thread(instructions, assignment.folder, _INSTRUCTIONS)

    async def _probed(self) -> Availability:
        return await self._host.availability(
            Probe(
                name=NAME,
                title=TITLE,
                program="codex",
                missing="codex_missing",
                not_signed_in="codex_not_signed_in",
                minimum_version=MINIMUM_VERSION,
                login_command=("login", "status"),
            )
        )

    async def _prepared(self, assignment: Assignment) -> tuple[Path, dict[str, str]]:
        """The program and the environment of a run, whose private home is then written."""
        launcher = await self._host.program("codex", ExecutorError("codex_missing"))
        if (length := len(assignment.prompt)) > MAX_PROMPT:
            raise ExecutorError("prompt_too_long", agent=TITLE, length=length, limit=MAX_PROMPT)
        if assignment.model.protocol in _UNFIT:
            raise ExecutorError("model_unfit", agent=TITLE, protocol=assignment.model.protocol)
        if assignment.private_home is not None:
            write_private_config(assignment.private_home, assignment.model)
        env = self._host.environment(
            variables(assignment),
            without=_VENDOR_VARIABLES if assignment.private_home is not None else None,
        )
        return native_program(launcher), env


class CodexExec(Codex):
    """The same program as `codex exec`, for doors that forward what Codex itself says."""

    name = EXEC_NAME

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        program, env = await self._prepared(assignment)
        if assignment.session_id and not _SESSION.fullmatch(assignment.session_id):
            error = ExecutorError("session_not_found", session_id=assignment.session_id)
            return AgentResult(error=error.message)
        words = await self._instructions(assignment, emit)
        if words and not assignment.session_id:  # a conversation that goes on has them already
            assignment = replace(assignment, prompt=f"{words}\n\n{assignment.prompt}")
        # What such a server needs would stand in the command, or in a file that stays.
        for left_out in mcp_servers(assignment.mcp_servers, agent=TITLE, takes=())[1]:
            emit(left_out)
        if not all(image.path for image in assignment.images):
            emit(notice("notice.images_ignored", agent=TITLE))
        dialogue: Dialogue = CodexExecDialogue(assignment)
        return await self._host.drive(
            dialogue,
            [str(program), *exec_arguments(assignment, await self._own_provider(assignment, env))],
            assignment,
            emit,
            stop,
            env=env,
            closes_input=True,
        )

    async def _own_provider(self, assignment: Assignment, env: Mapping[str, str]) -> Json | None:
        """What a user without a login has instead; None where Codex finds it by itself."""
        if assignment.private_home is not None or not _is_signed_out(await self._probed()):
            return None
        access = access_without_login(env)
        if access is None:
            raise ExecutorError("codex_not_signed_in")
        return provider(assignment, env) if access in env else None


def _is_signed_out(found: Availability) -> bool:
    return found.problem is not None and found.problem.code == "codex_not_signed_in"


def arguments(assignment: Assignment) -> list[str]:
    """The command line of the app server. Neither prompt nor secret stands in it."""
    return ["app-server", *_settings(assignment)]


def exec_arguments(assignment: Assignment, own_provider: Json | None = None) -> list[str]:
    """The command line of `codex exec`; the prompt comes by its input."""
    argv = ["exec", "--json", "--skip-git-repo-check", _EXEC_PERMISSIONS[assignment.permission]]
    argv += _settings(assignment)
    if own_provider is not None:
        argv += ["-c", f'model_provider="{KEY_PROVIDER}"']
        for name, value in own_provider.items():
            argv += ["-c", f"model_providers.{KEY_PROVIDER}.{name}={json.dumps(value)}"]
    argv += [f"--cd={assignment.folder}"]
    if assignment.model.model:
        argv += [f"--model={assignment.model.model}"]
    if assignment.session_id:
        argv += ["resume", assignment.session_id]
    return [*argv, "-"]


def _settings(assignment: Assignment) -> list[str]:
    argv = checked_extra_args(NAME, EXTRA_ARGS, assignment.extra_args)
    if not assignment.is_trusted:
        # The app server (0.169 to 0.171) trusts every folder that it is opened for with the right
        # to write, starts the tool servers of its configuration, and writes the trust down.
        distrust = ",".join(
            f'{_toml(place)}={{trust_level="untrusted"}}' for place in _keys(assignment)
        )
        argv += ["-c", f"projects={{{distrust}}}"]
    if assignment.private_home is None:
        # The user's own configuration stays in force, tools and plugins included.
        for setting in _QUIET:
            argv += ["-c", setting]
    return argv


def _keys(assignment: Assignment) -> list[str]:
    """The names by which Codex may ask whether it trusts the folder."""
    return sorted({str(assignment.folder), *map(str, places(assignment.folder))})


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def variables(assignment: Assignment) -> dict[str, str]:
    """The environment of the run on top of the user's own."""
    env = dict(assignment.model.env)
    if assignment.private_home is not None:
        env["CODEX_HOME"] = str(assignment.private_home)
        if key := task_key(assignment.model):
            env[TASK_KEY] = key
        env |= {header_variable(n): v for n, v in enumerate(assignment.model.headers.values())}
    return env


TASK_KEY = "RUNNER_MODEL_KEY"
_VENDOR_URL = "https://api.openai.com/v1"
# Codex itself reads neither: without a login it would call the model with no key at all.
_KEY_VARIABLES = ("CODEX_API_KEY", "OPENAI_API_KEY")


def native_program(launcher: Path) -> Path:
    """The binary inside the npm package that `launcher` starts; `launcher` itself if unclear.

    The launcher is a Node program that stays in memory beside the binary, and on Windows a batch
    file, which would read its arguments again as commands.
    """
    real = launcher.resolve()
    match real.suffix.lower():
        case ".js":
            packages = [real.parent.parent]
        case ".cmd":
            packages = [
                real.parent / "node_modules" / "@openai" / "codex",
                real.parent.parent / "@openai" / "codex",
            ]
        case _:
            return launcher
    binaries = "codex-*/vendor/*/bin/*"
    found = {
        path
        for package in packages
        for folder in (package.parent, package / "node_modules" / "@openai")
        for path in folder.glob(binaries)
        if path.name in ("codex", "codex.exe") and path.is_file()
    }
    return found.pop() if len(found) == 1 else launcher


def write_private_config(home: Path, model: ModelConfig) -> None:
    """Make `home` the complete configuration of a run with the task's own model access.

    `config.toml` (0600) names the variables that hold the key and the headers, never their values.
    """
    import tomlkit  # only few runs need it, and it takes 30 ms

    headers = {name: header_variable(number) for number, name in enumerate(model.headers)}
    config = {
        "model_provider": TASK_PROVIDER,
        "check_for_update_on_startup": False,
        "analytics": {"enabled": False},
        "features": {"plugins": False, "apps": False, "unbounded_connection_retries": False},
        # What the model starts must not see what pays for the model.
        "shell_environment_policy": {"exclude": [TASK_KEY, *headers.values()]},
        "model_providers": {
            TASK_PROVIDER: _custom_provider(
                model.base_url or model.env.get("OPENAI_BASE_URL"),
                TASK_KEY if task_key(model) else None,
            )
            | {"env_http_headers": headers}
            | {"request_max_retries": 2, "stream_max_retries": 2}
        },
    }
    new = home / "config.toml.new"
    write_secret(new, tomlkit.dumps(config).encode())
    new.replace(home / "config.toml")


def provider(assignment: Assignment, env: Mapping[str, str]) -> Json | None:
    """The provider for a user who has a key in `env` and perhaps no login; None if there is none.

    In the form of Codex's `model_providers`.
    """
    if assignment.private_home is not None:
        return None
    key = next((name for name in _KEY_VARIABLES if env.get(name)), None)
    return _custom_provider(env.get("OPENAI_BASE_URL"), key) if key else None


def _custom_provider(base_url: str | None, key_variable: str | None) -> Json:
    base_url = (base_url or _VENDOR_URL).rstrip("/")
    if not urlsplit(base_url).path:
        # No such API lies at the root of its host: the version was left out.
        base_url += "/v1"
    key = {"env_key": key_variable} if key_variable else {}
    return {"name": TITLE, "base_url": base_url, "wire_api": "responses", **key}


def header_variable(number: int) -> str:
    return f"RUNNER_MODEL_HEADER_{number}"


def access_without_login(env: Mapping[str, str]) -> str | None:
    """What the user has instead of a login: the name of a model provider, or of a variable."""
    user_home = Path(env.get("HOME") or env.get("USERPROFILE") or "")
    home = Path(env.get("CODEX_HOME") or user_home / ".codex")
    try:
        chosen = tomllib.loads((home / "config.toml").read_text("utf-8")).get("model_provider")
    except (OSError, ValueError):
        chosen = None
    if isinstance(chosen, str) and chosen != "openai":
        return chosen
    return next((name for name in _KEY_VARIABLES if env.get(name)), None)
