"""Evidence on a real root: pages that are exported, exports that are recorded, and looking without a key."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from conformance.worlds import ROOT
from rexecop.app.accesses import access_chain
from rexecop.app.errors import FileRefused, NotYet, RecordUnknown
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.looking import HOLDS
from rexecop.app.reading import open_reading
from rexecop.app.recovering import recover
from rexecop.app.report import page as pages
from rexecop.app.verifying import verify_bundle
from rexecop.operations.errors import StoreUnavailable
from rexecop.operations.ports import Batch
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import check_chain, seal
from rexecop.proof.records import Access, Erasure
from rexecop.proof.verify import Rung
from rexecop.store.sqlite import SqliteStore
from tests.app.pages import Read
from tests.app.support import bob, change, made, opened, records, scratch, settings


@pytest.fixture(scope="module")
def kept() -> Iterator[tuple[Path, str]]:
    """A root in which a change was asked for by alice, approved by bob, done and undone."""

    async def story(folder: Path) -> str:
        await made(folder)
        with opened(folder) as instance:
            name = (await instance.plan(replace(change(folder), reason="the night shift asked"))).operation_id
            await instance.approve(name, key=bob(folder), agent=False, approves=True, reason="read it")
            await instance.start(name)
            await instance.rollback(name, "wrong host")
        return name

    with scratch() as folder:
        yield folder, asyncio.run(story(folder))


@pytest.fixture
def root(kept: tuple[Path, str]) -> Iterator[tuple[Path, str]]:
    """A copy of that root, to be damaged."""
    with scratch() as folder:
        shutil.copytree(kept[0], folder, dirs_exist_ok=True)
        recover(settings(folder), backup=None, new_epoch="a copy for a test")
        yield folder, kept[1]


def trust(folder: Path, instance: Instance) -> Path:
    """The keys as their owners would hand them out."""
    found = folder / "trust"
    found.mkdir(exist_ok=True)
    for key in instance.trusted_keys():
        (found / f"{key.role}-{key.person}.pub").write_text(key.public)
    return found


def accesses(instance: Instance) -> list[Access]:
    log = instance.parts.evidence.log
    chain = access_chain(log.instance_id)
    found = log.journal(chain).records if log.records_of(chain) else ()
    check_chain(found)
    return [sealed.record for sealed in found if isinstance(sealed.record, Access)]


def test_the_page_tells_the_operation_and_holds_a_bundle_that_a_stranger_verifies(
    root: tuple[Path, str],
) -> None:
    folder, name = root
    with opened(folder) as instance:
        view = instance.export(name, Asked(path=folder / "page.html", with_outputs=True, form="report"))
        keys = trust(folder, instance)
        signed = instance.preview(name)
    read = Read((folder / "page.html").read_bytes())
    (folder / "saved.rxb").write_bytes(read.bundle())
    report = verify_bundle(folder / "saved.rxb", trust_dir=keys, checkpoint=None, root=None)

    assert "alice asked for set_greeting on localhost , to change it, because “the night shift" in read.text
    assert "bob approved on" in read.text and "The evidence holds: consistent, signed, logged." in read.text
    assert " ".join(signed.split()) in read.text and "undo of write_greeting on localhost: ok" in read.text
    assert "stdout: 13 bytes kept good evening" in read.text
    assert report.holds(Rung.LOGGED) and report.claims.approvals_own == 1
    assert view.digest == digest_of((folder / "page.html").read_bytes()) and view.beside == ()


def test_every_export_is_recorded_in_the_log_and_in_no_bundle(root: tuple[Path, str]) -> None:
    folder, name = root
    with opened(folder) as instance:
        views = [
            instance.export(name, Asked(path=folder / f"out.{form}", form=form))
            for form in ("bundle", "report")
        ]
        found = accesses(instance)
        log = instance.log_verify()
        bundle = instance.parts.evidence.bundle(name)

    assert [(one.subject, one.action, one.digest) for one in found] == [
        (name, "export", view.digest) for view in views
    ]
    assert log["verdict"] == "consistent" and b'"kind":"access/1"' not in bundle


def test_an_export_that_cannot_be_written_is_recorded_all_the_same(root: tuple[Path, str]) -> None:
    folder, name = root
    with opened(folder) as instance:
        with pytest.raises(FileRefused):
            instance.export(name, Asked(path=folder / "nowhere" / "page.html", form="report"))

        assert [one.subject for one in accesses(instance)] == [name]


def test_evidence_leaves_even_when_that_cannot_be_recorded_and_it_is_said(
    root: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: SqliteStore, __: Batch) -> None:
        raise StoreUnavailable("the disk is full")

    folder, name = root
    with opened(folder) as instance:
        monkeypatch.setattr(SqliteStore, "append_sync", full)
        view = instance.export(name, Asked(path=folder / "out.rxb"))

    assert view.unrecorded == "the disk is full" and (folder / "out.rxb").stat().st_size == view.bytes


def test_two_who_export_at_one_moment_are_both_recorded(
    root: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = root
    append = SqliteStore.append_sync
    with opened(folder) as instance, opened(folder) as other:

        def late(store: SqliteStore, batch: Batch) -> object:
            monkeypatch.setattr(SqliteStore, "append_sync", append)
            other.export(name, Asked(path=folder / "second.rxb"))
            return append(store, batch)

        monkeypatch.setattr(SqliteStore, "append_sync", late)
        first = instance.export(name, Asked(path=folder / "first.rxb"))

        assert first.unrecorded is None and len(accesses(instance)) == 2


def test_a_bundle_too_large_for_a_page_lies_beside_it(
    root: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = root
    monkeypatch.setattr(pages, "EMBEDDED_BYTES_MAX", 1000)
    with opened(folder) as instance:
        view = instance.export(name, Asked(path=folder / "page.html", form="report"))
        keys = trust(folder, instance)
    beside = folder / "page.html.rxb"
    report = verify_bundle(beside, trust_dir=keys, checkpoint=None, root=None)

    assert view.beside == (str(beside),) and report.holds(Rung.LOGGED)
    assert digest_of(beside.read_bytes()) in Read((folder / "page.html").read_bytes()).text


# --- looking ---


def test_evidence_is_looked_at_without_a_key_and_looking_writes_nothing(root: tuple[Path, str]) -> None:
    folder, name = root
    shutil.rmtree(folder / "root" / "keys")
    before = (folder / "root" / "ledger.sqlite").read_bytes()
    with open_reading(settings(folder)) as reading:
        receipt = reading.receipt(name)
        view = reading.evidence(name)
        ones = [reading.evidence_record(name, str(line.record.n)) for line in view.records]

    assert receipt.state == "undone" and [one.verdict for one in receipt.signatures] == [HOLDS]
    assert view.verdict.startswith("verified: logged")
    assert [one.line for one in ones] == list(view.records)
    assert all(one.included.startswith(f"{HOLDS}: leaf {one.line.leaf} of a log of ") for one in ones)
    assert (folder / "root" / "ledger.sqlite").read_bytes() == before


def test_what_rests_on_what_is_what_the_records_name(kept: tuple[Path, str]) -> None:
    folder, name = kept
    with open_reading(settings(folder)) as reading:
        lines = {line.record.kind: line for line in reading.evidence(name).records[:6]}
        about = reading.evidence(name, "write_greeting").records
        nothing = reading.evidence(name, "nothing").records

    kinds = ("intent", "plan", "decision", "approval", "ticket", "attempt")
    rests = [lines[f"{kind}"].rests_on for kind in lines]
    assert [kind.split("/")[0] for kind in lines] == list(kinds)
    assert rests == [(), (0,), (1,), (1,), (1, 2, 3), (4,)]
    assert [lines[kind].depth for kind in lines] == [0, 1, 2, 2, 3, 4]
    assert [line.record.kind.split("/")[0] for line in about] == ["attempt", "outcome"] * 2
    assert nothing == ()


def test_each_signature_is_named_with_its_key_and_whether_it_holds(kept: tuple[Path, str]) -> None:
    folder, name = kept
    with opened(folder) as instance:
        keys = {key.person: key.fingerprint for key in instance.trusted_keys()}
        signed = [instance.evidence_record(name, n).signatures for n in ("0", "3", "12", "1")]

    assert [[(one.form, one.by, one.verdict) for one in each] for each in signed] == [
        [("sshsig", keys["alice"], HOLDS)],
        [("sshsig", keys["bob"], HOLDS)],
        [("dsse", keys["instance"], HOLDS)],
        [],
    ]


@pytest.mark.parametrize("form", ["dsse", "sshsig"])
def test_a_signature_that_was_changed_is_called_wrong(root: tuple[Path, str], form: str) -> None:
    folder, name = root
    ledger = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    # The newest intent is that of the observation, made again just before the change.
    ((data,),) = ledger.execute(
        "SELECT data FROM signatures WHERE form=? ORDER BY place DESC LIMIT 1 OFFSET ?",
        (form, form == "sshsig"),
    )
    other = data.replace(b'"sig":"', b'"sig":"AAAA') if form == "dsse" else data.replace(b"\n", b"\nAAAA", 1)
    ledger.execute("UPDATE signatures SET data=? WHERE data=?", (other, data))
    ledger.close()
    with open_reading(settings(folder)) as reading:
        (found,) = reading.evidence_record(name, "16" if form == "dsse" else "0").signatures
        verdict = reading.evidence(name).verdict

    assert found.verdict.startswith("WRONG: ") and verdict.startswith("refused: E04")


def test_a_record_goes_by_its_place_or_the_beginning_of_its_digest_and_by_nothing_else(
    kept: tuple[Path, str],
) -> None:
    folder, name = kept
    with open_reading(settings(folder)) as reading:
        whole = reading.evidence_record(name, "4").line.record
        for which in (whole.digest, whole.digest[7:19], whole.digest[:13]):
            assert reading.evidence_record(name, which).line.record == whole
        for which in ("99", whole.digest[7:12], "", "sha256:", "zzzzzzzz", "\x1b[2J" * 50):
            with pytest.raises(RecordUnknown):
                reading.evidence_record(name, which)


def test_an_output_is_kept_erased_by_somebody_or_not_kept(root: tuple[Path, str]) -> None:
    folder, name = root
    with opened(folder) as instance:
        store = instance.parts.evidence.log
        assert isinstance(store, SqliteStore)
        (kept_one,) = instance.evidence_record(name, "6").blobs
        instances = store.journal(store.instance_id).records
        erased = instance.evidence_record(name, "8").blobs[0].ref.commitment
        last = instances[-1]
        record = Erasure(
            operation=store.instance_id, n=len(instances), prev=last.digest,
            at=last.record.at + timedelta(seconds=1), by=ROOT, commitment=erased, rule="keep", reason="asked",
        )  # fmt: skip
        store.append_sync(
            Batch(operation=store.instance_id, expected=len(instances), records=(seal(record),))
        )
        states = [instance.evidence_record(name, n).blobs[0].state for n in ("6", "8")]
        instance.export(name, Asked(path=folder / "page.html", form="report", with_outputs=True))

    assert kept_one.state == states[0] == "kept" and kept_one.ref.kept_bytes == 6
    assert states[1].startswith("erased by root under keep at ") and states[1].endswith(": asked")
    assert "under keep: asked" in Read((folder / "page.html").read_bytes()).text


def test_a_damaged_record_is_named_and_the_others_are_still_shown(root: tuple[Path, str]) -> None:
    folder, name = root
    ledger = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    ledger.execute(
        "UPDATE records SET body=zeroblob(length(body)) WHERE n=5 AND op=(SELECT number FROM operations"
        " WHERE id=?)",
        (bytes.fromhex(name[3:]),),
    )
    ledger.close()
    with open_reading(settings(folder)) as reading:
        view = reading.evidence(name)
        with pytest.raises(RecordUnknown) as refused:
            reading.evidence_record(name, "5")
        one = reading.evidence_record(name, "4")

    assert len(view.records) == 16 and view.damaged[0].startswith("record 5: ")
    assert "cannot be read" in refused.value.message and one.line.record.kind == "ticket/1"
    assert not view.verdict.startswith("verified")


def test_what_no_checkpoint_covers_yet_is_said_to_be_that(root: tuple[Path, str]) -> None:
    folder, name = root
    ledger = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    ledger.execute("DELETE FROM checkpoints")
    ledger.close()
    with open_reading(settings(folder)) as reading:
        assert reading.evidence(name).verdict == "no checkpoint covers it yet"
        assert reading.evidence_record(name, "0").included == "no checkpoint covers it yet"
        assert reading.receipt(name).signatures[0].verdict.startswith("not checked")


def test_an_operation_that_has_not_ended_has_no_receipt(root: tuple[Path, str]) -> None:
    folder, _ = root

    async def planned() -> str:
        with opened(folder) as instance:
            return (await instance.plan(replace(change(folder), observe=False))).operation_id

    name = asyncio.run(planned())
    with open_reading(settings(folder)) as reading, pytest.raises(NotYet):
        reading.receipt(name)
    with opened(folder) as instance:
        assert len(records(instance, name)) == 3
