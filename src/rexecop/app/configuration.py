"""Configuration by reference: files that the environment names and does not hold."""

from __future__ import annotations

from pathlib import Path

from rexecop.app.errors import FileRefused
from rexecop.app.files import read_file, require_unwritable
from rexecop.operations.planning import NoConfiguration


class OutsideConfiguration(NoConfiguration):
    """Reads what paths stand for; `used` says whether anything was read."""

    def __init__(self) -> None:
        self.used = False

    def file(self, path: str) -> str:
        """Return the text of the file at `path`; `~` in front is the caller's home.

        Raises:
            FileMissing, FileRefused: it cannot be read, or is too large or no text.
            RootUnsafe: others than the caller and root could change whom it trusts.
        """
        self.used = True
        found = Path(path).expanduser()
        require_unwritable(found)
        try:
            return read_file(found).decode()
        except UnicodeDecodeError as error:
            raise FileRefused(f"`{path:.100}` is no text", path=path) from error
