"""Authority as the root holds it: policy packs in files, enrolled keys in the ledger.

Both are read again whenever they changed. What cannot be read grants nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Final, Protocol

from rexecop.app.files import FolderWatch, read_file, read_folder, require_private
from rexecop.app.root import Root
from rexecop.engines.errors import JournalDamaged
from rexecop.execution.strict_yaml import load_yaml
from rexecop.governance.admission import Policy
from rexecop.governance.entities import mapping
from rexecop.governance.errors import PackManifestWrong
from rexecop.governance.obligations import Able
from rexecop.governance.pack import Pack
from rexecop.operations.ports import PinnedInput, Store
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.halts import standing
from rexecop.proof.publishing import publisher, why_unsigned
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.plan import Plan
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.vocabulary import Role

POLICIES_MAX: Final = 256  # Profiles times environments; a site has a handful of each.


class ProfilePacks(Protocol):
    """The policy a profile proposes."""

    def proposed_files(self, profile: Digest) -> Mapping[str, bytes]:
        """Return the files below `policy/` of a pinned profile; usually none."""
        ...

    def narrowing_files(self, environment: Digest, profile: Digest) -> Mapping[str, bytes]:
        """Return the policy files that the rules of a pinned environment come to; usually none."""
        ...

    def redactions(self, profile: Digest) -> frozenset[str]:
        """Return the names of the redaction rules of a pinned profile."""
        ...


class RootAuthority:
    """Packs below `policy/` of a root, and the trust records of its instance chain."""

    def __init__(
        self, root: Root, store: Store, instance: str, profiles: ProfilePacks, tells: Callable[[str], bool]
    ) -> None:
        self._root = root
        self._store = store
        self.instance = instance
        self._profiles = profiles
        self._tells = tells
        self._watch = FolderWatch(root.policy)
        self._packs: tuple[Pack, ...] = ()
        self._folders: dict[str, Path] = {}
        self._unreadable: tuple[str, ...] = ()
        self._policies: dict[tuple[Digest | None, Digest | None], Policy] = {}
        self._signing = False
        self._signed_size = 0
        self._trust_size = -1
        self._enrolments: tuple[Enrolment, ...] = ()
        self._halts_size = -1
        self._halts: tuple[Halt, ...] = ()
        self._trusting: tuple[Sealed, ...] = ()
        # Threads that look ask too. While packs are read again nobody decides by half of them.
        self._reading = RLock()

    def policy(self, profile: Digest | None = None, environment: Digest | None = None) -> Policy:
        """Return the packs in force for operations of `profile` in `environment`, whose rules only narrow.

        A pack that cannot be read, or that others could write, makes the policy answer no to
        everything: it might have held the forbid that matters.
        """
        with self._reading:
            self._refresh()
            key = (profile, environment)
            found = self._policies.get(key)
            if found is None:
                if len(self._policies) >= POLICIES_MAX:
                    self._policies.clear()
                found = self._policies[key] = self._policy(self._packs, profile, environment)
            return found

    def is_at_hand(self) -> bool:
        """Return whether `policy` answers at once: no file changed, and nobody is just reading them."""
        if not self._reading.acquire(blocking=False):
            return False
        try:
            return (None, None) in self._policies and self._watch.is_as_seen()
        finally:
            self._reading.release()

    def policy_under(self, candidate: Pack, profile: Digest | None = None) -> Policy:
        """Return what would be in force with `candidate` adopted: in the place of the pack of its name."""
        others = (pack for pack in self.packs() if pack.ref.id != candidate.ref.id)
        return self._policy((*others, candidate), profile)

    def packs(self) -> tuple[Pack, ...]:
        """Return the operator's packs in force."""
        with self._reading:
            self._refresh()
            return self._packs

    def folder_of(self, pack: str) -> Path:
        """Return where the operator's pack of that name is, or would be."""
        self.packs()
        return self._folders.get(pack, self._root.policy / pack)

    def require_signed(self, pack: Pack) -> None:
        """Return only if the root asks for no signature, or `pack` has one that counts.

        Raises:
            PackUnsigned: it has none.
        """
        self.packs()
        if self._signing:
            pack.signed(self.enrolments())

    def policy_with(self, built_in: Pack) -> Policy:
        """Return the operator's packs in force, and beside them one that comes with the program."""
        with self._reading:
            self._refresh()
            key = (built_in.ref.digest, None)
            found = self._policies.get(key)
            if found is None:
                found = self._policies[key] = Policy((*self._packs, built_in), (), self._unreadable)
            return found

    def _refresh(self) -> None:
        size = self._store.records_of(self.instance) if self._signing else 0
        changed = self._signing and size != self._signed_size  # Whose key counts may have changed.
        # Files that change while they are read are read again: half of two packs is no pack.
        while self._watch.changed() or changed:
            self._policies, self._packs, self._unreadable, changed = {}, (), (), False
            try:
                self._signing = signatures_required(self._root.policy)
                self._signed_size = self._store.records_of(self.instance)
                enrolled = self.enrolments() if self._signing else None
                found, self._unreadable = _read_packs(self._root.policy, enrolled)
                self._folders = {pack.ref.id: folder for folder, pack in found}
                self._packs = tuple(pack for _, pack in found)
            except (RexecopError, OSError) as error:
                self._unreadable = (str(error),)

    def _policy(
        self, operator: tuple[Pack, ...], profile: Digest | None, environment: Digest | None = None
    ) -> Policy:
        proposed, unreadable = self._proposed(profile, environment)
        # An adopted pack stands in the place of the one the profile proposes under its name.
        adopted = {pack.ref.id for pack in operator}
        proposed = tuple(pack for pack in proposed if pack.ref.id not in adopted)
        rules = frozenset() if profile is None else self._profiles.redactions(profile)
        able = Able(redactions=rules, tells=self._tells, unsigned=self._unsigned)
        return Policy(operator, proposed, (*self._unreadable, *unreadable), able)

    def publisher(self, fingerprint: str, at: datetime) -> str | None:
        """Return who publishes profiles by that key at that moment; nobody while no key counts."""
        try:
            return publisher(self.enrolments(), fingerprint, at)
        except JournalDamaged:
            return None

    def _unsigned(self, plan: Plan, at: datetime) -> str | None:
        """Return why no signature of the plan's profile counts at that moment, as the ledger says now."""
        try:
            return why_unsigned(plan, self.enrolments(), at)
        except RexecopError as error:
            return f"whose key counts is not known: {error.message}"

    def _proposed(
        self, profile: Digest | None, environment: Digest | None
    ) -> tuple[tuple[Pack, ...], tuple[str, ...]]:
        found: list[Pack] = []
        unreadable: list[str] = []
        try:
            files = {} if profile is None else self._profiles.proposed_files(profile)
            found += [Pack.parse(files)] if files else []
        except RexecopError as error:
            unreadable.append(f"the profile's own: {error.message}")
        try:
            if profile is not None and environment is not None:
                files = self._profiles.narrowing_files(environment, profile)
                found += [Pack.parse(files)] if files else []
        except RexecopError as error:
            unreadable.append(f"the environment's own: {error.message}")
        return tuple(found), tuple(unreadable)

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
        size = self._store.records_of(self.instance)
        if size != self._trust_size:
            self._trusting = self._read_trust()
            self._enrolments = enrolments(self._trusting)
            self._trust_size = size
        return self._enrolments

    def halts(self, size: int | None = None) -> tuple[Halt, ...]:
        """Return the halts that stand, whoever recorded them in whatever process; see `World.authority`.

        A record of the instance that is lost may have been one: reads go on without it, and
        nothing changes, since no key counts either.
        """
        size = self._store.records_of(self.instance) if size is None else size
        if size != self._halts_size:
            self._halts = standing(self._store.journal(self.instance).records)
            self._halts_size = size
        return self._halts

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records: who is trusted, and what is approved beforehand.

        Raises:
            JournalDamaged: one of them is lost; it may be the one that revoked a key.
        """
        self.enrolments()
        return self._trusting

    def approver_keys(self) -> frozenset[str]:
        """Return the fingerprints of the keys that stand for approvers."""
        return frozenset(
            one.fingerprint for one in self.enrolments() if one.role is Role.APPROVER and one.revoked is None
        )

    def _read_trust(self) -> tuple[Sealed, ...]:
        journal = self._store.journal(self.instance)
        if journal.damaged:
            raise JournalDamaged(
                f"record {journal.damaged[0].n} of the instance's own chain cannot be read: "
                "whether it revoked a key is not known, so no key counts",
                n=journal.damaged[0].n,
                next_steps=("rexecop recover --from BACKUP",),
            )
        return journal.records


def signatures_required(folder: Path) -> bool:
    """Return whether packs in `folder` have to be signed: `signatures: required` in its `signing.yaml`.

    Raises:
        RootUnsafe: others could write the file. YamlRefused, PackManifestWrong: it says something else.
    """
    path = folder / "signing.yaml"
    if not path.exists() and not path.is_symlink():
        return False
    require_private(path)
    document = load_yaml(read_file(path), source=path.name)
    said = mapping(document, (), frozenset({"signatures"}), PackManifestWrong).get("signatures")
    if said not in ("required", "optional"):
        what = "`signatures` is `required` or `optional`"
        raise PackManifestWrong(what, source=path.name, line=document.line(("signatures",)))
    return said == "required"


def _read_packs(
    folder: Path, enrolled: tuple[Enrolment, ...] | None
) -> tuple[list[tuple[Path, Pack]], tuple[str, ...]]:
    """Return packs with their folders, and what cannot be read; with `enrolled` they have to be signed."""
    packs: list[tuple[Path, Pack]] = []
    unreadable: list[str] = []
    require_private(folder)
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            files = read_folder(path)
            for part in sorted({path, *((path / name).parent for name in files)}):
                require_private(part)
            for name in files:
                require_private(path / name)
            pack = Pack.parse(files)
            packs.append((path, pack if enrolled is None else pack.signed(enrolled)))
        except RexecopError as error:
            unreadable.append(f"`{path.name}`: {error.message}")
    return packs, tuple(unreadable)
