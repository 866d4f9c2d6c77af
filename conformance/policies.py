"""Stories decided by a policy pack that can be asked again, where there is a Cedar evaluator."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from conformance.worlds import ONE_OF_OPS, Book, Made, change_step, cut, read_step
from rexecop.governance.admission import Policy, decide
from rexecop.governance.pack import Pack
from rexecop.governance.steps import admit
from rexecop.proof.bundle import BundleInput
from rexecop.proof.chain import seal
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.request import requested
from rexecop.proof.vocabulary import Effect, Gate, Verdict

RULES: Final = b"""\
@id("people-may-change")
permit (principal is User, action == Action::"change", resource);
"""
REQUIREMENTS: Final = b"""\
@id("a-change-needs-one")
@approvals("1 of ops")
permit (principal, action == Action::"change", resource);
"""
NAMING: Final = b"""\
@id("people-may-set-a-line")
permit (principal is User, action == Action::"intent:hello/set_line", resource);

@id("not-in-the-evening")
forbid (principal, action == Action::"call:change", resource)
when { context.now >= datetime("2026-03-01T18:00:00Z") };
"""
LISTED: Final = b"actions: {intent:hello/set_line: change}\n"
PEOPLE: Final = b"groups: [ops]\npeople:\n  jan: {}\n  mara: {groups: [ops]}\n  otto: {groups: [ops]}\n"


def pack_of(people: bytes, windows: bytes = b"", rules: bytes = RULES) -> Pack:
    """Return a pack by which a change needs one of `ops`, who are listed in `people`, within `windows`."""
    files = {"pack.yaml": b'id: small\nversion: "1"\n', "rules.cedar": rules, "entities.yaml": people}
    files |= {"windows.yaml": windows} if windows else {}
    return Pack.parse({**files, "requirements/approvals.cedar": REQUIREMENTS})


def input_of(pack: Pack) -> BundleInput:
    """Return `pack` as a bundle carries it."""
    return BundleInput(role="policy-pack", data=pack.data)


PACK: Final = pack_of(PEOPLE)
BY_NAME: Final = pack_of(PEOPLE + LISTED, rules=NAMING)
POLICY: Final = input_of(PACK)


def decided_change(pack: Pack = PACK) -> tuple[Book, CallStep, CallStep]:
    """Return a change up to the decision that `pack` makes on it."""
    book = Book("op_decided")
    look, change = read_step(), change_step()
    book.intent()
    book.plan((look, change), Effect.CHANGE)
    record = book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS).record
    assert isinstance(record, Decision)
    found = decide(Policy([pack]), record.request)
    decided = replace(
        record, terms=found.terms, rules=found.rules, packs=found.packs, errors=(), reason=found.reason
    )
    book.records[-1] = seal(decided)
    return book, look, change


def decided_again(book: Book, step: CallStep, pack: Pack) -> None:
    """Add the decision that `pack` makes on the call of `step`, which is due."""
    (_, before), (_, plan) = book.last(Decision), book.last(Plan)
    asked = replace(before.request, gate=Gate.CALL, step=step.id, call=requested(step.call), now=book.at)
    found = admit(Policy([pack]), asked, plan)
    book.add(
        Decision,
        plan=before.plan,
        request=asked,
        terms=found.terms,
        rules=found.rules,
        packs=found.packs,
        errors=found.errors,
        reason=found.reason,
    )


def with_policy(book: Book, pack: Pack = PACK) -> Made:
    """Return a bundle of `book` that carries `pack` and no other."""
    made = cut(book)
    others = tuple(item for item in made.contents.inputs if item.role != "policy-pack")
    return replace(made, contents=replace(made.contents, inputs=(*others, input_of(pack))))
