"""Evidence folders on disk: written whole or not at all, and read back with nothing overlooked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rexecop.app.errors import FileRefused, GuardKeyRefused
from rexecop.app.files import read_file, reason_of
from rexecop.app.sclite.folder import GUARD, make_folder
from rexecop.proof.container import CONTAINER_BYTES_MAX
from rexecop.proof.errors import ProofError
from rexecop.proof.verify import Beside

if TYPE_CHECKING:
    pass

GUARD_KEY_BYTES_MIN: Final = 32  # As long as what HMAC-SHA256 puts out: less could be guessed at.
FILES_MAX: Final = 32  # Twice what any folder of ours holds; what is more is not one.
FILE_BYTES_MAX: Final = 8 << 20  # A role says less than the records it is made from, in more words.
BUNDLE_ENDING: Final = ".rxb"


def guard_key(text: str | None) -> bytes | None:
    """Return the key of the kernel guard, None where none is set.

    Raises:
        GuardKeyRefused: it is too short to guard anything; the key itself is never shown.
    """
    if text is None:
        return None
    key = text.encode("utf-8", "surrogateescape")
    if len(key) < GUARD_KEY_BYTES_MIN:
        raise GuardKeyRefused(
            f"the kernel guard key has {len(key)} bytes, at least {GUARD_KEY_BYTES_MIN} are needed",
            limit=GUARD_KEY_BYTES_MIN,
            next_steps=("unset REXECOP_KERNEL_GUARD_KEY", "openssl rand -hex 32"),
        )
    return key


def open_folder(folder: Path, key: bytes | None) -> tuple[bytes, Beside]:
    """Return the bundle in `folder`, and the files there beside those it yields.

    Raises:
        FileMissing, FileRefused: not a folder of plain files with one bundle in it.
    """
    found = _files(folder)
    bundles = [name for name in found if name.endswith(BUNDLE_ENDING)]
    if len(bundles) != 1:
        raise FileRefused(
            f"`{folder}` holds {len(bundles)} bundles, and one is what its files are compared with",
            path=str(folder),
        )
    bundle = found[bundles[0]]
    unchecked = {}
    if key is None and found.pop(GUARD, None) is not None:
        unchecked["the kernel guard"] = "its key is not set"
    try:
        expected = make_folder(bundle, key)
    except ProofError:
        expected = {bundles[0]: bundle}  # What nothing follows from, yields nothing.
    return bundle, Beside(found=found, expected=expected, unchecked=unchecked)


def _files(folder: Path) -> dict[str, bytes]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise FileRefused(f"`{folder}` cannot be read: {reason_of(error)}", path=str(folder)) from error
    if len(paths) > FILES_MAX:
        raise FileRefused(f"`{folder}` holds more than {FILES_MAX} files", path=str(folder))
    odd = next((path for path in paths if path.is_symlink() or not path.is_file()), None)
    if odd is not None:
        raise FileRefused(f"`{odd}` is no plain file of its own", path=str(odd))
    sizes = {True: CONTAINER_BYTES_MAX, False: FILE_BYTES_MAX}
    return {path.name: read_file(path, bytes_max=sizes[path.suffix == BUNDLE_ENDING]) for path in paths}
