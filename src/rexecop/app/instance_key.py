"""The private key of an instance: which file holds the one in force, and how another takes its place.

The ledger says which key is in force, and the files follow it. A new key lies beside
the old one before its enrolment is recorded, and takes its place after; cut off in
between, whoever opens the root next finishes what the ledger says.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from rexecop.app.errors import InstanceKeyMissing
from rexecop.app.root import Root
from rexecop.keys import create_key, load_signer, replace_key
from rexecop.keys.errors import KeyFileMalformed, KeyFileMissing
from rexecop.operations.ports import Ledger
from rexecop.proof.signer import Signer
from rexecop.proof.trust import enrolments
from rexecop.proof.vocabulary import Role

INSTANCE_PERSON = "instance"
LOOKS = 2  # Another process may swap the files between looking at one and at the other.


class InstanceKey:
    """The instance's key in force, even when another process rotates it meanwhile.

    `kept` is where the key lies that this process replaced last.
    """

    def __init__(self, root: Root) -> None:
        """Load the key file; until `follow` it is taken to be in force."""
        self._path = root.instance_key
        self._next = root.keys / "instance.next"
        self._ledger: tuple[Ledger, str] | None = None
        self._seen = -1
        self._signer: Signer = load_signer(root.instance_key)
        self.kept: Path | None = None

    def follow(self, ledger: Ledger, instance: str) -> None:
        """Let `ledger` say from now on which key is in force, and finish a rotation that was cut off."""
        self._ledger = (ledger, instance)
        if self._next.exists():
            with self._alone():
                self._settle()

    def signer(self) -> Signer:
        """Return who signs for the instance now; each signature asks anew.

        Raises:
            InstanceKeyMissing: no file of the root holds the key that the ledger names.
        """
        size = self._ledger[0].records_of(self._ledger[1]) if self._ledger is not None else -1
        if size != self._seen:
            self._signer = self._in_force()
            self._seen = size
        return self._signer

    @contextmanager
    def replacing(self) -> Iterator[Signer]:
        """Give a new key; it takes the place of the old one if the ledger names it when the block ends.

        Nobody else replaces the key meanwhile.
        """
        with self._alone():
            self._settle()
            # Nobody is replacing the key, so what lies there never came into force.
            for left in (self._next, _public(self._next)):
                left.unlink(missing_ok=True)
            yield create_key(self._next, "rexecop instance")
            self._settle()

    def _in_force(self) -> Signer:
        standing = self._standing()
        if not standing or self._signer.public.fingerprint in standing:
            return self._signer
        for path in (self._path, self._next) * LOOKS:
            if (signer := _held(path)) is not None and signer.public.fingerprint in standing:
                return signer
        raise InstanceKeyMissing(
            f"`{self._path}` does not hold the key of this instance; its ledger names `{min(standing)}`",
            path=str(self._path),
            next_steps=("rexecop keys list",),
        )

    def _standing(self) -> set[str]:
        if self._ledger is None or not self._ledger[0].records_of(self._ledger[1]):
            return set()
        found = enrolments(self._ledger[0].journal(self._ledger[1]).records)
        return {one.fingerprint for one in found if one.role is Role.INSTANCE and one.revoked is None}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # Let go with the descriptor, also when the process is killed.
            yield
        finally:
            os.close(folder)

    def _settle(self) -> None:
        if (fresh := _held(self._next)) is not None and fresh.public.fingerprint in self._standing():
            self.kept = next(path for n in count(1) if self._is_free(path := self._retired(n)))
            replace_key(self._path, self._next, self.kept)

    def _retired(self, n: int) -> Path:
        return self._path.with_name(f"instance.retired-{n}")

    def _is_free(self, path: Path) -> bool:
        """Return whether a key may be kept at `path`; one that was put there before the cut is this one."""
        return not path.exists() or path.samefile(self._path)


def _held(path: Path) -> Signer | None:
    """Return the key in a file, None where there is no whole one: such a key was never enrolled."""
    try:
        return load_signer(path)
    except (KeyFileMissing, KeyFileMalformed):
        return None


def _public(path: Path) -> Path:
    return path.with_name(path.name + ".pub")
