"""A call that policy keeps to single hosts: what plan, outcome and receipt may say of it."""

from dataclasses import replace

import pytest

from conformance.worlds import Book, codes, cut, judged, process, read_step
from rexecop.proof.canonical import Json
from rexecop.proof.egress import keeps_to
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.outcome import EGRESS_LIST, Measured
from rexecop.proof.records.plan import CallStep, Probe
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode, State, Verdict

LISTED = ("db.example:5432",)


def step(
    egress: tuple[str, ...] | None = LISTED,
    isolation: Isolation = Isolation.BUBBLEWRAP,
    grade: Grade | None = Grade.SHAPE,
) -> CallStep:
    return read_step(
        call=process(Effect.READ, "/usr/bin/psql", egress=egress), isolation=isolation, grade=grade
    )


def told(
    obligations: Obligations,
    *,
    network: str = EGRESS_LIST,
    hosts: Json = None,
    planned: CallStep | None = None,
) -> set[str]:
    """The codes of a read whose outcome says that it could reach `hosts`."""
    look = planned or step()
    book = Book("op_egress")
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED, obligations=obligations)
    book.ticket()
    facts = {"egress": hosts if hosts is not None else list(LISTED)}
    measured = Measured(isolation=look.isolation.value, network=network, protection="fence", facts=facts)
    book.run(look, measured=measured)
    book.validation()
    met = (
        ObligationMet(name="egress", met=True, how="kept"),
        ObligationMet(name="no_network", met=True, how="kept"),
    )
    book.receipt(State.COMPLETED, obligations=met)
    return set(codes(judged(cut(book))))


@pytest.mark.parametrize("allowed", [LISTED, ("db.example",), ("a.example", "db.example:5432")])
def test_a_call_kept_to_its_hosts_meets_the_obligation(allowed: tuple[str, ...]) -> None:
    assert "E09h" not in told(Obligations(egress=allowed))


@pytest.mark.parametrize("allowed", [(), ("db.example:5433",), ("other.example",), ("b.example",)])
def test_a_host_that_is_not_allowed_is_found(allowed: tuple[str, ...]) -> None:
    assert "E09h" in told(Obligations(egress=allowed))


def test_single_hosts_are_not_no_network() -> None:
    assert "E09h" in told(Obligations(no_network=True))


@pytest.mark.parametrize(
    "outcome", [{"network": "host"}, {"hosts": ["other.example:1"]}, {"hosts": "db.example:5432"}], ids=repr
)
def test_an_outcome_that_could_reach_more_than_planned_is_found(outcome: dict[str, Json]) -> None:
    assert "E09h" in told(Obligations(egress=LISTED), **outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "planned",
    [
        step(isolation=Isolation.RLIMITS),
        step(isolation=Isolation.LANDLOCK_SECCOMP),
        step(egress=None),
        step(egress=("db.example:5432", "b.example:1")),
    ],
    ids=["rlimits", "landlock", "no list", "longer list"],
)
def test_a_plan_that_cannot_hold_its_call_to_hosts_is_found(planned: CallStep) -> None:
    assert "E09h" in told(Obligations(egress=LISTED), network="none", planned=planned)


class TestKeepsTo:
    def test_a_contained_read_reaches_nobody_and_so_keeps_to_any_list(self) -> None:
        assert keeps_to(step(egress=None, grade=Grade.CONTAINED), ())

    @pytest.mark.parametrize("isolation", [Isolation.LANDLOCK_SECCOMP, Isolation.BUBBLEWRAP])
    def test_a_change_that_lists_no_host_has_no_network(self, isolation: Isolation) -> None:
        change = process(Effect.CHANGE, "/usr/bin/tee", egress=())

        assert keeps_to(replace(step(isolation=isolation, grade=None), call=change), ())
        assert not keeps_to(replace(step(isolation=Isolation.RLIMITS, grade=None), call=change), ())

    def test_undoing_and_looking_are_held_to_the_same_hosts(self) -> None:
        free = process(Effect.CHANGE, "/usr/bin/psql")
        look = Probe(call=free, normalizer="n", fact="f", equals=1)

        assert keeps_to(step(), LISTED)
        assert not keeps_to(replace(step(), undo=free), LISTED)
        assert not keeps_to(replace(step(), probe=look), LISTED)
