"""Evidence handed to callers of the service: recorded first, and what cannot be recorded does not go.

On the machine itself that is otherwise (`app.evidence`): there whoever asks can read the ledger anyway.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from rexecop.app.accesses import EXPORT, VIEW
from rexecop.app.errors import AccessUnrecorded
from rexecop.app.evidence import Asked
from rexecop.app.formats import FORMATS
from rexecop.app.instance import Instance
from rexecop.app.logs import tile_file
from rexecop.app.verifying import verify_own
from rexecop.proof.canonical import digest_of
from rexecop.proof.verify import Report

FILES: Final = ("bundle", "report")  # What a browser can take: one file each, of one operation.


def hand_out(instance: Instance, operation: str) -> bytes:
    """Return the bundle of an operation for whom `instance` acts as.

    Raises:
        AccessUnrecorded: that it goes out cannot be recorded. NotYet: there is no checkpoint.
    """
    name = instance.resolve(operation)
    data = instance.parts.evidence.bundle(name)
    _record(instance, name, EXPORT, data)
    return data


def hand_out_file(instance: Instance, operation: str, form: str) -> tuple[str, bytes]:
    """Return name and bytes of the evidence of `operation` as one of `FILES`.

    Raises:
        AccessUnrecorded: as `hand_out`.
    """
    name = f"{operation}{FORMATS[form].ending}"
    with tempfile.TemporaryDirectory(prefix="rexecop-") as folder:
        path = Path(folder) / name
        view = instance.export(operation, Asked(form=form, path=path))
        _require(view.unrecorded, operation)
        return name, path.read_bytes()


def hand_out_tile(instance: Instance, path: str, *, records: bool) -> tuple[bytes, bool] | None:
    """Return a tile of the log as `tile_file` has it; that records go out is recorded, hashes are nobody's.

    Raises:
        AccessUnrecorded: it cannot be recorded. StoreDamaged: as `tile_file`.
    """
    found = tile_file(instance.parts.store, path, records=records)
    if found is not None and "entries/" in path:
        _record(instance, f"tile/{path}", EXPORT, found[0])
    return found


def judge(instance: Instance, operation: str) -> Report:
    """Return how far the evidence of `operation` can be believed by this instance's own keys.

    That whom it acts as looked at it is recorded, with the digest of the bundle.

    Raises:
        AccessUnrecorded: it cannot be recorded.
    """
    name = instance.resolve(operation)
    data = instance.parts.evidence.bundle(name)
    own = instance.parts.ledger.journal(instance.parts.ledger.instance_id).records
    report = verify_own(data, own)
    _record(instance, name, VIEW, data)
    return report


def _record(instance: Instance, name: str, action: str, data: bytes) -> None:
    now = instance.parts.world.clock.now()
    _require(instance.parts.evidence.given(name, action, digest_of(data), now), name)


def _require(unrecorded: str | None, name: str) -> None:
    if unrecorded is not None:
        raise AccessUnrecorded(f"that evidence goes out cannot be recorded: {unrecorded}", operation=name)
