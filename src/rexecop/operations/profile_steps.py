"""Reading `intents/` and `workflows/`: what can be asked, and the steps that carry it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rexecop.lanes.failures import Failure
from rexecop.operations.parameters import read_parameters
from rexecop.operations.patterns import pattern_problem
from rexecop.operations.profile_actions import read_expectation
from rexecop.operations.profile_model import IntentSpec, Place, RetrySpec, StepSpec, WorkflowSpec
from rexecop.operations.reading import WORD, Fields, Node
from rexecop.proof.call import SLOT_LENGTH_MAX, Slot
from rexecop.proof.vocabulary import Mode

STEPS_MAX: Final = 256  # What one person can still review as one workflow.
RETRIES_MAX: Final = 10  # Beyond that a person should look.
MODES: Final = tuple(map(str, Mode))

_INTENT_KEYS: Final = (
    *("id", "workflow", "risk", "modes", "enforce_declared_modes", "catalog", "facts_contract"),
    *("reaction_observation", "title", "summary", "description", "runbook", "parameters", "observe"),
    *("observe_max_age", "restores"),
)
_CATALOG_KEYS: Final = (
    *("title", "summary", "target_kinds", "required_capabilities", "side_effect_class"),
    *("validation_ref", "runbook_ref"),
)
_STEP_KEYS: Final = (
    *("id", "type", "action", "connector", "timeout", "pause_safe", "metadata", "description"),
    *("needs", "slots", "retry", "normalize", "continue_on_error", "precondition", "postcondition", "undoes"),
)
_RETRY_KEYS: Final = ("max_attempts", "allowed_on", "blocked_on", "delay")
_SLOT_KEYS: Final = ("step", "fact", "type", "pattern", "max_length")


def read_intent(root: Node, stem: str) -> IntentSpec:
    """Return the intent of the file named `stem`."""
    top = root.fields(("intent",), ("intent",)).get("intent") or root.child("intent", {})
    fields = top.fields(_INTENT_KEYS, ("workflow",))
    name = fields.token("id", stem)
    if name != stem:
        top.refuse(f"intent `{name}` stands in the file of `{stem}`", found=name, allowed=stem)
    catalog = (fields.get("catalog") or top.child("catalog", {})).fields(_CATALOG_KEYS)
    parameters = fields.get("parameters")
    observe = fields.get("observe")
    return IntentSpec(
        id=stem,
        place=Place(file=top.file, line=top.line),
        workflow=fields.text("workflow", most=256),
        risk=fields.token("risk"),
        modes=tuple(Mode(node.one_of(MODES)) for node in fields.items("modes", 16)),
        enforce_modes=fields.boolean("enforce_declared_modes"),
        title=fields.text("title", most=120) or catalog.text("title", most=120) or stem.replace("_", " "),
        summary=fields.text("summary", most=500) or catalog.text("summary", most=500),
        runbook=fields.text("runbook", most=256) or catalog.text("runbook_ref", most=256),
        target_kinds=catalog.tokens("target_kinds", 64),
        restores=fields.boolean("restores"),
        parameters=None if parameters is None else read_parameters(parameters),
        observe=None if observe is None else observe.token(),
        observe_max_age_ms=fields.duration("observe_max_age"),
    )


def read_workflow(root: Node, path: str) -> WorkflowSpec:
    """Return the workflow in the file at `path`; the `workflow` key around it may be left out."""
    wrapped = isinstance(root.value, dict) and "workflow" in root.value
    top = (root.fields(("workflow",)).get("workflow") or root.child("workflow", {})) if wrapped else root
    fields = top.fields(
        ("id", "intent", "mode", "risk", "description", "steps", "retry", "rollback"), ("steps",)
    )
    rollback = (fields.get("rollback") or top.child("rollback", {})).fields(("mode", "steps", "required"))
    fields.one_of("mode", MODES, "read_only")
    steps = tuple(_steps(fields.items("steps", STEPS_MAX)))
    if not steps and fields.get("steps") is not None:
        top.refuse(f"workflow `{path}` has no steps")
    return WorkflowSpec(
        id=fields.token("id", path.rsplit("/", 1)[-1].rsplit(".", 1)[0]),
        place=Place(file=top.file, line=top.line),
        intent=fields.token("intent"),
        risk=fields.token("risk"),
        description=fields.text("description"),
        steps=steps,
        rollback=tuple(_steps(rollback.items("steps", STEPS_MAX))),
        retry=_retry(fields.get("retry")),
    )


def _steps(nodes: list[Node]) -> Iterator[StepSpec]:
    seen: dict[str, int] = {}
    for node in nodes:
        step = _step(node)
        if step.id in seen:
            node.refuse(f"step `{step.id}` is already on line {seen[step.id]}", found=step.id)
        for name in step.needs or ():
            if name not in seen:
                node.refuse(
                    f"step `{step.id}` needs `{name}`, which is not a step above it",
                    found=name,
                    allowed=", ".join(seen),
                )
        seen[step.id] = node.line
        yield step


def _step(node: Node) -> StepSpec:
    fields = node.fields(_STEP_KEYS, ("id",))
    kind = fields.one_of("type", ("internal", "connector", "evidence"), "internal")
    connector, normalize, undoes = fields.token("connector"), fields.get("normalize"), fields.get("undoes")
    if (kind == "connector") != bool(connector):
        node.refuse(
            "`connector` and type `connector` go together", allowed="type: connector, connector: NAME"
        )
    metadata = fields.mapping("metadata")
    needs = fields.get("needs")
    step_id = fields.token("id")
    if "@" in step_id:
        node.refuse(f"step `{step_id}` holds an `@`, which separates steps from targets", found=step_id)
    return StepSpec(
        id=step_id,
        place=Place(file=node.file, line=node.line),
        type=kind,
        action=fields.token("action", step_id),
        connector=connector,
        timeout_ms=fields.duration("timeout"),
        pause_safe=fields.boolean("pause_safe"),
        continue_on_error=fields.boolean("continue_on_error") or metadata.get("continue_on_error") is True,
        needs=None if needs is None else tuple(item.token() for item in needs.items(STEPS_MAX)),
        slots=_slots(fields),
        retry=_retry(fields.get("retry")),
        normalizer=None if normalize is None else normalize.token(),
        precondition=read_expectation(fields.get("precondition")),
        postcondition=read_expectation(fields.get("postcondition")),
        undoes=None if undoes is None else undoes.token(),
    )


def _slots(fields: Fields) -> dict[str, Slot] | None:
    found: dict[str, Slot] = {}
    for name, node in fields.entries("slots", WORD):
        slot = node.fields(_SLOT_KEYS, ("step", "fact", "type"))
        kind = slot.one_of("type", ("string", "integer", "boolean"), "string")
        pattern = slot.text("pattern", most=512)
        if kind == "string" and not pattern:
            node.refuse(f"slot `{name}` takes text and needs a `pattern` it must match")
        problem = pattern_problem(pattern)
        if problem is not None:
            node.refuse(f"pattern of slot `{name}`: {problem}", found=pattern[:60])
        found[name] = Slot(
            step=slot.token("step"),
            fact=slot.text("fact"),
            type=kind,
            pattern=pattern,
            length_max=slot.integer("max_length", 256, 1, SLOT_LENGTH_MAX),
        )
    return found or None


def _retry(node: Node | None) -> RetrySpec | None:
    if node is None:
        return None
    fields = node.fields(_RETRY_KEYS, ("max_attempts",))
    allowed = fields.get("allowed_on")
    return RetrySpec(
        retries=fields.integer("max_attempts", 0, 0, RETRIES_MAX),
        on=None if allowed is None else _classes(allowed) or None,
        never=_classes(fields.get("blocked_on")),
        delay_ms=fields.duration("delay") or 0,
    )


def _classes(node: Node | None) -> tuple[str, ...]:
    """Return error classes; names of other systems stay, because they match nothing here."""
    if node is None:
        return ()
    known = tuple(map(str, Failure))
    found = []
    for item in node.items(64):
        name = item.token()
        if name and name not in known:
            item.warn(f"no call ends with the error class `{name}`", found=name)
        found.append(name)
    return tuple(found)
