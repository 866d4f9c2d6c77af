"""The file a backup is: an uncompressed tar with one spelling, written and read a member at a time.

Every header follows from a name and a size alone, so whatever else a tar can hold (links,
devices, owners, long names) is not read but refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from rexecop.app.errors import BackupRefused, FileRefused
from rexecop.app.files import reason_of
from rexecop.app.sealed import PIECE_BYTES, pieces_of
from rexecop.proof.canonical import Digest, digest_of_pieces

MEMBERS_MAX: Final = 1_500  # Far more files than packs have, and their list still fits its signature.
NAME_LENGTH_MAX: Final = 100  # What a plain tar header holds.
_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)


def require_name(name: str) -> None:
    """Return only if `name` can stand in an archive and leads nowhere but below the folder it is read into.

    Raises:
        BackupRefused: it cannot.
    """
    parts = PurePosixPath(name).parts
    plain = name.isascii() and name.isprintable() and 0 < len(name) <= NAME_LENGTH_MAX
    if not plain or "/".join(parts) != name or {"..", "/"} & set(parts):
        raise BackupRefused(f"`{name[:64]!a}` cannot name a part of a backup", member=name[:64])


def write_archive(path: Path, members: Mapping[str, Path]) -> None:
    """Write `members`, in their order, to the file `path`; a value is the file that holds the content.

    Raises:
        BackupRefused: too many, or a name that cannot stand there. OSError: a file cannot be read or written.
    """
    if len(members) > MEMBERS_MAX:
        raise BackupRefused(f"{len(members)} files, at most {MEMBERS_MAX} fit a backup", limit=MEMBERS_MAX)
    with path.open("wb") as out:
        for name, content in members.items():
            require_name(name)
            size = content.stat().st_size
            out.write(_header(name, size))
            for piece in pieces_of(content):
                out.write(piece)
            out.write(bytes(-size % _BLOCK))
        out.write(_END)


def read_archive(path: Path, folder: Path) -> dict[str, tuple[int, Digest]]:
    """Write every member of the archive `path` to a new file below `folder`; return sizes and digests.

    Raises:
        BackupRefused: it is not an archive as they are written here, whole.
        FileRefused: a file cannot be read or written.
    """
    found: dict[str, tuple[int, Digest]] = {}
    try:
        with path.open("rb") as file:
            while (block := file.read(_BLOCK)) != bytes(_BLOCK):
                name, size = _parsed(block)
                if name in found or len(found) >= MEMBERS_MAX:
                    raise BackupRefused(f"`{name}` stands there twice, or is one of too many", member=name)
                for parent in reversed(PurePosixPath(name).parents):
                    (folder / parent).mkdir(mode=0o700, exist_ok=True)
                found[name] = (size, _taken(file, size, folder / name))
            if file.read(_BLOCK + 1) != bytes(_BLOCK):
                raise BackupRefused("the backup does not end where its last part does")
    except OSError as error:
        raise FileRefused(f"`{path}` cannot be read: {reason_of(error)}", path=str(path)) from error
    return found


def _taken(file: BinaryIO, size: int, target: Path) -> Digest:
    def pieces(out: BinaryIO) -> Iterator[bytes]:
        left = size
        while left:
            piece = file.read(min(left, PIECE_BYTES))
            if not piece:
                raise BackupRefused("the backup is cut off")
            left -= len(piece)
            out.write(piece)
            yield piece

    target.touch(mode=0o600, exist_ok=False)
    with target.open("wb") as out:
        digest = digest_of_pieces(pieces(out))
    if file.read(-size % _BLOCK) != bytes(-size % _BLOCK):
        raise BackupRefused("the backup is cut off, or carries more than its parts")
    return digest


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _parsed(block: bytes) -> tuple[str, int]:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        require_name(info.name)
        if info.size >= 0 and _header(info.name, info.size) == block:
            return info.name, info.size
    except (tarfile.HeaderError, UnicodeError, ValueError):
        pass
    raise BackupRefused("the file is not a backup, or is cut off or altered")
