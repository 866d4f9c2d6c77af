"""Forms that stop, hold back and settle: by whom, with a reason, once, and refused in a line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest

from rexecop.app.door import Act
from rexecop.app.escalations import Escalation, settle, standing
from rexecop.app.room import queue_view
from rexecop.engines.driver import Driver
from rexecop.operations.recover import settle_after
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.reconciliation import Reconciliation
from tests.app.support import asked, made, opened, records, scratch
from tests.app.test_break_glass import allow, emergency
from tests.app.test_replay import DIES_AT, Dying, Killed
from tests.service.consoles import Read, Visitor, console, serve_console, signed_in
from tests.service.running import Reply, Running, at_once
from tests.service.test_console import routes_of
from tests.service.test_roles import STATED

HALTS: Final = "/console/halts"
QUEUE: Final = "/console/queue"
BY_API: Final = {
    "/halts/halt": "POST /v1/halts",
    "/halts/lift": "POST /v1/halts/lift",
    "/queue/drain": "POST /v1/queue/drain",
    "/queue/resume": "POST /v1/queue/resume",
    "/operations/{id}/reconcile": "POST /v1/operations/{id}/reconcile",
}


def serve_forms(root: str) -> int:
    """Serve a root where outcomes can be settled at once, unless there is a file `early` beside it."""
    early = Path(root).parent / "early"
    after = "rexecop.app.lifecycle.settle_after"
    with patch(after, lambda op, margin: settle_after(op, margin) if early.exists() else None):
        return serve_console(root)


@dataclass(frozen=True, kw_only=True)
class World:
    """A served root: `broke` was done in an emergency and is to be reviewed, of `lost` nobody knows."""

    at: Running
    folder: Path
    broke: str
    lost: str

    def there(self, kind: type, name: str | None = None) -> list[object]:
        """Return the records of a kind, of an operation or else of the instance."""
        with opened(self.folder) as instance:
            found = records(instance, name or instance.parts.ledger.instance_id)
        return [one.record for one in found if isinstance(one.record, kind)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    async def story(folder: Path) -> tuple[str, str]:
        await made(folder)
        allow(folder, "review<=4h")
        with opened(folder) as instance:
            broke = await instance.plan(emergency(folder))
            await instance.start(broke.operation_id)
            lost = await instance.plan(emergency(folder, "who knows"))
            DIES_AT[0] = 2
            with pytest.raises(Killed):
                await instance.driven_by(lambda world: Driver(world, Dying)).start(lost.operation_id)
            return broke.operation_id, lost.operation_id

    with scratch() as folder:
        broke, lost = asyncio.run(story(folder))
        with console(folder / "root", serve_forms) as (at, _):
            yield World(at=at, folder=folder, broke=broke, lost=lost)


def refused(found: Reply, status: int, *words: str) -> Read:
    page = Read(found.body)
    assert found.status == status, page.text
    assert all(one in page.text for one in words), page.text
    return page


def test_each_form_asks_of_the_door_what_the_api_asks() -> None:
    found = {path: act for method, path, act in routes_of() if method == "POST"}

    assert {path: found[path] for path in BY_API} == {path: STATED[route] for path, route in BY_API.items()}
    assert found["/operations/{id}/review"] is Act.APPROVE  # No agent may, whatever else it is.


def test_who_may_not_is_shown_no_form(world: World) -> None:
    pages = {
        HALTS: (f"{HALTS}/halt", {"adam-token"}),
        QUEUE: (f"{QUEUE}/drain", {"adam-token"}),
        f"/console/operations/{world.lost}": (
            f"/console/operations/{world.lost}/reconcile",
            {"adam-token", "alice-token"},
        ),
        f"/console/operations/{world.broke}": (
            f"/console/operations/{world.broke}/review",
            {"adam-token", "bob-token"},
        ),
    }
    for token in ("vera-token", "alice-token", "bob-token", "adam-token"):
        visitor = signed_in(world.at, token)
        for page, (action, allowed) in pages.items():
            shown = [one for one in visitor.read(page).forms if one.action == action]
            assert bool(shown) is (token in allowed), (token, page)


def test_what_is_halted_by_a_form_is_halted_once_and_lifted_by_another(world: World) -> None:
    adam = signed_in(world.at, "adam-token")
    form = adam.read(HALTS).form(f"{HALTS}/halt")
    fields = {**form.fields, "kind": "target", "name": "web-1", "reason": "it <burns>"}

    sent = at_once(4, lambda _: Visitor(adam.at, adam.cookie).post(f"{HALTS}/halt", fields))

    assert {(one.status, one.headers["location"]) for one in sent} == {(303, HALTS)}
    (halted,) = world.there(Halt)
    assert isinstance(halted, Halt)
    assert (halted.name, halted.reason, halted.by.person) == ("web-1", "it <burns>", "adam")
    for page in (HALTS, "/console", "/console/windows"):
        assert "it <burns>" in adam.read(page).text
    otto = signed_in(world.at, "otto-token")  # Whose business are other targets.
    shown = (HALTS, "/console", "/console/windows")
    assert not [page for page in shown if "burns" in otto.read(page).text]

    lifting = adam.read(HALTS).form(f"{HALTS}/lift")
    assert lifting.fields["scope"] == "target:web-1"
    given = {**lifting.fields, "reason": "it is out"}
    assert [adam.post(f"{HALTS}/lift", given).status for _ in range(2)] == [303, 303]
    assert "Nothing is halted" in adam.read(HALTS).text and len(world.there(Halt)) == 2


def test_halts_that_cannot_be_are_refused_in_a_line_with_what_may_be_done(world: World) -> None:
    adam, before = signed_in(world.at, "adam-token"), len(world.there(Halt))
    with opened(world.folder, None) as instance:
        instance.halt("requester:alice", "a person on the machine did it")

    for kind, name, reason, status, words in (
        ("target", "", "x", 409, "is no scope"),
        ("all", "web-1", "x", 409, "is no scope"),
        ("target", "a\nb", "x", 409, "is no scope"),
        ("everything", "", "x", 409, "is no scope"),
        ("all", "", "  ", 422, "needs a reason"),
    ):
        fields = {"kind": kind, "name": name, "reason": reason}
        page = refused(adam.submit(HALTS, f"{HALTS}/halt", **fields), status, words)
        assert page.has("a", href=HALTS)
    token = adam.read(HALTS).form(f"{HALTS}/lift").fields
    refused(
        adam.post(f"{HALTS}/lift", {**token, "scope": "all", "reason": "x"}),
        409,
        "no halt of",
        "Next: rexecop",
    )
    found = adam.post(f"{HALTS}/lift", {**token, "reason": "I am in a hurry"})
    refused(found, 409, "may not lift what others halted", "lift-refused")
    assert len(world.there(Halt)) == before + 1

    with opened(world.folder, None) as instance:
        instance.halt("requester:alice", "it is over", lift=True)
    # What was refused may be sent again, by the same form.
    refused(adam.post(f"{HALTS}/lift", {**token, "reason": "x"}), 409, "no halt of")


def test_the_queue_is_held_back_and_let_go_by_name(world: World) -> None:
    adam = signed_in(world.at, "adam-token")

    assert adam.submit(QUEUE, f"{QUEUE}/drain").headers["location"] == QUEUE
    with opened(world.folder) as instance:
        assert "drained by adam" in str(queue_view(instance).drained)
    page = adam.read(QUEUE)
    assert "Nothing more is started" in page.text
    assert not [one for one in page.forms if one.action == f"{QUEUE}/drain"]
    assert adam.submit(QUEUE, f"{QUEUE}/resume").status == 303
    with opened(world.folder) as instance:
        assert queue_view(instance).drained is None


def test_what_is_out_of_scope_is_settled_and_reviewed_by_nobody_out_there(world: World) -> None:
    otto = signed_in(world.at, "otto-token")
    out = otto.read("/console").form("/console/sign-out").fields["token"]

    assert "No review is due" in otto.read("/console/reviews").text
    for verb in ("reconcile", "review"):
        assert otto.post(f"/console/operations/{world.lost}/{verb}", {"token": out}).status == 403
    assert otto.get(f"/console/operations/{world.lost}").status == 404


def test_an_unknown_outcome_is_settled_on_a_persons_word_once(world: World) -> None:
    alice, page = signed_in(world.at, "alice-token"), f"/console/operations/{world.lost}"
    form, action = alice.read(page).form(f"{page}/reconcile"), f"{page}/reconcile"
    early = world.folder / "early"

    refused(alice.post(action, {**form.fields, "happened": "yes"}), 422, "needs a reason")
    refused(alice.post(action, {**form.fields, "reason": "I looked"}), 422, "whether it happened")
    early.touch()
    found = alice.post(action, {**form.fields, "happened": "no", "reason": "I looked"})
    assert refused(found, 409, "may still be running", "too-early").has("a", href=page)
    early.unlink()
    assert world.there(Reconciliation, world.lost) == []

    said = {**form.fields, "happened": "no", "reason": "I looked"}
    sent = at_once(3, lambda _: Visitor(alice.at, alice.cookie).post(action, said))

    assert {one.status for one in sent} == {303}
    (stated,) = world.there(Reconciliation, world.lost)
    assert isinstance(stated, Reconciliation)
    assert (stated.happened, stated.reason, stated.by.person) == (False, "I looked", "alice")
    assert not [one for one in alice.read(page).forms if one.action == action]
    again = alice.post(action, {**said, "form": "another"})
    refused(again, 409, "no outcome is unknown", "Next: rexecop status")


def test_a_review_is_by_a_person_who_did_not_ask(world: World) -> None:
    page, action = f"/console/operations/{world.broke}", f"/console/operations/{world.broke}/review"
    bert, adam = signed_in(world.at, "bob-token"), signed_in(world.at, "adam-token")
    listed = bert.read("/console/reviews")
    assert listed.has("a", href=page) and "due" in listed.text

    strange = adam.submit(page, action, reason="all fine")
    refused(strange, 409, "no policy pack knows", "review-refused", "Next: rexecop keys list")
    refused(bert.submit(page, action, reason=" "), 422, "needs a reason")
    form = bert.read(page).form(action)
    said = {**form.fields, "reason": "it was needed"}
    assert [bert.post(action, said).status for _ in range(2)] == [303, 303]

    reviews = [
        one
        for one in world.there(Command, world.broke)
        if isinstance(one, Command) and one.verb is Verb.REVIEW
    ]
    assert [(one.by.person, one.reason) for one in reviews] == [("bob", "it was needed")]
    assert not bert.read("/console/reviews").has("a", href=page)
    refused(bert.post(action, {**said, "form": "another"}), 409, "no review of operation")


def test_what_a_reaction_left_to_people_is_looked_at_by_one(world: World) -> None:
    bert = signed_in(world.at, "bob-token")
    with opened(world.folder) as instance:
        planned = asyncio.run(instance.plan(asked(world.folder, "host_facts", "read_only")))
        store, now = instance.parts.world.store, instance.parts.world.clock.now()
        name, text = planned.operation_id, "it is <b>hot</b>"
        left = Escalation(operation=name, target="localhost", observed=now, since=now, text=text)
        settle(store, instance.operation(name), left)
    page, action = f"/console/operations/{name}", f"/console/operations/{name}/review"

    assert f"Left to people: {text}" in bert.read(page).text
    assert bert.submit(page, action, reason="I called Ann").status == 303

    with opened(world.folder) as instance:
        assert [*standing(instance.parts.world.store)] == []
    assert not [one for one in bert.read(page).forms if one.action == action]


def test_a_form_is_good_for_its_session_and_place_alone(world: World) -> None:
    adam, other = signed_in(world.at, "adam-token"), signed_in(world.at, "adam-token")
    form = adam.read(QUEUE).form(f"{QUEUE}/drain")

    assert other.post(f"{QUEUE}/drain", form.fields).status == 403
    assert adam.post(f"{QUEUE}/resume", form.fields).status == 403
    assert adam.post(f"{QUEUE}/drain", form.fields, Origin="http://evil.example").status == 403
    with opened(world.folder) as instance:
        assert queue_view(instance).drained is None
