"""A seat joins one keyboard to one program, whatever becomes of who looks on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rexecop.lanes.seat import Seat
from rexecop.proof.call import Terminal
from tests.lanes.support import run


class Heard:
    """A line that keeps what it is given."""

    def __init__(self) -> None:
        self.keys = b""
        self.sizes: list[Terminal] = []
        self.closed = False
        self.typed = asyncio.Event()

    def type(self, keys: bytes) -> None:
        self.keys += keys
        self.typed.set()

    def resize(self, size: Terminal) -> None:
        self.sizes.append(size)

    def close(self) -> None:
        self.closed = True


def sat(door: Path, *, keyboard_gone: bool = False) -> Heard:
    """What the program hears of somebody who sits down and types an `x`, or whose keyboard is gone."""

    async def sit() -> Heard:
        keys, pressed = os.pipe()
        line, seat = Heard(), Seat(keys, keys, door)
        await seat.sit(line)
        if not keyboard_gone:
            os.write(pressed, b"x")
        os.close(pressed)
        async with asyncio.timeout(60):
            await line.typed.wait()
        seat.leave()
        os.close(keys)
        return line

    return run(sit())


def test_a_session_goes_on_where_nobody_can_look_on(tmp_path: Path) -> None:
    line = sat(tmp_path / "no such folder" / "door")

    assert (line.keys, line.closed) == (b"x", True)


def test_a_keyboard_that_is_gone_ends_the_input_of_the_program(tmp_path: Path) -> None:
    line = sat(tmp_path / "door", keyboard_gone=True)

    assert (line.keys, line.sizes) == (b"\x04", [])
    assert not (tmp_path / "door").exists()
