"""What a folder of wheels holds: a lock of every file by digest, and a bill of materials.

`python -m scripts.wheels lock FOLDER` writes `FOLDER/requirements.txt`, from which pip installs exactly
these files; `python -m scripts.wheels sbom FOLDER FILE` writes CycloneDX JSON. Both are read out of the
wheels themselves, so they name what is installed and nothing that merely stood in the builder's
environment. The same wheels give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

LOCK: Final = "requirements.txt"
OURS: Final = ("rexecop", "tecrax", "recon")
EXTRA: Final = "all"  # With which ours is installed from a folder of wheels.
NAMESPACE: Final = uuid.UUID("0a4d1a2e-5a3a-5d0f-9d35-0b3d3c5d8f11")  # Of serial numbers of our bills.
METADATA_BYTES_MAX: Final = 4 * 1024 * 1024  # A long readme; a wheel with more is not read.
FILE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.+!]+)(?:-\d[^-]*)?(?:-[^-]+){3}\.whl"
)


class NoWheel(Exception):
    """A file of the folder is no wheel that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One wheel: its file, digest, and what its metadata say."""

    file: str
    sha256: str
    name: str
    version: str
    license: str | None
    requires: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its name as indexes compare names."""
        return normal(self.name)

    @property
    def purl(self) -> str:
        """Its package URL; ours are no packages of an index, so theirs is generic."""
        kind = "generic" if self.key in OURS else "pypi"
        return f"pkg:{kind}/{self.key}@{self.version.replace('+', '%2B')}"


def normal(name: str) -> str:
    """Return `name` as indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wheels(folder: Path) -> tuple[Wheel, ...]:
    """Return the wheels in `folder`, by name.

    Raises:
        NoWheel: there is none, one cannot be read, or two are of one name.
    """
    found = sorted((wheel(path) for path in folder.glob("*.whl")), key=lambda one: one.key)
    names = [one.key for one in found]
    if not found or len({*names}) != len(names):
        raise NoWheel(f"`{folder}` holds {'two wheels of one name' if found else 'no wheel'}")
    return tuple(found)


def wheel(path: Path) -> Wheel:
    """Return what the file `path` is.

    Raises:
        NoWheel: it is none that can be read.
    """
    named = FILE.fullmatch(path.name)
    if named is None:
        raise NoWheel(f"`{path.name}` is not named like a wheel")
    try:
        with zipfile.ZipFile(path) as archive:
            (info,) = (
                one for one in archive.infolist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", one.filename)
            )
            if info.file_size > METADATA_BYTES_MAX:
                raise NoWheel(f"`{path.name}` has too long a METADATA")
            said = BytesParser().parsebytes(archive.read(info), headersonly=True)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise NoWheel(f"`{path.name}` is no wheel: {error}") from error
    if normal(str(said["Name"])) != normal(named["name"]) or str(said["Version"]) != named["version"]:
        raise NoWheel(f"`{path.name}` says it is `{said['Name']}` {said['Version']}")
    return Wheel(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        name=str(said["Name"]),
        version=str(said["Version"]),
        license=_license(said),
        requires=tuple(str(line) for line in said.get_all("Requires-Dist", [])),
    )


def _license(said: Message) -> str | None:
    """Return the license in one line: the expression, else a short name, else what a classifier says."""
    if said["License-Expression"]:
        return str(said["License-Expression"])
    old = str(said["License"] or "").strip()
    if old and "\n" not in old and len(old) <= 80 and old != "UNKNOWN":
        return old
    marks = [str(one) for one in said.get_all("Classifier", []) if str(one).startswith("License :: ")]
    return marks[0].rsplit(" :: ", 1)[-1] if marks else None


def lock(found: Sequence[Wheel]) -> str:
    """Return requirements that only exactly these files meet."""
    head = (
        "# Every wheel of this folder by its digest; written by `make wheelhouse`.\n"
        "# pip install --no-index --find-links . --require-hashes --only-binary :all: -r requirements.txt\n"
    )
    return head + "".join(f"{one.key}=={one.version} --hash=sha256:{one.sha256}\n" for one in found)


def bill(found: Sequence[Wheel]) -> dict[str, object]:
    """Return the bill of materials of `found`, CycloneDX 1.6; its subject is the runner."""
    refs = {one.key: one.purl for one in found}
    subject = next((one for one in found if one.key == OURS[0]), found[0])
    needs = _needed(found)
    content = "\n".join(f"{one.file} {one.sha256}" for one in found)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": "scripts/wheels.py"}]},
            "component": _component(subject, "application"),
        },
        "components": [_component(one, "library") for one in found if one is not subject],
        "dependencies": [
            {"ref": one.purl, "dependsOn": sorted(refs[name] for name in needs[one.key])} for one in found
        ],
    }


def _component(one: Wheel, kind: str) -> dict[str, object]:
    found: dict[str, object] = {
        "type": kind,
        "bom-ref": one.purl,
        "name": one.name,
        "version": one.version,
        "purl": one.purl,
        "hashes": [{"alg": "SHA-256", "content": one.sha256}],
        "properties": [{"name": "rexecop:file", "value": one.file}],
    }
    if one.license is not None:
        found["licenses"] = [{"license": {"name": one.license}}]
    return found


def _needed(found: Sequence[Wheel]) -> dict[str, set[str]]:
    """Return for each name what it requires on this Python, with the extras that are asked of it.

    An extra of one that is asked by another brings requirements of its own, so it goes round until
    nothing is asked any more that was not asked before.
    """
    extras = {one.key: {EXTRA if one.key == OURS[0] else ""} for one in found}
    while True:
        before = {name: set(asked) for name, asked in extras.items()}
        needs: dict[str, set[str]] = {one.key: set() for one in found}
        for one in found:
            for asked in map(Requirement, one.requires):
                name = normal(asked.name)
                wanted = extras[one.key] | {""}
                if name in extras and (
                    asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in wanted)
                ):
                    needs[one.key].add(name)
                    extras[name] |= asked.extras
        if extras == before:
            return needs


def json_text(value: Mapping[str, object]) -> str:
    """Return `value` as JSON that people can read, the same each time."""
    return json.dumps(value, indent=2, sort_keys=False, ensure_ascii=False) + "\n"


def main(argv: list[str]) -> int:
    """Write what `argv` asks for; 2 for arguments that say nothing, 1 for what is no wheel."""
    try:
        match argv:
            case ["lock", folder]:
                found = wheels(Path(folder))
                (Path(folder) / LOCK).write_text(lock(found), encoding="utf-8")
                print(f"{folder}/{LOCK}: {len(found)} wheels")
            case ["sbom", folder, file]:
                found = wheels(Path(folder))
                Path(file).write_text(json_text(bill(found)), encoding="utf-8")
                print(f"{file}: {len(found)} components")
            case _:
                print("usage: python -m scripts.wheels lock FOLDER | sbom FOLDER FILE", file=sys.stderr)
                return 2
    except NoWheel as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
