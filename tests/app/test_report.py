"""The page for people: it says what the evidence says, all of it, and nothing in it is obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.sessions import done, vote
from conformance.worlds import (
    APPROVER_KEY,
    INSTANCE,
    MARA,
    OPERATIONS,
    ROOT,
    Book,
    a_change,
    a_lost_call,
    a_read,
    a_refusal,
    approved_change,
    cut,
    instance_chain,
    judged,
    planned_change,
    read_step,
)
from rexecop.app.report.markup import TEXT_LENGTH_MAX
from rexecop.app.report.page import EMBEDDED_BYTES_MAX, FOLDED_FROM, TOLD_MAX, page
from rexecop.app.report.parts import CARDS_MAX, OUTPUT_LENGTH_MAX
from rexecop.app.report.timeline import ROWS_MAX
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import seal
from rexecop.proof.plaintext import escape
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.records import Erasure
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.verify import Finding, NotChecked, Report
from rexecop.proof.vocabulary import Effect, Ended, Mode, State, Verdict
from tests.app.pages import STYLE, Read, dossier, hostile, shown, told
from tests.browser import Browser, browser
from tests.house.source import CORE, python_files
from tests.needs import needs

ATTACK = (
    "</pre></style></title><script>pwned=1</script><img src=http://127.0.0.1:9/x onerror=pwned=1>"
    "<svg onload=pwned=1><base href=http://127.0.0.1:9/><meta http-equiv=refresh content=0;url=http://127.0.0.1:9>"
    "<link rel=stylesheet href=http://127.0.0.1:9/y>'\"><a href=javascript:pwned=1 autofocus onfocus=pwned=1>"
    "<!-- ]]> &lt; \u202egnp.exe \u200b \x1b[2J \t \r\n"
)
NAMES = sorted(OPERATIONS)


@cache
def tags_of(name: str) -> list[tuple[str, tuple[str, ...]]]:
    return Read(page(hostile(OPERATIONS[name](), "plain"), STYLE)).tags


# --- nothing is obeyed ---


@settings(max_examples=20)
@given(
    text=st.text(min_size=1, max_size=60).filter(lambda text: text.strip() != ""), name=st.sampled_from(NAMES)
)
def test_whatever_the_evidence_says_the_page_has_the_same_elements(text: str, name: str) -> None:
    read = Read(page(hostile(OPERATIONS[name](), text), STYLE))

    assert read.tags == tags_of(name)
    assert read.unbalanced == [] and read.open == []


@pytest.mark.parametrize("name", NAMES)
def test_markup_and_marks_that_turn_a_line_are_shown_and_not_obeyed(name: str) -> None:
    data = page(hostile(OPERATIONS[name](), ATTACK), STYLE)
    read = Read(data)

    assert read.tags == tags_of(name)
    assert " ".join(escape(ATTACK).split()) in read.text
    for char in ("\u202e", "\u200b", "\x1b", "\x00"):
        assert char.encode() not in data


def test_a_page_has_no_script_no_form_and_no_address_outside_itself() -> None:
    read = shown(*(make() for make in OPERATIONS.values()))

    names = {name for _, attributes in read.tags for name in attributes}
    assert not {tag for tag, _ in read.tags} & {
        "script",
        "form",
        "iframe",
        "object",
        "embed",
        "base",
        "link",
        "img",
    }
    assert not [name for name in names if name.startswith("on") or name in {"src", "style"}]
    assert all(link.startswith(("#", "data:application/zip;")) for link in read.links)


def test_markup_is_made_in_one_place() -> None:
    folder = python_files(CORE / "app" / "report")

    assert [one.path for one in folder if re.search(r"\bHtml\(|\.source\b", one.text)] == [
        "src/rexecop/app/report/markup.py"
    ]


def test_texts_without_end_are_cut_and_say_so_but_what_was_signed_is_whole() -> None:
    book, long = Book("op_long"), "<b>\u202e\x00" * 18_000
    book.intent(mode=Mode.READ_ONLY, reason=long)
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(read_step(), output=long.encode())
    data = page(dossier(book), STYLE)
    text = Read(data).text

    assert f"… ({len(long) - TEXT_LENGTH_MAX:,} more characters)" in text
    assert f"… ({len(long) - OUTPUT_LENGTH_MAX:,} more characters)" in text
    assert " ".join(preview(book.records[0], book.records[1]).split()) in text


# --- the same evidence is the same page, and the bundle is in it ---


@pytest.mark.parametrize("name", NAMES)
def test_the_same_evidence_is_the_same_bytes_and_holds_the_bundle(name: str) -> None:
    first, second = (page(dossier(OPERATIONS[name]()), STYLE) for _ in range(2))

    bundle = Read(first).bundle()
    assert first == second
    assert bundle == cut(OPERATIONS[name]()).bundle() and digest_of(bundle) in Read(first).text
    assert "as of a log of" in Read(first).text


def test_a_bundle_too_large_for_a_page_is_named_with_its_digest_and_left_outside() -> None:
    large = bytes(EMBEDDED_BYTES_MAX + 1)

    read = shown(a_read(), bundle=large, bundle_name="op_read.html.rxb")

    assert not [link for link in read.links if link.startswith("data:")]
    assert digest_of(large) in read.text and "Take the bundle op_read.html.rxb" in read.text


# --- what a reader is told ---


def test_the_first_sentence_says_who_asked_for_what_why_who_approved_and_what_came_of_it() -> None:
    text = shown(a_change()).text

    assert "On 2026-03-01 10:00:00 UTC jan asked for set_line on host-1 , to change it" in text
    assert "mara approved on 2026-03-01 10:00:00 UTC" in text
    assert "3 calls made: 3 ok. The result was checked: passed. It ended undone on" in text


def test_a_refusal_is_told_as_one_and_an_open_operation_as_open() -> None:
    book, _, _ = planned_change()
    open_text = shown(book).text

    assert "Policy refused it: because. No call was made. It ended blocked" in shown(a_refusal()).text
    assert "It has not ended; it stands at waiting for approval" in open_text
    assert "There is none: the operation has not ended." in open_text


def test_a_call_nobody_saw_the_end_of_may_have_happened() -> None:
    book, look, change = approved_change()
    book.run(look, facts={"path": "/srv/line"})
    book.attempt(change, values={"path": "/srv/line"})
    text = shown(book).text

    assert "set on host-1: unknown: it may have happened" in text
    assert "no outcome was ever recorded" in text and "2 calls made: 1 ok, 1 unknown." in text
    assert "settled it happened, by looking: seen" in shown(a_lost_call()).text


@pytest.mark.parametrize("name", NAMES)
def test_every_digest_rule_and_reason_of_the_records_is_on_the_page(name: str) -> None:
    book = OPERATIONS[name]()
    text = shown(book).text

    assert [sealed.digest for sealed in book.records if sealed.digest not in text] == []


def test_an_approval_is_shown_with_the_very_text_that_was_signed() -> None:
    book = a_change()
    signed = preview(book.records[0], book.records[1])
    text = shown(book).text

    assert f"The text that was signed (its digest: {preview_digest(signed)}" in text
    assert " ".join(signed.split()) in text and "signed the text below" in text


def test_an_approval_that_nobody_signed_is_shown_as_one() -> None:
    book, _, _ = planned_change(session_may_approve=True)
    vote(book)
    text = shown(done(book)).text

    assert "by session, unsigned the text below" in text and "The text that was answered (its digest" in text
    assert "0 of them by keys the checker knows, 1 unsigned, said by session" in text
    assert "who did not sign is known by a session, the instance's word" in text


def test_a_signature_over_another_text_is_said_to_be_that() -> None:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY, preview=digest_of(b"another page"))

    assert "signed ANOTHER TEXT than the one below" in shown(book).text


def test_an_obligation_that_was_not_met_stands_out() -> None:
    book, _, _ = planned_change(obligations=Obligations(timeout_ms=400, no_network=True))
    met = (
        ObligationMet(name="timeout", met=True, how="longest call 3 ms"),
        ObligationMet(name="no_network", met=False, how="measured host"),
    )
    book.approve(MARA, APPROVER_KEY, approves=False)
    book.receipt(State.BLOCKED, obligations=met)
    text = shown(book).text

    assert "end every call within 400 ms yes longest call 3 ms" in text
    assert "keep every program from the network NO measured host" in text
    assert "mara said no" in text


def test_an_output_is_shown_erased_or_left_out_and_never_silently_missing() -> None:
    book = a_read()
    (commitment,) = book.blobs
    last = instance_chain()[-1]
    erasure = seal(
        Erasure(
            operation=INSTANCE, n=3, prev=last.digest, at=last.record.at, by=ROOT,
            commitment=commitment, rule="keep-30-days", reason="asked by the customer",
        )
    )  # fmt: skip
    gone = dossier(book, instance=(*instance_chain(), erasure), operations=(told(book, outputs=False),))

    assert "stdout: 9 bytes kept old line" in shown(book).text
    assert "9 bytes kept; not in this export" in shown(book, operations=(told(book, outputs=False),)).text
    why = "by root (known by os-user uid:0) under keep-30-days: asked by the customer"
    assert f"9 bytes kept; erased on 2026-03-01 09:00:00 UTC {why}" in Read(page(gone, STYLE)).text


def judgement(**changes: object) -> Report:
    return replace(judged(cut(a_change())), **changes)  # type: ignore[arg-type]


def test_what_is_wrong_and_what_was_not_checked_are_both_said() -> None:
    wrong = Finding(code="E07k", message="record 5 is outside the plan", record=digest_of(b"x"))
    skipped = tuple(NotChecked(what=f"thing {n}", why=f"reason {n % 2}") for n in range(5))
    text = shown(a_change(), report=judgement(findings=(wrong,), rungs=(), not_checked=skipped)).text

    assert "The evidence does NOT hold: refused: E07k record 5 is outside the plan." in text
    assert f"E07k record 5 is outside the plan an attempt outside the plan {digest_of(b'x')}" in text
    assert "thing 0; thing 2; thing 4 : reason 0" in text and "thing 1; thing 3 : reason 1" in text
    assert text.count("not reached") == 4


def test_the_checks_are_said_to_be_by_the_instances_own_keys() -> None:
    assert "checked with this instance's own keys" in shown(a_read()).text
    assert "not verified: no trusted key" in shown(a_read(), report=judgement(trusted=False, rungs=())).text


def test_a_finding_about_an_approval_stands_beside_it() -> None:
    book = a_change()
    approval = next(sealed.digest for sealed in book.records if sealed.record.kind == "approval/1")
    wrong = Finding(code="E08b", message="enrolled too late", record=approval)

    assert "checked nothing wrong was found with it" in shown(book).text
    assert "checked WRONG: E08b" in shown(book, report=judgement(findings=(wrong,))).text


# --- many ---


def test_several_operations_have_a_line_each_and_are_folded_when_they_are_many() -> None:
    few = shown(*(make() for make in OPERATIONS.values()))
    many = shown(*(a_refusal() for _ in range(FOLDED_FROM)))

    assert [link for link in few.links if link.startswith("#op-")] == [
        f"#op-{n}" for n in range(len(OPERATIONS))
    ]
    assert "1 blocked, 3 completed, 1 undone" in few.text
    folded = sum(tag == "details" for tag, _ in many.tags) - FOLDED_FROM * 2
    assert folded == FOLDED_FROM


def test_of_very_many_operations_the_table_still_names_all() -> None:
    read = shown(*(a_refusal() for _ in range(TOLD_MAX + 3)))

    assert f"{TOLD_MAX + 3} blocked" in read.text and "3 more operations are in the table above" in read.text
    assert sum("#op-" in link for link in read.links) == TOLD_MAX


def test_of_very_many_calls_those_that_went_wrong_are_told_first() -> None:
    book, look, _ = approved_change()
    for number in range(CARDS_MAX + 10):
        book.run(look, ended=Ended.FAILED if number == CARDS_MAX + 5 else Ended.OK)
    read = shown(book)

    assert read.text.count("look on host-1: failed") == 2
    assert read.text.count("look on host-1: ok began") == CARDS_MAX - 1
    assert "10 more are in the bundle; none of them wants a second look." in read.text
    assert sum(tag in {"circle", "rect"} for tag, _ in read.tags) == ROWS_MAX


def test_records_that_contradict_one_another_are_shown_all_the_same() -> None:
    book, _, _ = approved_change()
    book.outcome("set", None)
    book.records = [book.records[0], *book.records[4:], book.records[3]]

    assert "unclear" in shown(a_read(), operations=(told(book),)).text
    assert shown(a_read(), operations=(replace(told(book), records=tuple(book.records[1:])),)).text


# --- seen by a browser ---


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@needs("chromium")
def test_in_a_browser_nothing_runs_and_nothing_is_fetched_even_without_the_policy(
    chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(page(hostile(a_change(), ATTACK), STYLE))
    for bypass in (False, True):
        chromium.ask("Page.setBypassCSP", enabled=bypass)
        chromium.open(file)

        assert (
            chromium.value("typeof pwned + document.scripts.length + document.forms.length") == "undefined00"
        )
        assert chromium.value("location.href") == file.as_uri()
        assert chromium.requested() == [file.as_uri()]
    chromium.ask("Page.setBypassCSP", enabled=False)
    chromium.open(file)
    script = "s = document.createElement('script'); s.text = 'pwned = 1'; document.body.append(s)"
    assert chromium.value(f"{script}; typeof pwned") == "undefined"
    assert chromium.value("getComputedStyle(document.querySelector('.verdict')).paddingLeft") == "16px"


@needs("chromium")
def test_in_a_browser_the_bundle_is_saved_from_the_page_by_a_click(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(page(dossier(a_change()), STYLE))
    chromium.open(file)

    assert chromium.save("a[download]") == {"op_change.rxb": cut(a_change()).bundle()}
    assert chromium.requested()[:1] == [file.as_uri()]
    assert not [address for address in chromium.requested()[1:] if not address.startswith("data:")]


@needs("chromium")
def test_in_a_browser_it_fits_a_telephone_and_a_sheet_and_follows_the_readers_colours(
    chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    grounds = set()
    for text in ("plain", "W" * 3000):
        file.write_bytes(page(hostile(a_change(), text), STYLE))
        for width, media in ((1200, ""), (400, ""), (687, "print")):
            chromium.dress(width=width, media=media)
            chromium.open(file)
            assert chromium.value("document.documentElement.scrollWidth") <= width, (text[:5], width)
    for scheme in ("light", "dark"):
        chromium.dress(scheme=scheme)
        grounds.add(chromium.value("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    # What is folded on a screen is printed, and nothing that scrolls on a screen is cut on paper.
    seen = "document.querySelector('.records').checkVisibility()"
    cut_off = (
        "[...document.querySelectorAll('.wide, pre')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert chromium.value(seen) is False
    chromium.dress(media="print", width=687)
    assert chromium.value(seen) is True and chromium.value(cut_off) == 0
    assert chromium.printed().startswith(b"%PDF")


# --- for every eye ---


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_can_be_read_on_both_grounds(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): (#\w{6});", block))

    for ground in ("paper", "panel"):
        for name in ("ink", "soft", "link", "good", "bad", "doubt", "mark"):
            light, dark = sorted((luminance(colours[ground]), luminance(colours[name])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, name)


def test_every_table_has_a_caption_and_heads_and_headings_skip_no_level() -> None:
    read = shown(*(make() for make in OPERATIONS.values()))
    names = [tag for tag, _ in read.tags]
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]

    assert names.count("table") == names.count("caption") == names.count("thead") > 5
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert all("aria-hidden" in attributes for tag, attributes in read.tags if tag == "svg")
