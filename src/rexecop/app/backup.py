"""Backups: a copy of ledger, policy and configuration that proves itself, and a root made from one.

A restored root is the same log under the next epoch: whoever kept a later checkpoint of
the root that was lost is told what the restore lost.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from rexecop import __version__
from rexecop.app.archive import read_archive, write_archive
from rexecop.app.build import open_ledger
from rexecop.app.clock import SystemClock, uuid7_hex
from rexecop.app.errors import BackupRefused, FileRefused, RestoreRefused, RootUnwritable
from rexecop.app.files import read_file, reason_of, write_new
from rexecop.app.identity import os_user
from rexecop.app.instance_key import InstanceKey
from rexecop.app.keyring import Keyring
from rexecop.app.ledger import FilePlace, ledger_of
from rexecop.app.recovering import begin_epoch
from rexecop.app.root import Root
from rexecop.app.rootid import mark_of
from rexecop.app.sealed import ENVELOPE, MANIFEST, flush, new_file, pieces_of, seal_manifest, signer_of
from rexecop.app.settings import Settings
from rexecop.keys import load_signer
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof.canonical import Digest, digest_of_pieces
from rexecop.proof.checkpoint import Checkpoint, origin_of
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import RexecopError, SignerUnknown
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.verify import TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import Role
from rexecop.store import backup as copies
from rexecop.store.ledger import LedgerStore
from rexecop.store.sqlite import SqliteStore
from rexecop.store.sqlite_migrate import migrate

MANIFEST_BYTES_MAX: Final = 1024 * 1024  # A line for each of the members an archive may have, in base64.
LEFT_OUT_MAX: Final = 100  # Names of files left out that are listed.
LEDGER: Final = "ledger.sqlite"
CHECKPOINT: Final = "checkpoint.txt"
FOLDERS: Final = ("policy/", "shadow/", "keys/", "gateways/")
CONFIGURATION: Final = (
    ".gitignore", "authzen.yaml", "execute.yaml", "hello.environment.yaml", "notify.yaml", "schedules.yaml",
    "secrets.yaml", "service.yaml", "webhooks.yaml",
)  # fmt: skip
NEWER: Final = "whether the log had gone on, or was rewound, when it was copied: no backup can say that"
UNKNOWN_KEY: Final = "whether the key that signed is the instance's: none is trusted here, so ask its owner"
NO_KEY: Final = (
    "the backup holds no private keys: give the instance's with `--instance-key FILE`; where it is lost, "
    "give a new one, which is enrolled and which whoever verifies has to be given"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """What a backup holds; `left_out` are files of the root that are not in it."""

    kind: ClassVar[str] = "backup/1"

    program: str
    private_keys: bool
    members: Mapping[str, Digest]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupView:
    """A backup that was written or looked at: `whole`, or `refused` for what is `wrong`.

    It is of the log `origin` with `size` records, and `signer` vouches for it.
    """

    path: str
    verdict: str
    wrong: str | None = None
    origin: str | None = None
    size: int | None = None
    signer: str | None = None
    quarantined: int = 0
    manifest: BackupManifest | None = None
    not_checked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreView:
    """A root that was made from a backup."""

    root: str
    epoch: int
    continues: int
    reason: str
    instance_key: str
    key_is_new: bool
    next: tuple[str, ...]
    not_checked: tuple[str, ...] = ()


def create_backup(settings: Settings, path: Path, *, with_keys: bool) -> BackupView:
    """Write a backup of the root in force to the new file `path`, while others go on writing.

    It was read back and verified before it got its name.

    Raises:
        RootIdentityDoubtful: it may be a copy itself, and must not sign for what it was copied from.
        BackupRefused: the ledger is damaged, and `recover` comes first. FileRefused: see `new_file`.
    """
    root = Root(settings.root)
    root.require()
    key = InstanceKey(root)
    with (
        open_ledger(root, key, ledger_of(root, settings.storage)) as store,
        new_file(path) as part,
        _beside(path) as folder,
    ):
        store.require_sure()
        signer = key.signer()
        store.copy_to(folder / LEDGER)
        left_out = _gather(root, folder, with_keys=with_keys)
        write_new(folder / CHECKPOINT, _signed(folder / LEDGER, signer))
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        members = {file.relative_to(folder).as_posix(): file for file in files}
        digests = {name: digest_of_pieces(pieces_of(file)) for name, file in members.items()}
        manifest = encode(
            BackupManifest(program=__version__, private_keys=with_keys, members=digests, left_out=left_out)
        )
        write_new(folder / MANIFEST, manifest)
        write_new(folder / ENVELOPE, seal_manifest(manifest, signer))
        write_archive(part, {name: folder / name for name in (MANIFEST, ENVELOPE, *members)})
        (folder / "again").mkdir()
        own = TrustedKey(role=Role.INSTANCE, name="instance", public=signer.public)
        view = opened_backup(part, folder / "again", TrustedKeys(keys=(own,)))
    return replace(view, path=str(path))


def _signed(ledger: Path, signer: Signer) -> bytes:
    """Return a checkpoint over the log in the copy `ledger`, recomputed from its bytes."""
    with SqliteStore.open(ledger, read_only=True) as copy:
        report, origin = copy.verify_log(), origin_of(copy.instance_id, copy.epoch)
    if report.bad is not None or not report.root:
        why = "its tree is damaged" if report.bad is None else report.bad.reason
        raise BackupRefused(
            f"the ledger cannot be vouched for: {why}", next_steps=("rexecop recover --full",)
        )
    return checkpoints.sign(Checkpoint(origin=origin, size=report.size, root=report.root), signer)


def _gather(root: Root, folder: Path, *, with_keys: bool) -> tuple[str, ...]:
    """Copy policy, keys and configuration to `folder`/root; return the names of files left out.

    A file with `secret` in its name is taken for a private key, wherever it lies; the one
    that says where secrets are holds none.
    """
    left_out: list[str] = []
    for path in sorted(root.path.rglob("*")):
        name = path.relative_to(root.path).as_posix()
        # Slots say who is at work now, and are made again.
        if path.is_dir() or name.startswith((root.ledger.name, "quota/")) or path == root.place:
            continue
        secret = "secret" in name.lower() and name not in CONFIGURATION
        secret |= name.startswith("keys/") and path.suffix != ".pub"
        ours = name.startswith(FOLDERS) or name in CONFIGURATION or path.suffix == ".toml"
        if path.is_file() and not path.is_symlink() and ours and (with_keys or not secret):
            write_new(folder / "root" / name, read_file(path))
        else:
            left_out.append(name)
    return tuple(left_out[:LEFT_OUT_MAX])


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Lend a private folder on the file system of `path`, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
        yield Path(folder)


# --- looking at one ---


def verify_backup(path: Path, trust: TrustedKeys) -> BackupView:
    """Return what is wrong with the backup at `path`, everything in it read and computed again.

    Raises:
        FileRefused: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="rexecop-backup-") as folder:
        try:
            return opened_backup(path, Path(folder), trust)
        except FileRefused:
            raise
        except RexecopError as error:
            return BackupView(path=str(path), verdict="refused", wrong=error.message)


