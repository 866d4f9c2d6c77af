"""`intent/1`: what was asked, by whom, on which profile and environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.canonical import Digest, Json
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Mode

INTENT_NAMESPACE = "intent@rexecop"
RECHECK = "recheck"  # The channel of an observation that a change makes again; its event is that plan.


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRef:
    """A profile by name, version and the digest of its pinned files."""

    name: str
    version: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRef:
    """An environment by id and the digest of its pinned file."""

    id: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The door a request came through; `event` is the digest of what triggered it.

    A reaction names the observation as its event, the `rule` that the observation met, and the operation
    `parent` that yielded it.
    """

    channel: str
    event: Digest | None = None
    rule: Digest | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(Record):
    """`by` asks for `intent` on `target` in `mode`; an agent names its human `sponsor`.

    With `break_glass` it is asked for by the rules that policy has for emergencies.
    With `override_window`, the reason, it asks to be held to no window and no freeze.
    """

    kind: ClassVar[str] = "intent/1"

    profile: ProfileRef
    environment: EnvironmentRef
    intent: str
    target: str
    mode: Mode
    origin: Origin
    parameters: Mapping[str, Json] | None = None
    sponsor: str | None = None
    reason: str | None = None
    idempotency_key: str | None = None
    break_glass: bool = False
    override_window: str | None = None
