"""What a profile says, as types. Everything here was read strictly and fits together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rexecop.operations.handlers import HandlersRef
from rexecop.operations.normalizer_spec import Normalizer
from rexecop.operations.operator_words import OperatorWords
from rexecop.operations.parameters import ParameterSchema
from rexecop.operations.process_spec import PLAIN, ProcessSpec
from rexecop.operations.reading import Place
from rexecop.operations.redaction import RedactionRule
from rexecop.operations.scripted import ScriptedAction
from rexecop.operations.trigger_rules import TriggerRules
from rexecop.operations.validation import Rule
from rexecop.proof.call import Slot
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.message import Scalar
from rexecop.proof.reaction import ReactionRule
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.plan import Expectation, Guard
from rexecop.proof.vocabulary import Effect, Isolation, Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySpec:
    """Up to `retries` further tries. `on` is None when every retryable class is meant.

    They are `delay_ms` apart, or with `delay_max_ms` twice as long each time, up to that.
    """

    retries: int
    on: tuple[str, ...] | None
    never: tuple[str, ...]
    delay_ms: int
    delay_max_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """Find out by `action` and `normalizer` whether a call happened: it did if `fact` equals `equals`."""

    action: str
    normalizer: str
    fact: str
    equals: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandShape:
    """The exact command of an action: arguments are separate and may hold placeholders."""

    command: str
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """One action of a connector. `effect` is None where the profile leaves it to the backend.

    `transfer` is a file to put or get instead of a command, `talks` says by protocol (`rpc`, `mcp`,
    `sse`, `websocket`) what is asked of whom is talked with. Expectations may hold placeholders; one of
    the step itself names no step.
    """

    name: str
    place: Place
    effect: Effect | None = None
    idempotent: bool | None = None
    mutating: bool | None = None
    command: CommandShape | None = None
    http: Mapping[str, Json] | None = None
    transfer: Mapping[str, Json] | None = None
    cwd: str = ""
    talks: Mapping[str, Mapping[str, Json]] | None = None
    stdin: str | None = None
    env: Mapping[str, str] | None = None
    writable: tuple[str, ...] = ()
    isolation: Isolation | None = None
    timeout_ms: int | None = None
    output_bytes: int | None = None
    raw_output_bytes: int | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    grace_ms: int | None = None
    process: ProcessSpec = PLAIN
    normalizer: str | None = None
    precondition: Expectation | None = None
    postcondition: Expectation | None = None
    probe: ProbeSpec | None = None
    undo: str | None = None
    attest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSpec:
    """What a connector may do. `backends` is empty where the environment chooses."""

    name: str
    place: Place
    backends: tuple[str, ...]
    actions: Mapping[str, ActionSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """Another intent that a step calls, with parameters that may hold placeholders.

    `target` is what it works on; without it that is the target of who calls it.
    """

    intent: str
    parameters: Mapping[str, Json]
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """One step of a workflow. `needs` is None when it follows the step before it.

    `when` are guards on facts, and on parameters where they name no step. With `each` it is a step
    for every one of these values, or of the list that is the parameter so called; `item` is the
    value of one such step, and `group` the id in the workflow then.
    """

    id: str
    place: Place
    type: str
    action: str
    connector: str
    timeout_ms: int | None = None
    pause_safe: bool = False
    continue_on_error: bool = False
    needs: tuple[str, ...] | None = None
    slots: Mapping[str, Slot] | None = None
    retry: RetrySpec | None = None
    normalizer: str | None = None
    precondition: Expectation | None = None
    postcondition: Expectation | None = None
    undoes: str | None = None
    approvals: tuple[ApprovalRule, ...] = ()
    when: tuple[Guard, ...] = ()
    goes_on: bool = False
    each: str | tuple[Scalar, ...] | None = None
    item: Scalar | None = None
    group: str = ""
    calls: CallSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """So many, or with `percent` so many of a hundred."""

    count: int
    percent: bool = False

    def of(self, total: int) -> int:
        """Return how many of `total` that is, at least one."""
        return max(1, min(total, -(-total * self.count // 100) if self.percent else self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class WavesSpec:
    """How the work goes over several targets; `canary` is a first wave, `size` what each after it has.

    With `always` what stopped is undone on a single target as well, which then is a wave by itself.
    """

    place: Place
    max_parallel: int
    stop_after: Amount
    canary: Amount | None
    size: Amount | None
    check: str
    undo: bool
    always: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSpec:
    """How an intent is carried out; `rollback` holds the compensating steps.

    `parallel` steps of one target run side by side; None leaves it to how the steps are written.
    """

    id: str
    place: Place
    intent: str
    risk: str
    steps: tuple[StepSpec, ...]
    rollback: tuple[StepSpec, ...]
    retry: RetrySpec | None = None
    parallel: int | None = None
    waves: WavesSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentSpec:
    """What can be asked. `modes` binds only where `enforce_modes` holds.

    `target_kinds` and `capabilities` are what a target in a catalog has to be and have; no kinds are any.
    `observed_by` is the step whose facts reactions may rest on.
    """

    id: str
    place: Place
    workflow: str
    risk: str
    modes: tuple[Mode, ...]
    enforce_modes: bool
    title: str
    summary: str
    runbook: str
    restores: bool
    parameters: ParameterSchema | None = None
    observe: str | None = None
    observe_max_age_ms: int | None = None
    target_kinds: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    side_effect: str = ""
    validation_ref: str = ""
    observed_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionBudgets:
    """How deep reactions may follow from one another, how many, and how far one rule's are apart."""

    depth: int
    reactions: int
    cooldown_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionPack:
    """Rules in the order they decide in; `fallback` where none of them holds."""

    id: str
    version: str
    place: Place
    budgets: ReactionBudgets
    rules: tuple[ReactionRule, ...]
    fallback: ReactionRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A whole profile. `digest` names the snapshot of its files; workflows and scripts are keyed by path.

    `handlers` compute internal steps for which there is no normalizer. `words` are for operators.
    """

    name: str
    version: str
    description: str
    digest: Digest
    intents: Mapping[str, IntentSpec]
    workflows: Mapping[str, WorkflowSpec]
    connectors: Mapping[str, ConnectorSpec]
    rules: Mapping[str, tuple[Rule, ...]]
    normalizers: Mapping[str, Normalizer]
    fixtures: Mapping[str, Mapping[str, ScriptedAction]]
    scripts: Mapping[str, str]
    redactions: Mapping[str, tuple[RedactionRule, ...]]
    handlers: HandlersRef | None = None
    words: OperatorWords = field(default_factory=OperatorWords)
    reactions: ReactionPack | None = None
    triggers: TriggerRules | None = None

    @property
    def interpreters(self) -> tuple[str, ...]:
        """Return the interpreters that scripts of the profile name, each once."""
        actions = (action for connector in self.connectors.values() for action in connector.actions.values())
        named = {action.process.script.interpreter for action in actions if action.process.script is not None}
        return tuple(sorted(named))
