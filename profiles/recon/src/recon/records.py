"""What probes come to: signals, their analysis, and whether a finding counts as confirmed.

All of it is computed from facts of outcomes; nobody hands in a status. A signal names the
operation it rests on, whose bundle proves the facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recon.errors import RecordRefused

SIGNALS_MAX: Final = 64  # What one person still compares.
_FACTS: Final[Mapping[str, type]] = {
    "http_code": int,
    "remote_ip": str,
    "content_type": str,
    "size_download": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What one probe of `endpoint` saw, in the words of the runner's facts."""

    operation: str
    endpoint: str
    http_code: int
    remote_ip: str
    content_type: str
    size_download: int
    redirected_to: str

    @property
    def seen(self) -> tuple[int, str, int, str]:
        """What two probes are compared by."""
        return self.http_code, self.content_type, self.size_download, self.redirected_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What signals say together: which differ from the first, and whether any is worth a second look."""

    signals: tuple[Signal, ...]
    differing: tuple[Signal, ...]

    @property
    def promoted(self) -> bool:
        """Whether something differs, which is what a confirmation begins with."""
        return bool(self.differing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Whether a finding is confirmed: it differs from a control, was seen twice, and the control is sound."""

    control: Signal
    observed: Signal
    repeated: Signal
    missing: tuple[str, ...]

    @property
    def confirmed(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def read_signal(operation: str, endpoint: str, facts: Mapping[str, object]) -> Signal:
    """Return the signal in the `facts` of a probe of `endpoint` by `operation`.

    Raises:
        RecordRefused: a fact is missing or of another type; a probe that was only shown has none.
    """
    if facts.get("complete") is not True:
        raise RecordRefused("the facts are none of a probe that was made to its end", field="complete")
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind) or isinstance(facts.get(name), bool):
            raise RecordRefused(f"fact `{name}` is missing or not of type {kind.__name__}", field=name)
    return Signal(
        operation=operation,
        endpoint=endpoint,
        http_code=int(str(facts["http_code"])),
        remote_ip=str(facts["remote_ip"]),
        content_type=str(facts["content_type"]),
        size_download=int(str(facts["size_download"])),
        redirected_to=str(facts.get("redirect_url") or ""),
    )


def analyse(signals: Sequence[Signal]) -> Analysis:
    """Return which of `signals` differ from the first, their baseline.

    Raises:
        RecordRefused: there are none, too many, or two of one operation.
    """
    operations = {signal.operation for signal in signals}
    if not 0 < len(signals) <= SIGNALS_MAX or len(operations) != len(signals):
        raise RecordRefused(f"1 to {SIGNALS_MAX} signals are compared, each of an operation of its own")
    baseline = signals[0].seen
    differing = tuple(signal for signal in signals[1:] if signal.seen != baseline)
    return Analysis(signals=tuple(signals), differing=differing)


def confirm(*, control: Signal, observed: Signal, repeated: Signal) -> Confirmation:
    """Return whether `observed` is confirmed by `repeated`, against `control`, a probe that must not show it.

    Raises:
        RecordRefused: two of the three are of one operation, so that one thing would be seen twice.
    """
    if len({signal.operation for signal in (control, observed, repeated)}) != 3:
        raise RecordRefused("control, observation and repetition are three operations")
    questions = (
        (observed.endpoint == repeated.endpoint, "repeated at the same endpoint"),
        (observed.seen == repeated.seen, "seen again"),
        (control.endpoint != observed.endpoint, "a control at another endpoint"),
        (control.seen != observed.seen, "a difference from the control"),
        (control.http_code < 500, "a control that answered soundly"),
    )
    missing = tuple(words for holds, words in questions if not holds)
    return Confirmation(control=control, observed=observed, repeated=repeated, missing=missing)
