"""Receipts of the `/execute` contract, checked without a service."""

from __future__ import annotations

from rexecop.proof.canonical import same, sha256


def verify_receipt(exec_id: str, result_json: str, receipt_hash: str) -> bool:
    """Return whether `receipt_hash` is the receipt of result text `result_json` under `exec_id`.

    It says that the three belong together and nothing of where they come from: whoever has
    id and result can compute it. `signed_receipt` is what the instance vouches for.
    """
    return same(sha256(f"{exec_id}:{result_json}".encode()).hex(), receipt_hash)
