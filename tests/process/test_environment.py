"""What a child sees, and what a task may set."""

from __future__ import annotations

import pytest

from executor_core.process import child_environment, safe_task_variables


def child(base: dict[str, str], platform: str = "linux", **extra: str) -> dict[str, str]:
    return child_environment(base, path="/login/bin", extra=extra, platform=platform)


@pytest.mark.parametrize(
    "name",
    [
        "HOME",
        "LC_ALL",
        "SSH_AUTH_SOCK",
        "XDG_RUNTIME_DIR",
        "WAYLAND_DISPLAY",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_USE_BEDROCK",
        "OPENAI_API_KEY",
        "CODEX_HOME",
        "https_proxy",
        "HTTPS_PROXY",
        "NODE_EXTRA_CA_CERTS",
    ],
)
def test_what_the_users_tools_and_agents_need_passes(name: str) -> None:
    assert child({name: "value"})[name] == "value"


@pytest.mark.parametrize(
    "name",
    [
        "WEGENT_AUTH_TOKEN",
        "WEGENT_TOKEN",
        "WEGENT_RUN_MARKER",
        "CLAUDECODE",
        "CLAUDE_CODE_ENTRYPOINT",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "PYTHONPATH",
        "PYTHONHOME",
        "_MEIPASS2",
        "_PYI_APPLICATION_HOME_DIR",
        "QT_PLUGIN_PATH",
        "QT_QPA_PLATFORM",
        "CODEX_SANDBOX",
        "GITHUB_TOKEN",
        "SOMETHING_ELSE",
        "APPDATA",
    ],
)
def test_everything_not_listed_stays_behind(name: str) -> None:
    assert name not in child({name: "value"})


def test_path_and_terminal_are_ours_and_extra_wins() -> None:
    got = child({"PATH": "/icon/bin", "TERM": "xterm", "LANG": "C"}, LANG="de_DE.UTF-8")
    assert (got["PATH"], got["TERM"], got["LANG"]) == ("/login/bin", "dumb", "de_DE.UTF-8")


def test_what_a_frozen_bundle_overwrote_is_restored() -> None:
    base = {
        "LD_LIBRARY_PATH": "/bundle",
        "LD_LIBRARY_PATH_ORIG": "/users/own",
        "SSL_CERT_FILE": "/bundle/cert.pem",
        "_PYI_APPLICATION_HOME_DIR": "/bundle",
    }
    got = child(base)
    assert got["LD_LIBRARY_PATH"] == "/users/own"
    assert "SSL_CERT_FILE" not in got
    assert not any(name.endswith("_ORIG") for name in got)


def test_the_users_certificates_pass_when_nothing_is_frozen() -> None:
    assert child({"SSL_CERT_FILE": "/etc/company.pem"})["SSL_CERT_FILE"] == "/etc/company.pem"


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_loopback_never_goes_through_a_proxy(name: str) -> None:
    got = child({name: "intra.example, localhost"})
    assert got["NO_PROXY"] == got["no_proxy"] == "intra.example,localhost,127.0.0.1,::1"
    assert child({})["NO_PROXY"] == "127.0.0.1,localhost,::1"


def test_loopback_is_added_to_what_extra_says() -> None:
    got = child({"NO_PROXY": "old.example"}, NO_PROXY="new.example")
    assert got["NO_PROXY"] == got["no_proxy"] == "new.example,127.0.0.1,localhost,::1"


def test_windows_essentials_pass_in_any_case_and_only_there() -> None:
    base = {"SystemRoot": r"C:\Windows", "ComSpec": "cmd.exe", "ProgramFiles(x86)": "C:\\P"}
    assert base.items() <= child(base, "win32").items()
    assert "no_proxy" not in child(base, "win32")
    assert not base.keys() & child(base, "linux").keys()


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "DYLD_X",
        "PYTHONSTARTUP",
        "NODE_OPTIONS",
        "GIT_SSH_COMMAND",
        "PATH",
        "Path",
        "HOME",
        "BASH_ENV",
        "ENV",
        "SHELL",
        "IFS",
        "PROMPT_COMMAND",
        "PERL5OPT",
        "RUBYOPT",
        "JAVA_TOOL_OPTIONS",
        "WEGENT_RUN_MARKER",
        "ld_preload",
        "BASH_FUNC_ls%%",
        "A=B",
        "",
        "1A",
        "A\0B",
    ],
)
def test_a_task_cannot_set_what_runs_other_code(name: str) -> None:
    assert safe_task_variables({name: "x"}) == ({}, (name,))


def test_other_names_of_a_task_are_kept() -> None:
    got = safe_task_variables({"API_URL": "http://x", "B": "", "PATH": "/evil", "C": "a\0b"})
    assert got.kept == {"API_URL": "http://x", "B": ""}
    assert got.refused == ("C", "PATH")
