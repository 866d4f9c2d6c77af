"""What callers send below `/v1`: the same classes read bodies and queries and describe them in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from rexecop.proof.canonical import INTEGER_MAX
from rexecop.proof.vocabulary import Mode, State

NAME_LENGTH_MAX: Final = 256  # Twice what names of our own take.
REASON_LENGTH_MAX: Final = 2_000  # Some sentences; more belongs into a ticket that the reason names.
PAGE_MAX: Final = 200  # More at once is a page nobody reads; the cursor goes on.

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Reason: TypeAlias = Annotated[str, Meta(min_length=1, max_length=REASON_LENGTH_MAX)]
Named: TypeAlias = Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
Place: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]


class Sent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody sends."""


class PlanBody(Sent, frozen=True, kw_only=True):
    """A request for a plan; what is not named is what the settings of the service say, the mode `dry_run`.

    With a `catalog` the target is one of its entries, which name profile and environment.
    """

    intent: Name
    target: Name | None = None
    profile: Name | None = None
    environment: Name | None = None
    catalog: Name | None = None
    mode: Mode | None = None
    parameters: dict[str, object] | None = None
    reason: Reason | None = None
    observe: bool | None = None
    break_glass: Reason | None = None
    override_window: Reason | None = None


class StartBody(Sent, frozen=True, kw_only=True):
    """How an operation is started: here, or with `detach` by a worker of the root."""

    priority: Literal["low", "normal", "high"] | None = None
    detach: bool = False
    as_planned: bool = False


class MoveBody(Sent, frozen=True, kw_only=True):
    """Why an operation is paused, cancelled or escalated; it is recorded."""

    reason: Reason | None = None


class GoOnBody(Sent, frozen=True, kw_only=True):
    """Why an operation goes on, which is recorded: here, or with `detach` by a worker of the root."""

    reason: Reason | None = None
    detach: bool = False


class ReconcileBody(Sent, frozen=True, kw_only=True):
    """How an unknown outcome is settled: by its probe, or on the caller's word that it `happened` or not."""

    happened: bool | None = None
    reason: Reason | None = None
    step: Name | None = None


class AnswerBody(Struct, frozen=True, kw_only=True):
    """A signed answer of an approver, as `rexecop approve --request` writes it; it is taken byte by byte."""

    kind: Literal["approval-answer/1"]
    statement: dict[str, object]
    signature: str


class VoteBody(Sent, frozen=True, kw_only=True):
    """What a caller says unsigned, and the digests of what they saw, as `GET` at this path gives them."""

    word: Literal["yes", "no", "withdrawal"]
    preview: Named
    terms: Named
    step: Name | None = None
    call: Named | None = None
    reason: Reason | None = None


class HaltBody(Sent, frozen=True, kw_only=True):
    """What is to stop, or to go on: `all`, or like `target:NAME`; and why."""

    scope: Name
    reason: Annotated[str, Meta(min_length=1, max_length=1_000)]


class OperationsQuery(Sent, frozen=True, kw_only=True):
    """Which operations: newest first, from `cursor` on, in one `state`."""

    cursor: Place = 0
    limit: Count = 50
    state: State | None = None


class RecordsQuery(Sent, frozen=True, kw_only=True):
    """Which records: in causal order, from `cursor` on."""

    cursor: Place = 0
    limit: Count = 50


class NamesQuery(Sent, frozen=True, kw_only=True):
    """Which entries of a list: behind the one that `cursor` names."""

    cursor: Annotated[str, Meta(max_length=2 * NAME_LENGTH_MAX)] = ""
    limit: Count = 50


class WindowsQuery(Sent, frozen=True, kw_only=True):
    """Of what the windows are wanted: of a target, or of the whole environment."""

    environment: Name | None = None
    target: Name | None = None


class InclusionQuery(Sent, frozen=True, kw_only=True):
    """Of which record the place in the log is to be proved."""

    operation: Annotated[str, Meta(pattern="^op_[0-9a-f]{32}$")]
    record: Place = 0


class ConsistencyQuery(Sent, frozen=True, kw_only=True):
    """Of which two sizes it is to be proved that one log continues the other; `new` is all there is."""

    old: Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
    new: Annotated[int, Meta(ge=1, le=INTEGER_MAX)] | None = None
