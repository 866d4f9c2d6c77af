"""Decisions per second and core, from 10 to 10,000 policies, beside the engine asked about all of them.

A decision is complete: standing of the packs, who asks, rules, requirements, merged
terms, words. Each is decided anew: that policy remembers its answers is switched off, and
people, targets and intents change from one to the next. Beside it stands bare Cedar with
the same policies and entities prepared, one question about all of them.

In a scoped pack every policy names its target, fifty the same, and a fifth of those
holds. In an open pack no policy has a scope, so every slice is the whole. Figures are of
processor time, which a busy machine distorts less than it does the clock.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

import cedarpy

sys.path.insert(0, str(Path(__file__).parents[1]))

from rexecop.governance.actions import action_of
from rexecop.governance.admission import Policy, decide
from rexecop.governance.conditions import WHOLE_CONTEXT, Sight
from rexecop.governance.facts import Facts
from rexecop.governance.obligations import unmet
from rexecop.governance.pack import Pack
from rexecop.governance.schema import schema
from rexecop.governance.tickets import Case, Place, mint
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.vocabulary import Effect, Established, Gate, Mode, Verdict
from tests.governance import cases

SIZES: Final = (10, 100, 1000, 10_000)
SECONDS: Final = 1.0
SLICE: Final = 50
HOLDING: Final = 5  # One in so many of a slice.
PEOPLE: Final = ("alice", "bob")
NOW: Final = datetime(2026, 1, 31, tzinfo=UTC)
IMPORT: Final = """\
import time
begin = time.process_time()
import {}
print((time.process_time() - begin) * 1000)
"""
GOVERNANCE: Final = ", ".join(
    f"rexecop.governance.{name}" for name in ("admission", "tickets", "permits", "windows")
)


def pack(name: str, rules: str, requirements: str = "") -> Pack:
    """Return the pack called `name`."""
    files = {
        "pack.yaml": f"id: {name}\nversion: '1'\n",
        "entities.yaml": f"people: {{{', '.join(f'{person}: {{}}' for person in PEOPLE)}}}\n",
    }
    # A file holds one megabyte at most.
    lines = rules.splitlines(keepends=True)
    files |= {f"rules{n}.cedar": "".join(lines[n : n + 4000]) for n in range(0, len(lines), 4000)}
    files |= {"requirements/r.cedar": requirements} if requirements else {}
    return Pack.parse({path: text.encode() for path, text in files.items()})


def scoped(policies: int, holding: int = HOLDING) -> str:
    """Return as many permits, each about one target and fifty about the same; one in `holding` holds."""
    return "".join(
        f'@id("p{n}") permit (principal, action in Action::"read", resource == Target::"host-{n // SLICE}")'
        f' when {{ context.mode == "{"observe" if n % holding else "read_only"}" }};\n'
        for n in range(policies)
    )


def open_to_all(policies: int) -> str:
    """Return as many permits that say everything in their condition; one in fifty holds."""
    return "".join(
        f'@id("p{n}") permit (principal, action, resource)'
        f' when {{ context.mode == "{"observe" if n % SLICE else "read_only"}" }};\n'
        for n in range(policies)
    )


REQUIREMENT: Final = pack(
    "more", "", '@id("r") @obligations("receipt") permit (principal, action in Action::"read", resource);\n'
)


def requests(targets: int) -> list[PolicyRequest]:
    """Return as many different requests as there are people, intents and targets."""
    return [
        PolicyRequest(
            gate=Gate.PLAN,
            principal=Principal(person=person, established=Established.OS_USER, credential="uid:1000"),
            profile="hello",
            intent=intent,
            effect=Effect.READ,
            mode=Mode.READ_ONLY,
            risk="low",
            environment="here",
            targets=(RequestTarget(id=f"host-{number}", type="host", criticality="low"),),
            simulated=True,
            pinned=False,
            origin="cli",
            now=NOW,
            parameters={"lines": "20"},
        )
        for intent in ("look", "list")
        for number in range(targets)
        for person in PEOPLE
    ]


def per_second(once: Callable[[], object]) -> float:
    """Return how often `once` runs in a second of processor time, at the best of ten."""
    best = 0.0
    for _ in range(10):
        count, begin = 0, time.process_time()
        while time.process_time() - begin < SECONDS / 10:
            for _ in range(10):
                once()
            count += 10
        best = max(best, count / (time.process_time() - begin))
    return best


def forgetful(policy: Policy) -> Policy:
    """Return `policy`, which decides everything anew from now on."""
    policy.remember = lambda key, answer: None  # type: ignore[method-assign]
    return policy


def ours(policy: Policy, asked: Sequence[PolicyRequest]) -> float:
    """Return how many of `asked` are decided in a second."""
    forgetful(policy)
    for request in asked:
        assert decide(policy, request).terms.verdict is Verdict.ALLOWED
    several = cycle(asked)
    return per_second(lambda: decide(policy, next(several)))


def bare(rules: str) -> float:
    """Return how many bare questions about all `rules` Cedar answers in a second."""
    policies = cedarpy.PolicySet.from_str(rules)
    (request,) = requests(1)[:1]
    # Every fact, as the schema asks for it.
    asked = Facts(Policy([REQUIREMENT]).entities, [Sight(frozenset({WHOLE_CONTEXT}), frozenset(), True)]).of(
        request
    )
    questions = list(asked.questions)
    in_force = schema(
        {f"intent:{request.profile}": {request.intent: request.effect}}, [("Action", action_of(request).name)]
    )
    assert cedarpy.is_authorized_batch(questions, policies, asked.entities, in_force)[0].allowed
    return per_second(lambda: cedarpy.is_authorized_batch(questions, policies, asked.entities, in_force))


def curve() -> None:
    """Print one line per size, for scoped packs without and with a requirement, and for open packs."""
    print("policies  in a slice   decisions/s  with a requirement  bare Cedar/s  | no scopes  bare Cedar/s")
    for size in SIZES:
        plain, broad = pack("bench", scoped(size)), pack("bench", open_to_all(size))
        asked = requests(max(1, min(size // SLICE, 100)))
        figures = (
            ours(Policy([plain]), asked),
            ours(Policy([plain, REQUIREMENT]), asked),
            bare(scoped(size)),
            ours(Policy([broad]), asked[:20]),
            bare(open_to_all(size)),
        )
        print(
            "{:8,}  {:10}  {:12,.0f}  {:18,.0f}  {:12,.0f}  |  {:8,.0f}  {:12,.0f}".format(
                size, min(size, SLICE), *figures
            )
        )


def once() -> None:
    """Print what is paid once: for a slice, a pack, an import; and for a whole admission."""
    all_hold = Policy([pack("bench", scoped(SLICE, holding=1))])
    print(f"all fifty of a slice hold: {ours(all_hold, requests(1)):,.0f}/s")
    policy, asked = Policy([pack("bench", scoped(SIZES[2]))]), requests(SIZES[2] // SLICE)[::4]
    begin = time.process_time()
    for request in asked:
        decide(policy, request)
    first = (time.process_time() - begin) / len(asked)
    print(f"the first decision in a slice of {SLICE}, which prepares it: {first * 1e6:,.0f} us")
    with_requirement = forgetful(Policy([pack("bench", scoped(SIZES[2])), REQUIREMENT]))
    print(f"admission (decision, obligations, ticket): {1e6 / admission(with_requirement):,.0f} us")
    for name in (GOVERNANCE, "cedarpy"):
        print(f"import of {name}: {imported(name):,.0f} ms")


def admission(policy: Policy) -> float:
    """Return how often a second a plan of one step is decided on, held against its terms, and ticketed."""
    asked, decided = cases.intent(), cycle(requests(20))
    planned = cases.plan(asked, replace(cases.STEP, undo=None))
    terms = decide(policy, next(decided)).terms
    decision = cases.decision(planned, terms)
    place = Place(n=3, prev=decision.digest, at=cases.NOW, by=ENGINE)

    def admit() -> None:
        answer = decide(policy, next(decided))
        assert not unmet(answer.terms.obligations, planned.record)
        case = Case(
            intent=asked,
            plan=planned,
            decision=decision,
            answer=answer,
            preview=cases.PREVIEW,
            approvals=(),
            enrolments=(),
            groups={},
        )
        mint(case, place, valid_for=timedelta(hours=1))

    return per_second(admit)


def imported(name: str) -> float:
    """Return how many milliseconds of processor time it takes new interpreters to import `name`, at best.

    As from an installed package: the first of them compiles, into a folder of its own.
    """
    with tempfile.TemporaryDirectory() as compiled:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        ask = partial(
            subprocess.run, (sys.executable, "-c", IMPORT.format(name)), env=environment, capture_output=True
        )
        return min(float(ask(check=True).stdout) for _ in range(8))


def main() -> None:
    """Print the curve, and what is paid once."""
    curve()
    once()


if __name__ == "__main__":
    main()
