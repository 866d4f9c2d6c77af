"""Operations whose calls act in a guest or on a node, the whole way: plan, yes, calls, outcomes, proof."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.build import open_instance
from rexecop.app.instance import Instance
from rexecop.app.late import late_outcomes, view_of
from rexecop.app.planner import PlanInput
from rexecop.app.profiles import built_in_folder
from rexecop.app.root import Root
from rexecop.keys import load_signer
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.chain import Sealed
from rexecop.proof.nodes import open_outcome
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.verify import verify
from rexecop.proof.verify.trusted import TrustedKeys, trust_of
from rexecop.proof.vocabulary import Ended, Role
from tests.app.support import bob, opened, records, settings, verified
from tests.lanes.bridges import Served, program, served, token_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A root whose service runs; the hello profile, whose programs may be anywhere."""
    folder = tmp_path_factory.mktemp("house")
    profile = shutil.copytree(built_in_folder(), folder / "profile")
    connector = profile / "connectors" / "local.yaml"
    connector.write_text(
        connector.read_text().replace("backends: [process]", "backends: [guest, node, process]")
    )
    with served(folder) as house:
        yield house


def asked(house: Served, mode: str, connector: dict[str, Json], connection: dict[str, Json]) -> PlanInput:
    """A change of the greeting by `connector`, on a target reached by `connection`."""
    scratch = house.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    (scratch / "greeting.txt").write_text("hello\n")
    environment: dict[str, Json] = {
        "id": "elsewhere",
        "values": {"scratch_directory": str(scratch)},
        "targets": {"box-1": {"type": "host", "connection": {"local": connection}}},
        "connectors": {"local": connector},
    }
    file = house.folder / "environment.yaml"
    file.write_bytes(canonical_bytes({"environment": environment}))
    return PlanInput(
        profile=str(house.folder / "profile"),
        env=str(file),
        intent="set_greeting",
        target="box-1",
        mode=mode,
        parameters={"greeting": "good evening"},
    )


async def done(house: Served, asks: PlanInput) -> str:
    """Plan, have it approved, and run it; return its id."""
    with opened(house.folder) as instance:
        operation = (await instance.plan(asks)).operation_id
        await instance.approve(operation, key=bob(house.folder))
        await instance.start(operation)
        return operation


def of_change(instance: Instance, operation: str) -> tuple[Attempt, Outcome]:
    found = {item.digest: item.record for item in records(instance, operation)}
    attempt = next(item for item in found.items() if isinstance(item[1], Attempt) and item[1].target_n)
    made, outcome = (
        attempt[1],
        next(item for item in found.values() if isinstance(item, Outcome) and item.attempt == attempt[0]),
    )
    assert isinstance(made, Attempt)
    return made, outcome


GUEST: dict[str, Json] = {
    "backend": "guest",
    "grant": "{secret.guest}",
    "secrets": {"guest": "guest-grant"},
}


@pytest.fixture(scope="module")
def guest(house: Served) -> Iterator[dict[str, Json]]:
    """A guest, and how it is reached."""
    path, grants = house.folder / "guest.sock", house.folder / "grants.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REXECOP_SECRET_GUEST_GRANT", token_of(grants))
        with program("guest", "--socket", str(path), "--grants", str(grants), ready="listening"):
            yield {"socket": str(path), "attest": ["guest-socket"]}


def test_a_change_in_a_guest_is_attested_made_proved_and_undone(
    house: Served, guest: dict[str, Json]
) -> None:
    operation = asyncio.run(done(house, asked(house, "apply", GUEST, guest)))

    file = house.folder / "scratch" / "greeting.txt"
    assert file.read_text() == "good evening\n"
    with opened(house.folder) as instance:
        attempt, outcome = of_change(instance, operation)
        report = verified(instance, operation)
        assert (attempt.lane, attempt.placement, attempt.attestation) == ("guest", "guest", "guest-socket")
        facts = (outcome.measured.facts or {}) if outcome.measured else {}
        assert isinstance(facts["attestation"], dict) and facts["attestation"]["class"] == "guest-socket"
        assert report.findings == () and report.claims.attestations == ("guest-socket",)
        asyncio.run(instance.rollback(operation, "enough"))
    assert file.read_text() == "hello\n"


def test_a_target_that_is_not_attested_as_asked_is_refused_before_anything_is_sent(
    house: Served, guest: dict[str, Json]
) -> None:
    asks = asked(house, "apply", GUEST, {**guest, "attest": ["node-key"]})

    operation = asyncio.run(done(house, replace(asks, observe=False)))

    assert (house.folder / "scratch" / "greeting.txt").read_text() == "hello\n"
    with opened(house.folder) as instance:
        outcomes = [item.record for item in records(instance, operation) if isinstance(item.record, Outcome)]
        refused = [(one.ended, one.error_class) for one in outcomes]
        assert (Ended.REFUSED, "target_unattested") in refused
        assert all(ended is Ended.REFUSED for ended, _ in refused)
        assert verified(instance, operation).findings == ()


