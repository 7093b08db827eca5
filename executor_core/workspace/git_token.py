"""Reads a git token as servers send it: in plain, or encrypted with a key that both sides have."""

from __future__ import annotations

import base64
import binascii

_BLOCK_BYTES = 16
_ABSENT = ("", "***")


def decrypt_git_token(value: str, *, key: str, iv: str) -> str | None:
    """The token in `value`; None where there is none (`***` is how servers mask it).

    Encrypted means AES-CBC with PKCS7 padding, in base64; `key` has 32 ASCII characters, `iv` 16.
    What does not decrypt to a token is taken for a plain one: many look like base64 themselves.
    """
    value = value.strip()
    if value in _ABSENT:
        return None
    try:
        sealed = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value
    if not sealed or len(sealed) % _BLOCK_BYTES:
        return value
    token = _decrypt(sealed, key.encode(), iv.encode())
    return token if token and token.isascii() and token.isprintable() else value


def _decrypt(sealed: bytes, key: bytes, iv: bytes) -> str | None:
    # Imported here: most tasks bring no encrypted token, and it takes 50 ms.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    unpadder = PKCS7(_BLOCK_BYTES * 8).unpadder()
    try:
        return (unpadder.update(padded) + unpadder.finalize()).decode("utf-8")
    except ValueError:  # also UnicodeDecodeError
        return None
