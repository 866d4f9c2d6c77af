"""Handing the descriptors of a call from runner to spawner to keeper, over Unix sockets."""

from __future__ import annotations

import array
import os
import socket
from contextlib import suppress
from typing import Final

DESCRIPTORS_MIN: Final = 4  # control socket, stdin, stdout, stderr
DESCRIPTORS_MAX: Final = 32  # and what else a program is given; the link of a proxy comes last
PLAIN: Final = b"p"
CONFINED: Final = b"c"
IDLE: Final = b"i"
_MESSAGE_BYTES: Final = 16
_SIZE: Final = array.array("i").itemsize


def send(link: socket.socket, kind: bytes, opened: list[int]) -> None:
    """Send `kind` with the descriptors `opened`; the sender keeps its own copies.

    Raises:
        OSError: the other side is gone, or `BlockingIOError` where the socket is full.
    """
    link.sendmsg([kind], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", opened))])


def receive(link: socket.socket, least: int = DESCRIPTORS_MIN) -> tuple[bytes, list[int]] | None:
    """Return the next message and its descriptors, None when the other side is gone.

    A message with fewer than `least` of them is passed over.
    """
    while True:
        try:
            # Close-on-exec from the first moment: no program may inherit another call's pipes.
            data, ancillary, _, _ = link.recvmsg(
                _MESSAGE_BYTES, socket.CMSG_SPACE(DESCRIPTORS_MAX * _SIZE), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return None
        if not data:
            return None
        opened = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                opened.frombytes(content[: len(content) - len(content) % _SIZE])
        if len(opened) >= least:
            return data, list(opened)
        for number in opened:
            os.close(number)


def drain(pipe: int) -> None:
    """Read what is in the non-blocking `pipe`, which only wakes somebody."""
    with suppress(BlockingIOError):
        os.read(pipe, 4096)
