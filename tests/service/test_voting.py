"""Votes by session, at a real service with a real identity provider: who may, about what, and who may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rexecop.app import voting
from rexecop.app.identity import Identity, os_user
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.app.verifying import verify_own
from rexecop.governance.errors import AgentApproval, ApproverNotEstablished
from rexecop.proof.canonical import digest_of
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.records import Approval, Note
from rexecop.proof.verify import Rung
from rexecop.proof.verify.words import report_rows
from rexecop.proof.vocabulary import Established
from tests.app.support import change, made, opened, records, scratch
from tests.browser import browser
from tests.needs import needs
from tests.service.consoles import Read, signed_in
from tests.service.provider import LocalProvider, configure, local_provider
from tests.service.running import Reply, Running, running
from tests.service.test_console_seen import Seen

SECRET: Final = "not a word anybody guesses"
PROXY: Final = f"""\
proxy:
  peers: [127.0.0.1]
  secret: {digest_of(SECRET.encode())}
  user: x-forwarded-user
  groups: x-forwarded-groups
  roles: {{sre: [operator, approver]}}
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """A service whose packs let sessions approve, and who comes to it."""

    at: Running
    folder: Path
    provider: LocalProvider
    tokens: dict[str, str]

    def token(self, person: str, subject: str = "", **claims: object) -> str:
        return self.provider.token(name=person, sub=subject or f"u-{person}", **claims)

    def waiting(self, by: Principal | None = None) -> str:
        """Return a new change that waits for approval, asked for by the user of the system, or `by`."""

        async def story() -> str:
            with opened(self.folder, None) as instance:
                asking = instance if by is None else instance.acting_as(Identity(principal=by))
                return (await asking.plan(change(self.folder))).operation_id

        return asyncio.run(story())

    def ask(self, method: str, operation: str, bearer: str, body: object = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {bearer}", "Content_Type": "application/json"}
        return self.at.call(method, f"/v1/operations/{operation}/vote", data, **headers)

    def ballot(self, operation: str, bearer: str) -> dict[str, object]:
        reply = self.ask("GET", operation, bearer)
        assert reply.status == 200, reply.body
        return reply.json

    def vote(self, operation: str, bearer: str, word: str = "yes", **more: object) -> Reply:
        """Say `word` about what the ballot shows to `bearer`, or `more` instead."""
        seen = self.ballot(operation, bearer)
        said = {"word": word, "preview": seen["preview"], "terms": seen["terms"], **more}
        return self.ask("POST", operation, bearer, said)

    def chain(self, operation: str) -> list[object]:
        with opened(self.folder, None) as instance:
            return [sealed.record for sealed in records(instance, operation)]

    def state(self, operation: str) -> str:
        with opened(self.folder, None) as instance:
            return instance.status(operation).state


def by_session(person: str, world: World) -> Principal:
    issuer = world.provider.issuer
    return Principal(person=person, established=Established.OIDC, credential=f"{issuer}#u-{person}")


def let_sessions_approve(folder: Path, allowed: bool = True) -> None:
    word = ", session_may_approve" if allowed else ""
    for file in (folder / "root" / "policy").rglob("*.cedar"):
        text = file.read_text().replace(", session_may_approve", "")
        file.write_text(text.replace("of approvers", f"of approvers{word}"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with local_provider(tmp_path_factory.mktemp("provider")) as provider, scratch() as folder:
        tokens = asyncio.run(_made(folder))
        configure(folder / "root", provider)
        service = folder / "root" / "service.yaml"
        service.write_text(service.read_text() + PROXY)
        with running(folder / "root") as at:
            yield World(at=at, folder=folder, provider=provider, tokens=tokens)


async def _made(folder: Path) -> dict[str, str]:
    await made(folder)
    let_sessions_approve(folder)
    entities = folder / "root" / "policy" / "starter" / "entities.yaml"
    entities.write_text(entities.read_text() + "agents:\n  robo: {sponsor: bob}\n")
    with opened(folder, None) as instance:
        asked = TokenAsked(name="bob", roles=("operator", "approver"))
        return {"bob": str((await Tokens(instance).new(asked)).token)}


# --- the API ---


def test_whom_the_provider_vouches_for_approves_and_the_evidence_says_that_nobody_signed(
    world: World,
) -> None:
    name, bearer = world.waiting(), world.token("bob")
    seen = world.ballot(name, bearer)
    assert (seen["allowed"], seen["yes"], seen["no"]) == (True, None, None)

    said = world.vote(name, bearer, reason="looks right")
    assert (said.status, said.json["state"]) == (200, "approved"), said.body
    assert said.json["approved_by"] == ["bob (unsigned)"]

    (record,) = [one for one in world.chain(name) if isinstance(one, Approval)]
    assert (record.signature, record.by, record.statement.reason) == (
        "",
        record.statement.approver,
        "looks right",
    )
    assert record.by.credential == f"{world.provider.issuer}#u-bob"
    assert record.by.established is Established.OIDC

    async def run() -> None:
        with opened(world.folder, None) as instance:
            assert (await instance.start(name)).state == "completed"
            data = instance.parts.evidence.bundle(name)
            own = instance.parts.ledger.journal(instance.parts.ledger.instance_id).records
            report = verify_own(data, own)
            rows = [*report_rows(report, Rung.LOGGED)]
        assert ("", "unsigned, said by session: 1 of 1", "") in rows
        assert report.holds(Rung.LOGGED), report.findings
        claims = report.claims
        assert (claims.approvals, claims.approvals_own, claims.approvals_unsigned) == (1, 0, 1)
        assert claims.duties is ProvedBy.SESSIONS

    asyncio.run(run())


def test_a_no_by_session_blocks_until_the_same_person_takes_it_back(world: World) -> None:
    name = world.waiting()
    assert world.vote(name, world.token("bob"), "no", reason="not today").json["state"] == "blocked"
    assert world.vote(name, world.token("carol"), "withdrawal").json["code"] == "nothing-to-withdraw"
    assert world.vote(name, world.token("bob"), "withdrawal").json["state"] == "waiting_for_approval"


def test_what_is_said_twice_or_about_something_else_is_not_taken(world: World) -> None:
    name, bearer = world.waiting(), world.token("bob")
    other = digest_of(b"a kinder text")
    for more in ({"preview": other}, {"terms": other}, {"call": other}, {"step": "set"}):
        found = world.vote(name, bearer, **more)
        assert found.json["code"] in ("answer-unfit", "approval-not-asked"), found.body
    for wrong in ({}, {"word": "maybe"}, {"preview": "x"}, {"by": "bob"}):
        assert world.vote(name, bearer, **{"word": "yes", **wrong} if wrong else {"word": None}).status == 422
    assert world.state(name) == "waiting_for_approval"
    assert world.vote(name, bearer).status == 200
    again = world.vote(name, bearer)
    assert (again.status, again.json["code"]) == (409, "approval-not-asked")


def test_neither_token_nor_proxy_nor_agent_nor_another_subject_of_who_asked_approves(world: World) -> None:
    name = world.waiting()
    by_token = world.vote(name, world.tokens["bob"])
    assert (by_token.status, by_token.json["code"]) == (403, "approver-not-established")
    proxied = {
        "X-Proxy-Secret": SECRET, "X-Forwarded-User": "bob", "X-Forwarded-Groups": "sre",
        "Content-Type": "application/json",
    }  # fmt: skip
    path = f"/v1/operations/{name}/vote"
    seen = world.at.call("GET", path, None, **proxied).json
    body = json.dumps({"word": "yes", "preview": seen["preview"], "terms": seen["terms"]}).encode()
    by_proxy = world.at.call("POST", path, body, **proxied)
    assert (by_proxy.status, by_proxy.json["code"]) == (403, "approver-not-established")
    agent = world.vote(name, world.token("robo"))
    assert agent.status == 403 and world.state(name) == "waiting_for_approval"
    refused = [one.text for one in world.chain(name) if isinstance(one, Note)]
    assert len([one for one in refused if "approver-not-established" in one]) == 2
    assert world.vote(name, world.token("mallory")).json["code"] == "approver-not-in-group"
    assert world.vote(name, world.token(os_user().person)).json["code"] == "self-approval"


def test_the_subject_that_asked_does_not_approve_under_another_name_either(world: World) -> None:
    asked = Principal(person="carol", established=Established.OIDC, credential=f"{world.provider.issuer}#one")
    name = world.waiting(asked)
    for person in ("carol", "bob"):
        assert world.vote(name, world.token(person, "one")).json["code"] == "self-approval"
    assert world.vote(name, world.token("bob", "another")).status == 200


def test_who_sits_at_the_machine_or_comes_by_another_provider_speaks_for_nobody(world: World) -> None:
    asked, issuer = world.waiting(by_session("carol", world)), world.provider.issuer
    with opened(world.folder, None) as instance:
        seen = instance.parts.approving.seen(instance.operation(asked))
        for who in (
            os_user(),
            Principal(person="bob", established=Established.KEY, credential=f"{issuer}#u-bob"),
            Principal(person="bob", established=Established.OIDC, credential=f"{issuer}.example#u-bob"),
            Principal(person="bob", established=Established.OIDC, credential="u-bob"),
        ):
            acting = instance.acting_as(Identity(principal=who))
            with pytest.raises(ApproverNotEstablished):
                asyncio.run(voting.vote(acting, asked, "yes", seen, None))
        agent = Identity(principal=by_session("bob", world), sponsor="carol")
        with pytest.raises(AgentApproval):
            asyncio.run(voting.vote(instance.acting_as(agent), asked, "yes", seen, None))
        assert instance.status(asked).state == "waiting_for_approval"


def test_where_policy_wants_signatures_a_yes_by_session_is_none_and_a_no_is_one(world: World) -> None:
    let_sessions_approve(world.folder, allowed=False)
    try:
        name, bearer = world.waiting(), world.token("bob")
        seen = world.ballot(name, bearer)
        assert (seen["allowed"], seen["no"]) == (False, None)
        assert "session-may-not-approve" in str(seen["yes"])
        refused = world.vote(name, bearer)
        assert (refused.status, refused.json["code"]) == (403, "session-may-not-approve")
        assert any("--key" in step for step in refused.json["next"])  # type: ignore[attr-defined]
        page = signed_in(world.at, bearer).read(f"/console/operations/{name}/approval")
        assert page.has("button", value="no") and not page.has("button", value="yes")
        assert world.vote(name, bearer, "no").json["state"] == "blocked"
    finally:
        let_sessions_approve(world.folder)


# --- the console ---


def test_a_form_shows_the_exact_preview_says_that_it_is_unsigned_and_takes_a_yes(world: World) -> None:
    name, visitor = world.waiting(), signed_in(world.at, world.token("bob"))
    path = f"/console/operations/{name}"
    page = visitor.read(f"{path}/approval")
    with opened(world.folder, None) as instance:
        for line in instance.preview(name).splitlines():
            assert line in page.text
    assert "the evidence will say so" in page.text

    form = page.form(f"{path}/vote")
    assert {one for _, one in form.buttons} == {"yes", "no"}
    went = visitor.post(form.action, {**form.fields, "reason": "read it", "word": "yes"})
    assert (went.status, went.headers["location"]) == (303, path)
    assert world.state(name) == "approved" and "yes by bob, unsigned" in visitor.read(path).text
    (record,) = [one for one in world.chain(name) if isinstance(one, Approval)]
    assert (record.signature, record.statement.reason) == ("", "read it")
    again = visitor.post(form.action, {**form.fields, "word": "yes"})
    assert again.status == 422 and "approval-not-asked" in Read(again.body).text
    taken = visitor.submit(f"{path}/approval", form.action, word="withdrawal")
    assert taken.status == 303 and world.state(name) == "waiting_for_approval"


def test_what_a_form_did_not_show_or_another_site_sends_is_no_vote(world: World) -> None:
    name, visitor = world.waiting(), signed_in(world.at, world.token("bob"))
    form = visitor.read(f"/console/operations/{name}/approval").form(f"/console/operations/{name}/vote")
    other = digest_of(b"a kinder text")
    for wrong in (
        {"preview": other},
        {"terms": other},
        {"terms": "\u0000x"},
        {"call": other},
        {"word": "maybe"},
    ):
        assert visitor.post(form.action, {**form.fields, "word": "yes", **wrong}).status == 422
    assert visitor.post(form.action, {**form.fields, "word": "yes", "token": "x"}).status == 403
    foreign = {**form.fields, "word": "yes"}
    assert visitor.post(form.action, foreign, Origin="https://evil.example").status == 403
    assert world.state(name) == "waiting_for_approval"


def test_who_came_with_a_token_is_told_why_they_have_to_sign(world: World) -> None:
    name, visitor = world.waiting(), signed_in(world.at, world.tokens["bob"])
    path = f"/console/operations/{name}"
    page = visitor.read(f"{path}/approval")
    assert "not by an identity provider" in page.text and "rexecop approve --request" in page.text
    assert not any(form.action == f"{path}/vote" for form in page.forms)


@needs("chromium")
def test_somebody_signs_in_and_answers_by_keyboard_alone_and_in_a_narrow_window(world: World) -> None:
    name, base = world.waiting(), f"http://127.0.0.1:{world.at.port}/console"
    with browser() as chromium:
        chromium.ask("Emulation.setScriptExecutionDisabled", value=True)
        chromium.dress(width=390)
        seen = Seen(browser=chromium, base=base, done="", waits=name)
        seen.visit("/sign-in")
        seen.focus("[name=secret]")
        chromium.write(world.token("bob"))
        seen.press_enter()
        seen.visit("{waits}/approval")
        assert chromium.value("document.documentElement.scrollWidth <= innerWidth")
        seen.focus("#why")
        chromium.write("read it")
        chromium.press("Enter", code=13, text="\r")  # Which presses no button.
        chromium.write("on the way")
        seen.focus("button[value=no]")
        seen.press_enter()
        assert chromium.value("location.pathname") == f"/console/operations/{name}"
    (record,) = [one for one in world.chain(name) if isinstance(one, Approval)]
    assert record.statement.refuses and record.statement.reason == "read it\non the way"
    assert world.state(name) == "blocked"
