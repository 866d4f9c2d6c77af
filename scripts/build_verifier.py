"""Build the single-file verifier; `make verifier` runs `build_verifier.py dist/rexecop-verify.pyz`.

In it are the package `rexecop/proof` as it stands here and `scripts/verifier/__main__.py`, nothing
else. The same sources are the same bytes: it is written by the writer of bundles, stored, sorted,
without times.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from rexecop.proof.canonical import digest_of
from rexecop.proof.container import pack

ROOT = Path(__file__).resolve().parents[1]


def members() -> dict[str, bytes]:
    """Return what stands in the file, by name."""
    proof = ROOT / "src" / "rexecop" / "proof"
    sources = {
        f"rexecop/proof/{path.relative_to(proof).as_posix()}": path.read_bytes()
        for path in proof.rglob("*.py")
    }
    entry = (ROOT / "scripts" / "verifier" / "__main__.py").read_bytes()
    return {"__main__.py": entry, "rexecop/__init__.py": b"", **sources}


def build() -> bytes:
    """Return the bytes of the verifier."""
    return pack(members())


def main(argv: list[str]) -> int:
    """Write the verifier to the path in `argv` and say its digest."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: build_verifier.py FILE", file=sys.stderr)
        return 2
    target, data = Path(argv[0]), build()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    print(f"{target}: {len(data)} bytes, {digest_of(data)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
