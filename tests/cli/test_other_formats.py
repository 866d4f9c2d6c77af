"""Evidence in other people's formats, as people ask for it, on a real root."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import cbor2
import pytest
from cwt import COSE, COSEKey

from rexecop.app.schemas import schemas
from rexecop.app.sclite.folder import FILES, GUARD
from rexecop.app.written import format_schema
from rexecop.cli.main import run
from rexecop.proof.publickey import PublicKey
from tests.app.support import scratch
from tests.cli.conftest import Ended

READ = "run host_facts --mode read_only --yes"
CHANGE = "plan --intent set_greeting --mode apply --param greeting=hello --identity me.key"
KEY = "canary: a guard key that no output may show"
SPOKEN = "REXECOP_KERNEL_GUARD_KEY"

Do = Callable[[str], Ended]


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with a root, where one operation was read and one change waits."""
    with scratch() as folder:
        before = os.getcwd()
        os.chdir(folder)
        for line in (
            "init --approver bob --other me --quiet",
            "keys new me.key --person me --role requester -q",
            READ,
            CHANGE,
        ):
            assert run(shlex.split(line)) == 0
        yield folder
        os.chdir(before)


@pytest.fixture
def do(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Do:
    monkeypatch.chdir(root)
    monkeypatch.delenv(SPOKEN, raising=False)

    def call(line: str) -> Ended:
        capsys.readouterr()
        code = run(shlex.split(line))
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    return call


def operation(do: Do, index: int) -> str:
    listed = do("list --json").found["operations"]
    assert isinstance(listed, list)
    return str(listed[index]["operation_id"])


def test_a_folder_is_written_verified_and_refused_once_a_file_in_it_was_edited(do: Do, root: Path) -> None:
    name = operation(do, -1)

    written = do(f"export {name} --format sclite --output read.sclite")
    verified = do("verify read.sclite --json")

    assert (written.code, verified.code) == (0, 0), written.err + verified.err
    assert verified.found["answer"] == "verified: logged"
    assert {path.name for path in (root / "read.sclite").iterdir()} >= {*FILES.values(), f"{name}.rxb"}
    assert do(f"verify read.sclite/{name}.rxb").code == 0
    page = root / "read.sclite" / "REVIEW.md"
    page.write_text(page.read_text().replace("Review: pass", "Review: pass, trust me"))
    refused = do("verify read.sclite")
    assert refused.code == 7 and "E01f" in refused.out and "REVIEW.md" in refused.out


def test_the_roles_of_one_operation_are_the_same_bytes_whenever_they_are_exported(do: Do, root: Path) -> None:
    for copy in ("one", "two"):
        assert do(f"export @ --format sclite --output sclite-{copy}").code == 0

    one, two = (
        {path.name: path.read_bytes() for path in (root / f"sclite-{copy}").iterdir()}
        for copy in ("one", "two")
    )
    # The export itself is recorded, so the second is cut at a later checkpoint.
    assert one.keys() == two.keys()
    assert {name for name in one if one[name] != two[name]} <= {
        "carrier_profile_ref.json",
        "trust_profile_ref.json",
        "verification_receipt.json",
        "REVIEW.md",
        next(name for name in one if name.endswith(".rxb")),
    }


def test_a_folder_with_outputs_has_them_in_its_bundle(do: Do, root: Path) -> None:
    name = operation(do, -1)
    assert do(f"export {name} --format sclite --output whole --with-outputs").code == 0

    assert b"blobs/" in (root / "whole" / f"{name}.rxb").read_bytes()
    verified = do("verify whole --json").found
    assert verified["answer"] == "verified: logged"


def test_a_change_that_waits_has_a_folder_that_says_what_is_absent(do: Do, root: Path) -> None:
    assert do("export @ --format sclite --output waiting").code == 0

    review = json.loads((root / "waiting" / "verification_receipt.json").read_bytes())
    assert review["verdict"] == "review"
    assert "no execution_ticket: the plan was not started" in review["checks"][-1]["detail"]
    assert do("verify waiting").code == 0


def test_a_folder_that_holds_something_is_left_alone(do: Do, root: Path) -> None:
    (root / "full").mkdir()
    (root / "full" / "mine").write_text("keep")

    refused = do("export @ --format sclite --output full")

    assert refused.code == 2 and "error[file-refused]" in refused.err and "not empty" in refused.err
    assert [path.name for path in (root / "full").iterdir()] == ["mine"]


def test_a_guarded_folder_needs_its_key_to_be_checked_whole(
    do: Do, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SPOKEN, KEY)
    answers = [do("export @ --format sclite --output guarded"), do("verify guarded --json")]
    assert GUARD in {path.name for path in (root / "guarded").iterdir()}
    monkeypatch.setenv(SPOKEN, KEY + "!")
    answers.append(do("verify guarded"))
    monkeypatch.delenv(SPOKEN)
    answers.append(do("verify guarded"))

    assert [ended.code for ended in answers] == [0, 0, 7, 0]
    assert "the kernel guard: its key is not set" in answers[3].out
    assert all("canary" not in ended.out + ended.err for ended in answers)
    assert all(b"canary" not in path.read_bytes() for path in (root / "guarded").iterdir())


def test_a_short_guard_key_is_a_clear_refusal_that_writes_nothing(
    do: Do, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SPOKEN, "canary")
    for line in ("export @ --format sclite --output short", "verify guarded"):
        refused = do(line)

        assert refused.code == 2 and "error[guard-key-refused]" in refused.err
        assert "canary" not in refused.out + refused.err
    assert not (root / "short").exists()


def test_a_cose_file_is_verified_by_a_library_that_knows_nothing_of_us(do: Do, root: Path) -> None:
    name = operation(do, -1)
    assert do(f"export {name} --format cose --output read.cose").code == 0
    public = PublicKey.from_line((root / ".rexecop" / "keys" / "instance.pub").read_text())
    key = COSEKey.new({1: 1, 3: -8, -1: 6, -2: public.raw, 4: [2], 2: public.fingerprint.encode()})

    with (root / "read.cose").open("rb") as file:
        plan, receipt = cbor2.load(file), cbor2.load(file)
        assert file.read() == b""

    kinds = [json.loads(COSE.new().decode(item, key))["predicateType"] for item in (plan, receipt)]
    assert kinds == ["https://rexecop.dev/predicate/plan/1", "https://rexecop.dev/predicate/receipt/1"]


def test_what_a_format_cannot_hold_is_refused(do: Do) -> None:
    refused = do("export @ --format cose --with-outputs")

    assert refused.code == 2 and "no outputs" in refused.err


def test_formats_without_an_output_are_named_after_the_operation(do: Do, root: Path) -> None:
    name = operation(do, -1)

    assert do(f"export {name} --format cose --quiet").out == f"{name}.cose\n"
    assert do(f"export {name} --format sclite --quiet").out == f"{name}.sclite\n"
    assert (root / f"{name}.cose").is_file() and (root / f"{name}.sclite").is_dir()


def test_schemas_are_written_without_an_operation(do: Do, root: Path) -> None:
    written = do("export --schemas schemas --json").found

    assert written["schemas"] == [f"schemas/{name}" for name in schemas()]
    assert json.loads((root / "schemas" / "plan-1.json").read_bytes()) == schemas()["plan-1.json"]
    again = do("export --schemas schemas")
    assert again.code == 2 and "not empty" in again.err


def test_an_export_of_nothing_is_a_mistake(do: Do) -> None:
    refused = do("export")

    assert refused.code == 2 and "name one operation" in refused.err and "rexecop export @" in refused.err


def test_the_schema_of_a_format_is_printed_whole_and_all_are_written(do: Do, root: Path) -> None:
    names = do("schema --quiet").out.split()
    written = do("schema --all written --json").found

    assert {"intent", "environment", "notify", "project_settings"} <= set(names)
    assert written["schemas"] == [f"written/{name}.json" for name in names]
    for name in names:
        assert json.loads((root / "written" / f"{name}.json").read_bytes()) == format_schema(name)
    assert json.loads(do("schema intent").out) == do("schema intent --json").found == format_schema("intent")
    listed = do("schema --json").found["formats"]
    assert isinstance(listed, list) and [one["name"] for one in listed] == names


def test_a_format_that_is_not_there_and_a_folder_that_is_are_refused(do: Do, root: Path) -> None:
    unknown = do("schema intnt")
    assert unknown.code == 2 and "did you mean `intent`?" in unknown.err and "rexecop schema" in unknown.err
    assert do("schema intent --all written2").code == 2 and not (root / "written2").exists()
    (root / "mine").mkdir()
    (root / "mine" / "file").touch()
    assert do("schema --all mine").code == 2 and [path.name for path in (root / "mine").iterdir()] == ["file"]
