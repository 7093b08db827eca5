"""Where Codex lies, and which access to a model it is given."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from executor_core.agents.agent import Assignment
from executor_core.agents.loose_json import Json
from executor_core.agents.scratch import write_secret
from executor_core.model import ModelConfig

TITLE = "Codex"
TASK_KEY = "RUNNER_MODEL_KEY"
TASK_PROVIDER = "runner"
KEY_PROVIDER = "openai_key"
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


def task_key(model: ModelConfig) -> str | None:
    return model.api_key or model.env.get("OPENAI_API_KEY")


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
