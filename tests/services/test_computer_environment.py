"""Which variables agents get, made from the configuration and the login shell."""

from __future__ import annotations

from pathlib import Path

from executor_core.config.home import Home
from executor_core.config.layers import load
from executor_core.config.redaction import known_secrets
from executor_core.services.computer import make_host
from tests.process.children import HurriedClock


async def test_the_login_shell_is_asked_and_the_configuration_goes_before_it(
    tmp_path: Path,
) -> None:
    (tmp_path / ".bash_profile").write_text(
        "export GROQ_API_KEY=groq-of-the-shell-0123 GH_TOKEN=gh-of-the-shell-0123\n"
        "export ANTHROPIC_BASE_URL=http://shell ANTHROPIC_API_KEY=sk-of-the-shell-0123\n"
    )
    home = Home(tmp_path / "home")
    home.create()
    home.config_env.write_text("ANTHROPIC_BASE_URL=http://given\nWEGENT_TOKEN=token-of-ours\n")
    home.config_toml.write_text(
        '[agents]\nenvironment_withheld = ["GH_*"]\nanthropic_api_key = "sk-chosen-0123"\n'
    )
    base = {"HOME": str(tmp_path), "SHELL": "/bin/bash", "PATH": "/usr/bin:/bin"}
    host = make_host(load(home, base), HurriedClock())
    await host.ready()
    seen = host.environment({})
    assert seen["GROQ_API_KEY"] == "groq-of-the-shell-0123"
    assert seen["ANTHROPIC_BASE_URL"] == "http://given"
    assert seen["ANTHROPIC_API_KEY"] == "sk-chosen-0123"
    assert not {"GH_TOKEN", "WEGENT_TOKEN"} & seen.keys()
    assert host.variables == ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "GROQ_API_KEY")
    assert known_secrets().hide("x groq-of-the-shell-0123") == "x ***"
