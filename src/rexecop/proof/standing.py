"""Standing approvals: whether one that was given covers a plan, and still stands.

A person signs beforehand what may be done so many times until a date. Nothing is
taken on the word of who uses it: it counts as what it says, for as long as the
instance's own chain shows it given and not taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.kinship import Objection, person_key
from rexecop.proof.records.approval import Approval, Coverage, ParameterRange
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan


def coverage_digest(covers: Coverage) -> Digest:
    """Return the digest that a standing approval names what it covers by."""
    return digest_of(encode(covers))


def given_standing(chain: Sequence[Sealed], at: datetime) -> dict[Digest, Approval]:
    """Return the standing approvals that the instance's `chain` shows at `at`, without those taken back."""
    found: dict[Digest, Approval] = {}
    for sealed in chain:
        record = sealed.record
        if not isinstance(record, Approval) or record.at > at:
            continue
        name = record.statement.withdraws
        if name is None:
            found[sealed.digest] = record
        elif name in found and _same_person(found[name], record):
            del found[name]
    return found


def standing_objection(
    record: Approval, asked: Intent, planned: Plan, chain: Sequence[Sealed], at: datetime
) -> Objection | None:
    """Return why the use `record` of a standing approval does not count for the plan at `at`, or None."""
    said = record.statement
    covers = said.covers
    if covers is None or {said.plan, said.preview} != {coverage_digest(covers)}:
        return Objection("approval-other-plan", "the statement names something else than it covers")
    given = given_standing(chain, at).values()
    if not any((one.statement, one.signature) == (said, record.signature) for one in given):
        return Objection("standing-withdrawn", "the standing approval was not given, or was taken back")
    if (words := outside(covers, asked, planned)) is not None:
        return Objection("standing-outside", f"the standing approval does not cover {words}")
    if record.use is None or not 1 <= record.use <= covers.uses:
        return Objection("standing-used-up", f"the standing approval is for {covers.uses} uses")
    return None


def outside(covers: Coverage, asked: Intent, planned: Plan) -> str | None:
    """Return what of the plan is not covered, in words, or None."""
    names = {target.id for target in planned.targets} | {asked.target}
    ranges = {one.parameter: one for one in covers.parameters}
    for words, differs in (
        ("another profile", planned.profile != covers.profile),
        ("another environment", planned.environment != covers.environment),
        (f"intent `{asked.intent:.64}`", asked.intent != covers.intent),
        (f"mode `{asked.mode}`", asked.mode is not covers.mode),
        (f"target `{min(names - set(covers.targets), default='')}`", not names <= set(covers.targets)),
    ):
        if differs:
            return words
    for name, value in (asked.parameters or {}).items():
        if name not in ranges or not _within(ranges[name], value):
            return f"parameter `{name:.64}` as it is"
    return None


def _within(allowed: ParameterRange, value: Json) -> bool:
    if any(type(one) is type(value) and one == value for one in allowed.one_of):
        return True
    if type(value) is not int or (allowed.at_least is None and allowed.at_most is None):
        return False
    low = allowed.at_least is None or value >= allowed.at_least
    return low and (allowed.at_most is None or value <= allowed.at_most)


def _same_person(given: Approval, taken: Approval) -> bool:
    one, other = given.statement.approver.person, taken.statement.approver.person
    return person_key(one) == person_key(other)
