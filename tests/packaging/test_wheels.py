"""A folder of wheels: what is locked, what its bill of materials says, and an install without any index."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from scripts import wheels

from tests.house.source import ROOT
from tests.packaging.wheels import make_house, make_wheel

INSTALL: Final = ROOT / "scripts" / "install-offline"
SECONDS: Final = 120  # A virtual environment with pip in it, on a machine with other work.
# An index that answers nobody: whoever asks one does not get through.
NO_INDEX: Final = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": "http://127.0.0.1:9/"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_house(tmp_path_factory.mktemp("wheels") / "house")
    assert wheels.main(["lock", str(folder)]) == 0
    return folder


def install(*words: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(INSTALL), *map(str, words)],
        env={"PATH": os.environ["PATH"], "HOME": str(words[-1].parent), "PYTHON": sys.executable, **NO_INDEX},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_folder_of_wheels_installs_without_an_index(house: Path, tmp_path: Path) -> None:
    done = install(house, tmp_path / "venv")
    assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [str(tmp_path / "venv/bin/python"), "-c", "import rexecop, needed_thing; print(rexecop.word)"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert said.stdout == "installed without a network\n"

    again = install(house, tmp_path / "venv")
    assert again.returncode == 2 and "is there already" in again.stderr


def test_a_folder_with_a_wheel_that_was_altered_or_is_missing_installs_nothing(
    house: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(house, tmp_path / "other")
    make_wheel(other, "needed-thing", "2.1", body="print('somebody else was here')\n")
    refused = install(other, tmp_path / "venv")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "needed_thing-2.1-py3-none-any.whl is not the one in requirements.txt" in refused.stderr
    assert not (tmp_path / "venv").exists()

    (other / wheels.LOCK).unlink()
    assert install(other, tmp_path / "venv").returncode == 2


def test_the_lock_names_every_wheel_by_its_digest_and_nothing_else(house: Path) -> None:
    lines = (house / wheels.LOCK).read_text().splitlines()
    locked = dict(line.split(" --hash=sha256:") for line in lines if not line.startswith("#"))

    assert locked == {
        f"{name}=={version}": hashlib.sha256((house / file).read_bytes()).hexdigest()
        for name, version, file in (
            ("rexecop", "0.1.0", "rexecop-0.1.0-py3-none-any.whl"),
            ("needed-thing", "2.1", "needed_thing-2.1-py3-none-any.whl"),
            ("extra-thing", "1.5", "extra_thing-1.5-py3-none-any.whl"),
            ("fast-thing", "3.0", "fast_thing-3.0-py3-none-any.whl"),
            ("dev-thing", "1.0", "dev_thing-1.0-py3-none-any.whl"),
        )
    }


def test_the_bill_of_materials_says_what_is_there_by_digest_and_what_needs_what(
    house: Path, tmp_path: Path
) -> None:
    assert wheels.main(["sbom", str(house), str(tmp_path / "one.json")]) == 0
    assert wheels.main(["sbom", str(house), str(tmp_path / "two.json")]) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    found = json.loads((tmp_path / "one.json").read_text())

    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["serialNumber"])
    subject = found["metadata"]["component"]
    assert (subject["type"], subject["name"], subject["purl"]) == (
        "application",
        "rexecop",
        "pkg:generic/rexecop@0.1.0",  # On the index that name is another thing.
    )
    licenses = {one["name"]: one.get("licenses") for one in [subject, *found["components"]]}
    assert licenses == {
        "rexecop": [{"license": {"name": "MIT"}}],
        "needed-thing": [{"license": {"name": "Apache-2.0"}}],
        "extra-thing": [{"license": {"name": "MIT License"}}],
        "fast-thing": None,
        "dev-thing": None,
    }
    for one in [subject, *found["components"]]:
        (file,) = one["properties"]
        data = (house / file["value"]).read_bytes()
        assert one["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]
    needs = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert needs["pkg:generic/rexecop@0.1.0"] == ["pkg:pypi/extra-thing@1.5", "pkg:pypi/needed-thing@2.1"]
    assert needs["pkg:pypi/needed-thing@2.1"] == [
        "pkg:pypi/fast-thing@3.0"
    ]  # By an extra that ours asks for.
    refs = [subject["bom-ref"], *(one["bom-ref"] for one in found["components"])]
    assert sorted(refs) == sorted({*needs}) and len(refs) == len({*refs})


@pytest.mark.parametrize("spoil", ["empty", "twice", "no zip", "another name", "no metadata"])
def test_a_folder_that_is_not_one_of_wheels_is_one_line(
    tmp_path: Path, spoil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    match spoil:
        case "twice":
            make_wheel(tmp_path, "a-thing", "1.0")
            make_wheel(tmp_path, "a-thing", "2.0")
        case "no zip":
            (tmp_path / "a_thing-1.0-py3-none-any.whl").write_text("no")
        case "another name":
            make_wheel(tmp_path, "a-thing").rename(tmp_path / "b_thing-1.0-py3-none-any.whl")
        case "no metadata":
            import zipfile

            with zipfile.ZipFile(tmp_path / "a_thing-1.0-py3-none-any.whl", "w") as archive:
                archive.writestr("a_thing.py", "")
    assert wheels.main(["lock", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("wheels: `") and said.count("\n") == 1 and not (tmp_path / wheels.LOCK).exists()
