"""Authority as the root holds it: policy packs in files, enrolled keys in the ledger.

Both are read again whenever they changed. What cannot be read grants nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from rexecop.app.files import FolderWatch, read_folder, require_private
from rexecop.app.root import Root
from rexecop.engines.errors import JournalDamaged
from rexecop.governance.admission import Policy
from rexecop.governance.pack import Pack
from rexecop.operations.ports import PinnedInput, Store
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.halts import standing
from rexecop.proof.records.instance import Halt
from rexecop.proof.trust import Enrolment, enrolments


class ProfilePacks(Protocol):
    """The policy a profile proposes."""

    def proposed_files(self, profile: Digest) -> Mapping[str, bytes]:
        """Return the files below `policy/` of a pinned profile; usually none."""
        ...


class RootAuthority:
    """Packs below `policy/` of a root, and the trust records of its instance chain."""

    def __init__(self, root: Root, store: Store, instance: str, profiles: ProfilePacks) -> None:
        self._root = root
        self._store = store
        self._instance = instance
        self._profiles = profiles
        self._watch = FolderWatch(root.policy)
        self._packs: tuple[Pack, ...] = ()
        self._unreadable: tuple[str, ...] = ()
        self._policies: dict[Digest | None, Policy] = {}
        self._trust_size = -1
        self._enrolments: tuple[Enrolment, ...] = ()
        self._halts: tuple[Halt, ...] = ()

    def policy(self, profile: Digest | None = None) -> Policy:
        """Return the packs in force for operations of `profile`.

        A pack that cannot be read, or that others could write, makes the policy answer no to
        everything: it might have held the forbid that matters.
        """
        self._refresh()
        found = self._policies.get(profile)
        if found is None:
            proposed, unreadable = self._proposed(profile)
            found = Policy(self._packs, proposed, (*self._unreadable, *unreadable))
            self._policies[profile] = found
        return found

    def policy_with(self, built_in: Pack) -> Policy:
        """Return the operator's packs in force, and beside them one that comes with the program."""
        self._refresh()
        found = self._policies.get(built_in.ref.digest)
        if found is None:
            found = Policy((*self._packs, built_in), (), self._unreadable)
            self._policies[built_in.ref.digest] = found
        return found

    def _refresh(self) -> None:
        if self._watch.changed():
            self._packs, self._unreadable = _read_packs(self._root.policy)
            self._policies = {}

    def _proposed(self, profile: Digest | None) -> tuple[tuple[Pack, ...], tuple[str, ...]]:
        files = {} if profile is None else self._profiles.proposed_files(profile)
        if not files:
            return (), ()
        try:
            return (Pack.parse(files),), ()
        except RexecopError as error:
            return (), (f"the profile's own: {error.message}",)

    def pinned_packs(self) -> tuple[PinnedInput, ...]:
        """Return the operator's packs as inputs to pin beside the decisions made under them."""
        return tuple(
            PinnedInput(digest=pack.ref.digest, role="policy-pack", data=pack.data) for pack in self._packs
        )

    def enrolments(self) -> tuple[Enrolment, ...]:
        """Return the keys this instance trusts or trusted.

        Raises:
            JournalDamaged: see `trust_records`.
        """
        self._read_own()
        return self._enrolments

    def halts(self) -> tuple[Halt, ...]:
        """Return the halts that stand, whoever recorded them in whatever process.

        Raises:
            JournalDamaged: see `trust_records`.
        """
        self._read_own()
        return self._halts

    def _read_own(self) -> None:
        size = self._store.records_of(self._instance)
        if size != self._trust_size:
            records = self.trust_records()
            self._enrolments, self._halts = enrolments(records), standing(records)
            self._trust_size = size

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records.

        Raises:
            JournalDamaged: one of them is lost; it may be the one that revoked a key.
        """
        journal = self._store.journal(self._instance)
        if journal.damaged:
            raise JournalDamaged(
                f"record {journal.damaged[0].n} of the instance's own chain cannot be read: "
                "whether it revoked a key is not known, so no key counts",
                n=journal.damaged[0].n,
                next_steps=("rexecop recover --from BACKUP",),
            )
        return journal.records


def _read_packs(folder: Path) -> tuple[tuple[Pack, ...], tuple[str, ...]]:
    packs: list[Pack] = []
    unreadable: list[str] = []
    try:
        require_private(folder)
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
    except (RexecopError, OSError) as error:
        return (), (str(error),)
    for path in folders:
        try:
            require_private(path)
            files = read_folder(path)
            for name in files:
                require_private(path / name)
            packs.append(Pack.parse(files))
        except RexecopError as error:
            unreadable.append(f"`{path.name}`: {error.message}")
    return tuple(packs), tuple(unreadable)
