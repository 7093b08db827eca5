"""Installing with npm: what is there afterwards, also when something goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executor_core.agents import AgentHost
from executor_core.agents.install import (
    LEFTOVER_AGE_S,
    PACKAGES,
    Installer,
    clear_leftovers,
    reason_of,
)
from executor_core.errors import ExecutorError
from executor_core.process import Login
from tests.process.children import HurriedClock, until
from tests.support.home import outer_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in of npm is a script")

CODEX, CLAUDE = PACKAGES["codex"], PACKAGES["claude_code"]
WORKING = "echo codex-cli 9.8.7"
STUB = "echo 'run the post-install script' >&2; exit 1"

# npm as far as it matters here: a package with one program, linked as npm links it.
NPM = """#!/bin/sh
if [ "$1" = prefix ]; then echo "@OWN@"; exit 0; fi
echo "$*" >> "@LOG@"
env > "@LOG@.env"
while [ "$1" != --prefix ]; do shift; done
package="${3%@latest}"
home="$2/lib/node_modules/$package"
mkdir -p "$home" "$2/bin"
cat > "$home/program.js" <<'EOF'
#!/bin/sh
@PROGRAM@
EOF
chmod 755 "$home/program.js"
ln -s "../lib/node_modules/$package/program.js" "$2/bin/@COMMAND@"
@END@
"""


class Computer:
    """A user's home with an npm of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.log = folder / "calls"
        for place in (self.home, self.bin):
            place.mkdir()
        self.said: list[str] = []
        self.local = self.home / ".local"
        self.own = folder / "system"

    def npm(self, program: str = WORKING, end: str = "exit 0", command: str = "codex") -> None:
        """What it will put there, and how it will end."""
        script = NPM.replace("@LOG@", str(self.log)).replace("@PROGRAM@", program)
        script = script.replace("@END@", end).replace("@OWN@", str(self.own))
        (self.bin / "npm").write_text(script.replace("@COMMAND@", command))
        (self.bin / "npm").chmod(0o755)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def host(self, *places: Path) -> AgentHost:
        path = os.pathsep.join(map(str, (*places, self.bin, "/usr/bin", "/bin")))
        base = {"HOME": str(self.home), "npm_config_registry": "http://127.0.0.1:9/"}
        host = AgentHost(
            base=base | {"ANTHROPIC_API_KEY": "sk-secret", "OPENAI_API_KEY": "sk-secret"},
            settings={}, path=path, platform=sys.platform, owner="tests", is_root=False,
            folder=self.home, clock=HurriedClock(),
        )  # fmt: skip
        return host

    async def installer(self) -> Installer:
        return await Installer.find(self.host(self.local / "bin"))

    async def install(self) -> tuple[str, Path]:
        async with asyncio.timeout(30):
            return await (await self.installer()).install(CODEX, self.said.append)

    async def failure(self) -> ExecutorError:
        with pytest.raises(ExecutorError) as caught:
            await self.install()
        return caught.value

    def content(self) -> dict[str, str]:
        """Every file and link below the home, and what it holds."""
        return {
            str(path.relative_to(self.home)): os.readlink(path)
            if path.is_symlink()
            else path.read_text()
            if path.is_file()
            else "folder"
            for path in self.home.rglob("*")
        }


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    computer = Computer(tmp_path)
    computer.npm()
    return computer


async def test_an_agent_is_installed_below_the_users_home_and_each_step_is_said(
    computer: Computer,
) -> None:
    program = computer.local / "bin" / "codex"
    assert await computer.install() == ("9.8.7", program)
    assert program.resolve() == computer.local / "lib/node_modules/@openai/codex/program.js"
    steps = " ".join(computer.said)
    assert "@openai/codex@latest" in steps
    assert str(computer.local) in steps
    assert sorted(path.name for path in computer.local.iterdir()) == ["bin", "lib"]


async def test_npm_gets_its_settings_and_no_key_and_is_asked_for_nothing_else(
    computer: Computer,
) -> None:
    await computer.install()
    env = computer.log.with_suffix(".env").read_text()
    assert "npm_config_registry=http://127.0.0.1:9/" in env
    assert "sk-secret" not in env
    [call] = computer.log.read_text().splitlines()
    assert call.startswith("install --global ")
    assert call.endswith(" @openai/codex@latest")


