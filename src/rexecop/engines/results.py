"""From what a lane observed to what the ledger keeps."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rexecop.lanes.port import LaneResult
from rexecop.operations.ports import Blob, Ids
from rexecop.operations.redaction import Redacting, RedactionRule
from rexecop.operations.step_output import StepOutput
from rexecop.proof.canonical import commit
from rexecop.proof.records.outcome import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The blobs of one outcome, by stream, ready to be stored."""

    refs: Mapping[str, BlobRef] | None
    blobs: tuple[Blob, ...]


def redacted(
    result: LaneResult, rules: Sequence[RedactionRule], limit: int
) -> tuple[LaneResult, frozenset[str]]:
    """Return `result` without what `rules` take out, and the names of the streams that were cut.

    Markers may be longer than what they stand for, so outputs are cut to `limit` bytes once more.
    """
    streams = (("stdout", result.stdout, result.stdout_bytes), ("stderr", result.stderr, result.stderr_bytes))
    cut = {name for name, data, raw in streams if raw > len(data)}
    if not rules:
        return result, frozenset(cut)
    taking = Redacting(rules)
    stdout, stderr = (taking.output(data, cut=name in cut) for name, data, _ in streams)
    cut |= {name for name, data in (("stdout", stdout), ("stderr", stderr)) if len(data) > limit}
    message = None if result.message is None else taking.text(result.message)
    data = None if result.data is None else taking.mapping(result.data)
    count = result.redactions + taking.count
    kept = replace(result, stdout=stdout[:limit], stderr=stderr[:limit], message=message, data=data)
    return replace(kept, redactions=count), frozenset(cut)


def keep_output(result: LaneResult, ids: Ids, keys: Mapping[str, bytes] | None, cut: Container[str]) -> Kept:
    """Return blobs for what the call put out, under `keys` where a stream has one; silence keeps nothing."""
    refs: dict[str, BlobRef] = {}
    blobs: list[Blob] = []
    streams = (("stdout", result.stdout, result.stdout_bytes), ("stderr", result.stderr, result.stderr_bytes))
    for name, data, raw in streams:
        if not raw:
            continue
        key = (keys or result.keys or {}).get(name) or ids.key()
        ref = BlobRef(
            commitment=commit(key, data),
            raw_bytes=raw,
            kept_bytes=len(data),
            truncated=name in cut,
            redactions=result.redactions,
        )
        refs[name] = ref
        blobs.append(Blob(ref=ref, key=key, data=data))
    return Kept(refs=refs or None, blobs=tuple(blobs))


def output_of(result: LaneResult, tried: datetime | None) -> StepOutput:
    """Return what normalizers may look at of a call `tried` then."""
    return StepOutput(
        ended=result.ended,
        status=result.status,
        stdout=result.stdout.decode("utf-8", "replace"),
        stderr=result.stderr.decode("utf-8", "replace"),
        data=result.data,
        at=tried,
    )
