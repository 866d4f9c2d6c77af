"""The verifier needs nothing but this folder and Python: no package, no site, no network, no clock."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.signers import SK_ECDSA, SK_ED25519, SecurityKey, signer_of
from conformance.worlds import APPROVER_KEY, INSTANCE_KEY, a_change, cut, enrolled_with
from tests.house.source import CORE

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from rexecop.proof.verify import parse_trust, verify
folder = Path(sys.argv[3])
trust = parse_trust({file.name: file.read_bytes() for file in folder.iterdir()})
report = verify(Path(sys.argv[2]).read_bytes(), trust)
loaded = {name.split(".")[0] for name in sys.modules}
foreign = sorted(loaded & {"cryptography", "site", "socket", "subprocess"})
print(report.answer(), report.claims.approvals_own, foreign)
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the proof package and its shell."""
    home = tmp_path_factory.mktemp("alone")
    (home / "rexecop").mkdir()
    (home / "rexecop" / "__init__.py").write_text("", encoding="utf-8")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CORE / "proof", home / "rexecop" / "proof", ignore=ignored)
    return home


def _run(home: Path, data: bytes, tmp_path: Path, approver: str = APPROVER_KEY.public.line) -> str:
    trust = tmp_path / "trust"
    trust.mkdir()
    (trust / "instance.pub").write_text(INSTANCE_KEY.public.line, encoding="utf-8")
    (trust / "approver.allowed_signers").write_text(f"mara {approver}\n", encoding="utf-8")
    bundle = tmp_path / "op.rxb"
    bundle.write_bytes(data)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SCRIPT, str(home), str(bundle), str(trust)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    return ended.stdout.strip()


def test_a_bundle_verifies_with_the_standard_library_alone(alone: Path, tmp_path: Path) -> None:
    assert _run(alone, cut(a_change()).bundle(), tmp_path) == "verified: logged 1 []"


def test_a_tampered_bundle_is_refused_there_too(alone: Path, tmp_path: Path) -> None:
    data = cut(a_change()).bundle().replace(b"set_line", b"cat_line")

    assert _run(alone, data, tmp_path).startswith("refused: E01b")


@pytest.mark.parametrize(
    "suite",
    ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256", SK_ED25519, SK_ECDSA],
)
def test_a_signature_by_a_key_of_any_kind_is_checked_there_too(
    alone: Path, tmp_path: Path, suite: str
) -> None:
    key = signer_of(suite)
    made = cut(a_change(key), instance=enrolled_with(key))

    assert _run(alone, made.bundle(), tmp_path, key.public.line) == "verified: logged 1 []"


def test_a_security_key_nobody_touched_is_refused_there_too(alone: Path, tmp_path: Path) -> None:
    key = SecurityKey(SK_ECDSA, 8, flags=0)
    made = cut(a_change(key), instance=enrolled_with(key))

    assert _run(alone, made.bundle(), tmp_path, key.public.line).startswith("refused: E04q")
