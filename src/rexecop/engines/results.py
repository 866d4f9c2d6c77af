"""From what a lane observed to what the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rexecop.lanes.port import LaneResult
from rexecop.operations.extract import StepOutput
from rexecop.operations.ports import Blob, Ids
from rexecop.proof.canonical import Json, commit
from rexecop.proof.records.outcome import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The blobs of one outcome, by stream, ready to be stored."""

    refs: Mapping[str, BlobRef] | None
    blobs: tuple[Blob, ...]


def keep_output(result: LaneResult, ids: Ids, keys: Mapping[str, bytes] | None = None) -> Kept:
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
            truncated=raw > len(data),
            redactions=result.redactions,
        )
        refs[name] = ref
        blobs.append(Blob(ref=ref, key=key, data=data))
    return Kept(refs=refs or None, blobs=tuple(blobs))


def output_of(result: LaneResult) -> StepOutput:
    """Return what normalizers may look at."""
    return StepOutput(
        ended=result.ended,
        status=result.status,
        stdout=result.stdout.decode("utf-8", "replace"),
        stderr=result.stderr.decode("utf-8", "replace"),
        data=result.data,
    )


def bounded_facts(facts: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
    """Return `facts`, or None where there are none."""
    return facts or None
