"""A signed release: a stranger with the key believes it whole, and nothing that was touched since."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from scripts import release, wheels
from scripts.build_verifier import build
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from rexecop.keys.file import load_signer
from tests.house.source import ROOT
from tests.needs import needs
from tests.packaging.wheels import make_house, make_wheel

VERIFY: Final = ROOT / "scripts" / "verify-release"
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
SECONDS: Final = 60

pytestmark = needs("ssh-keygen")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed release in `dist`, its key and somebody else's."""
    folder = tmp_path_factory.mktemp("release")
    for name in ("key", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=SECONDS)
    house, dist = make_house(folder / "house"), folder / "dist"
    wheels.main(["lock", str(house)])
    dist.mkdir()
    for path in house.glob("rexecop-*.whl"):
        shutil.copy(path, dist)
    (dist / "rexecop-verify.pyz").write_bytes(build())
    (dist / "rexecop-0.1.0.tar.gz").write_bytes(b"sources")
    signer = load_signer(folder / "key")
    assert release.sign(dist, house, signer, commit=COMMIT, python="3.11.7") == 5
    return folder


def verified(dist: Path, key: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(VERIFY), str(dist), str(key)],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_release_is_believed_by_the_key_of_whoever_made_it_and_by_no_other(made: Path) -> None:
    believed = verified(made / "dist", made / "key.pub")
    assert (believed.returncode, believed.stdout) == (0, f"release: 5 files, made from commit {COMMIT}\n")

    refused = verified(made / "dist", made / "other.pub")
    assert refused.returncode == 1 and "is not signed by that key" in refused.stderr


def alter(name: str) -> Callable[[Path], None]:
    def change(dist: Path) -> None:
        with (dist / name).open("ab") as file:
            file.write(b" ")

    return change


def add(dist: Path) -> None:
    (dist / "tecrax-0.1.0-py3-none-any.whl").write_bytes(b"of somebody else")


def drop(dist: Path) -> None:
    (dist / "rexecop-0.1.0.tar.gz").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (alter("rexecop-0.1.0-py3-none-any.whl"), "not the one that was signed"),
        (alter("requirements.txt"), "not the one that was signed"),
        (alter("rexecop.cdx.json"), "not the one that was signed"),
        (alter("provenance.dsse.json"), "not the one that was signed"),
        (alter("SHA256SUMS"), "not signed by that key"),
        (add, "was not signed"),
        (drop, "not the one that was signed"),
    ],
)
def test_whatever_is_touched_is_named(
    made: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    dist = shutil.copytree(made / "dist", tmp_path / "dist")
    change(dist)
    refused = verified(dist, made / "key.pub")

    assert refused.returncode == 1 and words in refused.stderr


def test_a_statement_over_other_files_is_refused_though_the_list_is_signed(
    made: Path, tmp_path: Path
) -> None:
    dist = shutil.copytree(made / "dist", tmp_path / "dist")
    other = shutil.copytree(made / "dist", tmp_path / "other")
    (other / "more").write_text("x")
    signer = load_signer(made / "key")
    release.sign(other, made / "house", signer, commit=COMMIT, python="3.11.7")
    (dist / release.PROVENANCE).write_bytes((other / release.PROVENANCE).read_bytes())
    release.sign_list(dist, signer)

    refused = verified(dist, made / "key.pub")
    assert refused.returncode == 1 and "over other files" in refused.stderr


def test_the_statement_is_read_by_other_peoples_tools(made: Path) -> None:
    key = load_signer(made / "key").public
    envelope = Envelope.from_dict(json.loads((made / "dist" / release.PROVENANCE).read_bytes()))
    envelope.verify([SSlibKey(key.fingerprint, "ed25519", "ed25519", {"public": key.raw.hex()})], threshold=1)
    said = json.loads(envelope.payload)

    assert (said["_type"], said["predicateType"]) == (release.STATEMENT, release.PREDICATE)
    assert {one["name"] for one in said["subject"]} == {*release.digests(made / "dist")}


def test_a_wheelhouse_with_another_wheel_of_ours_is_not_signed_for(made: Path, tmp_path: Path) -> None:
    house = shutil.copytree(made / "house", tmp_path / "house")
    dist = shutil.copytree(made / "dist", tmp_path / "dist")
    make_wheel(house, "rexecop", "0.1.0", body="other = 1\n")
    wheels.main(["lock", str(house)])

    with pytest.raises(wheels.NoWheel, match="is not the one of the release"):
        release.sign(dist, house, load_signer(made / "key"), commit=COMMIT, python="3.11.7")
