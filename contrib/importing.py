"""The command line of the importers: read one file, write one folder, show the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from contrib.drafts import Profile, Untranslatable, name_of
from rexecop.proof.errors import RexecopError

BYTES_MAX: Final = 4 * 1024 * 1024  # Thousands of jobs.


def run(imported: Callable[[bytes, str, str], Profile], command: str, words: Sequence[str]) -> int:
    """Import as `words` say; return 0, or 2 where nothing was written, with one line that says why."""
    if len(words) != 2:
        sys.stderr.write(f"usage: python -m contrib.{command} FILE FOLDER\n")
        return 2
    source, folder = Path(words[0]), Path(words[1])
    try:
        with source.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise Untranslatable(f"{source} is longer than {BYTES_MAX} bytes")
        profile = imported(data, source.name, name_of(folder.name))
        profile.write(folder)
    except (OSError, Untranslatable, RexecopError) as error:
        sys.stderr.write(f"{command}: {' '.join(str(error).split())}\n")
        return 2
    sys.stdout.write(profile.report())
    return 0
