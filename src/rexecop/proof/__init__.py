"""Canonical form, records, signatures, the Merkle log and the verifier: what can be checked by a stranger."""
