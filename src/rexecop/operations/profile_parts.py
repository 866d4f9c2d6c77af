"""Reading intents, workflows and connectors: what can be asked, the steps, and the exact calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from rexecop.execution.strict_yaml import Yaml
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.ssh import TRANSFERS
from rexecop.operations.environment import OUTPUT_BYTES_MAX, RETRIES_MAX, SHAPE_KEYS, read_isolation
from rexecop.operations.parameters import read_parameters
from rexecop.operations.patterns import pattern_problem
from rexecop.operations.process_spec import LIMIT_MAX, PROCESS_KEYS, ScriptSpec, read_process
from rexecop.operations.profile_model import (
    ActionSpec,
    CommandShape,
    ConnectorSpec,
    IntentSpec,
    ProbeSpec,
    RetrySpec,
    StepSpec,
    WorkflowSpec,
)
from rexecop.operations.reading import WORD, Fields, Node, listed
from rexecop.proof.call import SLOT_LENGTH_MAX, Slot
from rexecop.proof.canonical import Json
from rexecop.proof.message import Scalar
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.plan import Expectation
from rexecop.proof.steps import merge_approvals
from rexecop.proof.vocabulary import Effect, Mode

STEPS_MAX: Final = 256  # What one person can still review as one workflow.
ARGUMENTS_MAX: Final = 256  # A command with more arguments is a list of files, and belongs into its input.
RAW_OUTPUT_BYTES_MAX: Final = 1 << 40  # Counted and dropped: only time is spent on it.
PROCESSES_MAX: Final = 4_096
APPROVALS_MAX: Final = 16  # More people than this do not read a call, they wave it through.
ATTEST_MAX: Final = 16  # There are fewer classes.
_APPROVAL: Final = re.compile(r"([1-9][0-9]{0,2}) of ([A-Za-z0-9][A-Za-z0-9_.-]{0,63})")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_INTENT_KEYS: Final = (
    "id workflow risk modes enforce_declared_modes catalog facts_contract reaction_observation title summary "
    "description runbook parameters observe observe_max_age restores"
)
_CATALOG_KEYS: Final = (
    "title summary target_kinds required_capabilities side_effect_class validation_ref runbook_ref"
)
_STEP_KEYS: Final = (
    "id type action connector timeout pause_safe metadata description needs slots retry normalize "
    "continue_on_error precondition postcondition undoes approvals"
)
_CONNECTOR_KEYS: Final = (
    "name backend backends description capabilities command_shapes action_shapes actions "
    "required_capability_descriptors required_capability_descriptors_by_backend modes network_policy_binding "
    "network_policy_binding_by_backend timeout_default contract public_projection safe_output_fields"
)
_ACTION_KEYS: Final = (
    "effect idempotent command args transfer cwd stdin env writable isolation timeout output_bytes "
    "raw_output_bytes memory_bytes processes grace normalize precondition postcondition probe undo "
    f"description attest rpc mcp sse websocket {PROCESS_KEYS}"
)
TALKS: Final = ("rpc", "mcp", "sse", "websocket")
_HTTP_KEYS: Final = f"{SHAPE_KEYS} public_projection safe_output_fields"


def read_intent(root: Node, stem: str) -> IntentSpec:
    """Return the intent of the file named `stem`."""
    top = root.section("intent")
    fields = top.fields(_INTENT_KEYS, "workflow")
    catalog = fields.part("catalog").fields(_CATALOG_KEYS)
    catalog.tokens("target_kinds", 64)
    return IntentSpec(
        id=fields.stem("id", stem),
        place=top.place,
        workflow=fields.text("workflow", most=256),
        risk=fields.token("risk"),
        modes=tuple(node.one_of(Mode) for node in fields.items("modes", 16)),
        enforce_modes=fields.boolean("enforce_declared_modes"),
        title=fields.text("title", most=120) or catalog.text("title", most=120) or stem.replace("_", " "),
        summary=fields.text("summary", most=500) or catalog.text("summary", most=500),
        runbook=fields.text("runbook", most=256) or catalog.text("runbook_ref", most=256),
        restores=fields.boolean("restores"),
        parameters=fields.maybe("parameters", read_parameters),
        observe=fields.maybe("observe", Node.token),
        observe_max_age_ms=fields.maybe("observe_max_age", Node.duration),
    )


def read_workflow(root: Node, path: str) -> WorkflowSpec:
    """Return the workflow in the file at `path`; the `workflow` key around it may be left out."""
    top = root.section("workflow") if isinstance(root.value, dict) and "workflow" in root.value else root
    fields = top.fields("id intent mode risk description steps retry rollback", "steps")
    rollback = fields.part("rollback").fields("mode steps required")
    undoing = tuple(_steps(rollback.items("steps", STEPS_MAX)))
    if any(step.approvals for step in undoing):
        rollback.node.refuse("what undoes asks nobody; `approvals` go with the steps of the work")
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
        rollback=undoing,
        retry=fields.maybe("retry", _retry),
    )


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
    kind = fields.one_of("type", ("internal", "connector", "evidence"), "internal")
    connector, step_id = fields.token("connector"), fields.token("id")
    if (kind == "connector") != bool(connector):
        allowed = "type: connector, connector: NAME"
        node.refuse("`connector` and type `connector` go together", allowed=allowed)
    if "@" in step_id:
        node.refuse(f"step `{step_id}` holds an `@`, which separates steps from targets", found=step_id)
    metadata = fields.mapping("metadata")
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
        precondition=fields.maybe("precondition", _expectation),
        postcondition=fields.maybe("postcondition", _expectation),
        undoes=fields.maybe("undoes", Node.token),
        approvals=_approvals(fields, calls=kind == "connector"),
    )


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
        step=fields.token("step"),
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


def _expectation(node: Node) -> Expectation:
    fields = node.fields("step fact equals", "fact equals")
    return Expectation(step=fields.token("step"), fact=fields.text("fact"), equals=_equals(fields))


def _equals(fields: Fields) -> Scalar:
    equals = fields.get("equals")
    return "" if equals is None else equals.scalar()


def read_connector(root: Node, stem: str) -> ConnectorSpec:
    """Return the connector of the file named `stem`."""
    top = root.section("connector")
    fields = top.fields(_CONNECTOR_KEYS, "name capabilities")
    backend, capabilities = fields.token("backend"), fields.tokens("capabilities")
    shapes = {kind: dict(fields.entries(kind)) for kind in ("actions", "command_shapes", "action_shapes")}
    for kind, named in shapes.items():
        for action, node in named.items():
            if action not in capabilities:
                message = f"`{kind}` names `{action}`, which is not among `capabilities`"
                node.refuse(message, found=action, allowed=listed(capabilities))
    return ConnectorSpec(
        name=fields.stem("name", stem),
        place=top.place,
        backends=(backend,) if backend else fields.tokens("backends"),
        actions={
            action: _action(action, top, *(named.get(action) for named in shapes.values()))
            for action in capabilities
        },
    )


def _action(
    name: str, connector: Node, own: Node | None, command: Node | None, http: Node | None
) -> ActionSpec:
    fields = (own or connector.child(name, {})).fields(_ACTION_KEYS)
    described = fields.get("command") is not None
    if described and command is not None:
        fields.node.refuse(f"the command of `{name}` is written twice, here and under `command_shapes`")
    process, shape = read_process(fields), fields.node if described else command
    if process.script is not None and shape is not None:
        fields.node.refuse(f"`{name}` runs a command or a script, not both")
    method = None if http is None else http.fields(_HTTP_KEYS, "method path")
    return ActionSpec(
        name=name,
        place=(own or command or http or connector).place,
        effect=fields.maybe("effect", lambda node: node.one_of(Effect)),
        idempotent=fields.maybe("idempotent", Node.boolean),
        mutating=None if method is None else method.maybe("mutating", Node.boolean),
        command=_interpreted(process.script) if shape is None else _command(shape),
        http=None if http is None else _http(http),
        transfer=fields.maybe("transfer", _transfer),
        cwd=fields.text("cwd", most=4096),
        talks={key: talk for key in TALKS if (talk := fields.maybe(key, _talk)) is not None} or None,
        stdin=fields.maybe("stdin", Node.text),
        env={key: item.text() for key, item in fields.entries("env", _VARIABLE)} or None,
        writable=fields.texts("writable", 16),
        isolation=read_isolation(fields),
        timeout_ms=fields.maybe("timeout", Node.duration),
        output_bytes=fields.maybe("output_bytes", lambda node: node.integer(1, OUTPUT_BYTES_MAX)),
        raw_output_bytes=fields.maybe("raw_output_bytes", lambda node: node.integer(1, RAW_OUTPUT_BYTES_MAX)),
        memory_bytes=fields.maybe("memory_bytes", lambda node: node.integer(1, LIMIT_MAX)),
        processes=fields.maybe("processes", lambda node: node.integer(1, PROCESSES_MAX)),
        grace_ms=fields.maybe("grace", Node.duration),
        process=process,
        normalizer=fields.maybe("normalize", Node.token),
        precondition=fields.maybe("precondition", _expectation),
        postcondition=fields.maybe("postcondition", _expectation),
        probe=fields.maybe("probe", _probe),
        undo=fields.maybe("undo", Node.token),
        attest=fields.tokens("attest", ATTEST_MAX),
    )


def _talk(node: Node) -> dict[str, Json]:
    """Return what is asked of whom is talked with."""
    if _holds_decimal(node.value):
        node.refuse(f"`{node.name}` holds a fraction, which nothing here can send as a number")
    return node.mapping()


def _http(node: Node) -> dict[str, Json]:
    """Return the shape of a call over HTTP, without what is only said about it."""
    body = node.value.get("body") if isinstance(node.value, dict) else None
    if _holds_decimal(body):
        node.refuse(
            f"the body of `{node.name}` holds a fraction; write it under `text`, where its digits stay"
        )
    said = ("public_projection", "safe_output_fields")
    return {key: value for key, value in node.mapping().items() if key not in said}


def _holds_decimal(value: Yaml) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_decimal, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Decimal)


def _transfer(node: Node) -> dict[str, Json]:
    fields = node.fields("operation path content file mode before", "operation path")
    fields.one_of("operation", TRANSFERS, TRANSFERS[0])
    return {key: fields.text(key) for key in fields.values}


def _command(node: Node) -> CommandShape:
    fields = node.fields(f"command args public_projection safe_output_fields {_ACTION_KEYS}", "command")
    return CommandShape(command=fields.text("command"), args=fields.texts("args", ARGUMENTS_MAX))


def _interpreted(script: ScriptSpec | None) -> CommandShape | None:
    return None if script is None else CommandShape(command=script.interpreter, args=script.args)


def _probe(node: Node) -> ProbeSpec:
    fields = node.fields("action normalize fact equals", "action normalize fact equals")
    return ProbeSpec(
        action=fields.token("action"),
        normalizer=fields.token("normalize"),
        fact=fields.text("fact"),
        equals=_equals(fields),
    )
