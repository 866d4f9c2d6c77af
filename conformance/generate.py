"""Write the conformance cases anew: `python conformance/generate.py [FOLDER]`; `make corpus`.

Keys, ids and times are fixed, so the same sources write the same bytes. A case is a folder whose
name is the verdict and what was done; `PROTOCOL.md` says what is in it. Proposals, which no bundle
holds, are written beside the cases. The expected answers are
this project's own; each refusal must at least hold the code its story earns, and each honest story
must reach its rung.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import conformance.asked_anew
import conformance.called
import conformance.delegations
import conformance.publishing
import conformance.reactions
import conformance.sessions
import conformance.windows  # noqa: F401
from conformance import proposal_vectors
from conformance.honest import STORIES
from conformance.tamperings import TABLE, Case
from rexecop.app.verifying import Packs
from rexecop.proof.canonical import Json
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.times import format_time
from rexecop.proof.verify import CODES, Report, Rung, TrustedKeys, parse_trust, verify
from rexecop.proof.verify.words import report_object

CASES: Final = Path(__file__).resolve().parent / "cases"
NOW: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # A day after the stories; see `worlds.START`.
# What a case may lie beside its bundle, by the name `verify` knows it by. Callbacks are the verifier's own.
BESIDE: Final = {"checkpoint": "checkpoint.txt", "growth": "growth.txt"}
FOLDERS_ONLY: Final = {"E01f"}  # Of files beside a bundle; only `rexecop verify FOLDER` looks at any.
CLAIMS: Final = ("approvals", "approvals_own", "duties", "complete")
# What no file beside a bundle stands for: these are given to `verify` by callers who know more than a bundle.
ELSEWHERE: Final = {"beside"}
CALLBACKS: Final = {"evaluate", "members"}


@dataclass(frozen=True)
class Written:
    """One case as it lies on disk: a folder's name, and its files by their path in it."""

    name: str
    files: dict[str, bytes]


def cases() -> Iterator[Written]:
    """Yield every case, honest ones first."""
    for story in STORIES:
        case = story.make()
        report = _judged(case, cedar=True)
        if report.findings or report.rungs[-1:] != (story.rung,):
            raise SystemExit(f"{story.name} should reach {story.rung}: {report.answer(case.require)}")
        yield _written(f"{story.rung}_{_dashed(story.name)}", story.title, case, report)
    for code, name, make in TABLE:
        if code in FOLDERS_ONLY:
            continue
        case = make()
        if ELSEWHERE.intersection(case.more or {}):
            continue
        report = _judged(case, cedar=True)
        if code not in _codes(report):
            raise SystemExit(f"{name} should earn {code}: {_codes(report)}")
        words = name.replace("_", " ")
        title = f"{words[0].upper()}{words[1:]}: {CODES[code]}."
        yield _written(f"{code}_{_dashed(name.removeprefix('a_').removeprefix('an_'))}", title, case, report)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _written(name: str, title: str, case: Case, with_cedar: Report) -> Written:
    files = {"bundle.rxb": case.bundle}
    about: dict[str, Json] = {"title": title, "bundle": "bundle.rxb"}
    keys = trust_files(case.trust) if case.files is None else case.files
    if keys:
        about["trust"] = "trust"
        files |= {f"trust/{path}": data for path, data in keys.items()}
    more = dict(case.more or {})
    for key, path in BESIDE.items():
        if key in more:
            about[key] = path
            files[path] = more[key]
    if foreign := more.keys() - BESIDE.keys() - CALLBACKS - {"now"}:
        raise SystemExit(f"{name}: a case cannot carry {', '.join(sorted(foreign))}")
    about |= {"require": str(case.require), "now": format_time(more.get("now", NOW))}
    expected = expectation(with_cedar, case.require)
    without = expectation(_judged(case, cedar=False), case.require)
    about["expected"] = expected
    if without != expected:
        about["without_cedar"] = without
    files["case.json"] = (json.dumps(about, indent=2) + "\n").encode()
    return Written(name=name, files=files)


def trust_files(trust: TrustedKeys) -> dict[str, bytes]:
    """Return a trust folder with the keys of `trust`."""
    found: dict[str, list[str]] = {}
    for key in trust.keys:
        stem = str(key.role) if key.name == key.role else f"{key.role}-{key.name}"
        if key.note_name is None:
            found.setdefault(f"{stem}.pub", []).append(key.public.line)
        else:
            kept = NoteKey(name=key.note_name, public=key.public, type=SignatureType.ED25519)
            found.setdefault(f"{stem}.vkey", []).append(kept.encode())
    return {path: "".join(f"{line}\n" for line in lines).encode() for path, lines in found.items()}


def expectation(report: Report, required: Rung) -> dict[str, Json]:
    """Return what a verifier must answer: see PROTOCOL.md."""
    said = report_object(report, required)
    found: dict[str, Json] = {
        "exit": 0 if report.holds(required) else 7,
        "verdict": said["verdict"],
        "rungs": [str(rung) for rung in report.rungs],
        "codes": sorted(_codes(report)),
    }
    claims = said["claims"]
    if not report.findings and isinstance(claims, Mapping):
        found["claims"] = {name: claims[name] for name in CLAIMS}
    return found


def _judged(case: Case, *, cedar: bool) -> Report:
    packs = Packs()
    callbacks = {"evaluate": packs.evaluate, "members": packs.members} if cedar else {}
    given = {key: value for key, value in dict(case.more or {}).items() if key not in CALLBACKS}
    trust = case.trust if case.files is None else parse_trust(case.files)
    return verify(case.bundle, trust, **{"now": NOW, **given, **callbacks})


def _codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def write(folder: Path) -> int:
    """Make `folder` hold exactly the cases, and return how many there are."""
    if folder.exists():
        shutil.rmtree(folder)
    count = 0
    for case in cases():
        for path, data in case.files.items():
            file = folder / case.name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                raise SystemExit(f"two cases are called {case.name}")
            file.write_bytes(data)
        count += 1
    return count


def main(argv: list[str]) -> int:
    """Write the cases to the folder in `argv`."""
    if len(argv) > 1 or any(word.startswith("-") for word in argv):
        print("usage: generate.py [FOLDER]", file=sys.stderr)
        return 2
    folder = Path(argv[0]) if argv else CASES
    if folder.exists() and any(not (item / "case.json").is_file() for item in folder.iterdir()):
        print(f"{folder} holds something else than cases; it is left alone", file=sys.stderr)
        return 2
    print(f"{write(folder)} cases in {folder}")
    if not argv:
        print(f"{proposal_vectors.write()} proposals in {proposal_vectors.FOLDER}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
