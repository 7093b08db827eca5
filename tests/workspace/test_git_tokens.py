"""Tokens as servers send them: encrypted, plain, masked, or looking like what they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_core.workspace import decrypt_git_token

KEY, IV = "12345678901234567890123456789012", "1234567890123456"


def decrypt(value: str) -> str | None:
    return decrypt_git_token(value, key=KEY, iv=IV)


@pytest.mark.parametrize(
    ("sealed", "token"),
    [
        # made by: printf TOKEN | openssl enc -aes-256-cbc -K <hex of KEY> -iv <hex of IV> -a
        ("gZYZPvfTSIqVdVhYdshbu0OuD/iRvqPuiEP5wDUxEbo=", "canary-7f3a9c2e5b"),
        (" mR74Ic6f0uU6Lzu3LE4sM1YdlK3VHgRblVmj8CJX3oM=\n", "ghp_0123456789abcdef"),
    ],
)
def test_what_openssl_encrypted_is_decrypted(sealed: str, token: str) -> None:
    assert decrypt(sealed) == token


def test_another_key_leaves_the_value_as_it_is() -> None:
    sealed = "gZYZPvfTSIqVdVhYdshbu0OuD/iRvqPuiEP5wDUxEbo="
    assert decrypt_git_token(sealed, key="k" * 32, iv=IV) == sealed


@pytest.mark.parametrize(
    "plain",
    [
        "ghp_0123456789abcdef",
        "glpat-abc",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",  # base64 of 48 bytes
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "abcd",
    ],
)
def test_a_plain_token_is_taken_as_it_is_even_if_it_looks_encrypted(plain: str) -> None:
    assert decrypt(plain) == plain


@pytest.mark.parametrize("value", ["", " ", "***", " ***"])
def test_a_masked_token_is_none(value: str) -> None:
    assert decrypt(value) is None


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=60))
def test_every_plain_token_survives(value: str) -> None:
    assert decrypt(value) == value
