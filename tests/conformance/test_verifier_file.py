"""The one file an auditor needs: made of `proof` alone, and it answers as the command does."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest
from scripts.build_verifier import build, members

from conformance import run as runner
from rexecop.cli.evidence import report_page
from rexecop.cli.render import Page
from rexecop.proof.verify.words import report_object
from tests.conformance.reading import CASES, FOLDER, KEPT, RELEASED
from tests.house.source import CORE, ROOT, python_files

ALONE: Final = (sys.executable, "-I", "-S")  # No site: whatever is installed here is out of reach.
HONEST: Final = "logged_change-with-approval"
REFUSED: Final = "E07n_permit-for-an-edited-call"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dist") / "rexecop-verify.pyz"
    file.write_bytes(build())
    return file


@pytest.fixture(scope="module")
def unpacked(pyz: Path) -> Path:
    """The same members as files, of which Python keeps what it compiled; out of a zip it keeps nothing."""
    folder = pyz.with_name("unpacked")
    zipfile.ZipFile(pyz).extractall(folder)
    return folder


def ended(
    pyz: Path, *words: str, data: bytes | None = None, python: tuple[str, ...] = ALONE
) -> tuple[int, str, str]:
    ran = subprocess.run([*python, str(pyz), *words], input=data, capture_output=True, check=False)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def test_the_same_sources_are_the_same_bytes_and_nothing_else_is_in_them() -> None:
    data = build()
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        names = found.namelist()
        assert found.testzip() is None
        assert {info.date_time for info in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert found.read("rexecop/__init__.py") == b""
        entry = ROOT / "scripts" / "verifier" / "__main__.py"
        assert found.read("__main__.py") == entry.read_bytes()
    proof = {
        f"rexecop/proof/{file.relative_to(CORE / 'proof').as_posix()}"
        for file in (CORE / "proof").rglob("*.py")
    }

    assert data == build()
    assert names == sorted({"__main__.py", "rexecop/__init__.py", *proof}) == sorted(members())


def test_its_entry_needs_the_standard_library_and_proof_only() -> None:
    (entry,) = python_files(ROOT / "scripts" / "verifier")
    imported = {use.what for use in entry.uses() if not use.what.startswith("builtins.")}
    ours = {what for what in imported if what.startswith("rexecop")}

    assert {what.split(".")[0] for what in imported} <= set(sys.stdlib_module_names) | {"rexecop"}
    assert all(what.startswith("rexecop.proof.") for what in ours)
    assert imported.isdisjoint({"socket", "subprocess", "urllib", "http", "importlib"})


def test_it_answers_every_case_with_plain_python(pyz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = runner.main(["--entrypoint", f"{' '.join(ALONE)} {pyz}", "--batch"])

    assert (code, capsys.readouterr().out) == (
        0,
        f"{len(CASES)} of {len(CASES)} cases answered as they should be\n",
    )


def test_it_answers_what_was_released_too(pyz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in sorted(path for path in RELEASED.iterdir() if path.is_dir()):
        code = runner.main(
            ["--folder", str(version), "--entrypoint", f"{sys.executable} -I {pyz}", "--batch"]
        )

        assert code == 0, capsys.readouterr().out


def test_it_says_the_same_object_as_the_verifier_here_but_for_what_checks_signatures(pyz: Path) -> None:
    cases = [*CASES[::9], *KEPT]
    lines = "".join(json.dumps(case.words()) + "\n" for case in cases).encode()
    answers = [json.loads(line) for line in ended(pyz, "--batch", data=lines)[1].splitlines()]

    for case, answer in zip(cases, answers, strict=True):
        wanted = json.loads(json.dumps(report_object(case.judged(), case.required)))
        wanted["exit"] = case.expected(cedar=False)["exit"]
        assert (answer.pop("crypto"), wanted.pop("crypto")) == ("plain", "cryptography"), case.name
        assert answer == wanted, case.name


def test_it_says_the_same_to_people(pyz: Path) -> None:
    for case in (case for case in CASES if case.name in (HONEST, REFUSED, "E01a_file-that-is-no-zip")):
        words = [word for word in case.words() if word != "--json"]
        page = Page(colour=False, width=None)
        report_page(page, case.judged(), case.required)

        code, out, err = ended(pyz, *words)

        assert (code, out, err) == (case.expected(cedar=False)["exit"], page.text(), "")


def test_it_uses_the_library_where_there_is_one_and_says_so(pyz: Path) -> None:
    words = next(case for case in CASES if case.name == HONEST).words()

    said = json.loads(ended(pyz, *words, python=(sys.executable, "-I"))[1])

    assert said["crypto"] == "cryptography" and said["verdict"] == "verified"


def test_a_bundle_may_come_on_standard_input(pyz: Path) -> None:
    data = (FOLDER / HONEST / "bundle.rxb").read_bytes()
    trust = str(FOLDER / HONEST / "trust")

    assert ended(pyz, "-", "--trust", trust, data=data)[1].startswith("verified: logged\n")
    assert ended(pyz, "-", "--trust", trust, data=data[:-1])[:2][0] == 7
    assert ended(pyz, "-", data=b"")[1].startswith("refused: E01a")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "error[usage]: name a bundle"),
        (("--unknown",), "error[usage]: unrecognized"),
        (("no-such-file",), "error[file-missing]: no file `no-such-file`"),
        ((".",), "error[file-refused]: `.` cannot be read: is a directory"),
        (("/dev/null",), "error[file-refused]: `/dev/null` is not a regular file"),
        ((__file__, "--trust", "no-such-folder"), "error[file-missing]: no folder"),
        ((__file__, "--checkpoint", "no-such-file"), "error[file-missing]: no file"),
        ((__file__, "--now", "yesterday"), "error[usage]: `--now`: time `yesterday` is not like"),
        ((__file__, "--require", "everything"), "error[usage]: argument --require: invalid choice"),
        ((__file__, "--json", "--now", "x"), '{"code": "usage"'),
        (
            (__file__, "--trust", "FOLDER"),
            "error[trust-file-malformed]: trust file `'boss.pub'` names no role",
        ),
    ],
)
def test_what_it_cannot_use_is_one_line_and_exit_2(
    unpacked: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "boss.pub").write_text("ssh-ed25519 AAAA", encoding="ascii")
    code, out, err = ended(unpacked, *(word.replace("FOLDER", str(tmp_path)) for word in words))

    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_a_batch_goes_on_after_a_line_that_makes_no_sense(pyz: Path) -> None:
    good = json.dumps(next(case for case in CASES if case.name == HONEST).words())
    nonsense = ["", "x", "[1]", "{}", '["-"]', '["--help"]', '["no-such-file"]', "[" * 60_000, "9" * 5000]

    nonsense.append('["no\\u0000file"]')
    answers = [
        json.loads(line)
        for line in ended(pyz, "--batch", data="\n".join((*nonsense, good, "")).encode())[1].splitlines()
    ]

    assert [answer["exit"] for answer in answers] == [2] * len(nonsense) + [0]


def test_a_reader_that_goes_away_is_no_traceback(pyz: Path) -> None:
    bundle = str(FOLDER / HONEST / "bundle.rxb")
    shell = f"{' '.join(ALONE)} {pyz} {bundle} | true"

    ran = subprocess.run(["sh", "-c", shell], capture_output=True, check=False)

    assert b"Traceback" not in ran.stderr
