"""A bundle is the same bytes for the same evidence, and any zip tool opens it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.worlds import OPERATIONS, Made, a_change, a_read, cut
from rexecop.proof import bundle, container
from rexecop.proof.bundle import BundleContents, build, expected_manifest
from rexecop.proof.container import pack, unpack
from rexecop.proof.errors import BundleMalformed, ContainerMalformed, ProofError
from rexecop.proof.verify.evidence import Notes, open_container

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


def read(data: bytes) -> BundleContents:
    """Open a bundle as the verifier does, and take nothing with a finding."""
    notes = Notes()
    contents = open_container(data, notes)
    if contents is None or notes.findings:
        raise BundleMalformed(notes.findings[0].message)
    return contents


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_was_built_is_read_back_and_built_again_to_the_same_bytes(name: str) -> None:
    made = cut(OPERATIONS[name]())
    data = made.bundle()

    assert read(data) == made.contents
    assert build(read(data)) == data == cut(OPERATIONS[name]()).bundle()


@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=5))
def test_a_container_is_an_ordinary_zip_with_nothing_in_it_but_its_members(members: dict[str, bytes]) -> None:
    data = pack(members)

    assert unpack(data).members == members
    assert unpack(data).exact
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == sorted(members)
        assert {entry.filename: opened.read(entry) for entry in opened.infolist()} == members
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_no_other_bytes_unpack_to_the_same_members_unnoticed(
    members: dict[str, bytes], data: st.DataObject
) -> None:
    whole = bytearray(pack(members))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack(bytes(whole))
    except ContainerMalformed:
        return
    assert not found.exact


def test_a_zip_that_another_tool_made_is_readable_and_not_exact() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a", b"b")

    assert not unpack(target.getvalue()).exact


@pytest.mark.parametrize("name", ["a b", "ä", "", "a\n", "x" * 200])
def test_a_name_that_could_be_taken_for_another_names_no_member(name: str) -> None:
    with pytest.raises(ContainerMalformed):
        pack({name: b""})


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "../manifest.json",
        "/etc/passwd",
        "inputs/Policy/" + "a" * 64,
        "inputs/../" + "a" * 64,
        "envelopes/x.dsse.json",
        "blobs/" + "A" * 64 + ".bin",
        "signatures/" + "a" * 64 + ".sshsig.exe",
        "records.jsonl/",
    ],
)
def test_a_member_without_a_place_is_refused(name: str) -> None:
    found = dict(unpack(cut(a_read()).bundle()).members)

    with pytest.raises(BundleMalformed):
        read(pack({**found, name: b"x"}))


def _with(made: Made, **changes: object) -> BundleContents:
    return replace(made.contents, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("records.jsonl", b""),
        ("records.jsonl", b"{}"),
        ("records.jsonl", b"x" * 300_000 + b"\n"),
        ("proofs.json", b"{}"),
        ("proofs.json", b"\xff"),
        ("manifest.json", b"[]"),
        ("checkpoint.txt", b"x" * 300_000),
        ("blobs/" + "a" * 64 + ".bin", b"x"),
        ("blobs/" + "a" * 64 + ".key", b"k" * 32),
        ("inputs/profile/" + "a" * 64, b"x"),
    ],
)
def test_a_member_that_breaks_its_form_or_limit_is_refused(member: str, data: bytes) -> None:
    found = dict(unpack(cut(a_read()).bundle()).members)

    with pytest.raises(BundleMalformed):
        read(pack({**found, member: data}))


def test_the_manifest_says_what_is_there_and_what_is_left_out() -> None:
    made = cut(a_change())
    bare = _with(made, blobs={}, inputs=(), instance_records=(), envelopes={}, signatures={})

    manifest = expected_manifest(made.contents)

    assert manifest.left_out == ("stamps",)
    assert manifest.records == len(made.contents.records)
    assert manifest.operation == "op_change"
    assert set(expected_manifest(bare).left_out) == {
        "instance.jsonl",
        "envelopes",
        "signatures",
        "inputs",
        "blobs",
        "stamps",
    }


def test_outputs_stay_out_unless_asked_for() -> None:
    without = cut(a_change(), with_outputs=False)

    assert b"old line\n" not in without.bundle().replace(b'"old line\\n"', b"")
    assert without.contents.blobs == {}


def test_an_altered_file_is_not_read() -> None:
    data = cut(a_read()).bundle()

    for other in (data + b"x", data[:-1], b"x" + data, data.replace(b"set_line", b"cat_line"), b""):
        with pytest.raises(ProofError):
            read(other)


def test_limits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cut(a_read()).bundle()
    monkeypatch.setattr(container, "MEMBERS_MAX", 3)
    with pytest.raises(ContainerMalformed, match="3 members"):
        unpack(data)
    monkeypatch.setattr(container, "CONTAINER_BYTES_MAX", 100)
    with pytest.raises(ContainerMalformed, match="at most 100"):
        unpack(data)
    monkeypatch.undo()
    monkeypatch.setattr(bundle, "RECORDS_MAX", 2)
    with pytest.raises(BundleMalformed, match="more than 2 lines"):
        read(data)


def test_a_path_is_only_made_of_nodes_that_are_there() -> None:
    proofs = cut(a_read()).contents.proofs
    hashes = proofs.hashes()

    assert bundle.path_of((), hashes) == ()
    for wrong in ((-1,), (len(hashes),)):
        with pytest.raises(BundleMalformed):
            bundle.path_of(wrong, hashes)
    for nodes in (proofs.nodes[::-1], (*proofs.nodes, proofs.nodes[-1]), ("AA",), ("a" * 63,)):
        with pytest.raises(BundleMalformed):
            replace(proofs, nodes=nodes).hashes()
