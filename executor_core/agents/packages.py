"""What can be installed, from where, and what both ways of installing share."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from executor_core.agents.acp import load_check
from executor_core.agents.catalog import AcpDefinition, known_agent
from executor_core.agents.host import AgentHost
from executor_core.errors import ExecutorError

Say: TypeAlias = Callable[[str], None]

INSTALL_LIMIT_S = 15 * 60.0
SHORT_LIMIT_S = 60.0

# Scripts of packages run meanwhile; they need none of the user's keys.
_SECRETS = re.compile(
    r"(?!npm_config_|pip_|uv_)"  # their own settings, which name their registry
    r"(.*_(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)|ANTHROPIC_|OPENAI_|AWS_|AZURE_|GOOGLE_)",
    re.I,
)


class Package(Struct, kw_only=True, frozen=True):
    """An agent as npm or PyPI knows it. `repair` completes it where npm ran no scripts.

    One with a `definition` shows by the handshake of the Agent Client Protocol that it starts, the
    others by `--version`.
    """

    agent: str
    title: str
    name: str
    program: str
    repair: str | None = None
    is_pypi: bool = False
    definition: AcpDefinition | None = None

    @property
    def wanted(self) -> str:
        """What npm is asked for."""
        return f"{self.name}@latest"


PACKAGES = {
    package.agent: package
    for package in (
        Package(
            agent="claude_code",
            title="Claude Code",
            name="@anthropic-ai/claude-code",
            program="claude",
            repair="install.cjs",
        ),
        Package(agent="codex", title="Codex", name="@openai/codex", program="codex"),
        Package(
            agent="opencode",
            title="OpenCode",
            name="opencode-ai",
            program="opencode",
            repair="postinstall.mjs",
        ),
    )
}


def package_of(name: str) -> Package | None:
    """What installs the agent `name`; None where neither npm nor PyPI has it."""
    if name in PACKAGES:
        return PACKAGES[name]
    known = known_agent(name)
    source = known and (known.install.npm or known.install.pypi)
    if known is None or not source:
        return None
    return Package(
        agent=known.name,
        title=known.title,
        name=source,
        program=known.command[0],
        is_pypi=known.install.npm is None,
        definition=known,
    )


async def starts_rightly(host: AgentHost, definition: AcpDefinition, program: Path) -> bool:
    """Whether `program` answers the handshake; whether somebody is signed in does not matter."""
    offer_of = await asyncio.to_thread(load_check)
    argv = [str(program), *definition.command[1:]]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            await offer_of(host, definition.title, argv, definition.env, Path(folder))
        except ExecutorError:
            return False
    return True


def install_environment(host: AgentHost) -> dict[str, str]:
    """The user's own, with the settings of what installs, and without keys."""
    return host.environment({}, without=_SECRETS)


def install_failed(package: Package, reason: str) -> ExecutorError:
    return ExecutorError("install_failed", agent=package.title, reason=reason)
