"""Published test vectors, from the package `cryptography-vectors`: NIST's own response files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cryptography_vectors

FOLDER: Final = Path(cryptography_vectors.__file__).parent / "asymmetric"


def responses(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each case of a NIST response file: the section it stands in, and its fields.

    Fields that stand alone, such as a modulus, hold for all cases that follow in their section.
    """
    section, shared, fields = "", dict[str, str](), dict[str, str]()
    for line in (FOLDER / name).read_text(encoding="ascii").splitlines():
        if match := re.fullmatch(r"\[(.+)\]", line.strip()):
            section, shared, fields = match[1], {}, {}
        elif " = " in line or line.rstrip().endswith("="):
            key, _, value = line.partition("=")
            fields[key.strip()] = value.strip()
        elif fields:
            if "Result" in fields:
                yield section, shared | fields
            else:
                shared = shared | fields
            fields = {}
    if "Result" in fields:
        yield section, shared | fields
