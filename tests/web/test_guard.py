"""The pure checks of the guard."""

from __future__ import annotations

import pytest

from executor_core.web import guard


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer  ", None),
        ("Basic abc", None),
        ("Bearer abc", "abc"),
        ("BEARER abc ", "abc"),
    ],
)
def test_bearer_reads_only_its_own_scheme(header: str | None, token: str | None) -> None:
    assert guard.bearer(header) == token


def test_two_hosts_are_refused_even_if_one_is_ours() -> None:
    hosts = ["127.0.0.1:80", "evil.example"]
    assert guard.refusal(hosts, [], None, port=80, is_remote_allowed=False) == "wrong_host"


def test_a_request_without_a_host_is_refused() -> None:
    assert guard.refusal([], [], None, port=80, is_remote_allowed=True) == "wrong_host"


def test_secrets_with_odd_characters_compare() -> None:
    assert guard.same("a\ud800", "a\ud800")
    assert not guard.same("a", "b")


@pytest.mark.parametrize(
    ("host", "port", "is_remote_allowed", "is_ours"),
    [
        ("127.0.0.1", 80, False, True),
        ("localhost", 80, False, True),
        ("[::1]", 80, False, True),
        ("127.0.0.1:80", 80, False, True),
        ("LocalHost:8090", 8090, False, True),
        ("[::1]:8090", 8090, False, True),
        ("127.0.0.2:8090", 8090, False, True),
        ("console.localhost:8090", 8090, False, True),
        ("localhost.evil.example:8090", 8090, False, False),
        ("127.0.0.1.evil.example:8090", 8090, False, False),
        ("127.0.0.1", 8090, False, False),
        ("[::1]", 8090, False, False),
        ("evil.example", 80, False, False),
        ("192.168.1.5", 80, False, False),
        ("192.168.1.5", 80, True, True),
        ("[fe80::1]:8090", 8090, True, True),
        ("evil.example", 80, True, False),
        ("127.0.0.1:", 80, True, False),
        ("", 80, True, False),
    ],
)
def test_only_our_names_with_our_port_are_ours(
    host: str, port: int, is_remote_allowed: bool, is_ours: bool
) -> None:
    assert guard.host_is_ours(host, port, is_remote_allowed=is_remote_allowed) is is_ours