def test_a_dry_run_looks_at_no_target(house: Served, tmp_path: Path) -> None:
    nowhere: dict[str, Json] = {"socket": str(tmp_path / "nobody.sock"), "attest": ["guest-socket"]}

    async def story() -> str:
        with opened(house.folder) as instance:
            operation = (await instance.plan(asked(house, "dry_run", GUEST, nowhere))).operation_id
            await instance.start(operation)
            ends = [item.record for item in records(instance, operation) if isinstance(item.record, Outcome)]
            return str(ends[0].ended)

    assert asyncio.run(story()) == "previewed"


def test_what_has_to_be_attested_is_what_action_and_target_both_take(
    house: Served, guest: dict[str, Json]
) -> None:
    async def planned() -> tuple[str, ...]:
        with opened(house.folder) as instance:
            asks = asked(house, "dry_run", {**GUEST, "attest": ["guest-tls"]}, guest)
            operation = (await instance.plan(asks)).operation_id
            plan = next(item.record for item in records(instance, operation) if isinstance(item.record, Plan))
            return next(step.attest for step in plan.steps if isinstance(step, CallStep))

    # The target's own word goes before what the connector says for all.
    assert asyncio.run(planned()) == ("guest-socket",)


@pytest.fixture(scope="module", name="on_node")
def _on_node(house: Served) -> str:
    """The operation that changed the greeting on a node."""
    connection: dict[str, Json] = {"node": house.node, "attest": ["node-key"]}
    with house.node_running():
        return asyncio.run(done(house, asked(house, "apply", {"backend": "node"}, connection)))


def test_a_change_on_a_node_is_signed_by_it_and_a_stranger_can_check_that(
    house: Served, on_node: str
) -> None:
    operation = on_node
    assert (house.folder / "scratch" / "greeting.txt").read_text() == "good evening\n"
    with open_instance(settings(house.folder)) as instance:
        attempt, outcome = of_change(instance, operation)
        bundle = instance.parts.evidence.bundle(operation, with_outputs=True)
        trusted = trust_of(instance.parts.authority.enrolments())
    assert (attempt.lane, attempt.placement, attempt.attestation) == ("node", "node", "node-key")
    facts = (outcome.measured.facts or {}) if outcome.measured else {}
    assert facts["node"] == house.node and "signed" in facts
    assert verify(bundle, trusted).findings == ()
    nodeless = TrustedKeys(keys=tuple(key for key in trusted.keys if key.role is not Role.NODE))
    assert "what nodes signed" in {item.what for item in verify(bundle, nodeless).not_checked}
    others = TrustedKeys(
        keys=tuple(
            replace(key, public=next(one.public for one in trusted.keys if one.role is Role.INSTANCE))
            if key.role is Role.NODE
            else key
            for key in trusted.keys
        )
    )
    assert {finding.code for finding in verify(bundle, others).findings} == {"E09m"}


def test_what_a_node_said_late_is_shown_beside_what_the_ledger_says_and_how_to_settle_it(
    house: Served, on_node: str
) -> None:
    with open_instance(settings(house.folder)) as instance:
        attempt, outcome = of_change(instance, on_node)
        assert outcome.measured is not None and outcome.measured.facts is not None
        line = canonical_bytes(outcome.measured.facts["signed"])
        lines = (line, b"{}", line)
        Root(house.root).late.write_bytes(b"".join(one + b"\n" for one in lines))
        found = late_outcomes(instance)
        journal = instance.parts.store.journal(on_node).records
        said = open_outcome(outcome.measured.facts["signed"], load_signer(house.folder / "edge-1").public)
    Root(house.root).late.unlink()

    (late,) = found.late
    assert (late.person, late.operation_id, late.stands, late.next) == ("edge-1", on_node, "recorded", ())
    assert (late.step, late.ended, found.unsigned) == (attempt.permit.step, Ended.OK, 1)
    at = next(n for n, item in enumerate(journal) if item.record == outcome)
    lost = view_of(said, "edge-1", journal[:at])
    assert lost.stands == "lost" and lost.next[0].startswith(
        f"rexecop reconcile {on_node} --outcome happened"
    )
    unknown = Sealed(record=replace(outcome, ended=Ended.UNKNOWN), body=b"", digest=journal[at].digest)
    broken = replace(said, ended=Ended.FAILED)
    looked = view_of(broken, "edge-1", [*journal[:at], unknown])
    assert (looked.stands, looked.next) == ("unknown", (f"rexecop reconcile {on_node} --probe",))
    assert view_of(said, "edge-1", None).stands == "elsewhere"