async def test_npms_own_folder_is_used_where_the_user_owns_it_and_finds_programs_there(
    computer: Computer,
) -> None:
    computer.own = computer.home / "npm"
    (computer.own / "bin").mkdir(parents=True)
    computer.npm()
    not_on_path = await Installer.find(computer.host())
    assert not_on_path.prefix.folder == computer.local
    on_path = await Installer.find(computer.host(computer.own / "bin"))
    assert on_path.prefix.folder == computer.own
    assert str(computer.own) in on_path.command(CODEX)


async def test_a_system_folder_is_never_used_even_if_it_could_be_written(
    computer: Computer,
) -> None:
    (computer.own / "bin").mkdir(parents=True)
    installer = await Installer.find(computer.host(computer.own / "bin"))
    assert installer.prefix.folder == computer.local


async def test_an_update_replaces_the_old_version(computer: Computer) -> None:
    await computer.install()
    computer.npm("echo codex-cli 10.0.0")
    version, program = await computer.install()
    assert version == "10.0.0"
    assert sorted(path.name for path in program.parent.iterdir()) == ["codex"]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("program", "end", "reason"),
    [
        (WORKING, "echo 'npm error code E404' >&2; exit 1", "does not know this package"),
        (WORKING, "echo 'npm ERR! code ENOSPC' >&2; exit 228", "disk is full"),
        (WORKING, "echo 'npm error code ENOTFOUND' >&2; exit 1", "cannot reach"),
        (WORKING, "echo 'npm error something odd' >&2; exit 1", "something odd"),
        (WORKING, "exit 1", "without saying why"),
        (STUB, "exit 0", "does not start"),
        ("echo no version", "exit 0", "does not start"),
        # It answers where it was fetched, but not in its place.
        ('case "$0" in *wegent*) echo 1.0.0;; *) exit 1;; esac', "exit 0", "does not start"),
    ],
)
async def test_when_it_fails_everything_is_as_before_and_the_reason_is_said(
    computer: Computer, is_first: bool, program: str, end: str, reason: str
) -> None:
    if not is_first:
        await computer.install()
    before = computer.content()
    computer.npm(program, end)
    error = await computer.failure()
    assert (error.code, computer.content()) == ("install_failed", before)
    assert reason in error.message.detail
    assert "\n" not in error.message.detail


async def test_a_cancelled_installation_leaves_everything_as_before(computer: Computer) -> None:
    await computer.install()
    before = computer.content()
    computer.npm("echo codex-cli 10.0.0", "sleep 300")
    computer.said.clear()
    job = asyncio.Task(computer.install())
    # It says so while npm is at work.
    await until(lambda: any("MB" in words for words in computer.said))
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert computer.content() == before


async def test_how_far_npm_is_is_said_while_it_is_silent(computer: Computer) -> None:
    computer.npm(end='while [ ! -e "$HOME/go" ]; do sleep 0.02; done; rm "$HOME/go"; exit 0')
    job = asyncio.Task(computer.install())
    await until(lambda: any("MB" in words for words in computer.said))
    (computer.home / "go").touch()
    await job


async def test_a_launcher_that_is_a_stub_is_completed_by_the_packages_own_script(
    computer: Computer,
) -> None:
    program = '[ -e "$(dirname "$(readlink -f "$0")")/done" ] && echo 2.1.0 || exit 1'
    computer.npm(program, command="claude")
    computer.program("node", 'echo "$1" > "$HOME/ran"; touch "$(dirname "$1")/done"')
    installer = await computer.installer()
    version, found = await installer.install(CLAUDE, computer.said.append)
    assert (version, found) == ("2.1.0", computer.local / "bin" / "claude")
    assert (computer.home / "ran").read_text().strip().endswith("claude-code/install.cjs")


async def test_a_program_of_another_installer_is_not_touched(computer: Computer) -> None:
    (computer.local / "bin").mkdir(parents=True)
    (computer.local / "bin" / "codex").write_text("somebody else's")
    before = computer.content()
    error = await computer.failure()
    assert (error.code, computer.content()) == ("install_in_the_way", before)
    assert not computer.log.exists()


