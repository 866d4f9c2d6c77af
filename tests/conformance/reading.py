"""The cases as they lie on disk, for tests that ask one verifier or another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from rexecop.proof.canonical import Json
from rexecop.proof.times import parse_time
from rexecop.proof.verify import NO_KEYS, Report, Rung, TrustedKeys, parse_trust, verify
from rexecop.proof.verify.evidence import Evaluate, Members
from tests.house.source import ROOT

FOLDER: Final = ROOT / "conformance" / "cases"
RELEASED: Final = ROOT / "conformance" / "released"


@dataclass(frozen=True)
class CaseFolder:
    """One case, read."""

    folder: Path
    about: dict[str, Json]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def verdict(self) -> str:
        """What the folder's name says: a code, or a rung."""
        return self.name.partition("_")[0]

    def expected(self, *, cedar: bool) -> dict[str, Json]:
        found = self.about["expected"] if cedar else self.about.get("without_cedar", self.about["expected"])
        return cast("dict[str, Json]", found)

    @property
    def required(self) -> Rung:
        return Rung(str(self.about["require"]))

    @property
    def trust(self) -> TrustedKeys:
        if "trust" not in self.about:
            return NO_KEYS
        return parse_trust({file.name: file.read_bytes() for file in (self.folder / "trust").iterdir()})

    def words(self) -> tuple[str, ...]:
        """The arguments that PROTOCOL.md gives a verifier."""
        beside = [
            (f"--{key}", str(self.folder / str(self.about[key])))
            for key in ("trust", "checkpoint", "growth")
            if key in self.about
        ]
        more = [word for pair in beside for word in pair]
        rest = ("--require", str(self.about["require"]), "--now", str(self.about["now"]), "--json")
        return (str(self.folder / "bundle.rxb"), *more, *rest)

    def judged(self, *, evaluate: Evaluate | None = None, members: Members | None = None) -> Report:
        """The verdict of `verify` itself."""

        def held(key: str) -> bytes | None:
            return (self.folder / str(self.about[key])).read_bytes() if key in self.about else None

        return verify(
            (self.folder / "bundle.rxb").read_bytes(),
            self.trust,
            now=parse_time(str(self.about["now"])),
            evaluate=evaluate,
            members=members,
            checkpoint=held("checkpoint"),
            growth=held("growth"),
        )


def case_folders(folder: Path = FOLDER) -> list[CaseFolder]:
    found = sorted(path.parent for path in folder.glob("*/case.json"))
    return [CaseFolder(path, json.loads((path / "case.json").read_bytes())) for path in found]


CASES: Final = case_folders()
KEPT: Final = [
    case for version in sorted(RELEASED.iterdir()) if version.is_dir() for case in case_folders(version)
]
