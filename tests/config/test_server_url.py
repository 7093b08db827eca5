from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_core.config.errors import ConfigError
from executor_core.config.server_url import is_private, normalise, origin


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("https://wegent.example.com", "https://wegent.example.com"),
        ("https://wegent.example.com/", "https://wegent.example.com"),
        (" https://wegent.example.com \n", "https://wegent.example.com"),
        ("wss://wegent.example.com/socket.io/", "https://wegent.example.com"),
        ("ws://localhost:8000/socket.io", "http://localhost:8000"),
        ("https://wegent.example.com/api", "https://wegent.example.com"),
        ("https://wegent.example.com/api/v1/tasks", "https://wegent.example.com"),
        ("https://example.com/wegent/api/", "https://example.com/wegent"),
        ("https://example.com//wegent//", "https://example.com/wegent"),
        ("https://example.com/a/./b/../socket.io/?x=1", "https://example.com/a/b"),
        ("https://example.com/apiary", "https://example.com/apiary"),
        ("https://example.com/?token=1#x", "https://example.com"),
        ("HTTPS://Wegent.Example.COM:443/", "https://wegent.example.com"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("wegent.example.com", "https://wegent.example.com"),
        ("wegent.example.com:8000/api", "https://wegent.example.com:8000"),
        ("//wegent.example.com", "https://wegent.example.com"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]"),
        ("https://例子.中国/", "https://例子.中国"),
    ],
)
def test_an_address_is_read_as_it_is_pasted(raw: str, url: str) -> None:
    assert normalise(raw) == url


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "server_url_invalid"),
        ("https://", "server_url_invalid"),
        ("https:///path", "server_url_invalid"),
        ("ftp://example.com", "server_url_invalid"),
        ("javascript://x", "server_url_invalid"),
        ("https://example.com:http", "server_url_invalid"),
        ("https://example.com:0", "server_url_invalid"),
        ("https://example.com:70000", "server_url_invalid"),
        ("https://exa mple.com", "server_url_invalid"),
        ("https://[::1", "server_url_invalid"),
        ("https://ada:hunter2@example.com", "server_url_userinfo"),
        ("ada:hunter2@example.com", "server_url_userinfo"),
        ("https://wg-token@example.com", "server_url_userinfo"),
        ("http://example.com", "server_url_plain_http"),
        ("ws://10.0.0.1:8000", "server_url_plain_http"),
        ("http://0.0.0.0:8000", "server_url_plain_http"),
        ("http://localhost.example.com", "server_url_plain_http"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_words(raw: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        normalise(raw)
    assert caught.value.code == code
    assert caught.value.message.hint
    assert "hunter2" not in str(caught.value)


def test_plain_http_is_possible_for_those_who_opted_in() -> None:
    assert normalise("http://10.0.0.1:8000", allow_plain_http=True) == "http://10.0.0.1:8000"


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://a.example", True),
        ("http://[::1]:80", True),
        ("http://localhost/x", True),
        ("http://a.example", False),
    ],
)
def test_only_encrypted_and_local_addresses_are_private(url: str, private: bool) -> None:
    assert is_private(url) is private


def test_the_origin_leaves_the_sub_path_out() -> None:
    assert origin("https://a.example:1/x/y") == "https://a.example:1"
    assert origin("https://a.example") == "https://a.example"


@settings(deadline=None)
@given(raw=st.text(alphabet="htpsw:/.@[]a1%\\ ?#é\n", max_size=30) | st.text(max_size=30))
def test_a_normal_form_is_its_own_normal_form(raw: str) -> None:
    try:
        url = normalise(raw, allow_plain_http=True)
    except ConfigError:
        return
    assert normalise(url, allow_plain_http=True) == url
    assert url.startswith(("http://", "https://"))
    assert "@" not in origin(url)
