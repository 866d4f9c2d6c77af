"""Principals: a person or service, and how we know that it is them."""

from __future__ import annotations

from dataclasses import dataclass

from rexecop.proof.vocabulary import Established


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """`person`, known because of `credential` (a key fingerprint, `uid:1000`, a token id)."""

    person: str
    established: Established
    credential: str


ENGINE = Principal(person="engine", established=Established.ENGINE, credential="engine")