def opened_backup(path: Path, folder: Path, trust: TrustedKeys) -> BackupView:
    """Write the members of the backup `path` below `folder`, and return what it is: whole.

    Raises:
        BackupRefused, ProofError, OperationsError: it is none, or not whole. FileRefused: it cannot be read.
    """
    found = read_archive(path, folder)
    if not {MANIFEST, ENVELOPE, CHECKPOINT, LEDGER} <= found.keys():
        raise BackupRefused("the backup lacks its manifest, signature, checkpoint or ledger")
    if any(found[name][0] > MANIFEST_BYTES_MAX for name in (MANIFEST, ENVELOPE, CHECKPOINT)):
        raise BackupRefused(f"its manifest, signature or checkpoint has more than {MANIFEST_BYTES_MAX} bytes")
    data = (folder / MANIFEST).read_bytes()
    manifest = decode(BackupManifest, data, bytes_max=MANIFEST_BYTES_MAX)
    sealed = {name: digest for name, (_, digest) in found.items() if name not in (MANIFEST, ENVELOPE)}
    if wrong := {name for name, _ in sealed.items() ^ manifest.members.items()}:
        raise BackupRefused(f"`{min(wrong)}` is not what the manifest says")
    migrate(folder / LEDGER)  # A copy of ours: one of an older schema is read like a new one.
    copies.require_whole(folder / LEDGER)
    with SqliteStore.open(folder / LEDGER, read_only=True) as copy:
        report, origin = copy.verify_log(), origin_of(copy.instance_id, copy.epoch)
        own = tuple(PublicKey.from_line(item.public) for item in _instance_keys(copy))
    if report.bad is not None:
        raise BackupRefused(f"record {report.bad.n} of `{report.bad.operation_id}`: {report.bad.reason}")
    trusted = tuple(key.public for key in trust.of(Role.INSTANCE))
    signer = signer_of((folder / ENVELOPE).read_bytes(), data, trusted or own)
    if signer is None:
        raise SignerUnknown("the manifest is not signed by a key of the instance")
    key = NoteKey(name=origin, public=signer, type=SignatureType.ED25519)
    found_keys = {origin: (key,)}
    held = checkpoints.verify(
        (folder / CHECKPOINT).read_bytes(), lambda log: found_keys.get(log, ())
    ).checkpoint
    if (held.size, held.root) != (report.size, report.root):
        raise BackupRefused("the checkpoint is not of the log in the backup")
    return BackupView(
        path=str(path),
        verdict="whole",
        origin=origin,
        size=held.size,
        signer=signer.fingerprint,
        quarantined=len(report.quarantined),
        manifest=manifest,
        not_checked=(NEWER,) if trusted else (UNKNOWN_KEY, NEWER),
    )


