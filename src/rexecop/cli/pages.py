"""What operations and their parts look like to people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rexecop.app.plain import moment, plain
from rexecop.cli.exits import STATE_EXITS, Exit
from rexecop.cli.render import Page, as_json, clipped, minute, short

if TYPE_CHECKING:
    from rexecop.app.backup import BackupView, RestoreView
    from rexecop.app.collecting import CollectedView
    from rexecop.app.erasing import ErasureView
    from rexecop.app.guests import GrantView
    from rexecop.app.late import LateView
    from rexecop.app.offline import ProfileView
    from rexecop.app.recovering import RecoverView
    from rexecop.app.views import (
        AwaitingView,
        CheckView,
        DecisionView,
        DoctorView,
        ExportView,
        HaltView,
        InitView,
        KeyView,
        OperationLine,
        OperationView,
        ProgressView,
        RecordView,
        RuleView,
        SignatureView,
        StepView,
        ValidationView,
        WaveView,
        WhyView,
        WindowsView,
    )

ROOMY: Final = 110  # Columns from which nothing needs to be left out of a list.
FACT_LENGTH_MAX: Final = 200  # Enough to tell one value from another; `--json` has the whole.
WAVES_SHOWN_MAX: Final = 8  # Those around the wave that is next; the others are summed.
FAILED_SHOWN_MAX: Final = 10  # Enough to begin with; `--json` names all.
COUNTED: Final = ("targets", "done", "failed", "undone", "under_way")
CALLS_SHOWN_MAX: Final = 8  # Of a fan-out there may be one for each target.
STEPS_SHOWN_MAX: Final = 100  # Two screens. Of more they are counted, and what went wrong is named.
TROUBLES_SHOWN_MAX: Final = 20
FACTS_SHOWN_MAX: Final = 12  # The first facts say what was found; all are in `--json`.


def state_exit(state: str) -> Exit:
    """Return what `state` means as an exit code; a state nobody here knows is not done."""
    return STATE_EXITS.get(state, Exit.FAILED)


def view_exit(view: OperationView) -> Exit:
    """Return what its state means as an exit code; one that waits for approval of a step needs approval.

    One that has begun and waits for room is queued.
    """
    asked = view.awaiting
    if asked is not None and (asked.approvals_missing or asked.refused_by):
        return Exit.NEEDS_APPROVAL
    found = state_exit(view.state)
    return Exit.QUEUED if found is Exit.TIMEOUT and view.place is not None else found


def operation_page(page: Page, view: OperationView) -> None:
    """Draw where an operation stands and what may follow."""
    page.title(f"#{view.number}  {view.operation_id}", view.state)
    page.row("intent", f"{view.intent} on {view.target}")
    page.row("from", f"profile {view.profile}, environment {view.environment}, mode {view.mode}")
    page.row("asked by", f"{view.requester} ({view.established}) at {short(view.created)}")
    if view.reason and (view.decision is None or view.reason != view.decision.reason):
        page.row("because", view.reason)
    if view.decision is not None:
        decision_rows(page, view.decision)
    if view.approved_by:
        page.row("approved by", ", ".join(view.approved_by))
    if view.waiting:
        page.row("waiting", view.waiting)
    if (asked := view.awaiting) is not None:
        awaiting_rows(page, asked)
    progress_rows(page, view.progress)
    if view.steps:
        for words in view.calls[:CALLS_SHOWN_MAX]:
            page.row("calls", words)
        if len(view.calls) > CALLS_SHOWN_MAX:
            page.row("", f"and {len(view.calls) - CALLS_SHOWN_MAX} more; `rexecop show` has them all")
        page.row("steps", f"{len(view.steps)}")
        (step_table if len(view.steps) <= STEPS_SHOWN_MAX else step_summary)(page, view.steps)
    facts_table(page, view.steps)
    if view.validation:
        page.row("validation", view.validation, state=view.validation)
    if view.receipt:
        page.row("receipt", view.receipt)
    for damage in view.damaged:
        page.row("damaged", damage)
    next_rows(page, view.next)


def progress_rows(page: Page, found: ProgressView | None) -> None:
    """Draw how far it got on several targets: the waves around the one that is next, and what failed."""
    from rexecop.app.watching import in_words, targets_of

    if found is None or targets_of(found) < 2:
        return
    page.row("progress", in_words(found))
    heads = ("wave", "targets", "done", "failed", "undone", "at work", "pace", "left")
    first = max(0, min(found.wave - WAVES_SHOWN_MAX // 2, len(found.waves) - WAVES_SHOWN_MAX))
    last = min(first + WAVES_SHOWN_MAX, len(found.waves))
    groups = (found.waves[:first], *((one,) for one in found.waves[first:last]), found.waves[last:])
    page.table(heads, [_wave_row(group) for group in groups if group], indent=4, whole=heads)
    if found.failed_targets:
        names, more = found.failed_targets[:FAILED_SHOWN_MAX], len(found.failed_targets) - FAILED_SHOWN_MAX
        page.row("failed", ", ".join(names) + (f" and {more} more" if more > 0 else ""))


def _wave_row(waves: tuple[WaveView, ...]) -> tuple[str, ...]:
    """Return a wave, or several as one, as a row."""
    from rexecop.app.watching import pace_in_words, span_in_words

    name, one = str(waves[0].wave), len(waves) == 1
    counts = [sum(getattr(wave, count) for wave in waves) for count in COUNTED]
    return (
        name if one else f"{name} to {waves[-1].wave}",
        *(str(count or "") for count in counts),
        pace_in_words(waves[0].per_hour if one else None),
        span_in_words(sum(wave.left_seconds or 0 for wave in waves) or None),
    )


def awaiting_rows(page: Page, asked: AwaitingView) -> None:
    """Draw the exact call that waits for approval, and whose."""
    page.row("step", f"{asked.step} needs approval by {'; '.join(asked.approvals_required)}")
    if asked.refused_by:
        page.row("refused by", ", ".join(asked.refused_by))
    if asked.approved_by:
        page.row("approved by", ", ".join(asked.approved_by))
    page.row("exact call", asked.digest)
    page.block("".join(f"    {line}\n" for line in asked.call.splitlines()))


def decision_rows(page: Page, decision: DecisionView) -> None:
    """Draw what policy answered and why."""
    reason = decision.reason.removeprefix(f"{decision.verdict} ")
    page.row("decision", f"{decision.verdict}: {reason}", state=decision.verdict)
    if decision.rules:
        page.row("rules", ", ".join(decision.rules))
    if decision.approvals_missing:
        page.row("missing", "; ".join(decision.approvals_missing))
    elif decision.approvals_required:
        page.row("approvals", "; ".join(decision.approvals_required))
    for name, value in decision.obligations.items():
        page.row("obliged", f"{name}: {_value(value)}")
    for error in decision.errors:
        page.row("error", error)


def step_table(page: Page, steps: Sequence[StepView]) -> None:
    """Draw steps, one line each, with what went wrong below."""
    rows = []
    for step in steps:
        took = "" if step.duration_ms is None else f"{step.duration_ms} ms"
        how = ", ".join(word for word in (step.grade, step.isolation) if word)
        rows.append((step.id, step.target, step.effect, _state(step), took, how))
    heads = ("step", "target", "effect", "state", "took", "known as")
    page.table(heads, rows, indent=4, whole=("effect", "state", "took"))
    trouble_rows(page, steps)


def _state(step: StepView) -> str:
    return step.state if step.state.startswith("undo") else step.ended or step.state


def trouble_rows(page: Page, steps: Sequence[StepView]) -> None:
    """Draw what was said of the steps of which something was."""
    for step in steps:
        if step.message or step.error_class:
            said = ": ".join(word for word in (step.error_class, step.message) if word)
            page.row("", f"{step.id} on {step.target}: {said}")


def step_summary(page: Page, steps: Sequence[StepView]) -> None:
    """Draw on how many targets each step is in which state, and the first that went wrong."""
    counts: dict[str, dict[str, int]] = {}
    troubled: list[StepView] = []
    for step in steps:
        of_step = counts.setdefault(step.id.removesuffix(f"@{step.target}"), {})
        of_step[_state(step)] = of_step.get(_state(step), 0) + 1
        if step.message or step.error_class:
            troubled.append(step)
    rows = [
        (name, str(sum(found.values())), ", ".join(f"{count} {state}" for state, count in found.items()))
        for name, found in counts.items()
    ]
    page.table(("step", "targets", "states"), rows, indent=4, whole=("targets",), wrap=True)
    trouble_rows(page, troubled[:TROUBLES_SHOWN_MAX])
    if (more := len(troubled) - TROUBLES_SHOWN_MAX) > 0:
        page.row("", f"and {more} more; `--json` has all")


def facts_table(page: Page, steps: Sequence[StepView]) -> None:
    """Draw the first facts that the steps found, each with its step where several found some."""
    facts = [(step.id, key, value) for step in steps for key, value in (step.facts or {}).items()]
    left = 0 if len({step for step, _, _ in facts}) > 1 else 1
    shown = [
        (step, key, "null" if value is None else clipped(_value(value), FACT_LENGTH_MAX))
        for step, key, value in facts[:FACTS_SHOWN_MAX]
    ]
    if shown:
        page.row("facts", f"{len(facts)}" if len(facts) == len(shown) else f"{len(shown)} of {len(facts)}")
        page.table(("",) * (3 - left), [row[left:] for row in shown], indent=4)


def halts_page(page: Page, halts: Sequence[HaltView]) -> None:
    """Draw the halts that stand."""
    if not halts:
        page.line("nothing is halted")
        return
    rows = [(one.scope, one.by, short(one.at), one.reason) for one in halts]
    page.table(("halted", "by", "since", "because"), rows, indent=0, wrap=True)


def windows_page(page: Page, view: WindowsView) -> None:
    """Draw when changes may run: now, next, each window and freeze, and the coming week."""
    about = ", ".join(view.targets) or view.environment or "the packs in force"
    page.title(about, view.state)
    page.row("now", short(view.now))
    if view.state != "open":
        page.row("opens", short(view.opens) if view.opens else "not within a year")
    if view.closes:
        page.row("until", short(view.closes))
    for one in view.halts:
        page.row("halted", f"{one.scope} by {one.by} since {short(one.at)}: {one.reason}")
    if view.override:
        page.row("override", f"may be asked for by {', '.join(view.override)}")
    if not view.entries:
        page.line("no windows and no freezes: any time is right")
        return
    rows = [
        (
            one.kind,
            one.name or "-",
            "now" if one.now else "next" if one.start else "over",
            one.local,
            one.zone,
        )
        for one in view.entries
    ]
    page.table(("", "name", "", "local time", "zone"), rows)
    page.line()
    page.line(f"{view.zone}: # may start, . closed, x frozen")
    page.block(
        "             " + "".join(f"{hour:<6}" for hour in ("0", "3", "6", "9", "12", "15", "18", "21"))
    )
    page.block("\n".join(f"  {day} {signs}" for day, signs in view.week.items()))


def next_rows(page: Page, commands: Sequence[str]) -> None:
    """Draw the commands that may follow, each on one line so that it can be copied."""
    for index, command in enumerate(commands):
        page.row("next" if index == 0 else "", command, whole=True)


def operations_page(page: Page, lines: Sequence[OperationLine]) -> None:
    """Draw a list of operations."""
    if not lines:
        page.line("no operations")
        return
    roomy = page.fits(ROOMY)
    heads = ["#", "state", "intent", "target", "mode", "updated (UTC)", "asked by", "waiting for"]
    rows = []
    for o in lines:
        when = minute(o.updated) if roomy else minute(o.updated)[5:]
        waits = o.waiting or o.progress
        rows.append([str(o.number), o.state, o.intent, o.target, o.mode, when, o.requester, waits])
    shown = len(heads) if roomy and any(row[-1] for row in rows) else len(heads) - (1 if roomy else 2)
    heads[5] = heads[5] if roomy else "updated"
    page.table(heads[:shown], [row[:shown] for row in rows], indent=0, whole=("#", "state", "mode", heads[5]))
    for o in lines if not roomy else ():
        if o.progress:
            page.item(f"#{o.number}: {o.progress}")


def history_page(page: Page, records: Sequence[RecordView]) -> None:
    """Draw records in causal order."""
    roomy = page.fits(ROOMY)
    rows = [
        (str(r.n), r.kind, moment(r.at) if roomy else moment(r.at)[11:], r.by, r.summary) for r in records
    ]
    if records and not roomy:
        page.line(f"begins {moment(records[0].at)}")
    page.table(("n", "record", "at", "by", "says"), rows, indent=0, whole=("n", "record", "at"), wrap=True)


def validation_page(page: Page, view: ValidationView) -> None:
    """Draw every rule and its verdict."""
    page.title(view.operation_id, view.verdict)
    every = view.rules if len(view.rules) <= STEPS_SHOWN_MAX else sorted(view.rules, key=_has_passed)
    rules = every[:STEPS_SHOWN_MAX]
    targets = [_value((r.details or {}).get("target")) for r in rules]
    several = len(set(targets)) > 1
    heads = ("verdict", *(("target",) if several else ()), "rule", "fact", "expected", "found")
    rows = [
        (r.verdict, *((target,) if several else ()), r.rule, r.path, _value(r.expected), _value(r.found))
        for r, target in zip(rules, targets, strict=True)
    ]
    page.table(heads, rows, whole=("verdict",))
    if len(every) > len(rules):
        page.row("", f"and {len(every) - len(rules)} more; `--json` has all")


def _has_passed(rule: RuleView) -> bool:
    return rule.verdict == "passed"


def signature_page(page: Page, view: SignatureView) -> None:
    """Draw how a profile is signed."""
    page.verdict(f"{view.source}: {view.state}", good=view.state == "trusted")
    page.row("signed", view.says)
    page.row("digest", view.digest, whole=True)
    if view.since is not None:
        page.row("enrolled", short(view.since))
    next_rows(page, view.next)


def profile_page(page: Page, view: ProfileView) -> None:
    """Draw what a profile offers, and how it is signed."""
    page.title(f"{view.name} {view.version}")
    _said(page, (("called", view.label), ("about", view.description)))
    page.row("from", view.source)
    if view.backends:
        page.row("backends", f"{', '.join(view.backends)}: code that makes calls of its own is not run")
    if view.signature is not None:
        page.row("signed", view.signature.says)
    for intent in view.intents:
        page.line()
        page.title(intent.name, intent.effect)
        page.row("does", intent.summary)
        _said(page, (("called", intent.label), ("owned by", ", ".join(intent.owners))))
        page.row("modes", ", ".join(intent.modes))
        for index, (name, kind) in enumerate(intent.parameters.items()):
            page.row("takes" if index == 0 else "", f"{name}  {kind}")
        _said(page, (("runbook", intent.runbook), ("then", ", ".join(intent.options))))
        for index, (kind, words) in enumerate(intent.failures.items()):
            page.row("on failure" if index == 0 else "", f"{kind}: {words}")


def _said(page: Page, rows: Iterable[tuple[str, str]]) -> None:
    """Draw a row for each of `rows` that says something."""
    for label, text in rows:
        if text:
            page.row(label, text)


def fields_table(page: Page, value: object) -> None:
    """Draw a row for each field of `value`, those of what is in it too."""
    page.table(("field", "value"), [*_fields(plain(value))], whole=("field",), wrap=True)


def _fields(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(item, str(key).replace("_", " "))
    elif value not in (None, "", []):
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def why_page(page: Page, view: WhyView) -> None:
    """Draw an explanation."""
    page.title(view.operation_id or "nothing submitted", view.state or "")
    for line in view.lines:
        page.item(line)
    next_rows(page, view.next)


def init_page(page: Page, view: InitView) -> None:
    """Draw what was made and what was there."""
    page.title(view.root)
    page.row("instance", view.instance)
    page.row("its key", view.instance_key)
    page.row("approver", view.approver_key or "no key; `rexecop keys new` makes one")
    for index, name in enumerate(view.created):
        page.row("made" if index == 0 else "", name)
    for index, name in enumerate(view.existing):
        page.row("kept" if index == 0 else "", name)
    if view.notice:
        page.row("alone", view.notice)
    if view.sinks:
        page.row("sinks", view.sinks)
    next_rows(page, view.next)


def doctor_page(page: Page, view: DoctorView) -> None:
    """Draw every check."""
    page.title(view.root, view.status)
    rows = [(c.name, c.status, c.message) for c in view.checks]
    page.table(("check", "status", "says"), rows, whole=("check", "status"), wrap=True)
    next_rows(page, view.next)


def keys_page(page: Page, keys: Sequence[KeyView]) -> None:
    """Draw keys and where each stands."""
    heads = ["person", "role", "fingerprint", "is", "since (UTC)", "enrolled by"]
    rows = [[k.person, k.role, k.fingerprint, _standing(k), minute(k.since), k.enrolled_by] for k in keys]
    shown = 6 if page.fits(ROOMY) else 4
    page.table(heads[:shown], [row[:shown] for row in rows], indent=0, whole=("fingerprint", "role", "is"))
    for key in keys:
        if key.vkey is not None:
            page.row("vkey", key.vkey, whole=True)


def grants_page(page: Page, grants: Sequence[GrantView]) -> None:
    """Draw attach grants; of a new one its token too."""
    heads = ["grant", "is", "until (UTC)", "may"]
    rows = [[g.name, g.state, minute(g.expires), " ".join(g.capabilities)] for g in grants]
    page.table(heads, rows, indent=0, whole=("grant", "is"))
    for grant in grants:
        if grant.token is not None:
            page.row("token", f"{grant.token}  (shown this once)", whole=True)


def late_page(page: Page, late: Sequence[LateView]) -> None:
    """Draw what nodes said late, and the commands that settle it."""
    if not late:
        page.line("nothing came late")
        return
    heads = ["operation", "step", "attempt", "node", "said", "ledger"]
    rows = [
        [one.operation_id or "-", one.step, str(one.attempt), one.person, one.ended, one.stands]
        for one in late
    ]
    page.table(heads, rows, indent=0, whole=("operation", "said", "ledger"))
    next_rows(page, [step for one in late for step in one.next])


def _standing(key: KeyView) -> str:
    if key.expires is None or key.state != "standing":
        return key.state
    return f"until {minute(key.expires)}"


def export_page(page: Page, view: ExportView) -> None:
    """Draw where evidence was written."""
    page.title(view.path)
    what = view.operation_id or f"all changes of {view.target or 'every target'}"
    page.row("holds", f"{view.records} records of {what}, {view.bytes} bytes")
    for file in view.beside:
        page.row("beside it", file)
    page.row("digest", view.digest)
    page.row("checkpoint", f"log of {view.checkpoint_size} records")
    if view.stamps:
        page.row("stamps", str(view.stamps))
    if view.format in ("bundle", "sclite"):
        next_rows(page, (f"rexecop verify {view.path}",))


def sinks_page(page: Page, views: Sequence[CheckView]) -> None:
    """Draw what became of a checkpoint at each sink."""
    if not views:
        page.line("no sinks; `rexecop init --sink file:PATH` names one")
        return
    page.table(("sink", "status", "says"), [(v.name, v.status, v.message) for v in views], wrap=True)


def rows_page(page: Page, found: Mapping[str, object]) -> None:
    """Draw an object as labelled rows."""
    for name, value in found.items():
        if value is None:
            continue
        items = value.splitlines() if isinstance(value, str) else value
        items = items if isinstance(items, list | tuple) else [items]
        for index, item in enumerate(items):
            page.row(str(name) if index == 0 else "", _value(item))


def backup_page(page: Page, view: BackupView) -> None:
    """Draw a backup and what is wrong with it."""
    page.verdict(f"{view.path}: {view.wrong or view.verdict}", good=view.wrong is None)
    if (held := view.manifest) is not None:
        keys = "with" if held.private_keys else "without"
        page.row(
            "holds", f"{view.size} records of {view.origin}, {len(held.members)} files, {keys} private keys"
        )
        page.row("left out", ", ".join(held.left_out) or "nothing")
        page.row("signed by", view.signer or "")
    if view.quarantined:
        page.row("damaged", f"{view.quarantined} records that were quarantined before")
    for text in view.not_checked:
        page.row("unchecked", text)


def restore_page(page: Page, view: RestoreView) -> None:
    """Draw a restored root."""
    page.title(view.root, "ok")
    page.row("epoch", f"{view.epoch}, continues from {view.continues} records: {view.reason}")
    new = ", which is new: whoever verifies has to be given it" if view.key_is_new else ""
    page.row("its key", f"{view.instance_key}{new}")
    for text in view.not_checked:
        page.row("unchecked", text)
    next_rows(page, view.next)


def recover_page(page: Page, view: RecoverView) -> None:
    """Draw what was damaged and what was done about it."""
    epoch = f"epoch {view.epoch}, begun now" if view.began else f"epoch {view.epoch}"
    some = "" if view.checked == view.size else f" of {view.size}"
    page.title(f"{view.checked}{some} records checked, {epoch}", "" if view.damaged or view.unfit else "ok")
    rows = [(str(d.leaf), d.operation_id or "unknown", str(d.n), d.done, d.reason) for d in view.damaged]
    if rows:
        page.table(("leaf", "operation", "n", "is", "because"), rows, indent=2, wrap=True)
    if view.unfinished:
        page.row("under way", f"operations: {view.unfinished}, of which all records were checked")
    if view.nodes:
        page.row("tree", f"{view.nodes} rows of nodes computed again")
    if view.recorded is not None:
        page.row("noted", f"as record {view.recorded} of the instance")
    for text in view.unfit:
        page.row("unfit", text)
    if view.problem is not None:
        page.row("problem", view.problem)
    next_rows(page, view.next)


def erasure_page(page: Page, view: ErasureView) -> None:
    """Draw which outputs are gone."""
    page.title(view.operation_id)
    for digest in view.erased:
        page.row("erased", digest)
    page.row("before", f"{len(view.before)} outputs were erased earlier")
    if not view.cleared:
        page.row("left", "a reader, or the database server, still holds an older state of the ledger")
    next_rows(page, (f"rexecop export {view.operation_id}",))


def collected_page(page: Page, view: CollectedView, age: str | None) -> None:
    """Draw what goes, or went."""
    page.title("gone" if view.applied else "may go")
    if view.before is not None:
        told = f"{view.outputs:,} of {view.operations:,} operations, {view.bytes:,} bytes"
        page.row("outputs", f"{told}, ended before {moment(view.before)}")
        page.row("keys", f"{view.keys:,} idempotency keys")
    page.row("board", f"{view.board:,} rows of workers and operations that are gone")
    page.row("free", f"{view.free_bytes:,} bytes that hold nothing")
    if view.recorded is not None:
        page.row("noted", f"as record {view.recorded} of the instance")
    if view.cleared is False:
        page.row("left", "a reader, or the database server, still holds an older state of the ledger")
    if not view.applied:
        next_rows(page, (f"rexecop gc --older-than {age or '90d'} --apply --reason TEXT",))


def _value(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else as_json(value, indent=None).strip()
