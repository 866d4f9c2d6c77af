"""The SSH wire encoding (RFC 4251): what keys, signatures and the agent are written in."""

from __future__ import annotations

from typing import Final

STRING_BYTES_MAX: Final = 256 * 1024  # No key, signature or agent answer comes near this.


def ssh_string(data: bytes) -> bytes:
    """Return `data` with its length before it."""
    return len(data).to_bytes(4, "big") + data


def ssh_uint32(value: int) -> bytes:
    """Return `value` as four bytes, high byte first."""
    return value.to_bytes(4, "big")


def ssh_mpint(value: int) -> bytes:
    """Return the number `value`, not negative, with its length before it."""
    return ssh_string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")


class SshReader:
    """Reads fields off bytes from outside; each read raises ValueError when they run short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count > STRING_BYTES_MAX or self._at + count > len(self._data):
            raise ValueError("the bytes end too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def uint32(self) -> int:
        """Return the next four bytes as a number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Return the next length-prefixed bytes."""
        return self.take(self.uint32())

    def text(self) -> str:
        """Return the next length-prefixed bytes as ASCII text."""
        return self.string().decode("ascii")

    def mpint(self) -> int:
        """Return the next length-prefixed number; negative ones and needless zeros are refused."""
        data = self.string()
        found = int.from_bytes(data, "big")
        if ssh_mpint(found)[4:] != data:
            raise ValueError("a number is negative or not written the shortest way")
        return found

    def end(self) -> None:
        """Return only if nothing is left."""
        if self._at != len(self._data):
            raise ValueError("bytes are left over at the end")
