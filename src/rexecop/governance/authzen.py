"""AuthZEN (OpenID Authorization API 1.0): the same request and answer in the words others speak.

Both ways go through here. What we ask an outside decision point is made from our request;
what others ask us becomes one. Nothing that carries authority is guessed: a field left
out by whoever asks is a no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from rexecop.governance.actions import INTENT, action_of
from rexecop.governance.admission import Answer
from rexecop.governance.errors import EvaluationRefused
from rexecop.governance.obligations import approvals_in_words
from rexecop.governance.why import obligations_in_words
from rexecop.proof.canonical import Json, digest_of, trusted_bytes
from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import Opinion, PolicyRequest, RequestTarget
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Effect, Established, Gate, Mode, Verdict

ONE: Final = "/access/v1/evaluation"
SEVERAL: Final = "/access/v1/evaluations"
EVALUATIONS_MAX: Final = 256  # Of one question that is asked here; who asks about more asks again.
ANSWER_BYTES_MAX: Final = 64 * 1024  # A yes or no and some words for each of 256 targets.
ANSWER_TARGET_BYTES_MAX: Final = ANSWER_BYTES_MAX // 256
REASON_LENGTH_MAX: Final = 200
SEMANTICS: Final = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")

Word = TypeVar("Word", Effect, Mode)

_REASONS: Final = ("reason", "reason_user", "reason_admin")


def question(request: PolicyRequest) -> tuple[str, bytes]:
    """Return `request` as path and body of an evaluation, or of several: one for each target."""
    principal = request.principal
    facts: dict[str, Json] = {
        "gate": str(request.gate), "mode": str(request.mode), "risk": request.risk,
        "environment": request.environment, "simulated": request.simulated, "pinned": request.pinned,
        "origin": request.origin, "time": format_time(request.now), "grade": request.grade,
        "parameters": dict(request.parameters or {}), "step": request.step,
        "break_glass": request.break_glass,
    }  # fmt: skip
    subject: dict[str, Json] = {"established": str(principal.established), "sponsor": request.sponsor}
    does: dict[str, Json] = {
        "action": action_of(request).name,
        "intent": f"{request.profile}/{request.intent}",
        "call_effect": None if request.call is None else str(request.call.effect),
    }
    body: dict[str, Json] = {
        "subject": {
            "type": "user" if request.sponsor is None else "agent",
            "id": principal.person,
            "properties": _said(subject),
        },
        "action": {
            "name": str(request.effect),
            "properties": _said(does),
        },
        "context": _said(facts),
    }
    resources: list[Json] = [
        {
            "type": target.type,
            "id": target.id,
            "properties": {"criticality": target.criticality, "groups": list(target.groups)},
        }
        for target in request.targets
    ]
    if len(resources) == 1:
        return ONE, trusted_bytes(body | {"resource": resources[0]})
    return SEVERAL, trusted_bytes(body | {"evaluations": [{"resource": item} for item in resources]})


def answer_bytes_max(request: PolicyRequest) -> int:
    """Return how many bytes of an answer to `question(request)` are read."""
    return max(ANSWER_BYTES_MAX, ANSWER_TARGET_BYTES_MAX * len(request.targets))


def opinion(data: bytes, request: PolicyRequest, source: str) -> Opinion:
    """Return what the answer `data` of `source` to `question(request)` comes to; what is unclear is a no."""
    digest = digest_of(data)
    try:
        answer = parse_payload(data, bytes_max=answer_bytes_max(request))
    except NotCanonical as error:
        return Opinion(source=source, allowed=False, reason=f"malformed: {error.message}", answer=digest)
    found = answer.get("evaluations") if isinstance(answer, dict) else None
    if len(request.targets) == 1:
        found = [answer]
    if not isinstance(found, list) or len(found) != len(request.targets):
        words = f"malformed: it is not a list of {len(request.targets)} evaluations"
        return Opinion(source=source, allowed=False, reason=words, answer=digest)
    for target, item in zip(request.targets, found, strict=True):
        decision = item.get("decision") if isinstance(item, dict) else None
        if decision is not True:
            why = (
                f"no to `{target.id:.80}`"
                if decision is False
                else "malformed: a decision is neither true nor false"
            )
            words = f"{why}{_reason(item)}"[:REASON_LENGTH_MAX]
            return Opinion(source=source, allowed=False, reason=words, answer=digest)
    return Opinion(source=source, allowed=True, reason="yes", answer=digest)


def requests(
    body: Mapping[str, Value], *, caller: str, now: datetime
) -> Sequence[PolicyRequest | EvaluationRefused]:
    """Return what an evaluations request asks, each by itself; one that cannot be asked is its refusal.

    `caller` asks on behalf of the subjects it names, so they are established by its token
    and no better.

    Raises:
        EvaluationRefused: the body as a whole is not one.
    """
    items = body.get("evaluations", [])
    if not isinstance(items, list) or len(items) > EVALUATIONS_MAX:
        raise EvaluationRefused(f"`evaluations` is a list of at most {EVALUATIONS_MAX}", field="evaluations")
    found: list[PolicyRequest | EvaluationRefused] = []
    for item in items or [{}]:
        if not isinstance(item, dict):
            raise EvaluationRefused("an evaluation is an object", field="evaluations")
        try:
            found.append(_request({**body, **item}, caller, now))
        except EvaluationRefused as refused:
            found.append(refused)
    return found


def semantic(body: Mapping[str, Value]) -> str:
    """Return how many of several evaluations are answered.

    Raises:
        EvaluationRefused: the options ask for something that is not known.
    """
    options = body.get("options", {})
    asked = options.get("evaluations_semantic", SEMANTICS[0]) if isinstance(options, dict) else None
    if asked not in SEMANTICS:
        allowed = ", ".join(SEMANTICS)
        raise EvaluationRefused(f"`evaluations_semantic` is one of {allowed}", field="options")
    return str(asked)


def response(answer: Answer) -> dict[str, Value]:
    """Return `answer` as an evaluation response. What waits for approval is a no that says whose."""
    terms = answer.terms
    context: dict[str, Value] = {"verdict": str(terms.verdict), "reason": answer.reason}
    if terms.verdict is Verdict.APPROVAL_REQUIRED:
        context["approvals"] = approvals_in_words(terms.approvals)
    if terms.verdict is not Verdict.BLOCKED:
        context["obligations"] = list(obligations_in_words(terms.obligations))
    return {"decision": terms.verdict is Verdict.ALLOWED, "context": context}


def refusal(error: EvaluationRefused) -> dict[str, Value]:
    """Return the response to what could not be asked."""
    return {"decision": False, "context": {"code": error.code, "reason": error.message}}


def _request(found: Mapping[str, Value], caller: str, now: datetime) -> PolicyRequest:
    subject, action, resource = (_part(found, name) for name in ("subject", "action", "resource"))
    said, does, has = (_properties(part) for part in (subject, action, resource))
    context = found.get("context", {})
    if not isinstance(context, dict):
        raise EvaluationRefused("`context` is an object", field="context")
    _text(subject, "subject.type")  # The standard wants it; who the packs know decides by the id.
    if (name := _text(action, "action.name")).startswith(INTENT):
        intent, effect = name.removeprefix(INTENT), _one_of(Effect, does, "action.properties.effect")
    else:
        intent, effect = _text(does, "action.properties.intent"), _one_of(Effect, action, "action.name")
    profile, _, intent = intent.partition("/")
    parameters = context.get("parameters", {})
    if not isinstance(parameters, dict):
        raise EvaluationRefused("`context.parameters` is an object", field="context.parameters")
    groups = has.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise EvaluationRefused(
            "`resource.properties.groups` is a list of names", field="resource.properties.groups"
        )
    return PolicyRequest(
        gate=Gate.PLAN,
        principal=Principal(
            person=_text(subject, "subject.id"), established=Established.TOKEN, credential=caller
        ),
        profile=profile,
        intent=intent,
        effect=effect,
        mode=_one_of(Mode, context, "context.mode"),
        risk=_text(context, "context.risk"),
        environment=_text(context, "context.environment"),
        targets=(
            RequestTarget(
                id=_text(resource, "resource.id"),
                type=_text(resource, "resource.type"),
                criticality=_text(has, "resource.properties.criticality"),
                groups=tuple(str(group) for group in groups),
            ),
        ),
        # Neither can be seen from here, and the strict answer to both is no.
        simulated=False,
        pinned=False,
        origin="api",
        now=now,
        sponsor=_text(said, "subject.properties.sponsor") if "sponsor" in said else None,
        parameters={name: _parameter(name, value) for name, value in parameters.items()} or None,
    )


def _part(found: Mapping[str, Value], name: str) -> Mapping[str, Value]:
    part = found.get(name)
    if not isinstance(part, dict):
        raise EvaluationRefused(f"`{name}` is missing or no object", field=name)
    return part


def _properties(part: Mapping[str, Value]) -> Mapping[str, Value]:
    found = part.get("properties", {})
    return found if isinstance(found, dict) else {}


def _text(part: Mapping[str, Value], place: str) -> str:
    found = part.get(place.rpartition(".")[2])
    if not isinstance(found, str) or not 0 < len(found) <= REASON_LENGTH_MAX or not found.isprintable():
        raise EvaluationRefused(f"`{place}` is missing or not a short text", field=place)
    return found


def _one_of(kind: type[Word], part: Mapping[str, Value], place: str) -> Word:
    text = _text(part, place)
    if text not in tuple(kind):
        raise EvaluationRefused(f"`{place}` is one of {', '.join(kind)}", field=place)
    return kind(text)


def _parameter(name: str, value: Value) -> Json:
    """Return a parameter as policies see it: text, whole numbers, yes and no; the rest as JSON text."""
    return value if isinstance(value, str | bool | int) else payload_text(value)


def _said(found: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in found.items() if value is not None}


def _reason(item: Value) -> str:
    context = item.get("context") if isinstance(item, dict) else None
    for name in _REASONS if isinstance(context, dict) else ():
        assert isinstance(context, dict)
        found = context.get(name)
        if isinstance(found, dict):
            found = next(iter(found.values()), None)
        if isinstance(found, str) and found.isprintable() and found:
            return f": {found}"
    return ""
