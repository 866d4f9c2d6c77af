"""Sitting at a recorded session, looking on at one, and its film afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rexecop.app.cast import asciicast
from rexecop.app.errors import SessionUnknown
from rexecop.app.isolation import LazyLanes
from rexecop.lanes.seat import Seat, look_on
from rexecop.proof.call import is_attended
from rexecop.proof.records import Attempt, Outcome, Stretch
from rexecop.proof.records.plan import CallStep

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.reading import Reading

DOORS: Final = "run"  # The folder of a root in which sessions that run can be looked on at.
DOOR_LENGTH_MAX: Final = 100  # A socket's address holds 107 bytes.


def sit(instance: Instance, operation: str, keys: int, screen: int) -> None:
    """Have whoever is at the descriptors `keys` and `screen` sit at the terminal of `operation`.

    Raises:
        SessionUnknown: no step of it has a terminal for a person.
    """
    view = instance.status(operation)
    if not any(_attended(step) for step in instance.operation(operation).the_plan.steps):
        words = f"operation `{view.number}` has no terminal for a person"
        raise SessionUnknown(
            words, next_steps=("rexecop plan --profile adhoc --intent session --target NAME",)
        )
    lanes = instance.parts.world.lanes
    assert isinstance(lanes, LazyLanes)
    lanes.seat = Seat(keys, screen, _door(instance.settings.root, view.number))


async def join(root: Path, number: int, show: Callable[[bytes], None], joined: Callable[[], None]) -> None:
    """Look on at the session of operation `number` until it ends; `joined` is called once it is found.

    Raises:
        SessionUnknown: it does not run, or is not one of this account.
    """
    try:
        await look_on(_door(root, number), show, joined)
    except OSError as error:
        raise SessionUnknown(f"no session of operation `{number}` runs here") from error


def film(reading: Reading, operation: str) -> Iterator[str]:
    """Yield the lines of the asciicast of a session that is over.

    Raises:
        SessionUnknown: nothing of a terminal was kept.
    """
    op, stretches = reading.operation(operation), reading.records_of_kind(operation, Stretch)
    ends = [end for end in reading.records_of_kind(operation, Outcome) if "stdout" in (end.blobs or {})]
    if op.plan is None or not ends or not any(map(_attended, op.the_plan.steps)):
        raise SessionUnknown("this operation kept nothing of a terminal")
    end = ends[-1]
    text = next((out.text for out in reading.outputs(operation, end.step) if out.stream == "stdout"), None)
    if text is None:
        raise SessionUnknown("what the terminal showed was erased")
    began = next(a.at for a in reading.records_of_kind(operation, Attempt) if a.permit.step == end.step)
    mine = [stretch for stretch in stretches if stretch.attempt == end.attempt]
    yield from asciicast(began, text.encode(), mine)


def _attended(step: object) -> bool:
    return isinstance(step, CallStep) and is_attended(step.call)


def _door(root: Path, number: int) -> Path:
    """Return where the session of an operation can be looked on at.

    Raises:
        SessionUnknown: the root's path is too long for a socket.
    """
    folder = root.resolve() / DOORS
    folder.mkdir(mode=0o700, exist_ok=True)
    door = folder / f"{number}.sock"
    if len(str(door).encode()) > DOOR_LENGTH_MAX:
        words = f"the root's path is too long for a socket, {DOOR_LENGTH_MAX} bytes at most"
        raise SessionUnknown(words, found=str(door)[:60])
    return door