def _instance_keys(ledger: LedgerStore) -> tuple[Enrolment, ...]:
    records = ledger.journal(ledger.instance_id).records
    return tuple(item for item in enrolments(records) if item.role is Role.INSTANCE)


# --- making a root of one ---


def restore_backup(
    path: Path,
    target: Path,
    trust: TrustedKeys,
    *,
    reason: str | None,
    key: Path | None,
    storage: str = "sqlite",
) -> RestoreView:
    """Make the root `target` of the backup `path`, proved by its log and begun as the next epoch.

    `target` is there whole afterwards, or not at all. `key` is the instance's private key where
    the backup has none, or a new one where it is lost. `storage` says where the ledger is to be.

    Raises:
        RestoreRefused: there is something at `target`, or no key. BackupRefused: the backup is not whole.
        RootUnwritable: it cannot be written.
    """
    try:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise RestoreRefused(f"`{target}` is not empty; a backup makes a new root", path=str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        with _beside(target) as folder:
            view = opened_backup(path, folder, trust)
            root = Root(folder / "root")
            place = ledger_of(root, storage, uuid7_hex())
            made = _begun(root, folder / LEDGER, reason or f"restored from `{path.name}`", key)
            if not isinstance(place, FilePlace):
                place.take_in(root.ledger)
                with place.open() as store:
                    store.mark(mark_of(root, store.instance_id).text())
            for file in (*root.path.rglob("*"), root.path):
                flush(file)
            root.path.rename(target)
            flush(target.parent)
    except OSError as error:
        raise RootUnwritable(f"`{target}` cannot be made: {reason_of(error)}", path=str(target)) from error
    return replace(made, root=str(target), not_checked=view.not_checked)


def _begun(root: Root, ledger: Path, reason: str, key: Path | None) -> RestoreView:
    """Complete `root`, of which only the files are there, with `ledger` and key, and begin its epoch.

    Raises:
        RestoreRefused: there is no instance key. BackupRefused: what was written is not what was read.
    """
    for made in (root.path, root.keys):
        made.mkdir(mode=0o700, exist_ok=True)
    ledger.rename(root.ledger)
    if key is not None:
        line = f"{load_signer(key).public.line}\n".encode()
        for file, data in ((root.instance_key, read_file(key)), (root.keys / "instance.pub", line)):
            file.unlink(missing_ok=True)
            write_new(file, data)
    elif not root.instance_key.exists():
        raise RestoreRefused(NO_KEY, next_steps=("ssh-keygen -t ed25519 -N '' -f instance.key",))
    signer = load_signer(root.instance_key)
    mine = signer.public.fingerprint
    with SqliteStore.open(root.ledger) as store:
        before = store.size()
        begin_epoch(store, root, store.examine(), reason)
        standing = [item.fingerprint for item in _instance_keys(store) if item.revoked is None]
        fresh = mine not in standing
        if fresh:  # Before anything is signed: the ledger says which key signs.
            keys = Keyring(store, SystemClock(), store.instance_id)
            asyncio.run(keys.enrol(signer.public, "instance", Role.INSTANCE, os_user()))
    with open_ledger(root, InstanceKey(root), FilePlace(root)) as store:
        covered, report = store.checkpoint(), store.verify_log()
        if covered is None or report.bad is not None or report.size != covered.size:
            raise BackupRefused("the log that was written is not the one that was read")
        revoke = tuple(f"rexecop keys revoke {old}" for old in standing if fresh)
        return RestoreView(
            root="",
            epoch=store.epoch,
            continues=before,
            reason=reason,
            instance_key=mine,
            key_is_new=fresh,
            next=("rexecop doctor", *revoke),
        )
