from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_core.config.redaction import MASK, Redactor

SECRET = 'pa"ss/wörd+ 1%'


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.register(SECRET)
    return made


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
    ],
)
def test_a_known_secret_is_masked_in_every_spelling(redactor: Redactor, spelling: str) -> None:
    assert redactor.redact(f"a {spelling} b") == f"a {MASK} b"


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_known_secret_is_masked_inside_base64(
    redactor: Redactor, before: str, encode: object
) -> None:
    encoded = encode((before + SECRET + "tail").encode()).decode()  # type: ignore[operator]
    masked = redactor.redact(encoded)
    assert MASK in masked
    assert len(masked) - len(MASK) <= len(encoded) - len(SECRET)


def test_a_secret_of_the_language_itself_is_masked_in_a_repr(redactor: Redactor) -> None:
    redactor.register("it's\\here")
    assert "here" not in redactor.redact(repr(["it's\\here"]))


def test_a_longer_secret_is_masked_whole_where_a_shorter_one_is_its_beginning() -> None:
    redactor = Redactor()
    redactor.register("abcdefgh")
    redactor.register("abcdefgh-ijkl")
    assert redactor.redact("abcdefgh-ijkl") == MASK


def test_values_that_occur_in_any_text_are_not_secrets() -> None:
    redactor = Redactor()
    redactor.register("")
    redactor.register("token")
    assert redactor.redact("the token") == "the token"


def test_a_huge_secret_is_masked_whole_and_looked_for_at_once() -> None:
    redactor = Redactor()
    secret = "".join(map(str, range(30_000)))
    redactor.hold([secret, "A" * 200_000 + "B"])
    assert redactor.hide(f"<{secret}>").replace(MASK, "") == "<>"
    began = time.perf_counter()
    for text in (secret[:-1], "A" * 100_000, ("A" * 1000 + "C") * 200):
        assert redactor.unfinished(text) <= 4096
    assert time.perf_counter() - began < 0.5


def work(redactor: Redactor, numbers: range) -> list[str]:
    """So many runs begin and end, one after the other, each with a secret of its own."""
    secrets = [f"{number:04}-secret-of-a-task" for number in numbers]
    for secret in secrets:
        redactor.hold([secret])
        redactor.release([secret])
    return secrets


def test_of_work_that_has_ended_the_latest_secrets_are_known() -> None:
    redactor = Redactor()
    secrets = work(redactor, range(300))
    assert [redactor.hide(secret) for secret in secrets[-256:]] == [MASK] * 256
    assert redactor.hide(secrets[0]) == secrets[0]


def test_the_secrets_of_work_that_goes_on_are_known_whatever_comes_and_goes() -> None:
    redactor = Redactor()
    redactor.hold(["secret-of-a-long-run", "secret-of-its-user"])
    redactor.hold(["secret-of-its-user"])
    redactor.release(["secret-of-its-user"])
    work(redactor, range(300))
    assert redactor.hide("secret-of-a-long-run secret-of-its-user") == f"{MASK} {MASK}"
    redactor.release(["secret-of-a-long-run", "secret-of-its-user"])
    assert redactor.hide("secret-of-a-long-run secret-of-its-user") == f"{MASK} {MASK}"
    work(redactor, range(300, 600))
    assert MASK not in redactor.hide("secret-of-a-long-run secret-of-its-user")


def test_work_with_any_number_of_secrets_has_all_of_them_hidden() -> None:
    redactor = Redactor()
    secrets = [f"{number:04}-secret-of-a-task" for number in range(400)]
    redactor.hold(secrets)
    assert {redactor.hide(secret) for secret in secrets} == {MASK}


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token wg-AbC_123-xyz.", "token ***."),
        (f"got {JWT}, ok", "got ***, ok"),
        ("sk-proj-abcdefgh12345678", "***"),
        ("key=sk-ant-api03-abc_DEF-123", "key=***"),
        ("ghp_abcdefghij0123456789", "***"),
        ("gho_abcdefghij0123456789", "***"),
        ("github_pat_11ABC_defghij", "***"),
        ("glpat-abcdefghij_0123456", "***"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("authorization: bearer   abcdef123", "authorization: bearer ***"),
        ("https://ada:hunter2@git.example/x", "https://***@git.example/x"),
        ("https://hunter2@git.example/x", "https://***@git.example/x"),
        ("GET /v1?access_token=abc123&x=1", "GET /v1?access_token=***&x=1"),
        ("GET /events?token=abc123 200", "GET /events?token=*** 200"),
        ('0{"token":"abc"}', '0{"token":"***"}'),
        ("{'auth_token': 'abc', 'x': 1}", "{'auth_token': \"***\", 'x': 1}"),
        ('{"api_key": "k", "git_token": ""}', '{"api_key": "***", "git_token": "***"}'),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert Redactor().redact(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Run run_0123 of task 12 finished in 3.1 s",
        "risk-assessment disk-usage-report",
        "https://wegent.example/api/v1?x=1",
        'usage {"input_tokens": 12, "max_tokens": 5}',
        "mail ada@example.com",
        "the wg-1 interface",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor().redact(text) == text


@settings(deadline=None)
@given(secret=st.text(min_size=6, max_size=40), around=st.text(max_size=20))
def test_no_registered_secret_survives(secret: str, around: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    masked = redactor.redact(around + secret + around)
    assert secret not in masked.replace(MASK, "\0")


def test_a_long_line_with_many_secrets_known_is_redacted_at_once() -> None:
    redactor = Redactor()
    for number in range(256):
        redactor.register(f"{number:04}-secret-of-a-task")
    line = ("eyJ" * 100 + "://" * 100 + "Bearer " * 100) * 50
    began = time.perf_counter()
    redactor.redact(line)
    assert time.perf_counter() - began < 1.0


def test_what_work_brings_does_not_push_out_the_secrets_of_the_program_itself() -> None:
    redactor = Redactor()
    redactor.register("token-of-the-owner")
    secrets = work(redactor, range(300))
    assert redactor.hide("a token-of-the-owner b") == f"a {MASK} b"
    assert redactor.hide(secrets[-1]) == MASK


def test_the_number_of_secrets_of_the_program_is_bounded_as_well() -> None:
    redactor = Redactor()
    for number in range(600):
        redactor.register(f"{number:04}-secret-of-our-own")
    assert redactor.hide("0000-secret-of-our-own 0599-secret-of-our-own") == f"{MASK} {MASK}"
    assert redactor.hide("0300-secret-of-our-own") == "0300-secret-of-our-own"
