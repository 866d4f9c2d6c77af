"""Reading intents and connectors: what can be asked, and the exact calls."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from rexecop.execution.strict_yaml import Yaml
from rexecop.lanes.messages.ssh import TRANSFERS
from rexecop.operations.environment import OUTPUT_BYTES_MAX, SHAPE_KEYS, read_isolation
from rexecop.operations.parameters import read_parameters
from rexecop.operations.process_spec import LIMIT_MAX, PROCESS_KEYS, ScriptSpec, read_process
from rexecop.operations.profile_model import (
    ActionSpec,
    CommandShape,
    ConnectorSpec,
    IntentSpec,
    ProbeSpec,
)
from rexecop.operations.reading import Node, listed
from rexecop.operations.workflow_parts import equals_of, expectation
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Mode

ARGUMENTS_MAX: Final = 256  # A command with more arguments is a list of files, and belongs into its input.
RAW_OUTPUT_BYTES_MAX: Final = 1 << 40  # Counted and dropped: only time is spent on it.
PROCESSES_MAX: Final = 4_096
ATTEST_MAX: Final = 16  # There are fewer classes.
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_INTENT_KEYS: Final = (
    "id workflow risk modes enforce_declared_modes catalog facts_contract reaction_observation title summary "
    "description runbook parameters observe observe_max_age restores"
)
_CATALOG_KEYS: Final = (
    "title summary target_kinds required_capabilities side_effect_class validation_ref runbook_ref"
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
    # Both are read, whichever is used: what is odd in a file is said.
    titles = [part.text("title", most=120) for part in (fields, catalog)]
    summaries = [part.text("summary", most=500) for part in (fields, catalog)]
    runbooks = [fields.text("runbook", most=256), catalog.text("runbook_ref", most=512)]
    return IntentSpec(
        id=fields.stem("id", stem),
        place=top.place,
        workflow=fields.text("workflow", most=256),
        risk=fields.token("risk"),
        modes=tuple(node.one_of(Mode) for node in fields.items("modes", 16)),
        enforce_modes=fields.boolean("enforce_declared_modes"),
        title=next(filter(None, titles), stem.replace("_", " ")),
        summary=next(filter(None, summaries), ""),
        runbook=next(filter(None, runbooks), ""),
        restores=fields.boolean("restores"),
        parameters=fields.maybe("parameters", read_parameters),
        observe=fields.maybe("observe", Node.token),
        observe_max_age_ms=fields.maybe("observe_max_age", Node.duration),
        target_kinds=catalog.tokens("target_kinds", 64),
        capabilities=catalog.tokens("required_capabilities", 256),
        side_effect=catalog.token("side_effect_class"),
        validation_ref=catalog.text("validation_ref", most=256),
        observed_by=fields.maybe("reaction_observation", lambda node: _observed_by(node, stem)),
    )


def _observed_by(node: Node, intent: str) -> str:
    """Return the step whose facts reactions may rest on."""
    needed = "shared_state_key schema_ref source_intent producer_step requires_completed_operation"
    fields = node.fields(needed, "producer_step")
    for key, only in (("shared_state_key", "reaction_observation"), ("source_intent", intent)):
        found = fields.text(key, only)
        if found != only:
            node.refuse(f"`{key}` is `{only}` or left out", found=found, allowed=only)
    if not fields.boolean("requires_completed_operation", True):
        node.refuse("reactions rest on completed operations only", allowed="true")
    return fields.token("producer_step")


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
    if not described and fields.get("args") is not None:
        fields.node.refuse(f"`args` of `{name}` go with a `command` beside them", allowed="command, args")
    process, shape = read_process(fields), fields.node if described else command
    if process.script is not None and shape is not None:
        fields.node.refuse(f"`{name}` runs a command or a script, not both")
    method = None if http is None else http.fields(_HTTP_KEYS, "method path")
    if method is not None:
        for key in ("method", "path"):
            method.text(key)
    return ActionSpec(
        name=name,
        place=(own or command or http or connector).place,
        effect=fields.maybe("effect", lambda node: node.one_of(Effect)),
        idempotent=fields.maybe("idempotent", Node.boolean),
        mutating=None if method is None else method.maybe("mutating", Node.boolean),
        command=_interpreted(process.script) if shape is None else _command(shape, own=described),
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
        precondition=fields.maybe("precondition", expectation),
        postcondition=fields.maybe("postcondition", expectation),
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


def _command(node: Node, *, own: bool) -> CommandShape:
    """Return the command at `node`: a shape of its own, or one beside `own` keys of an action."""
    said = _ACTION_KEYS if own else "command args public_projection safe_output_fields"
    fields = node.fields(said, "command")
    return CommandShape(command=fields.text("command"), args=fields.texts("args", ARGUMENTS_MAX))


def _interpreted(script: ScriptSpec | None) -> CommandShape | None:
    return None if script is None else CommandShape(command=script.interpreter, args=script.args)


def _probe(node: Node) -> ProbeSpec:
    fields = node.fields("action normalize fact equals", "action normalize fact equals")
    return ProbeSpec(
        action=fields.token("action"),
        normalizer=fields.token("normalize"),
        fact=fields.text("fact"),
        equals=equals_of(fields),
    )
