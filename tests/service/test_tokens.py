"""API tokens: made once, kept as digests, good for what they are for, and over when they are over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Final

import cedarpy
import pytest
from starlette.datastructures import Headers

from rexecop.app.accesses import accesses_of
from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock
from rexecop.app.door import Act, Caller, Matter, ServiceRole, ServiceScope
from rexecop.app.doors import FAILURES_MAX, FAILURES_SECONDS, PEERS_MAX, RootDoor, Throttle
from rexecop.app.errors import CallerThrottled, CallerUnknown, Forbidden, TokenRefused
from rexecop.app.handing import hand_out, judge
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.root import Root
from rexecop.app.serving import Serving
from rexecop.app.tokens import TokenAsked, TokenBook, Tokens, TokenView, read_tokens
from rexecop.app.views import CheckView
from rexecop.governance import service_rules
from rexecop.governance.errors import ApprovalRefused
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.payload import Value
from rexecop.proof.records.instance import Note
from rexecop.proof.records.intent import Intent
from rexecop.proof.verify.report import Rung
from rexecop.proof.vocabulary import Established
from tests.app.support import asked, bob, change, made, opened, records, scratch, verified
from tests.lanes.support import FakeClock
from tests.service.conftest import fresh_root
from tests.service.roles import TABLE

PEER: Final = "192.0.2.7"
LEGACY: Final = "a-token-of-some-length"
ME: Final = os_user().person


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    settings = fresh_root(tmp_path_factory.mktemp("tokens"))
    path = settings.root / "authzen.yaml"
    path.write_text(f"callers: {{gate: '{digest_of(LEGACY.encode())}'}}\n")
    path.chmod(0o600)
    with Serving(open_instance(settings)) as found:
        yield found


@pytest.fixture(scope="module")
def instance(serving: Serving) -> Iterator[Instance]:
    with open_instance(serving.settings) as found:
        yield found


def new(instance: Instance, name: str, *roles: str, **more: object) -> TokenView:
    return asyncio.run(Tokens(instance).new(TokenAsked(name=name, roles=roles, **more)))  # type: ignore[arg-type]


def sent(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def door_at(serving: Serving, clock: FakeClock) -> RootDoor:
    door = serving.door
    assert isinstance(door, RootDoor)
    return RootDoor(Root(serving.settings.root), door._authority, serving.access, clock, Throttle(clock))


@pytest.mark.parametrize(
    ("target", "within"),
    [("web-1", True), ("web-1,web-2", True), ("web-1,db-1", False), ("db-1,web-1", False)],
)
def test_of_several_targets_each_has_to_be_within_the_scope(target: str, within: bool) -> None:
    matter = Matter(intent="p/i", target=target, environment="e")
    assert ServiceScope(targets=("web-*",)).covers(matter) is within


def caller_of(*roles: ServiceRole, scope: ServiceScope | None = None) -> Caller:
    from rexecop.app.identity import Identity

    identity = Identity(principal=replace(os_user(), established=Established.TOKEN))
    return Caller(identity=identity, roles=frozenset(roles), scope=scope or ServiceScope())


# --- what a token is ---


def test_a_token_is_shown_once_kept_as_its_digest_and_lets_in_as_what_it_is_for(
    serving: Serving, instance: Instance
) -> None:
    made = new(instance, "carol", "operator", "auditor", scope=ServiceScope(targets=("web-*",)))
    kept = Root(serving.settings.root).tokens

    assert made.token is not None and made.token.startswith("rxo_") and len(made.token) == 4 + 64
    assert made.token not in kept.read_text() and made.token[4:] not in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert all(one.token is None for one in Tokens(instance).view())
    caller = serving.door.caller(sent(made.token), PEER)
    principal = caller.identity.principal
    assert (caller.name, principal.established, principal.credential) == ("carol", Established.TOKEN, made.id)
    assert caller.roles == {ServiceRole.OPERATOR, ServiceRole.AUDITOR}
    assert caller.scope.targets == ("web-*",)


def test_that_a_token_was_made_and_revoked_stands_in_the_chain_of_the_instance(
    serving: Serving, instance: Instance
) -> None:
    made = new(instance, "dave", "viewer", expires="12h")
    asyncio.run(Tokens(instance).revoke("dave"))
    notes = [
        one.record
        for one in records(instance, instance.parts.ledger.instance_id)
        if isinstance(one.record, Note)
    ]
    added, revoked = notes[-2:]

    assert (added.topic, revoked.topic) == ("token-added", "token-revoked")
    assert made.id in added.text and "viewer" in added.text and "until" in added.text
    assert revoked.text == f"{made.id} of dave" and added.by == os_user()
    assert made.token is not None and made.token[4:] not in added.text


def test_a_revoked_token_lets_nobody_in_from_then_on(serving: Serving, instance: Instance) -> None:
    one, other = new(instance, "erin", "viewer"), new(instance, "erin", "viewer")
    serving.door.caller(sent(one.token), PEER)

    asyncio.run(Tokens(instance).revoke(one.id))
    with pytest.raises(CallerUnknown):
        serving.door.caller(sent(one.token), PEER)
    assert serving.door.caller(sent(other.token), PEER).name == "erin"
    with pytest.raises(TokenRefused):
        asyncio.run(Tokens(instance).revoke(one.id))


def test_a_token_that_expired_lets_nobody_in(serving: Serving, instance: Instance) -> None:
    made = new(instance, "frank", "viewer", expires="1h")
    clock = FakeClock(at=made.expires - timedelta(milliseconds=1))
    door = door_at(serving, clock)

    assert door.caller(sent(made.token), PEER).name == "frank"
    clock.at = made.expires
    with pytest.raises(CallerUnknown):
        door.caller(sent(made.token), PEER)


@pytest.mark.parametrize(
    ("name", "roles", "more"),
    [
        ("x", (), {}),
        ("x", ("king",), {}),
        ("x", ("viewer",), {"expires": "367d"}),
        ("x", ("viewer",), {"expires": "2999-01-01"}),
        ("x", ("viewer",), {"expires": "never"}),
        ("x", ("viewer",), {"expires": "0d"}),
        ("x", ("viewer",), {"expires": "2020-01-01"}),
        ("", ("viewer",), {}),
        ("a\nb", ("viewer",), {}),
        ("Engine", ("viewer",), {}),
        ("x", ("viewer",), {"sponsor": ME}),
        ("x", ("agent",), {}),
        ("x", ("agent",), {"sponsor": "nobody-here"}),
        ("x", ("agent", "approver"), {"sponsor": ME}),
        ("x", ("agent", "admin"), {"sponsor": ME}),
        (ME.upper(), ("agent",), {"sponsor": ME}),
        ("x", ("viewer",), {"scope": ServiceScope(targets=())}),
        ("x", ("viewer",), {"scope": ServiceScope(targets=("",))}),
        ("x", ("viewer",), {"scope": ServiceScope(intents=("a",) * 65)}),
    ],
)
def test_a_token_for_nobody_for_nothing_or_for_ever_is_not_made(
    instance: Instance, name: str, roles: tuple[str, ...], more: dict[str, object]
) -> None:
    before = Tokens(instance).view()
    with pytest.raises(RexecopError):
        new(instance, name, *roles, **more)
    assert Tokens(instance).view() == before


def test_who_is_an_agent_by_the_packs_gets_no_token_but_as_one(instance: Instance) -> None:
    path = instance.settings.root / "policy" / "starter" / "entities.yaml"
    kept = path.read_text()
    path.write_text(kept + f"agents:\n  robo: {{sponsor: {ME}}}\n")
    try:
        with pytest.raises(TokenRefused):
            new(instance, "robo", "approver")
        assert new(instance, "robo", "agent", sponsor=ME).sponsor == ME
    finally:
        path.write_text(kept)


def test_tokens_are_so_many_and_no_more(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rexecop.app.tokens.TOKENS_MAX", len(Tokens(instance).view()))
    with pytest.raises(TokenRefused):
        new(instance, "x", "viewer")


def test_a_file_of_tokens_that_others_may_read_or_that_grants_too_much_lets_nobody_in(tmp_path: Path) -> None:
    root = Root(tmp_path)
    now = SystemClock().now()
    from rexecop.app.tokens import Token

    good = Token(
        id="tok_1",
        name="x",
        digest=digest_of(b"t"),
        roles=(ServiceRole.VIEWER,),
        scope=ServiceScope(),
        created=now,
        expires=now + timedelta(days=1),
    )

    def write(data: bytes, mode: int = 0o600) -> None:
        root.tokens.write_bytes(data)
        root.tokens.chmod(mode)

    def book(token: Token) -> bytes:
        return encode(TokenBook(tokens=(token,)))

    write(book(good))
    assert read_tokens(root).tokens == (good,)
    agent = replace(good, roles=(ServiceRole.AGENT, ServiceRole.ADMIN), sponsor="y")
    odd = json.loads(book(good))
    del odd["tokens"][0]["expires"]
    for data, mode in (
        (book(good), 0o640),
        (book(replace(good, expires=now + timedelta(days=367))), 0o600),
        (book(agent), 0o600),
        (book(replace(good, roles=())), 0o600),
        (json.dumps(odd, sort_keys=True, separators=(",", ":")).encode(), 0o600),
        (b"{}", 0o600),
        (b"\xff", 0o600),
    ):
        write(data, mode)
        with pytest.raises(RexecopError):
            read_tokens(root)


def test_the_doctor_says_who_may_come_in_and_whose_token_ends_soon(instance: Instance) -> None:
    def said() -> CheckView:
        return next(one for one in instance.check().checks if one.name == "service")

    for name in {one.name for one in Tokens(instance).view() if one.state == "standing"}:
        asyncio.run(Tokens(instance).revoke(name))
    new(instance, "heidi", "viewer")
    before = said()
    new(instance, "ivan", "viewer", expires="6d")
    assert (before.status, said().status) == ("ok", "warning") and "ivan" in said().message


# --- what callers may ---


def test_roles_may_what_the_table_says_and_nothing_else(serving: Serving) -> None:
    assert set(TABLE) == set(ServiceRole)
    for role, acts in TABLE.items():
        found = set()
        for act in Act:
            try:
                serving.door.require(caller_of(role), act)
                found.add(act)
            except Forbidden as error:
                assert not error.facts["hidden"]
        assert found == acts, role


def test_roles_add_up_but_nobody_who_is_an_agent_approves_or_administers() -> None:
    for one, other in combinations(ServiceRole, 2):
        for act in Act:
            may = service_rules.allows((one, other), act, in_scope=True)
            either = act in TABLE[one] or act in TABLE[other]
            agent = ServiceRole.AGENT in (one, other) and act in (Act.APPROVE, Act.ADMINISTER)
            assert may is (either and not agent), (one, other, act)


def test_what_no_rule_names_is_a_no() -> None:
    assert cedarpy.validate_policies(service_rules.RULES, service_rules.SCHEMA).validation_passed
    assert not service_rules.allows((), "view", in_scope=True)
    assert not service_rules.allows(("king",), "view", in_scope=True)
    assert not service_rules.allows(("admin",), "conquer", in_scope=True)
    assert all(not service_rules.allows(ServiceRole, act, in_scope=False) for act in Act)


def test_what_is_out_of_scope_reads_as_if_it_did_not_exist(serving: Serving) -> None:
    scope = ServiceScope(intents=("hello/*", "ops/x"), targets=("web-?",), environments=("prod",))
    caller = caller_of(ServiceRole.VIEWER, scope=scope)
    within = Matter(intent="hello/host_facts", target="web-1", environment="prod")

    serving.door.require(caller, Act.VIEW, within)
    serving.door.require(caller, Act.VIEW)
    for matter in (
        replace(within, intent="ops/y"),
        replace(within, target="web-11"),
        replace(within, target="WEB-1"),
        replace(within, environment="test"),
    ):
        with pytest.raises(Forbidden) as refused:
            serving.door.require(caller, Act.VIEW, matter)
        assert refused.value.facts["hidden"] and matter.target not in refused.value.message
    with pytest.raises(Forbidden) as plain:
        serving.door.require(caller, Act.PLAN, replace(within, target="db-1"))
    assert not plain.value.facts["hidden"]


def test_callers_of_the_older_file_keep_what_they_could(serving: Serving) -> None:
    caller = serving.door.caller(sent(LEGACY), PEER)

    assert caller.name == "gate" and caller.roles == {ServiceRole.GATEWAY}


def test_a_decision_about_what_is_beyond_the_scope_of_who_asks_is_a_no(serving: Serving) -> None:
    asked: dict[str, Value] = {
        "subject": {"type": "user", "id": ME},
        "action": {"name": "read", "properties": {"intent": "hello/host_facts"}},
        "resource": {"type": "host", "id": "localhost", "properties": {"criticality": "low"}},
        "context": {"mode": "read_only", "risk": "low", "environment": "here"},
    }

    def allowed(**scope: tuple[str, ...]) -> bool:
        caller = caller_of(ServiceRole.GATEWAY, scope=ServiceScope(**scope))
        one = serving.access.evaluation(asked, caller)
        assert serving.access.evaluations({**asked, "evaluations": [{}]}, caller) == {"evaluations": [one]}
        return one["decision"] is True

    assert allowed() and allowed(intents=("hello/*",), targets=("local*",), environments=("here",))
    assert not allowed(intents=("other/*",))
    assert not allowed(targets=("web-*",))
    assert not allowed(environments=("prod",))


# --- guesses ---


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic abc", "bearer\trxo_", "Bearer " + "x" * 20_000]
)
def test_what_is_no_bearer_token_is_nobody_and_no_guess(serving: Serving, value: str) -> None:
    door = door_at(serving, FakeClock())
    for _ in range(FAILURES_MAX + 1):
        with pytest.raises(CallerUnknown) as refused:
            door.caller({"authorization": value}, PEER)
        assert not isinstance(refused.value, CallerThrottled)


def test_two_tokens_at_once_are_none(serving: Serving, instance: Instance) -> None:
    made = f"Bearer {new(instance, 'judy', 'viewer').token}".encode()
    assert serving.door.caller(Headers(raw=[(b"authorization", made)]), PEER).name == "judy"
    with pytest.raises(CallerUnknown):
        serving.door.caller(Headers(raw=[(b"authorization", made), (b"authorization", made)]), PEER)


def test_who_guesses_waits_and_who_cannot_have_guessed_does_not(serving: Serving, instance: Instance) -> None:
    made, clock = new(instance, "grace", "viewer"), FakeClock(at=SystemClock().now())
    door = door_at(serving, clock)
    for _ in range(FAILURES_MAX):
        with pytest.raises(CallerUnknown) as refused:
            door.caller(sent("rxo_" + "0" * 64), PEER)
        assert not isinstance(refused.value, CallerThrottled)

    with pytest.raises(CallerThrottled) as throttled:
        door.caller(sent(LEGACY), PEER)
    assert throttled.value.facts["seconds"] == FAILURES_SECONDS
    assert door.caller(sent(made.token), PEER).name == "grace"
    assert door.caller(sent(LEGACY), "192.0.2.8").name == "gate"
    clock.booted_ms += FAILURES_SECONDS * 1000
    assert door.caller(sent(LEGACY), PEER).name == "gate"


def test_what_was_good_once_is_no_guess(serving: Serving, instance: Instance) -> None:
    made, clock = new(instance, "kim", "viewer", expires="1h"), FakeClock(at=SystemClock().now())
    door = door_at(serving, clock)
    clock.at += timedelta(hours=1)
    for _ in range(FAILURES_MAX + 1):
        with pytest.raises(CallerUnknown) as refused:
            door.caller(sent(made.token), PEER)
        assert not isinstance(refused.value, CallerThrottled)
    assert door.caller(sent(LEGACY), PEER).name == "gate"


def test_guesses_from_everywhere_take_bounded_memory() -> None:
    throttle = Throttle(FakeClock())
    for number in range(PEERS_MAX * 2):
        throttle.failed(f"peer-{number}")
    assert len(throttle._peers) == PEERS_MAX


# --- separation of duties, and who was given what ---


def test_what_a_persons_token_asks_for_their_key_does_not_approve() -> None:
    async def story(folder: Path) -> None:
        await made(folder)
        with opened(folder, None) as instance:
            token = await Tokens(instance).new(TokenAsked(name="Bob", roles=("operator",)))
            mine = await Tokens(instance).new(TokenAsked(name="alice", roles=("operator", "approver")))
            with Serving(open_instance(instance.settings)) as serving:
                by_bob = serving.door.caller(sent(token.token), PEER)
                by_alice = serving.door.caller(sent(mine.token), PEER)
            asked_bob = await instance.acting_as(by_bob.identity).plan(change(folder))
            asked_alice = await instance.acting_as(by_alice.identity).plan(change(folder))
            intent = records(instance, asked_alice.operation_id)[0].record
            assert isinstance(intent, Intent) and intent.by.established is Established.TOKEN
            assert (
                asked_bob.state == "blocked"
            )  # `Bob` is nobody the packs know: names are as they are written.
            assert asked_alice.state == "waiting_for_approval"
            # Bob may: somebody else asked.
            view = await instance.approve(asked_alice.operation_id, key=bob(folder), reason="fine")
            assert view.state == "approved"

            other = await Tokens(instance).new(TokenAsked(name="bob", roles=("operator",)))
            with Serving(open_instance(instance.settings)) as serving:
                identity = serving.door.caller(sent(other.token), PEER).identity
            own = await instance.acting_as(identity).plan(change(folder, "good night"))
            with pytest.raises(ApprovalRefused) as refused:
                await instance.approve(own.operation_id, key=bob(folder), reason="mine")
            assert refused.value.code == "self-approval"
            done = await instance.start(asked_alice.operation_id)
            assert done.state == "completed"
            assert verified(instance, asked_alice.operation_id).holds(Rung.LOGGED)

    with scratch() as folder:
        asyncio.run(story(folder))


def test_what_an_agents_token_asks_for_is_their_sponsors_and_not_approved_by_them() -> None:
    async def story(folder: Path) -> None:
        await made(folder)
        pack = folder / "root" / "policy" / "starter"
        named = (pack / "entities.yaml").read_text()
        (pack / "entities.yaml").write_text(f"{named}agents:\n  robo: {{sponsor: bob}}\n")
        (pack / "agents.cedar").write_text(
            '@id("agents-may-change")\npermit (principal is Agent, action in Action::"change", resource);\n'
        )
        with opened(folder, None) as instance:
            token = await Tokens(instance).new(TokenAsked(name="robo", roles=("agent",), sponsor="bob"))
            other = await Tokens(instance).new(TokenAsked(name="robo", roles=("agent",), sponsor="carol"))
            with Serving(open_instance(instance.settings)) as serving:
                robo, stolen = (serving.door.caller(sent(one.token), PEER) for one in (token, other))
            assert robo.sponsor == "bob" and robo.roles == {ServiceRole.AGENT}
            view = await instance.acting_as(robo.identity).plan(change(folder))
            intent = records(instance, view.operation_id)[0].record
            assert isinstance(intent, Intent) and (intent.sponsor, intent.by.person) == ("bob", "robo")
            assert view.state == "waiting_for_approval"
            with pytest.raises(ApprovalRefused) as refused:
                await instance.approve(view.operation_id, key=bob(folder), reason="mine")
            assert refused.value.code == "sponsor-approval"
            # Whose agent it is, the packs say; a token that says otherwise plans nothing.
            assert (await instance.acting_as(stolen.identity).plan(change(folder))).state == "blocked"

    with scratch() as folder:
        asyncio.run(story(folder))


def test_evidence_that_goes_to_a_caller_is_recorded_as_theirs() -> None:
    async def story(folder: Path) -> None:
        await made(folder)
        with opened(folder, None) as instance:
            view = await instance.plan(asked(folder, "host_facts", "read_only"))
            token = await Tokens(instance).new(TokenAsked(name="alice", roles=("auditor",)))
            with Serving(open_instance(instance.settings)) as serving:
                caller = serving.door.caller(sent(token.token), PEER)
            acting = instance.acting_as(caller.identity)
            data = hand_out(acting, view.operation_id)
            assert judge(acting, view.operation_id).holds(Rung.LOGGED)
            found = accesses_of(instance.parts.ledger, view.operation_id)
            by = caller.identity.principal
            assert [(one.by, one.action) for one in found] == [(by, "export"), (by, "view")]
            assert found[0].digest == digest_of(data)

    with scratch() as folder:
        asyncio.run(story(folder))
