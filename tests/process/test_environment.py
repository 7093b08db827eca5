"""What a child sees of the owner's environment."""

from __future__ import annotations

import pytest

from executor_core.process import child_environment, owners_environment, worth_telling

ICON = {"HOME": "/home/me", "PATH": "/usr/bin", "DISPLAY": ":0"}
TERMINAL = ICON | {"TERM": "xterm-256color"}


def owners(
    started: dict[str, str], login: dict[str, str] | None = None, **more: object
) -> dict[str, str]:
    return owners_environment(started, login or {}, **more)  # type: ignore[arg-type]


def child(base: dict[str, str], platform: str = "linux", **extra: str) -> dict[str, str]:
    return child_environment(base, path="/login/bin", extra=extra, platform=platform)


# --- the owner's ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "API_TIMEOUT_MS",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "GH_TOKEN",
        "MY_PROVIDER_KEY",
        "NODE_EXTRA_CA_CERTS",
        "LD_LIBRARY_PATH",
        "BASH_FUNC_module%%",
    ],
)
@pytest.mark.parametrize("started", [ICON, TERMINAL])
def test_whatever_the_owner_has_passes_from_either_place(
    started: dict[str, str], name: str
) -> None:
    assert owners(started | {name: "value"})[name] == "value"
    assert owners(started, {name: "value"})[name] == "value"


@pytest.mark.parametrize(
    "name",
    [
        "WEGENT_AUTH_TOKEN",
        "WEGENT_TOKEN",
        "WEGENT_RUN_MARKER",
        "GIT_TOKEN_AES_KEY",
        "CLAUDECODE",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_SSE_PORT",
        "CODEX_SANDBOX",
        "CODEX_SANDBOX_NETWORK_DISABLED",
        "OPENCODE",
        "SHLVL",
        "PWD",
        "_",
    ],
)
def test_our_secrets_and_the_marks_of_an_outer_agent_stay_behind(name: str) -> None:
    assert name not in owners(ICON | {name: "1"}, {name: "1"})


def test_over_an_icon_the_login_shell_wins_but_not_over_the_session() -> None:
    started = ICON | {"KEY": "of the session", "SSH_AUTH_SOCK": "/run/agent"}
    login = {"KEY": "of the shell", "SSH_AUTH_SOCK": "/tmp/other", "DISPLAY": ":9"}
    got = owners(started, login)
    assert (got["KEY"], got["SSH_AUTH_SOCK"], got["DISPLAY"]) == (
        "of the shell",
        "/run/agent",
        ":0",
    )


def test_over_a_terminal_the_login_shell_only_adds() -> None:
    got = owners(TERMINAL | {"KEY": "typed"}, {"KEY": "of the shell", "OTHER": "x"})
    assert (got["KEY"], got["OTHER"]) == ("typed", "x")


def test_names_that_the_owner_withholds_do_not_pass_from_either_place() -> None:
    withheld = ("GH_TOKEN", "AWS_*")
    got = owners(
        ICON | {"GH_TOKEN": "1", "GH_TOKENS": "1"},
        {"AWS_PROFILE": "1", "gh_token": "1"},
        withheld=withheld,
    )
    assert got == ICON | {"GH_TOKENS": "1", "gh_token": "1"}
    assert owners({"Gh_Token": "1"}, {}, withheld=withheld, ignore_case=True) == {}


def test_what_a_frozen_bundle_overwrote_is_restored_and_what_it_added_is_gone() -> None:
    started = {
        "LD_LIBRARY_PATH": "/bundle",
        "LD_LIBRARY_PATH_ORIG": "/users/own",
        "SSL_CERT_FILE": "/bundle/cert.pem",
        "PYTHONHOME": "/bundle",
        "QT_PLUGIN_PATH": "/bundle",
        "_PYI_APPLICATION_HOME_DIR": "/bundle",
        "KEY": "mine",
    }
    assert owners(started) == {"LD_LIBRARY_PATH": "/users/own", "KEY": "mine"}
    assert owners(started, {"SSL_CERT_FILE": "/company"})["SSL_CERT_FILE"] == "/company"


def test_the_users_own_certificates_and_libraries_pass_when_nothing_is_frozen() -> None:
    own = {"SSL_CERT_FILE": "/etc/company.pem", "LD_LIBRARY_PATH": "/opt", "QT_QPA_PLATFORM": "x"}
    assert owners(own) == own


def test_only_names_that_not_every_program_gets_are_told() -> None:
    names = ["HOME", "LC_ALL", "XDG_RUNTIME_DIR", "GH_TOKEN", "ProgramFiles(x86)", "API_TIMEOUT_MS"]
    assert worth_telling(names) == ("API_TIMEOUT_MS", "GH_TOKEN")


# --- a child's -----------------------------------------------------------------------------------


def test_path_and_terminal_are_ours_and_extra_wins() -> None:
    got = child({"PATH": "/icon/bin", "TERM": "xterm", "LANG": "C"}, LANG="de_DE.UTF-8")
    assert (got["PATH"], got["TERM"], got["LANG"]) == ("/login/bin", "dumb", "de_DE.UTF-8")


def test_there_is_one_path_however_windows_spells_it() -> None:
    got = child({"Path": r"C:\icon", "SystemRoot": r"C:\Windows"}, "win32")
    assert got == {
        "PATH": "/login/bin",
        "SystemRoot": r"C:\Windows",
        "TERM": "dumb",
        "NO_PROXY": "127.0.0.1,localhost,::1",
    }
    assert child({"Path": "a variable of its own"})["Path"] == "a variable of its own"


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_loopback_never_goes_through_a_proxy(name: str) -> None:
    got = child({name: "intra.example, localhost"})
    assert got["NO_PROXY"] == got["no_proxy"] == "intra.example,localhost,127.0.0.1,::1"
    assert child({})["NO_PROXY"] == "127.0.0.1,localhost,::1"


def test_loopback_is_added_to_what_extra_says() -> None:
    got = child({"no_proxy": "old.example"}, NO_PROXY="new.example")
    assert got["NO_PROXY"] == got["no_proxy"] == "new.example,127.0.0.1,localhost,::1"
