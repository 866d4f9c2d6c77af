"""Sign a release: what its files are, what they were made from, and a list by which anyone can check them.

`python -m scripts.release sign DIST --wheelhouse FOLDER --key FILE` adds to DIST the lock and the bill of
materials of the wheelhouse, an in-toto statement over every file (DSSE, signed as records are), and
`SHA256SUMS` over all of it with an SSH signature. `scripts/verify-release DIST KEY.pub` is the other side.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.wheels import LOCK, OURS, NoWheel, bill, json_text, wheels

from rexecop.keys.file import load_signer
from rexecop.proof import dsse, sshsig
from rexecop.proof.canonical import canonical_bytes
from rexecop.proof.errors import RexecopError
from rexecop.proof.signer import Signer

ROOT: Final = Path(__file__).resolve().parents[1]
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD: Final = "application/vnd.in-toto+json"
BUILD: Final = "https://rexecop.dev/build/make-release/1"  # What the fields below mean: docs/release.md.
NAMESPACE: Final = "release@rexecop.dev"
SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"
PROVENANCE: Final = "provenance.dsse.json"
BILL: Final = "rexecop.cdx.json"


def digests(dist: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of `dist` in hex, but for what is made over them."""
    made = {SUMS, SIGNATURE, PROVENANCE}
    files = sorted(path for path in dist.iterdir() if path.is_file() and path.name not in made)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def statement(files: Mapping[str, str], *, commit: str, python: str) -> bytes:
    """Return the canonical bytes of the statement that `files` were made from `commit` with `python`."""
    return canonical_bytes(
        {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD,
                    "externalParameters": {"target": "release"},
                    "internalParameters": {"python": python},
                    "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": commit}}],
                },
                "runDetails": {"builder": {"id": f"{BUILD}#checkout"}},
            },
        }
    )


def sign(dist: Path, wheelhouse: Path, signer: Signer, *, commit: str, python: str) -> int:
    """Add to `dist` what makes it a release, and return how many files its statement is over.

    Raises:
        NoWheel: the wheelhouse is none, or has another wheel of a name that `dist` has.
        RexecopError: the key does not sign.
    """
    found = wheels(wheelhouse)
    there = digests(dist)
    for one in found:
        if one.key in OURS and there.get(one.file) != one.sha256:
            raise NoWheel(f"`{one.file}` of the wheelhouse is not the one of the release")
    (dist / LOCK).write_bytes((wheelhouse / LOCK).read_bytes())
    (dist / BILL).write_text(json_text(bill(found)), encoding="utf-8")
    files = digests(dist)
    envelope = dsse.encode(dsse.sign(signer, PAYLOAD, statement(files, commit=commit, python=python)))
    (dist / PROVENANCE).write_bytes(envelope)
    sign_list(dist, signer)
    return len(files)


def sign_list(dist: Path, signer: Signer) -> None:
    """List every file of `dist` with its digest, and sign that list."""
    listed = {**digests(dist), PROVENANCE: hashlib.sha256((dist / PROVENANCE).read_bytes()).hexdigest()}
    sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items())).encode()
    (dist / SUMS).write_bytes(sums)
    (dist / SIGNATURE).write_text(sshsig.sign(signer, NAMESPACE, sums), encoding="ascii")


def _git(*words: str) -> str:
    return subprocess.run(("git", "-C", str(ROOT), *words), check=True, capture_output=True, text=True).stdout


def main(argv: list[str]) -> int:
    """Sign as `argv` says; 1 where the source is not what a commit says, or a file or key is not usable."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release")
    parser.add_argument("verb", choices=["sign"])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--wheelhouse", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        if _git("status", "--porcelain"):
            print("release: the tree has changes that no commit has", file=sys.stderr)
            return 1
        commit = _git("rev-parse", "HEAD").strip()
        count = sign(
            args.dist,
            args.wheelhouse,
            load_signer(args.key),
            commit=commit,
            python=platform.python_version(),
        )
    except (RexecopError, NoWheel, OSError, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"{args.dist}: {count} files of {commit} signed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
