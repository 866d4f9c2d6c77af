"""Policy decisions per second, beside the engine asked directly with the same parsed policies.

A decision of ours is complete: standing of the packs, who asks, rules, requirements,
merged terms, words. The floor is one bare question to Cedar. Every policy has a scope
of its own, and ten are about the target that is asked.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import cedarpy

from rexecop.governance.admission import Policy, decide
from rexecop.governance.pack import Pack
from rexecop.governance.schema import schema
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.vocabulary import Effect, Established, Gate, Mode, Verdict

SIZES = (10, 100, 1000)
SECONDS = 0.5
ABOUT_THE_TARGET = 10
REQUIREMENT = b'@id("r") @obligations("receipt") permit (principal, action == Action::"read", resource);'
REQUEST = PolicyRequest(
    gate=Gate.PLAN,
    principal=Principal(person="alice", established=Established.OS_USER, credential="uid:1000"),
    profile="hello",
    intent="look",
    effect=Effect.READ,
    mode=Mode.READ_ONLY,
    risk="low",
    environment="here",
    targets=(RequestTarget(id="host-0", type="host", criticality="low"),),
    simulated=True,
    pinned=False,
    origin="cli",
    now=datetime(2026, 1, 31, tzinfo=UTC),
    # Answers to requests without parameters are remembered; here every one is decided.
    parameters={"lines": "20"},
)


def pack(policies: int, requirement: bool) -> Pack:
    """Return a pack with `policies` permits, ten of them about the target that is asked."""
    rules = "".join(
        f'@id("p{n}") permit (principal, action == Action::"read", resource == Target::"host-{host}")'
        ' when { context.mode == "read_only" };\n'
        for n in range(policies)
        for host in [0 if n < ABOUT_THE_TARGET else n]
    )
    files = {
        "pack.yaml": b"id: bench\nversion: '1'\n",
        "entities.yaml": b"people: {alice: {}}\n",
        "rules.cedar": rules.encode(),
    }
    return Pack.parse(files | ({"requirements/r.cedar": REQUIREMENT} if requirement else {}))


def per_second(once: Callable[[], object]) -> float:
    """Return how often `once` runs in a second."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for _ in range(20):
            once()
        count += 20
    return count / (time.perf_counter() - begin)


def main() -> None:
    """Print one line per size, without and with a requirement set."""
    print("policies  requirements  decisions/s  bare Cedar/s  ratio")
    for size in SIZES:
        for requirement in (False, True):
            policy = Policy([pack(size, requirement)])
            questions, entities = policy.facts.of(REQUEST)
            assert decide(policy, REQUEST).terms.verdict is Verdict.ALLOWED
            ours = per_second(partial(decide, policy, REQUEST))
            floor = per_second(
                partial(cedarpy.is_authorized_batch, questions, policy.rules, entities, schema())
            )
            word = "yes" if requirement else "no"
            print(f"{size:8}  {word:12}  {ours:11,.0f}  {floor:12,.0f}  {ours / floor:5.2f}")


if __name__ == "__main__":
    main()
