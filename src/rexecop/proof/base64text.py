"""Base64 with one spelling per value, so that a text and its bytes stand for each other."""

from __future__ import annotations

import base64
import binascii


def encode_base64(data: bytes) -> str:
    """Return `data` in standard, padded base64."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Return the bytes whose standard, padded base64 is exactly `text`.

    Raises:
        ValueError: any other spelling (line breaks, missing padding, stray bits).
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if encode_base64(data) != text:
        raise ValueError("not canonical base64")
    return data
