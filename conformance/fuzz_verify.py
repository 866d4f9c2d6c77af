"""Feed the verifier bytes that a fuzzer finds: `python conformance/fuzz_verify.py --seconds 60`.

With atheris the fuzzer sees which lines of `proof` an input reached and looks for others. Without it
`fuzz_one` is an ordinary function, which tests call with bytes from chance.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CASES: Final = Path(__file__).resolve().parent / "cases"
BYTES_MAX: Final = 64 * 1024  # What a fuzzer can still explore.
SEEDED: Final = (
    "logged_change-undone",
    "logged_unknown-settled-by-a-probe",
    "logged_window-of-one-target",
    "logged_approver-trusted-for-a-time",
    "logged_output-erased",
)


@cache
def bases() -> list[dict[str, bytes]]:
    """Return the members of some honest bundles."""
    from rexecop.proof.container import unpack

    return [dict(unpack((CASES / name / "bundle.rxb").read_bytes()).members) for name in SEEDED]


def file_of(data: bytes) -> bytes:
    """Return the file that `data` describes: itself, or an honest bundle with a member changed.

    Four bytes say which bundle, which member and how; what follows is put in, or stands for it.
    """
    from rexecop.proof.container import pack

    if len(data) < 6 or data[0] < 64:
        return data
    members = dict(bases()[data[1] % len(SEEDED)])
    name = sorted(members)[data[2] % len(members)]
    old, new = members[name], data[6:]
    at = int.from_bytes(data[4:6], "big") % (len(old) + 1)
    match data[3] % 4:
        case 0:
            members[name] = new
        case 1:
            members[name] = old[:at] + new + old[at:]
        case 2:
            members[name] = old[:at] + new + old[at + len(new) :]
        case _:
            members[name] = old[:at] + old[at + len(new) :]
    return pack(members)


def fuzz_one(data: bytes) -> None:
    """Return if the verifier gives a verdict, and none that it may not.

    Raises:
        AssertionError: an altered bundle was believed. Whatever else is raised is a defect too.
    """
    from conformance.generate import NOW
    from conformance.mutations import meaning_of
    from conformance.worlds import TRUSTED
    from rexecop.proof.verify import Rung, verify
    from rexecop.proof.verify.words import report_object, report_rows

    file = file_of(data)
    report = verify(file, TRUSTED, checkpoint=data[:4096], growth=data[:4096], now=NOW)
    report_object(report, Rung.LOGGED)
    list(report_rows(report, Rung.LOGGED))
    # A checkpoint from nowhere is held against it, so that not even an honest one may hold.
    assert report.findings and all(finding.meaning for finding in report.findings)
    report = verify(file, TRUSTED, now=NOW)
    assert not report.holds(Rung.CONSISTENT) or meaning_of(file) in originals()


@cache
def originals() -> list[object]:
    """Return what the honest bundles say, whole."""
    from conformance.mutations import meaning_of

    return [meaning_of((CASES / name / "bundle.rxb").read_bytes()) for name in SEEDED]


def by_chance(seed: int) -> bytes:
    """Return bytes to fuzz with that follow from `seed`."""
    chance = random.Random(seed)
    return chance.randbytes(chance.choice((6, 7, 8, 12, 40, 200)))


def main(argv: Sequence[str]) -> int:
    """Let atheris look for `seconds`, beginning with the bytes that tests begin with."""
    parser = argparse.ArgumentParser(prog="fuzz_verify.py", description="Fuzz the verifier with atheris.")
    parser.add_argument("--seconds", type=int, default=60)
    words = parser.parse_args(argv)
    try:
        atheris = import_module("atheris")
    except ImportError:
        print("fuzz_verify.py: there is no atheris here; `make .venv` installs it on Linux", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["rexecop.proof"]):
        import_module("rexecop.proof.verify.words")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(100):
            (Path(folder) / str(seed)).write_bytes(by_chance(seed))
        options = (f"-max_total_time={words.seconds}", f"-max_len={BYTES_MAX}", "-verbosity=1", "-timeout=20")
        atheris.Setup([sys.argv[0], *options, folder], fuzz_one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
