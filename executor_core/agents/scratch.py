"""Files with secrets in a run's private folder: there while the agent starts, and no longer."""

from __future__ import annotations

import os
from pathlib import Path

MCP_FILE = "mcp_servers.json"


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only this user can read (0600), anew."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def forget_secrets(scratch: Path) -> None:
    """Delete them; also of a run that a crash of ours cut off. Nothing there is fine."""
    (scratch / MCP_FILE).unlink(missing_ok=True)
