"""Which proxy our own connections go through."""

from __future__ import annotations

import pytest

from executor_core.errors import ExecutorError
from executor_core.proxies import chosen, is_excepted, proxy_for

SERVER = "https://wegent.example.com:8443/prefix"


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        ({}, None),
        ({"https": "http://p:1"}, "http://p:1"),
        ({"https": "p.example:3128"}, "http://p.example:3128"),
        ({"https": " 10.0.0.1:3128/ "}, "http://10.0.0.1:3128"),
        ({"https": "[fe80::1]:3128"}, "http://[fe80::1]:3128"),
        ({"https": "HTTPS://me:p%40ss@p:1/"}, "https://me:p%40ss@p:1"),
        ({"all": "p:1"}, "http://p:1"),
        ({"http": "http://other:1", "all": "http://p:1"}, "http://p:1"),
        ({"https": "http://p:1", "all": "socks5://q:2"}, "http://p:1"),
        ({"https": " ", "all": "p"}, "http://p"),
        ({"http": "http://p:1"}, None),
    ],
)
def test_every_usual_spelling_means_a_proxy(proxies: dict[str, str], expected: str | None) -> None:
    assert chosen(SERVER, proxies) == expected


@pytest.mark.parametrize(
    ("proxies", "code", "variable"),
    [
        ({"all": "socks5://u:word@p:1080"}, "proxy_not_spoken", "ALL_PROXY"),
        ({"https": "socks5h://p:1080"}, "proxy_not_spoken", "HTTPS_PROXY"),
        ({"https": "http://u:word@p:port"}, "proxy_unusable", "HTTPS_PROXY"),
        ({"all": "http://"}, "proxy_unusable", "ALL_PROXY"),
        ({"all": "http://[::1"}, "proxy_unusable", "ALL_PROXY"),
        ({"https": "p:99999"}, "proxy_unusable", "HTTPS_PROXY"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_name_of_its_variable(
    proxies: dict[str, str], code: str, variable: str
) -> None:
    with pytest.raises(ExecutorError) as caught:
        chosen(SERVER, proxies)
    assert caught.value.code == code
    assert variable in caught.value.message.title
    assert "word" not in caught.value.message.sentence


@pytest.mark.parametrize(
    "exceptions",
    [
        "*",
        "wegent.example.com",
        "other.example, WEGENT.example.com",
        "other.example wegent.example.com",
        "example.com",
        ".example.com",
        "*.example.com",
        "wegent.example.com:8443",
        ".example.com:8443",
    ],
)
def test_a_server_is_excepted_in_every_usual_form(exceptions: str) -> None:
    assert is_excepted(SERVER, exceptions)


@pytest.mark.parametrize(
    "exceptions", ["", ",", "ample.com", "gent.example.com", "wegent.example.com:443", ".", ":8443"]
)
def test_others_are_not(exceptions: str) -> None:
    assert not is_excepted(SERVER, exceptions)


@pytest.mark.parametrize(
    ("url", "exceptions", "expected"),
    [
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://10.1.2.3", "10.1.2.3:80", True),
        ("http://10.1.2.3", "10.1.2.4", False),
        ("http://192.168.1.1", "10.0.0.0/8,192.168.0.0/16", True),
        ("https://[fe80::1]:9", "fe80::/10", True),
        ("https://[fe80::1]:9", "[fe80::1]:9", True),
        ("https://name.example", "10.0.0.0/8", False),
    ],
)
def test_addresses_are_excepted_one_by_one_and_by_networks(
    url: str, exceptions: str, expected: bool
) -> None:
    assert is_excepted(url, exceptions) == expected


def test_the_environment_is_asked_and_never_for_this_computer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "*.intern.example.com")
    assert proxy_for("https://wegent.example.com") == "http://proxy.example.com:3128"
    assert proxy_for("https://a.intern.example.com") is None
    assert proxy_for("https://127.0.0.1:8443") is None
    assert proxy_for("https://localhost") is None
