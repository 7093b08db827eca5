import sys
from pathlib import Path

import pytest

from tests.support import home, real_cli

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script")

INSTALLS = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/.bin"
printf '#!/bin/sh\\necho 1.0\\n' > "$2/node_modules/.bin/claude"
chmod +x "$2/node_modules/.bin/claude"
"""
FAILS = "#!/bin/sh\necho no such package >&2\nexit 7\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for a stand-in npm; the cache lies beside it."""
    (tmp_path / "bin").mkdir()
    search = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    monkeypatch.setattr(real_cli, "CACHE", tmp_path / "agents")
    monkeypatch.setattr("shutil.which", lambda name: _found(tmp_path / "bin" / name))
    monkeypatch.setattr(home, "_outer", {"PATH": search})
    return tmp_path


def _found(path: Path) -> str | None:
    return str(path) if path.exists() else None


def put_npm(folder: Path, script: str) -> None:
    npm = folder / "bin" / "npm"
    npm.write_text(script)
    npm.chmod(0o755)


def test_a_cli_is_installed_once_in_the_pinned_version(folder: Path) -> None:
    put_npm(folder, INSTALLS)
    program = real_cli.real_cli("claude_code")
    assert program == real_cli.real_cli("claude_code")
    assert program.is_relative_to(folder / "agents" / "claude_code-2.1.197")
    [call] = (folder / "bin" / "calls").read_text().splitlines()
    assert call.endswith("@anthropic-ai/claude-code@2.1.197")


def test_a_failed_installation_says_why_and_leaves_nothing(folder: Path) -> None:
    put_npm(folder, FAILS)
    with pytest.raises(real_cli.CannotInstall, match="no such package"):
        real_cli.real_cli("claude_code")
    assert [path.name for path in (folder / "agents").iterdir()] == ["claude_code.lock"]


def test_without_npm_the_reason_names_npm(folder: Path) -> None:
    with pytest.raises(real_cli.CannotInstall, match="npm is not installed"):
        real_cli.real_cli("claude_code")
    assert not list((folder / "agents").glob("claude_code-*"))
