"""Golden cases of a pack: to this request, this answer. A pack keeps them as `tests/*.yaml`.

cases:
  a-change-needs-one:                       a name
    request: {person: alice, effect: change, mode: apply}
    verdict: approval_required              allowed | approval_required | blocked
    approvals: 1 of approvers               as in an annotation; `none` asks for nothing
    obligations: receipt                    likewise
    rules: [people-may-change]              all rules that took part

A request has the fields of a decision's request (docs/formats/records.md); `person` and
`established` are short for `principal`, and what is left out is said in `_USUAL`. Only
what a case expects is compared; a verdict it must expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NoReturn, cast

from rexecop.execution.strict_yaml import Document, Path, Yaml, load_yaml
from rexecop.governance import grammar
from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.entities import mapping
from rexecop.governance.errors import CaseMalformed
from rexecop.governance.obligations import NO_OBLIGATIONS, approvals_in_words
from rexecop.governance.pack import Pack
from rexecop.governance.why import obligations_in_words
from rexecop.proof.canonical import Json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.decision import ApprovalRule, Obligations, PolicyRequest
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Established, Verdict

CASES_MAX: Final = 1000  # A second's work; more cases than this say the same twice.
FOLDER: Final = "tests/"

_CASE: Final = frozenset({"request", "verdict", "approvals", "obligations", "rules"})
_WHEN: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
_TARGET: Final[Mapping[str, Json]] = {"id": "target", "type": "host", "criticality": "low"}
_USUAL: Final[Mapping[str, Json]] = {
    "gate": "plan",
    "profile": "any",
    "intent": "any",
    "risk": "low",
    "environment": "any",
    "targets": [dict(_TARGET)],
    "simulated": False,
    "pinned": False,
    "origin": "cli",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request and what is expected of the answer; None expects nothing of that part."""

    name: str
    file: str
    line: int
    request: PolicyRequest
    verdict: Verdict
    approvals: tuple[ApprovalRule, ...] | None
    obligations: Obligations | None
    rules: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How the answer to a case differs from what it expects; no difference is a pass."""

    name: str
    file: str
    line: int
    differences: tuple[str, ...]


def read_cases(files: Mapping[str, bytes], pack: Pack) -> tuple[Case, ...]:
    """Return the golden cases among the files of `pack`, in order.

    Raises:
        CaseMalformed: a case breaks the format, or there are too many. YamlRefused: no strict YAML.
    """
    found: list[Case] = []
    for path in sorted(files):
        if path.startswith(FOLDER):
            document = load_yaml(files[path], source=path)
            mapping(document, (), frozenset({"cases"}), CaseMalformed)
            names = mapping(document, ("cases",), None, CaseMalformed)
            found += (_case(document, name, pack.not_before or _WHEN) for name in names)
    if len(found) > CASES_MAX:
        raise CaseMalformed(f"{len(found)} cases, at most {CASES_MAX} are read", source=FOLDER)
    return tuple(found)


def run_cases(cases: tuple[Case, ...], pack: Pack) -> tuple[Result, ...]:
    """Return what `pack`, in force alone, answers otherwise than expected."""
    policy = Policy((pack,))
    return tuple(
        Result(
            name=case.name,
            file=case.file,
            line=case.line,
            differences=tuple(_differences(case, decide(policy, case.request))),
        )
        for case in cases
    )


def _case(document: Document, name: str, usual: datetime) -> Case:
    place: Path = ("cases", name)
    fields = mapping(document, place, _CASE, CaseMalformed)
    if fields.get("verdict") not in tuple(Verdict):
        _wrong(document, (*place, "verdict"), f"`verdict` is one of {', '.join(Verdict)}")
    rules = fields.get("rules")
    if rules is not None and not (isinstance(rules, list) and all(isinstance(one, str) for one in rules)):
        _wrong(document, (*place, "rules"), "`rules` is a list of the ids of rules")
    approvals, obligations = (_said(document, (*place, word)) for word in ("approvals", "obligations"))
    try:
        return Case(
            name=name,
            file=document.source,
            line=document.line(place),
            request=_request(document, (*place, "request"), usual),
            verdict=Verdict(cast(str, fields["verdict"])),
            approvals=None if approvals is None else grammar.read_rules(approvals),
            obligations=None
            if obligations is None
            else grammar.read_obligations(obligations)
            if obligations
            else NO_OBLIGATIONS,
            rules=None if rules is None else frozenset(cast(list[str], rules)),
        )
    except ValueError as error:
        _wrong(document, place, f"case `{name:.60}`: {error}")


def _said(document: Document, place: Path) -> str | None:
    """Return what is said at `place` in the words of an annotation, empty for `none`."""
    value = mapping(document, place[:-1], None, CaseMalformed).get(str(place[-1]))
    if value is not None and not isinstance(value, str):
        _wrong(document, place, f"`{place[-1]}` is text as in an annotation, or `none`")
    return "" if value == "none" else value


def _request(document: Document, place: Path, usual: datetime) -> PolicyRequest:
    said = dict(mapping(document, place, None, CaseMalformed))
    told: dict[str, Json] = {**_USUAL, "now": format_time(usual)}
    if "person" in said:
        if "principal" in said:
            _wrong(document, (*place, "person"), "request: one of `person` and `principal`")
        established = said.pop("established", str(Established.OS_USER))
        who = {"person": said.pop("person"), "established": established, "credential": "test"}
        told["principal"] = cast(Json, who)
    if isinstance(targets := said.get("targets"), list):
        said["targets"] = [_target(target) for target in targets]
    told |= {name: _plain(value) for name, value in said.items()}
    try:
        return from_json(PolicyRequest, told)
    except RexecopError as error:
        field = str(error.facts.get("field", "")).split(".")[0].split("[")[0]
        _wrong(document, (*place, field), f"request: {error.message}")


def _target(value: Yaml) -> Yaml:
    """Return a target that is named only as the usual one of that name."""
    usual = cast(dict[str, Yaml], dict(_TARGET))
    return usual | (value if isinstance(value, dict) else {"id": value})


def _plain(value: Yaml) -> Json:
    """Return `value` as evidence holds it: a decimal is its digits."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value


def _wrong(document: Document, place: Path, what: str) -> NoReturn:
    raise CaseMalformed(what, source=document.source, line=document.line(place))


def _differences(case: Case, answer: Answer) -> Iterator[str]:
    if answer.terms.verdict is not case.verdict:
        yield f"verdict is `{answer.terms.verdict}`, not `{case.verdict}`: {answer.reason}"
    if case.approvals is not None and answer.terms.approvals != case.approvals:
        asked, expected = (
            approvals_in_words(r) or "nobody" for r in (answer.terms.approvals, case.approvals)
        )
        yield f"approval is asked of {asked}, not of {expected}"
    if case.obligations is not None:
        found, wanted = (obligations_in_words(o) for o in (answer.terms.obligations, case.obligations))
        yield from (f"must not keep to: {words}" for words in found if words not in wanted)
        yield from (f"should keep to: {words}" for words in wanted if words not in found)
    if case.rules is not None:
        took = {rule.id.partition("/")[2] for rule in answer.rules}
        yield from (f"rule `{name}` took part" for name in sorted(took - case.rules))
        yield from (f"rule `{name}` took no part" for name in sorted(case.rules - took))
