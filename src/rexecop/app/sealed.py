"""Archives that leave the house: members named by digest in a manifest that the instance signs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rexecop.app.errors import FileRefused
from rexecop.app.files import reason_of
from rexecop.proof import dsse
from rexecop.proof.errors import SignerUnknown
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer

MANIFEST: Final = "manifest.json"
ENVELOPE: Final = "manifest.dsse.json"
MANIFEST_TYPE: Final = "application/vnd.rexecop.manifest+json"
PIECE_BYTES: Final = 1 << 20


def seal_manifest(manifest: bytes, signer: Signer) -> bytes:
    """Return the DSSE envelope in which `signer` vouches for `manifest`."""
    return dsse.encode(dsse.sign(signer, MANIFEST_TYPE, manifest))


def signer_of(envelope: bytes, manifest: bytes, keys: Iterable[PublicKey]) -> PublicKey | None:
    """Return which of `keys` vouches for `manifest` in `envelope`, None if none of them does.

    Raises:
        SignatureError: the envelope is of something else, or a signature in it is wrong.
    """
    opened = dsse.decode(envelope)
    for key in keys:
        try:
            if dsse.verify(opened, key, payload_type=MANIFEST_TYPE) == manifest:
                return key
        except SignerUnknown:
            continue
    return None


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, a piece at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Lend a path to write to, beside `path`; what was written becomes `path`, flushed, or nothing does.

    Raises:
        FileRefused: there is something at `path`, or it cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise FileRefused(f"there is a file at `{path}` already", path=str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        yield part
        flush(part)
        part.rename(path)
        flush(path.parent)
    except OSError as error:
        raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Return when the file or folder `path` is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
