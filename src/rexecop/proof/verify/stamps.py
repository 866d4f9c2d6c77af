"""Step 4, time stamps: who else saw the checkpoint, and by when."""

from __future__ import annotations

from typing import Final

from rexecop.proof import stamp
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import CLOCK_TOLERANCE
from rexecop.proof.errors import ProofError, SignatureUnsupported, StampUntrusted
from rexecop.proof.times import format_time
from rexecop.proof.verify.evidence import Notes, Opened
from rexecop.proof.verify.report import Stamp

_REVOKED: Final = "whether certificates of time stamp authorities were revoked"


def check(opened: Opened, notes: Notes) -> None:
    """Note what stamps over the checkpoint's text show, and what is wrong with them."""
    if opened.note is None:
        return
    newest = opened.newest
    shown: list[Stamp] = []
    for data in opened.contents.stamps:
        what = f"time stamp `{digest_of(data).removeprefix('sha256:')[:16]}`"
        try:
            found = stamp.decode(data)
            what += f" of {format_time(found.at)}"
            authority = stamp.verify(found, opened.note.text.encode(), opened.trust.authorities)
        except (SignatureUnsupported, StampUntrusted) as error:
            notes.skip(what, error.message)
        except ProofError as error:
            notes.fault("E04o", f"{what}: {error.message}")
        else:
            if newest is not None and found.at < newest - CLOCK_TOLERANCE:
                notes.fault("E04o", f"{what} is older than a record under it, of {format_time(newest)}")
            else:
                shown.append(Stamp(authority=authority.name, at=found.at))
    notes.stamped = tuple(sorted(shown, key=lambda one: one.at))
    if shown:
        notes.skip(_REVOKED, "no list of revocations is looked at")
