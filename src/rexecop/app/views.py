"""What the application answers: typed values that the command line, HTTP and Python render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureView:
    """How a profile is signed: `state` is `unsigned`, `wrong`, `unknown`, `untrusted` or `trusted`.

    `key` is the fingerprint that signed, `person` whose it is, `since` when it was enrolled.
    """

    source: str
    digest: str
    state: str
    says: str
    key: str | None = None
    person: str | None = None
    since: datetime | None = None
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step on one target, and how far it got."""

    id: str
    target: str
    effect: str
    state: str
    attempts: int
    isolation: str | None = None
    grade: str | None = None
    ended: str | None = None
    error_class: str | None = None
    message: str | None = None
    status: int | None = None
    duration_ms: int | None = None
    facts: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView:
    """One validation rule and its verdict."""

    rule: str
    verdict: str
    path: str
    expected: Json = None
    found: Json = None
    details: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationView:
    """All validation rules of an operation."""

    operation_id: str
    state: str
    verdict: str
    rules: tuple[RuleView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """What policy answered and why."""

    verdict: str
    reason: str
    rules: tuple[str, ...]
    packs: tuple[str, ...]
    approvals_required: tuple[str, ...]
    approvals_missing: tuple[str, ...]
    obligations: Mapping[str, Json]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitingView:
    """The exact call, as text and by its digest, that waits for approvals of its own."""

    step: str
    target: str
    call: str
    digest: str
    approvals_required: tuple[str, ...]
    approvals_missing: tuple[str, ...]
    approved_by: tuple[str, ...] = ()
    refused_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveView:
    """How far one wave got, in targets: those that failed were given up, `undone` ones were undone since.

    `per_hour` is how many ended in an hour at its own pace, None before any did; `left_seconds` how long the
    rest takes at that pace, or at that of the waves before it.
    """

    wave: int
    targets: int
    done: int
    failed: int
    undone: int
    under_way: int
    per_hour: int | None
    left_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """How far an operation got, in steps and by wave; `wave` is the first that is not over, from 1."""

    steps: int
    ended: int
    failed: int
    per_hour: int | None
    left_seconds: int | None
    wave: int
    waves: tuple[WaveView, ...]
    failed_targets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView:
    """An operation as its records say; `next` are commands that may follow.

    `place` is its place in the queue, None where it does not wait there to start or to go on.
    """

    operation_id: str
    number: int
    state: str
    profile: str
    environment: str
    intent: str
    target: str
    mode: str
    requester: str
    established: str
    created: datetime
    updated: datetime
    records: int
    decision: DecisionView | None
    steps: tuple[StepView, ...]
    calls: tuple[str, ...] = ()
    current_step_id: str | None = None
    validation: str | None = None
    reason: str | None = None
    waiting: str | None = None
    approved_by: tuple[str, ...] = ()
    receipt: str | None = None
    awaiting: AwaitingView | None = None
    damaged: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    place: int | None = None
    progress: ProgressView | None = field(default=None, compare=False)  # Time alone changes no operation.


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLine:
    """One line of a list; `progress` is how far an operation got that is at work, in words."""

    operation_id: str
    number: int
    state: str
    intent: str
    target: str
    mode: str
    requester: str
    updated: datetime
    waiting: str = ""
    progress: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordView:
    """One record of the history, in causal order."""

    n: int
    kind: str
    at: datetime
    by: str
    digest: str
    summary: str
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputView:
    """What one call put out on one stream, as record `n` has it; `text` is None once it is erased."""

    n: int
    step: str
    phase: str
    target: str
    stream: str
    ref: BlobRef
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """The answer to *why is it like this*: words, then what may be done."""

    operation_id: str | None
    state: str | None
    lines: tuple[str, ...]
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportView:
    """Evidence that was written, of an operation or of all changes (of `target`) in a window.

    `unrecorded` is why the ledger holds no record of it.
    """

    operation_id: str | None
    target: str | None
    path: str
    bytes: int
    records: int
    digest: str
    checkpoint_size: int
    format: str = "bundle"
    beside: tuple[str, ...] = ()
    unrecorded: str | None = None
    stamps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureLine:
    """A signature over a record, the key it says it is by, and whether it holds."""

    form: str
    by: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptView:
    """A receipt, and what signs it."""

    operation_id: str
    number: int
    state: str
    digest: str
    receipt: Mapping[str, Json]
    envelope: Json
    signatures: tuple[SignatureLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLine:
    """One record as evidence: its leaf in the log, and the records of its operation it names."""

    record: RecordView
    rests_on: tuple[int, ...]
    depth: int
    leaf: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceView:
    """The records of an operation as evidence, and who was given them."""

    operation_id: str
    number: int
    verdict: str
    records: tuple[EvidenceLine, ...]
    damaged: tuple[str, ...]
    accesses: tuple[Mapping[str, Json], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLine:
    """An output that a record names, and whether it is still there."""

    name: str
    ref: BlobRef
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvidence:
    """One record, whole, and everything that stands behind it."""

    operation_id: str
    line: EvidenceLine
    included: str
    signatures: tuple[SignatureLine, ...]
    blobs: tuple[BlobLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StampView:
    """A time stamp that was kept: `authority` is what its certificate says, not whom to trust."""

    authority: str
    at: datetime
    checkpoint_size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltView:
    """A halt that stands."""

    scope: str
    by: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLine:
    """A window or freeze, and when it is next (or now): in UTC, and in its own zone for people."""

    kind: str
    name: str
    source: str
    zone: str
    now: bool
    start: datetime | None
    end: datetime | None
    local: str
    let_finish_minutes: int
    recovery: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsView:
    """When changes may run: `state` is `open`, `closed` or `frozen`.

    They may start from `opens` on (None: now, or never within a year) and go on until
    `closes`. `week` has for each day, local in `zone`, 48 half hours: `#` open, `.` closed,
    `x` frozen.
    """

    environment: str | None
    targets: tuple[str, ...]
    now: datetime
    tzdata: str
    state: str
    opens: datetime | None
    closes: datetime | None
    zone: str
    entries: tuple[WindowLine, ...]
    override: tuple[str, ...]
    halts: tuple[HaltView, ...]
    week: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One line of `doctor`: `status` is `ok`, `warning` or `failed`."""

    name: str
    status: str
    message: str
    facts: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorView:
    """Everything `doctor` looked at."""

    status: str
    root: str
    checks: tuple[CheckView, ...]
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """A key this instance has or trusts: `state` is `standing`, `retired`, `revoked` or `expired`."""

    person: str
    role: str
    fingerprint: str
    public: str
    since: datetime
    enrolled_by: str
    revoked: bool
    expires: datetime | None = None
    state: str = "standing"
    path: str | None = None
    vkey: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InitView:
    """What `init` made."""

    root: str
    instance: str
    created: tuple[str, ...]
    existing: tuple[str, ...]
    instance_key: str
    approver_key: str | None
    notice: str | None = None
    sinks: str | None = None
    next: tuple[str, ...] = ()
