"""Reading workflows: the steps of an intent, which of them are done, and how they go over many targets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rexecop.lanes.failures import Failure
from rexecop.operations.environment import RETRIES_MAX, TARGETS_MAX
from rexecop.operations.patterns import pattern_problem
from rexecop.operations.profile_model import Amount, CallSpec, RetrySpec, StepSpec, WavesSpec, WorkflowSpec
from rexecop.operations.reading import ABOVE, WORD, Fields, Node, listed
from rexecop.proof.call import SLOT_LENGTH_MAX, Slot
from rexecop.proof.message import Scalar
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.plan import Expectation, Guard
from rexecop.proof.steps import merge_approvals
from rexecop.proof.vocabulary import Mode

STEPS_MAX: Final = 256  # What one person can still review as one workflow.
APPROVALS_MAX: Final = 16  # More people than this do not read a call, they wave it through.
PARALLEL_MAX: Final = 8  # Of one target; a host that is asked more at one time answers none in time.
TARGETS_AT_ONCE_MAX: Final = 64  # As many calls as one operation has under way.
GUARDS_MAX: Final = 8  # A step that depends on more is a decision, which belongs into a normalizer.
ITEMS_MAX: Final = 128  # More steps of one kind than this nobody reads in a preview.
_APPROVAL: Final = re.compile(r"([1-9][0-9]{0,2}) of ([A-Za-z0-9][A-Za-z0-9_.-]{0,63})")
_AMOUNT: Final = re.compile(r"([1-9][0-9]{0,4})(%?)")
_NUMBER_MAX: Final = 1 << 53  # What evidence holds.
_STEP_KEYS: Final = (
    "id type action connector timeout pause_safe metadata description needs slots retry normalize "
    "continue_on_error precondition postcondition undoes approvals when if_skipped for_each "
    "intent parameters target"
)
_CALL_KEYS: Final = "id type description metadata needs when if_skipped for_each intent parameters target"
OPERATION: Final = "operation"  # The type of a step that calls another intent.
_GUARD_KEYS: Final = "step fact parameter equals not in not_in at_least at_most"
_WORK_ONLY: Final = ("approvals", "when", "if_skipped", "for_each")


def read_workflow(root: Node, path: str) -> WorkflowSpec:
    """Return the workflow in the file at `path`; the `workflow` key around it may be left out."""
    top = root.section("workflow") if isinstance(root.value, dict) and "workflow" in root.value else root
    fields = top.fields("id intent mode risk description steps retry rollback parallel waves", "steps")
    rollback = fields.part("rollback").fields("mode steps required")
    undoing = rollback.items("steps", STEPS_MAX)
    for node in undoing:
        for key in _WORK_ONLY:
            if isinstance(node.value, dict) and key in node.value:
                node.refuse(f"`{key}` goes with the steps of the work, not with what undoes them", found=key)
        if isinstance(node.value, dict) and node.value.get("type") == OPERATION:
            node.refuse("what undoes is a call; an intent that is called brings its own `rollback`")
    fields.one_of("mode", Mode, Mode.READ_ONLY)
    steps = tuple(_steps(fields.items("steps", STEPS_MAX)))
    if not steps and fields.get("steps") is not None:
        top.refuse(f"workflow `{path}` has no steps")
    return WorkflowSpec(
        id=fields.token("id", path.rsplit("/", 1)[-1].rsplit(".", 1)[0]),
        place=top.place,
        intent=fields.token("intent"),
        risk=fields.token("risk"),
        steps=steps,
        rollback=tuple(_steps(undoing)),
        retry=fields.maybe("retry", _retry),
        parallel=fields.maybe("parallel", lambda node: node.integer(1, PARALLEL_MAX)),
        waves=fields.maybe("waves", lambda node: _waves(node, steps)),
    )


def _waves(node: Node, steps: tuple[StepSpec, ...]) -> WavesSpec:
    fields = node.fields("canary size max_parallel stop_after check on_stop")
    check = fields.token("check")
    found = next((step for step in steps if step.id == check), None)
    if check and (found is None or found.type != "connector" or found.each is not None):
        names = [step.id for step in steps if step.type == "connector" and step.each is None]
        node.refuse(
            f"`check` names `{check}`, which is no single step that calls", found=check, allowed=listed(names)
        )
    for step in steps:
        if check and check in (step.needs or ()):
            node.refuse(f"step `{step.id}` needs `{check}`, which comes after all other work", found=step.id)
    on_stop = fields.one_of("on_stop", ("stop", "undo", "undo_always"), "stop")
    return WavesSpec(
        place=node.place,
        max_parallel=fields.integer("max_parallel", 1, 1, TARGETS_AT_ONCE_MAX),
        stop_after=fields.maybe("stop_after", _amount) or Amount(count=1),
        canary=fields.maybe("canary", _amount),
        size=fields.maybe("size", _amount),
        check=check,
        undo=on_stop != "stop",
        always=on_stop == "undo_always",
    )


def _amount(node: Node) -> Amount:
    """Return so many targets, or so many of a hundred."""
    entry = _AMOUNT.fullmatch(node.text(8))
    most = 100 if entry is not None and entry[2] else TARGETS_MAX
    if entry is None or int(entry[1]) > most:
        found = f"{node.value!s:.20}"
        node.refuse(f"`{found}` is no number of targets", found=found, allowed="like 3 or 10%")
        return Amount(count=1)
    return Amount(count=int(entry[1]), percent=bool(entry[2]))


def _steps(nodes: list[Node]) -> Iterator[StepSpec]:
    seen: dict[str, int] = {}
    for node in nodes:
        step = _step(node)
        if step.id in seen:
            node.refuse(f"step `{step.id}` is already on line {seen[step.id]}", found=step.id)
        for name in step.needs or ():
            if name not in seen:
                message = f"step `{step.id}` needs `{name}`, which is not a step above it"
                node.refuse(message, found=name, allowed=listed(seen))
        seen[step.id] = step.place.line
        yield step


def _step(node: Node) -> StepSpec:
    fields = node.fields(_STEP_KEYS, "id")
    kind = fields.one_of("type", ("internal", "connector", "evidence", OPERATION), "internal")
    connector, step_id = fields.token("connector"), fields.token("id")
    if (kind == "connector") != bool(connector):
        allowed = "type: connector, connector: NAME"
        node.refuse("`connector` and type `connector` go together", allowed=allowed)
    if "@" in step_id:
        node.refuse(f"step `{step_id}` holds an `@`, which separates steps from targets", found=step_id)
    metadata = fields.mapping("metadata")
    calls = _calls(node, fields, kind)
    return StepSpec(
        id=step_id,
        place=node.place,
        type=kind,
        action=fields.token("action", step_id),
        connector=connector,
        timeout_ms=fields.maybe("timeout", Node.duration),
        pause_safe=fields.boolean("pause_safe"),
        continue_on_error=fields.boolean("continue_on_error") or metadata.get("continue_on_error") is True,
        needs=fields.maybe("needs", lambda needs: needs.tokens(STEPS_MAX)),
        slots={name: _slot(name, slot) for name, slot in fields.entries("slots", WORD)} or None,
        retry=fields.maybe("retry", _retry),
        normalizer=fields.maybe("normalize", Node.token),
        precondition=fields.maybe("precondition", expectation),
        postcondition=fields.maybe("postcondition", expectation),
        undoes=fields.maybe("undoes", Node.token),
        approvals=_approvals(fields, calls=kind == "connector"),
        when=tuple(_guard(node) for node in fields.items("when", GUARDS_MAX)),
        goes_on=fields.one_of("if_skipped", ("skip", "go_on"), "skip") == "go_on",
        each=fields.maybe("for_each", _each),
        calls=calls,
    )


def _calls(node: Node, fields: Fields, kind: str) -> CallSpec | None:
    """Return the intent that a step of type `operation` calls."""
    named = [key for key in ("intent", "parameters", "target") if fields.get(key) is not None]
    if kind != OPERATION:
        if named:
            words = f"`{named[0]}` goes with steps of type `{OPERATION}`"
            node.refuse(words, found=named[0], allowed=f"type: {OPERATION}")
        return None
    known = frozenset(_CALL_KEYS.split())
    odd = [key for key in _STEP_KEYS.split() if key not in known and fields.get(key) is not None]
    if odd or "continue_on_error" in fields.mapping("metadata"):
        key = (odd or ["continue_on_error"])[0]
        words = f"`{key}` goes with the steps of what it calls, not with the call"
        node.refuse(words, found=key, allowed=listed(sorted(known)))
    if not fields.token("intent"):
        node.refuse(f"a step of type `{OPERATION}` names the `intent` that it calls", allowed="intent: NAME")
    return CallSpec(
        intent=fields.token("intent"),
        parameters=fields.mapping("parameters"),
        target=fields.text("target", most=128),
    )


def _guard(node: Node) -> Guard:
    """Return a guard; one on a parameter names no step."""
    fields = node.fields(_GUARD_KEYS)
    step, fact, parameter = _above(fields), fields.text("fact"), fields.token("parameter")
    if bool(parameter) == bool(step) or bool(step) != bool(fact):
        node.refuse(
            "a guard looks at `step` and `fact`, or at a `parameter`", allowed="step, fact | parameter"
        )
    told = [key for key in ("equals", "not", "in", "not_in") if fields.get(key) is not None]
    bounds = [
        fields.maybe(key, lambda one: one.integer(-_NUMBER_MAX, _NUMBER_MAX))
        for key in ("at_least", "at_most")
    ]
    if len(told) + (bounds != [None, None]) != 1:
        allowed = "equals, not, in, not_in, or at_least with at_most"
        node.refuse("a guard says one thing of what it looks at", allowed=allowed)
    one = next((fields.get(key) for key in told), None)
    listing = told[:1] in (["in"], ["not_in"])
    values = [] if one is None else one.items(STEPS_MAX) if listing else [one]
    return Guard(
        step=step,
        fact=parameter or fact,
        among=tuple(value.scalar() for value in values),
        other=told[:1] in (["not"], ["not_in"]),
        least=bounds[0],
        most=bounds[1],
    )


def _each(node: Node) -> str | tuple[Scalar, ...]:
    """Return the values there is a step for, or the parameter that lists them."""
    if not isinstance(node.value, dict):
        return tuple(item.scalar() for item in node.items(ITEMS_MAX))
    if "step" in node.value or "fact" in node.value:
        node.refuse(
            "`for_each` over a fact would make calls that nobody saw in the plan",
            allowed="{parameter: NAME} or a list of values",
        )
        return ()
    return node.fields("parameter", "parameter").token("parameter")


def _approvals(fields: Fields, *, calls: bool) -> tuple[ApprovalRule, ...]:
    """Return whose approval a step needs just before its call, as `2 of sre`."""
    found: list[ApprovalRule] = []
    for node in fields.items("approvals", APPROVALS_MAX):
        entry = _APPROVAL.fullmatch(node.text())
        if entry is None:
            node.refuse(f"`{node.value!s:.60}` names no approval like `1 of approvers`")
        elif not calls:
            node.refuse("only a step of type `connector` makes a call that could be approved")
        else:
            found.append(ApprovalRule(count=int(entry[1]), group=entry[2]))
    return merge_approvals([found])


def _slot(name: str, node: Node) -> Slot:
    fields = node.fields("step fact type pattern max_length", "step fact type")
    kind = fields.one_of("type", ("string", "integer", "boolean"), "string")
    pattern = fields.text("pattern", most=512)
    if kind == "string" and not pattern:
        node.refuse(f"slot `{name}` takes text and needs a `pattern` it must match")
    problem = pattern_problem(pattern)
    if problem is not None:
        node.refuse(f"pattern of slot `{name}`: {problem}", found=pattern)
    return Slot(
        step=_above(fields),
        fact=fields.text("fact"),
        type=kind,
        pattern=pattern,
        length_max=fields.integer("max_length", 256, 1, SLOT_LENGTH_MAX),
    )


def _retry(node: Node) -> RetrySpec:
    fields = node.fields("max_attempts allowed_on blocked_on delay max_delay", "max_attempts")
    return RetrySpec(
        retries=fields.integer("max_attempts", 0, 0, RETRIES_MAX),
        on=fields.maybe("allowed_on", _classes) or None,
        never=fields.maybe("blocked_on", _classes) or (),
        delay_ms=fields.maybe("delay", Node.duration) or 0,
        delay_max_ms=fields.maybe("max_delay", Node.duration),
    )


def _classes(node: Node) -> tuple[str, ...]:
    """Return error classes; names of other systems stay, because they match nothing here."""
    for item in node.items(64):
        if item.value not in tuple(Failure):
            item.refuse(f"no call ends with the error class `{item.value!s:.60}`", severity="warning")
    return node.tokens(64)


def expectation(node: Node) -> Expectation:
    """Return a fact that must hold."""
    fields = node.fields("step fact equals", "fact equals")
    return Expectation(step=_above(fields), fact=fields.text("fact"), equals=equals_of(fields))


def _above(fields: Fields) -> str:
    """Return the step that is named, which may be one of what a step above calls: `prepare/look`."""
    return fields.maybe("step", lambda node: node.token(ABOVE)) or ""


def equals_of(fields: Fields) -> Scalar:
    """Return what a fact must be equal to."""
    equals = fields.get("equals")
    return "" if equals is None else equals.scalar()