async def test_a_program_that_comes_first_on_the_path_is_named(computer: Computer) -> None:
    computer.program("codex", WORKING)
    installer = await Installer.find(computer.host())
    assert (await installer.install(CODEX, computer.said.append))[1] == computer.bin / "codex"


async def test_a_folder_that_cannot_be_written_is_said(computer: Computer) -> None:
    computer.local.write_text("a file where the folder would be")
    error = await computer.failure()
    assert error.code == "install_failed"
    assert error.message.detail


def leave(computer: Computer, name: str, age_s: float) -> Path:
    """What an installation leaves that is killed between taking the old and placing the new."""
    partial = computer.local / f".wegent-install-{name}"
    kept = partial / "before"
    kept.mkdir(parents=True)
    package = computer.local / "lib/node_modules/@openai/codex"
    package.rename(kept / "0")
    places = [str(package), str(computer.local / "bin" / "codex")]
    (kept / "places.json").write_text(json.dumps(places))
    then = datetime.now(UTC).timestamp() - age_s
    os.utime(partial, (then, then))
    return partial


@pytest.mark.parametrize("by", ["the next installation", "the next start"])
async def test_an_installation_that_was_killed_is_put_right(computer: Computer, by: str) -> None:
    await computer.install()
    before = computer.content()
    partial = leave(computer, "0a1b", LEFTOVER_AGE_S + 60)
    assert computer.content() != before
    if by == "the next start":
        clear_leftovers(computer.host(computer.local / "bin"))
    else:
        computer.npm(end="echo 'npm error code E404' >&2; exit 1")
        await computer.failure()
    assert computer.content() == before
    assert not partial.exists()


async def test_an_installation_that_may_be_at_work_is_left_alone(computer: Computer) -> None:
    await computer.install()
    partial = leave(computer, "0a1b", 60)
    clear_leftovers(computer.host(computer.local / "bin"))
    assert partial.exists()


def test_a_leftover_without_a_record_is_just_removed(computer: Computer) -> None:
    partial = computer.local / ".wegent-install-0a1b"
    (partial / "lib").mkdir(parents=True)
    os.utime(partial, (0, 0))
    clear_leftovers(computer.host())
    assert not partial.exists()


async def test_without_npm_it_is_said_how_to_get_it(computer: Computer) -> None:
    host = computer.host()
    host.use_login(Login(str(computer.home)))
    with pytest.raises(ExecutorError) as caught:
        await Installer.find(host)
    assert caught.value.code == "npm_missing"
    assert "nodejs.org" in caught.value.message.hint


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("npm error code EACCES\nnpm error syscall mkdir", "cannot be written"),
        ("npm error code E401\nnpm error Incorrect password", "refused access"),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN", "does not trust the certificate"),
        (
            "npm error code EODD\nnpm error errno 1\nnpm error it is odd\nnpm error more",
            "it is odd",
        ),
        ("npm warn x\nnpm error one\nnpm error two", "one"),
        ("just words", "just words"),
    ],
)
def test_the_reason_is_one_sentence(output: str, reason: str) -> None:
    assert reason in reason_of(output)
    assert "\n" not in reason_of(output)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ignores_scripts", ["false", "true"])
async def test_the_real_npm_installs_claude_code_into_a_fresh_home(
    computer: Computer, claude_cli: Path, ignores_scripts: str
) -> None:
    """Where the pinned CLI could be fetched, so can this."""
    outer = dict(outer_environment())
    npm_settings = Path(outer.get("HOME", "/")) / ".npmrc"
    base = outer | {"HOME": str(computer.home), "npm_config_userconfig": str(npm_settings)}
    base["npm_config_ignore_scripts"] = ignores_scripts
    path = os.pathsep.join((str(computer.local / "bin"), outer["PATH"]))
    host = AgentHost(
        base=base, settings={}, path=path, platform=sys.platform, owner="tests", is_root=False,
        folder=computer.home, clock=HurriedClock(),
    )  # fmt: skip
    installer = await Installer.find(host)
    version, program = await installer.install(CLAUDE, computer.said.append)
    assert version.startswith("2.")
    assert program == computer.local / "bin" / "claude"
    answer = await host.ask([str(program), "--version"], host.environment({}))
    assert version in answer.output
    assert sorted(path.name for path in computer.local.iterdir()) == ["bin", "lib"]
