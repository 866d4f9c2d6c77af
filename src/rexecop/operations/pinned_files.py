"""Snapshots: the files of a profile or environment as the one byte string that a record pins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from rexecop.operations.errors import EnvironmentRefused, InputMissing, InputRefused, ProfileRefused
from rexecop.proof.canonical import Digest
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError
from rexecop.proof.publishing import signer_of

SNAPSHOT_BYTES_MAX: Final = 8 * 1024 * 1024  # A large profile takes some hundred kilobytes.
FILES_MAX: Final = 2048  # An intent needs four files; no domain has five hundred intents.
PATH_LENGTH_MAX: Final = 256  # What every file system and archive holds.
ENVIRONMENT_FILE: Final = "environment.yaml"
SIGNATURE: Final = "profile.sig"  # Its name is none of those that a profile's digest covers.

FOLDERS: Final = (
    *("intents", "workflows", "connectors", "validation_rules", "normalizers", "fixtures"),
    *("reactions", "triggers", "policy", "scripts", "redactions"),
)
ENDINGS: Final = (".yaml", ".yml", ".cedar", ".cedarschema", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSnapshot:
    """All files a profile's behaviour depends on, by path."""

    kind: ClassVar[str] = "profile-snapshot/1"

    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSnapshot:
    """The file of an environment, always under the same name."""

    kind: ClassVar[str] = "environment-snapshot/1"

    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSignature:
    """What lies in `profile.sig`: the fingerprint of the `key` that signed the digest, or why none did."""

    data: bytes = b""
    key: str | None = None
    problem: str | None = None


def profile_snapshot(files: Mapping[str, bytes]) -> bytes:
    """Return the canonical bytes of the files that belong to a profile.

    Raises:
        ProfileRefused: too many or too large files, or one that is not UTF-8 text.
    """
    kept = {path: data for path, data in sorted(files.items()) if _belongs(path)}
    most = SNAPSHOT_BYTES_MAX // 2
    if len(kept) > FILES_MAX:
        raise ProfileRefused(f"{len(kept)} files, at most {FILES_MAX} are read", limit=FILES_MAX)
    if sum(map(len, kept.values())) > most:
        raise ProfileRefused(f"files take more than {most} bytes", limit=most)
    for path in kept:
        if not path.isascii() or len(path) > PATH_LENGTH_MAX:
            raise ProfileRefused(f"file name `{path[:60]!a}` is not short ASCII", file=path)
    texts = {path: _text(path, data, ProfileRefused) for path, data in kept.items()}
    return encode(ProfileSnapshot(files=texts))


def environment_snapshot(files: Mapping[str, bytes]) -> bytes:
    """Return the canonical bytes of the one file of an environment.

    Raises:
        EnvironmentRefused: there is not exactly one file, or it is not UTF-8 text.
    """
    if len(files) != 1:
        raise EnvironmentRefused(f"{len(files)} environment files, one is read")
    ((file, data),) = files.items()
    return encode(EnvironmentSnapshot(files={ENVIRONMENT_FILE: _text(file, data, EnvironmentRefused)}))


def read_signature(files: Mapping[str, bytes], digest: Digest) -> ProfileSignature:
    """Return what the signature among the `files` of the profile with that digest says, if there is one."""
    data = files.get(SIGNATURE)
    if data is None:
        return ProfileSignature()
    try:
        return ProfileSignature(data=data, key=signer_of(data, digest).fingerprint)
    except ProofError as error:
        return ProfileSignature(data=data, problem=f"no signature of this profile: {error.message}")


def files_of_snapshot(data: bytes, kind: str) -> dict[str, bytes]:
    """Return the files pinned in `data`, a snapshot of `kind`.

    Raises:
        InputMissing: `data` is not such a snapshot.
    """
    try:
        if kind == ProfileSnapshot.kind:
            texts = decode(ProfileSnapshot, data, bytes_max=SNAPSHOT_BYTES_MAX).files
        else:
            texts = decode(EnvironmentSnapshot, data, bytes_max=SNAPSHOT_BYTES_MAX).files
    except ProofError as error:
        raise InputMissing(f"pinned bytes are no `{kind}`: {error.message}", kind=kind) from error
    return {path: text.encode("utf-8") for path, text in texts.items()}


def _belongs(path: str) -> bool:
    folder, slash, _ = path.partition("/")
    if slash and folder == "scripts":
        return True  # Whatever the interpreter calls its files.
    return path.endswith(ENDINGS if slash else (".yaml", ".yml")) and (not slash or folder in FOLDERS)


def _text(file: str, data: bytes, refused: type[InputRefused]) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused(f"{file}:1: not UTF-8", file=file, line=1) from error
