"""What would run, as text: the page an approver reads and signs.

A pure function of intent and plan. Whatever may reach a target stands in it, so no
two plans that differ in effect have one preview, and every text in it is shown by
`plaintext`. A change of the layout is a new version, and old ones are kept for
verifying what was signed under them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final

from rexecop.proof.alike import STEPS_MAX, steps_told, targets_told, without_undo
from rexecop.proof.call import (
    Call,
    ExchangeRequest,
    HandlerRequest,
    Hole,
    Limits,
    ProcessRequest,
    ScriptedReply,
    SecretRef,
    Slot,
    Text,
)
from rexecop.proof.canonical import Digest, Json, canonical_bytes, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.errors import RecordMalformed
from rexecop.proof.message import parts_of
from rexecop.proof.plaintext import escape, in_quotes, quote
from rexecop.proof.principal import Principal
from rexecop.proof.records import Intent, Plan
from rexecop.proof.records.plan import (
    CallStep,
    DeriveStep,
    Expectation,
    Guard,
    PlannedTarget,
    Probe,
    Rollout,
    Step,
)
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Effect, Grade, Isolation

PREVIEW_VERSION: Final = 1

_LABEL_WIDTH: Final = 16
_GRADES: Final[Mapping[Grade, str]] = {
    Grade.CONTAINED: "contained: cannot write or reach a network",
    Grade.METHOD: "method: a reading method of its protocol",
    Grade.SHAPE: "shape: declared a read by the profile, not enforced",
}
_ISOLATION: Final[Mapping[Isolation, str]] = {
    Isolation.NONE: "none",
    Isolation.RLIMITS: "rlimits: limits only, sees what its user sees",
    Isolation.LANDLOCK_SECCOMP: "landlock-seccomp",
    Isolation.BUBBLEWRAP: "bubblewrap",
    Isolation.BUBBLEWRAP_CGROUP: "bubblewrap-cgroup",
    Isolation.GVISOR: "gvisor",
    Isolation.NOT_APPLICABLE: "not-applicable",
}

Lines = Iterator[str]


def preview(intent: Sealed, plan: Sealed) -> str:
    """Return what `plan` would do for `intent`, as lines of plain text.

    Raises:
        RecordMalformed: the two are not an intent and the plan made for it.
    """
    asked, planned = intent.record, plan.record
    if not isinstance(asked, Intent) or not isinstance(planned, Plan) or planned.intent != intent.digest:
        raise RecordMalformed("a preview shows an intent and the plan made for it")
    lines = [
        f"rexecop preview {PREVIEW_VERSION}",
        "",
        *_request(asked),
        *_scope(asked, planned, plan.digest),
        *_marks(planned),
    ]
    if _is_large(planned):
        lines += steps_told(planned, _step)
        return "\n".join(lines) + "\n"
    for number, step in enumerate(planned.steps, 1):
        lines += ["", f"step {number} of {len(planned.steps)}: {quote(step.id)}", *_step(step)]
    return "\n".join(lines) + "\n"


def _is_large(planned: Plan) -> bool:
    return len(planned.steps) > STEPS_MAX


def preview_digest(text: str) -> Digest:
    """Return the digest by which an approval names the preview `text`."""
    return digest_of(text.encode())


def call_text(call: Call) -> str:
    """Return `call` in the words a preview has for it."""
    return "\n".join(_call("", call))


def _line(label: str, *words: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{' '.join(words)}".rstrip()


def _request(asked: Intent) -> Lines:
    profile = asked.profile
    yield _line("operation", quote(asked.operation))
    yield _line("intent", quote(asked.intent), "of", quote(profile.name), quote(profile.version))
    yield _line("profile", profile.digest)
    yield _line("asked by", _person(asked.by))
    if asked.sponsor is not None:
        yield _line("on behalf of", quote(asked.sponsor))
    if asked.reason is not None:
        yield _line("reason", quote(asked.reason))
    if asked.break_glass:
        yield _line("mark", "an emergency: asked for by the rules for breaking glass")
    yield _line("through", quote(asked.origin.channel), asked.origin.event or "")
    yield _line("asked at", format_time(asked.at))
    yield _line("mode", asked.mode)
    yield _line("environment", quote(asked.environment.id), asked.environment.digest)
    yield _line("asked for", quote(asked.target))
    yield from _values("parameter", asked.parameters)
    if asked.override_window is not None:
        yield _line("override", "of windows and freezes, because:", quote(asked.override_window))
    if asked.idempotency_key is not None:
        yield _line("only once", quote(asked.idempotency_key))


def _scope(asked: Intent, planned: Plan, digest: Digest) -> Lines:
    yield ""
    yield _line("plan", digest)
    yield _line("planned at", format_time(planned.at), "by", _person(planned.by))
    if planned.profile != asked.profile.digest:
        yield _line("mark", "made from another profile:", planned.profile)
    if planned.environment != asked.environment.digest:
        yield _line("mark", "made from another environment:", planned.environment)
    if (signed := planned.signed) is not None:
        who = "nobody enrolled" if signed.person is None else quote(signed.person)
        yield _line("signed by", who, "with key", quote(signed.fingerprint))
        yield _line("", "over profile", signed.digest, "in", signed.signature)
    yield _line("effect", planned.effect)
    yield _line("risk", quote(planned.risk))
    if _is_large(planned):
        yield from targets_told(planned.targets, _kind)
    else:
        for target in planned.targets:
            yield _line("target", *_target(target))
    if planned.rollout is not None:
        yield from _rollout(planned.rollout, large=_is_large(planned))
    if planned.parallel != 1:
        yield _line("side by side", f"up to {planned.parallel} steps of one target at one time")
    for one in planned.called:
        yield _line(
            "calls", quote(one.intent), "as", quote(one.prefix), one.effect, f"risk={quote(one.risk)}"
        )
        yield _line("", "on", *map(quote, one.targets))
        yield from _values("  parameter", one.parameters)
    if planned.pinned is None:
        yield _line("rests on", "nothing pinned: no observed facts back this plan")
    else:
        pinned = planned.pinned
        yield _line("rests on", "facts", pinned.facts)
        yield _line("", "observed by", quote(pinned.operation), pinned.observation)
    if planned.undo_until is not None:
        yield _line("undo until", format_time(planned.undo_until))
    yield from _values("note", planned.notes)


def _rollout(rollout: Rollout, *, large: bool) -> Lines:
    runs = ((str(size), len(list(same))) for size, same in groupby(rollout.waves))
    told = (size if times == 1 else f"{size} ({times} times)" for size, times in runs)
    yield _line("waves", *(told if large else map(str, rollout.waves)), "targets, one wave after the other")
    yield _line("", f"at most {rollout.targets_max} targets at one time")
    yield _line("stops", f"when {rollout.stop_after} targets failed")
    if rollout.canary:
        yield _line("", "when a target of the first wave failed")
    if rollout.check is not None:
        yield _line("", "when", quote(rollout.check), "failed on a target after its wave")
    if rollout.undo:
        yield _line("then undoes", "what the wave that stopped did")


def _marks(planned: Plan) -> Lines:
    """Say what a reader must not overlook, once, above the steps."""
    calls = [step for step in planned.steps if isinstance(step, CallStep)]
    changing = [step for step in calls if step.call.effect is not Effect.READ]
    if any(step.call.effect is Effect.DESTROY for step in calls):
        yield _line("mark", "destroys: what is lost does not come back by itself")
    if changing and planned.pinned is None:
        yield _line("mark", "changes without observed facts")
    if _is_large(planned):
        yield from without_undo(changing)
    else:
        for step in changing:
            if step.undo is None:
                yield _line("mark", "no undo for", quote(step.id))
    if any(step.grade is Grade.SHAPE for step in calls):
        yield _line("mark", "a read is declared, not enforced")
    if any(step.isolation is Isolation.NONE for step in calls):
        yield _line("mark", "a call runs without isolation")


def _kind(target: PlannedTarget) -> str:
    words = f"type={quote(target.type)} criticality={quote(target.criticality)}"
    groups = ",".join(quote(group).replace(",", "\\,") for group in target.groups)
    return f"{words} groups={groups}" if groups else words


def _target(target: PlannedTarget) -> Iterator[str]:
    yield quote(target.id)
    yield _kind(target)
    if target.connection is not None:
        yield f"connection={target.connection}"


def _step(step: Step) -> Lines:
    if isinstance(step, DeriveStep):
        yield _line("  computes", quote(step.normalizer))
        yield _line("  for", quote(step.target))
        yield _line("  from", *(quote(name) for name in step.needs))
        return
    if step.target != step.call.target:
        yield _line("  for", quote(step.target))
    yield from _call("  ", step.call)
    yield from _bounds(step)
    yield from _conditions(step)
    if step.probe is not None:
        yield from _probe(step.probe)
    if step.undo is not None:
        yield "  undo"
        yield from _call("    ", step.undo)


def _bounds(step: CallStep) -> Lines:
    yield _line("  limits", *_limits(step.limits))
    yield _line("  isolation", _ISOLATION[step.isolation])
    if step.grade is not None:
        yield _line("  read grade", _GRADES[step.grade])
    yield _line("  repeating", "changes nothing more" if step.idempotent else "may act again")
    if (rule := step.retry) is not None:
        words = (
            f"up to {rule.attempts} attempts",
            f"{rule.delay_ms} ms apart",
            *(() if rule.delay_max_ms is None else (f"doubling up to {rule.delay_max_ms} ms",)),
            "on" if rule.on else "on any failure",
        )
        yield _line("  retry", *words, *(quote(name) for name in rule.on))
    if step.pause_safe:
        yield _line("  also", "may be paused after it")
    if step.continue_on_error:
        yield _line("  also", "goes on when it fails")
    if step.attest:
        yield _line("  attested", "as one of", *map(quote, step.attest))
    if step.goes_on:
        yield _line("  also", "goes on when what it needs was left out")
    for asked in step.asks:
        yield _line("  asks first", f"{asked.count} of {quote(asked.group)}")


def _conditions(step: CallStep) -> Lines:
    if step.needs:
        yield _line("  needs", *(quote(name) for name in step.needs))
    for name, slot in sorted((step.slots or {}).items()):
        yield _line("  slot", quote(name), *_slot(slot))
    if step.normalizer is not None:
        yield _line("  reads as", quote(step.normalizer))
    for guard in step.when:
        yield _line("  when", *_guard(guard))
    if step.precondition is not None:
        yield _line("  only if", _expectation(step.precondition))
    if step.postcondition is not None:
        yield _line("  then", _expectation(step.postcondition))


def _probe(probe: Probe) -> Lines:
    yield "  if it may have happened, look"
    yield from _call("    ", probe.call)
    yield _line("    reads as", quote(probe.normalizer))
    yield _line("    happened if", f"{quote(probe.fact)} is {_scalar(probe.equals)}")


def _call(indent: str, call: Call) -> Lines:
    request = call.request
    yield _line(
        f"{indent}{call.effect}", quote(call.target), "by", f"{quote(call.connector)}.{quote(call.action)}"
    )
    if isinstance(request, ProcessRequest):
        yield _line(f"{indent}runs", *(_text(word) for word in request.argv))
        for name, value in sorted((request.env or {}).items()):
            yield _line(f"{indent}env", f"{quote(name)}={_text(value)}")
        if request.env == {}:
            yield _line(f"{indent}env", "(empty)")
        if request.stdin is not None:
            yield _line(f"{indent}stdin", _text(request.stdin))
        if request.cwd is not None:
            yield _line(f"{indent}in folder", quote(request.cwd))
        for path in request.writable:
            yield _line(f"{indent}may write", quote(path))
        yield from _surroundings(indent, request)
        return
    if isinstance(request, HandlerRequest):
        yield _line(f"{indent}handler", quote(request.action))
        yield _line(f"{indent}payload", quote(request.payload))
        return
    if isinstance(request, ExchangeRequest):
        yield from _exchange(indent, request)
        return
    yield _line(f"{indent}scripted", "answers from its script, touches nothing")
    yield _line(f"{indent}arguments", _json(request.arguments))
    for reply in request.replies:
        yield _line(f"{indent}answers", *_reply(reply))


def _exchange(indent: str, request: ExchangeRequest) -> Lines:
    yield _line(f"{indent}exchange", quote(request.protocol))
    if request.peers:
        yield _line(f"{indent}connects to", *map(quote, request.peers))
    for name, value in sorted(request.message.items()):
        yield _line(f"{indent}message", quote(name), _shown(value))


def _shown(value: Json) -> str:
    """Return one value of a message; slots and secrets stand in angle brackets."""
    parts = parts_of(value)
    if parts is not None:
        return "".join(map(_part, parts)) or '""'
    if isinstance(value, dict):
        return "{" + " ".join(f"{quote(key)}={_shown(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + " ".join(map(_shown, value)) + "]"
    return _scalar(value) if isinstance(value, str | int) else "null"


def _part(part: Json) -> str:
    if isinstance(part, dict):
        ((place, name),) = part.items()
        return f"<{place} {quote(str(name))}>"
    return in_quotes(str(part))


def _surroundings(indent: str, request: ProcessRequest) -> Lines:
    if (tty := request.tty) is not None:
        yield _line(f"{indent}in terminal", f"of {tty.rows} rows and {tty.columns} columns")
        if tty.attended:
            yield _line(f"{indent}keys", "a person types whatever they like, and no line of it is decided on")
    if request.umask is not None:
        yield _line(f"{indent}umask", quote(request.umask))
    if request.user is not None:
        yield _line(f"{indent}as user", quote(request.user))
    if request.rlimits is not None:
        limits = to_json(request.rlimits).items()
        yield _line(f"{indent}held to", *(f"{name}={value}" for name, value in sorted(limits)))
    if request.egress is not None:
        yield _line(f"{indent}may reach", *(map(quote, request.egress) if request.egress else ["no host"]))
    if (script := request.script) is not None:
        yield _line(f"{indent}script", script.digest)
        yield _line(f"{indent}interpreter", script.interpreter)
        for name in script.actions:
            yield _line(f"{indent}which does", quote(name))
        for line in script.text.split("\n"):
            yield _line(f"{indent}|", quote(line))
        for name, text in sorted((script.files or {}).items()):
            yield _line(f"{indent}file", f"{quote(name)}={quote(text)}")


def _reply(reply: ScriptedReply) -> Iterator[str]:
    yield reply.ended
    if reply.delay_ms:
        yield f"after {reply.delay_ms} ms"
    if reply.error_class is not None:
        yield f"class={quote(reply.error_class)}"
    if reply.message is not None:
        yield f"message={quote(reply.message)}"
    if reply.stdout is not None:
        yield f"stdout={quote(reply.stdout)}"
    if reply.repeat != 1:
        yield f"{reply.repeat} times"
    if reply.data is not None:
        yield f"data={_json(reply.data)}"


def _text(text: Text) -> str:
    """Return one word; a hole stands in angle brackets, which no bare or quoted text has outside quotes."""
    if isinstance(text, str):
        return quote(text)
    shown = []
    for part in text:
        if isinstance(part, Hole):
            shown.append(f"<slot {quote(part.slot)}>")
        elif isinstance(part, SecretRef):
            shown.append(f"<secret {quote(part.secret)}>")
        else:
            shown.append(quote(part))
    return "".join(shown) or '""'


def _slot(slot: Slot) -> Iterator[str]:
    yield f"is {quote(slot.type)} {quote(slot.fact)} of step {quote(slot.step)}"
    if slot.type == "string":
        yield f"like {quote(slot.pattern)}, at most {slot.length_max} letters"
    elif slot.pattern or slot.length_max != 256:
        yield f"(pattern {quote(slot.pattern)}, {slot.length_max})"


def _limits(limits: Limits) -> Iterator[str]:
    yield f"{limits.timeout_ms} ms,"
    yield f"{limits.output_bytes} bytes of output,"
    yield f"{limits.processes} processes,"
    if limits.memory_bytes is not None:
        yield f"{limits.memory_bytes} bytes of memory,"
    if limits.raw_output_bytes is not None:
        yield f"ended past {limits.raw_output_bytes} bytes of output,"
    yield f"{limits.grace_ms} ms to end"


def _guard(guard: Guard) -> Iterator[str]:
    yield f"{quote(guard.fact)} of step {quote(guard.step)} is"
    if guard.among or guard.other:
        yield "none of" if guard.other else "one of"
        yield from map(_scalar, guard.among)
    if guard.least is not None:
        yield f"at least {guard.least}"
    if guard.most is not None:
        yield f"at most {guard.most}"


def _expectation(wanted: Expectation) -> str:
    return f"{quote(wanted.fact)} of step {quote(wanted.step)} is {_scalar(wanted.equals)}"


def _scalar(value: str | int | bool) -> str:
    """Return a value so that the number 1, the text `1` and true stay apart."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else in_quotes(value)


def _values(label: str, values: Mapping[str, Json] | None) -> Lines:
    for name, value in sorted((values or {}).items()):
        yield _line(label, f"{quote(name)}={_json(value)}")


def _json(value: Json) -> str:
    return escape(canonical_bytes(value).decode())


def _person(principal: Principal) -> str:
    return f"{quote(principal.person)} (known by {principal.established} {quote(principal.credential)})"
