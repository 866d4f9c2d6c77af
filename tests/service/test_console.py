"""The console over HTTP: who gets in, what they see and may do, and that nothing they type is obeyed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from starlette.routing import Route

from rexecop.app.accesses import accesses_of
from rexecop.app.build import open_instance
from rexecop.app.door import Act, Matter, ServiceRole
from rexecop.app.offline import packaged
from rexecop.app.paging import page
from rexecop.app.settings import load_settings
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.app.verifying import verify_own
from rexecop.app.worker import Worker
from rexecop.cli.main import run as rexecop
from rexecop.operations.catalogs import binding_of
from rexecop.proof.verify import Rung
from rexecop.proof.vocabulary import State
from rexecop.service.console.forms import FIELDS_MAX, FORM_BYTES_MAX
from rexecop.service.console.guard import BASE, HEADERS, HIDDEN
from rexecop.service.console.pages import HERE, PAGE_BYTES_MAX
from tests.app.support import asked, bob, change, made, opened, records, scratch
from tests.service.consoles import Read, Visitor, console, serve_as_typed, signed_in
from tests.service.roles import TABLE
from tests.service.running import Running, running
from tests.service.test_api_offers import SITE

ATTACK: Final = (
    "</pre><script>pwned=1</script><img src=x onerror=pwned=1>'\" autofocus onfocus=pwned=1 \u202egnp"
)
LOOKS: Final = (
    "", "/operations", "/approvals", "/plan", "/plan?intent=set_greeting", "/plan?catalog=site&entry=front",
    "/plan?catalog=site&entry=front&intent=set_greeting", "/policy",
    "/policy?intent=host_facts", "/policy/shadow", "/queue", "/halts", "/reviews", "/targets",
    "/windows", "/trends", "/log",
    "/health",
)  # fmt: skip
FLEET: Final = 120  # More steps, and a longer preview, than stand on a page.
OF_ONE: Final = ("", "/preview", "/approval", "/request", "/evidence")


@dataclass(frozen=True, kw_only=True)
class World:
    """A served root: `read` ended, `waits` is a change that waits for approval.

    `many` is a plan for a fleet, and `link` signs in once.
    """

    at: Running
    link: str
    folder: Path
    read: str
    waits: str
    many: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with scratch() as folder:
        asyncio.run(made(folder))
        file = folder / "root" / "hello.environment.yaml"
        fleet = [f"web-{number:03}" for number in range(FLEET)]
        more = "".join(f"    {name}: {{type: host, criticality: low}}\n" for name in fleet)
        more += f"    fleet: {{type: group, members: [{', '.join(fleet)}]}}\n"
        file.write_text(file.read_text().replace("  connectors:\n", f"{more}  connectors:\n", 1))
        elsewhere = file.read_text().replace("id: here", "id: there").replace("  profile: hello\n", "")
        file.with_name("there.environment.yaml").write_text(elsewhere)
        file.with_name("site.catalog.yaml").write_text(SITE)

        async def story() -> tuple[str, str, str]:
            with opened(folder) as instance:
                read = await instance.plan(asked(folder, "host_facts", "read_only"))
                await instance.start(read.operation_id)
                waits = await instance.plan(change(folder, greeting=ATTACK[:-4], reason=ATTACK))
                wide = replace(asked(folder, "host_facts", "dry_run"), target="fleet")
                many = await instance.plan(wide)
                return read.operation_id, waits.operation_id, many.operation_id

        read, waits, many = asyncio.run(story())
        with console(folder / "root") as (at, link):
            yield World(at=at, link=link, folder=folder, read=read, waits=waits, many=many)


def states(world: World) -> dict[str, str]:
    with opened(world.folder) as instance:
        return {line.operation_id: line.state for line in instance.list()}


# --- the way in ---


def test_who_is_not_signed_in_is_sent_to_sign_in_and_nothing_is_told(world: World) -> None:
    stranger = Visitor(world.at)

    for path in (*LOOKS, f"/operations/{world.read}", "/operations/op_" + "0" * 32):
        found = stranger.get(BASE + path)
        assert (found.status, found.body) == (303, b"")
        assert found.headers["location"].startswith("/console/sign-in")
    assert stranger.post(f"/console/operations/{world.read}/cancel", {"token": "x"}).status == 401


def test_the_link_signs_in_once_and_only_by_its_button(world: World) -> None:
    local, page = Visitor(world.at), f"/console/sign-in?link={world.link}"

    assert local.get(page).status == local.get(page).status == 200
    assert local.submit(page, "/console/sign-in", secret="").status == 303
    assert "Overview" in local.read("/console").text
    again = Visitor(world.at).post("/console/sign-in", {"link": world.link})
    assert (again.status, "set-cookie" in again.headers) == (401, False)


@pytest.mark.parametrize("secret", ["", "wrong", "alice-token\r\nx: y", "ålice", "x" * 10_000])
def test_a_token_of_nobody_lets_nobody_in(world: World, secret: str) -> None:
    found = Visitor(world.at).post("/console/sign-in", {"secret": secret})

    assert (found.status, "set-cookie" in found.headers) == (401, False)


def test_the_cookie_is_for_this_host_and_no_script(world: World) -> None:
    found = Visitor(world.at).post("/console/sign-in", {"secret": "vera-token"})

    words = {word.strip().lower() for word in found.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=28800"} <= words


def test_sign_in_goes_on_to_a_page_of_ours_and_nowhere_else(world: World) -> None:
    for wanted, goes in (
        ("/console/queue", "/console/queue"),
        ("//evil.example", "/console"),
        ("https://evil.example/console", "/console"),
        ("/console/\r\nx: y", "/console"),
        ("/execute", "/console"),
        ("/console/../execute", "/console"),
    ):
        found = Visitor(world.at).post("/console/sign-in", {"secret": "vera-token", "next": wanted})
        assert found.headers["location"] == goes


def test_who_signed_out_is_out(world: World) -> None:
    vera = signed_in(world.at, "vera-token")
    cookie = vera.cookie

    assert vera.submit("/console", "/console/sign-out").status == 303
    assert Visitor(world.at, cookie).get("/console").status == 303


# --- forged forms ---


def test_a_forged_form_changes_nothing(world: World) -> None:
    alice, action = signed_in(world.at, "alice-token"), f"/console/operations/{world.waits}/cancel"
    page = alice.read(f"/console/operations/{world.waits}")
    good, other = page.form(action).fields["token"], page.form("/console/sign-out").fields["token"]
    theirs = signed_in(world.at, "alice-token").read(f"/console/operations/{world.waits}").form(action)
    before = states(world)

    for fields, headers in (
        ({}, {}),
        ({"token": ""}, {}),
        ({"token": other}, {}),
        ({"token": theirs.fields["token"]}, {}),
        ({"token": "ü" + good[1:]}, {}),
        ({"token": good}, {"Origin": "http://evil.example"}),
        ({"token": good}, {"Origin": "null"}),
        ({"token": good}, {"Origin": ""}),
        ({"token": good}, {"Origin": alice.origin.replace("http:", "https:")}),
    ):
        assert alice.post(action, fields, **headers).status == 403, (fields, headers)
    assert alice.post(action, {"token": good}, Cookie="").status == 401
    assert states(world) == before


def test_another_host_is_not_served(world: World) -> None:
    found = world.at.call("GET", "/console/sign-in", Host="evil.example")

    assert found.status == 421


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * (FORM_BYTES_MAX + 1), "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"a=1", "", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(FIELDS_MAX + 1)), "application/x-www-form-urlencoded", 400),
        (b"--x\r\n\r\n\xff\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"nothing", "multipart/form-data", 403),
        (b"\n--x" * 1000, "multipart/form-data; boundary=x", 400),
    ],
)
def test_what_is_no_form_is_refused_in_a_line(world: World, body: bytes, kind: str, status: int) -> None:
    adam = signed_in(world.at, "adam-token")
    sent = {"Origin": adam.origin, "Cookie": adam.cookie, "Content-Type": kind}

    found = world.at.call("POST", "/console/plan", body, **{k: v for k, v in sent.items() if v})

    assert found.status == status
    assert "alert" in found.body.decode()


# --- what everybody's pages have in common ---


def test_every_page_keeps_to_the_policy_the_size_and_labels_what_is_to_be_filled_in(world: World) -> None:
    adam = signed_in(world.at, "adam-token")
    pages = [BASE + path for path in LOOKS]
    pages += [
        f"{BASE}/operations/{name}{path}"
        for name in (world.read, world.waits, world.many)
        for path in ("", "/approval")
    ]
    pages += [
        f"{BASE}/operations/{world.read}/evidence",
        f"{BASE}/sign-in",
        f"{BASE}/no-such",
        f"{BASE}/operations/1",
    ]

    for path in pages:
        found = adam.get(path)
        assert HEADERS.items() <= {**found.headers}.items(), path
        assert len(found.body) < PAGE_BYTES_MAX
        page = Read(found.body)
        fields = [got for tag, got in page.tags if tag in {"input", "select", "textarea"}]
        assert all(got["id"] in page.labels for got in fields if got.get("type") != "hidden"), path
        assert not {"script", "iframe", "object", "style", "base", "img"} & {tag for tag, _ in page.tags}
        assert not [name for _, got in page.tags for name in got if name == "style" or name.startswith("on")]
        assert page.has("html", lang="en") and page.has("main") and [t for t, _ in page.tags].count("h1") == 1
        sent = [one for one in page.forms if one.method != "get" and one.action != "/console/sign-in"]
        assert all(one.fields["token"] for one in sent)


def test_what_people_typed_is_shown_and_never_obeyed(world: World) -> None:
    adam = signed_in(world.at, "adam-token")

    for path in (*LOOKS, *(f"/operations/{world.waits}{one}" for one in ("", "/approval")),
                 "/operations?q=%3Cscript%3Epwned%3C/script%3E%22%20onfocus=x"):  # fmt: skip
        found = adam.get(BASE + path)
        assert (
            b"<script" not in found.body and b"<img" not in found.body and "\u202e" not in found.body.decode()
        )
        assert not [name for _, got in Read(found.body).tags for name in got if name.startswith("on")]
    assert "<script>pwned=1</script>" in adam.read(f"/console/operations/{world.waits}").text


def test_what_was_typed_comes_back_into_its_field_just_as_it_was(world: World) -> None:
    alice, action = signed_in(world.at, "alice-token"), "/console/plan"
    given = f"{ATTACK}\u200d"

    found = alice.submit(f"{action}?intent=set_greeting", action, **{"p.greeting": given, "do": "why"})

    assert Read(found.body).form(action).fields["p.greeting"] == given


def test_only_what_is_not_over_loads_itself_anew_and_only_if_asked(world: World) -> None:
    vera = signed_in(world.at, "vera-token")

    for name, query, anew in (
        (world.waits, "?live=1", True),
        (world.waits, "", False),
        (world.read, "?live=1", False),
    ):
        page = vera.read(f"/console/operations/{name}{query}")
        assert page.has("meta", **{"http-equiv": "refresh", "content": "5"}) is anew


# --- what somebody may ---


def routes_of() -> Iterator[tuple[str, str, Act]]:
    """Yield every route of the console, by what it is asked of the door for."""
    from rexecop.service.console import routes as module

    class Noting:
        def __init__(self, *_: object) -> None: ...

        def ways_in(self) -> list[Route]:
            return []

        def nowhere(self) -> tuple[str, str, Act]:
            return "GET", "", Act.VIEW

        def look(self, path: str, act: Act, work: object) -> tuple[str, str, Act]:
            return "GET", path, act

        def do(self, path: str, act: Act, work: object, *, once: bool = False) -> tuple[str, str, Act]:
            return "POST", path, act

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Console", Noting)
        yield from module.routes(None, None, None, None)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("token", "role"),
    [
        ("vera-token", ServiceRole.VIEWER),
        ("alice-token", ServiceRole.OPERATOR),
        ("bob-token", ServiceRole.APPROVER),
    ],
)
def test_every_route_is_refused_to_who_may_not(world: World, token: str, role: ServiceRole) -> None:
    visitor = signed_in(world.at, token)
    out = visitor.read("/console/health").form("/console/sign-out").fields["token"]

    for method, pattern, act in routes_of():
        path = BASE + pattern.replace("{id}", world.read).replace("{verb}", "resume")
        if method == "GET":
            assert (visitor.get(path).status == 403) is (act not in TABLE[role]), path
        else:  # Nobody has the token of a form that was not shown to them.
            assert visitor.post(path, {"token": out}).status == 403, path


def test_what_the_door_takes_back_counts_at_once_for_who_is_signed_in(world: World) -> None:
    temp, page = signed_in(world.at, "temp-token"), f"/console/operations/{world.waits}"
    token = temp.read(page).form(f"{page}/cancel").fields["token"]
    before = states(world)

    (world.folder / "demoted").touch()
    assert temp.post(f"{page}/cancel", {"token": token, "reason": "it was mine to do"}).status == 403
    assert states(world) == before
    assert not [one for one in temp.read(page).forms if one.action.endswith("/cancel")]
    (world.folder / "gone").touch()
    assert temp.get(page).status == 303
    assert temp.post(f"{page}/cancel", {"token": token}).status == 401


def test_what_is_out_of_scope_reads_as_what_does_not_exist(world: World) -> None:
    otto = signed_in(world.at, "otto-token")
    unknown = otto.get("/console/operations/op_" + "0" * 32)

    for name in (world.read, world.waits, world.read[:12], "1", "@", "%2e%2e"):
        for path in OF_ONE:
            found = otto.get(f"/console/operations/{name}{path}")
            assert (found.status, HIDDEN in Read(found.body).text) == (404, True), (name, path)
    assert (
        Read(otto.get(f"/console/operations/{world.read}").body).text[:200] == Read(unknown.body).text[:200]
    )
    for path in ("", "/operations", "/approvals", "/queue", "/targets", "/trends", "/plan"):
        assert (
            "localhost" not in otto.read(BASE + path).text and "greeting" not in otto.read(BASE + path).text
        )


def test_only_what_is_in_scope_is_listed_and_can_be_asked(world: World) -> None:
    sara = signed_in(world.at, "sara-token")

    assert "set_greeting" not in sara.read("/console/operations").text
    assert "host_facts" in sara.read("/console/operations").text
    assert sara.get("/console/plan?intent=set_greeting").status == 404
    form = sara.read("/console/plan?intent=host_facts").form("/console/plan")
    for fields in ({"intent": "set_greeting"}, {"target": "localhost,other"}, {"target": "all"}):
        assert sara.post("/console/plan", {**form.fields, **fields, "do": "plan"}).status == 404


# --- the whole way of a change ---


def test_a_change_goes_from_the_form_to_its_evidence_and_only_a_signature_approves(world: World) -> None:
    alice, bert, folder = signed_in(world.at, "alice-token"), signed_in(world.at, "bob-token"), world.folder
    asked_ = {"p.greeting": "good morning", "mode": "apply", "reason": "guests", "target": "localhost"}
    before = len(states(world))
    first = alice.submit("/console/plan?intent=set_greeting", "/console/plan", **asked_, do="why")
    assert "approval by 1 of" in Read(first.body).text and len(states(world)) == before
    form = Read(first.body).form("/console/plan")
    assert ("do", "plan") in form.buttons and form.fields["p.greeting"] == "good morning"
    form.fields |= asked_
    planned = [alice.post("/console/plan", {**form.fields, "do": "plan"}) for _ in range(2)]
    assert planned[0].status == planned[1].status == 303
    assert planned[0].headers["location"] == planned[1].headers["location"]
    page = planned[0].headers["location"]
    name = page.rpartition("/")[2]
    assert "through         console" in alice.get(f"{page}/preview").body.decode()
    action = f"{page}/approval"

    unsigned = bert.get(f"{page}/request").body
    for wrong in (unsigned, b"yes", b"", b"{}"):
        assert bert.submit(action, action, answer=wrong.decode()).status == 422
    assert states(world)[name] == State.WAITING_FOR_APPROVAL

    (folder / "request.json").write_bytes(unsigned)
    words = (
        "approve",
        "--request",
        str(folder / "request.json"),
        "--key",
        str(bob(folder)),
        "--yes",
        "--quiet",
    )
    assert rexecop(words) == 0
    signed = (folder / "request.json.answer").read_text()
    elsewhere = f"{BASE}/operations/{world.waits}/approval"
    assert bert.submit(elsewhere, elsewhere, answer=signed).status == 422
    token = bert.read(action).form(action).fields["token"]
    parts = {"token": token, "answer": "", "file": signed}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in parts.items()
    )
    sent = {"Origin": bert.origin, "Cookie": bert.cookie, "Content-Type": "multipart/form-data; boundary=b"}
    assert world.at.call("POST", action, f"{body}--b--\r\n".encode(), **sent).status == 303
    assert states(world)[name] == State.APPROVED
    assert bert.submit(elsewhere, elsewhere, answer=signed).status == 422

    assert alice.submit(page, f"{page}/start").status == 303
    assert "Nobody works on this root" in alice.read(page).text

    async def work() -> None:
        with opened(folder) as instance:
            await Worker(instance, once=True).run(asyncio.Event())

    asyncio.run(work())
    assert (
        "completed" in alice.read(page).text
        and (folder / "rexecop-hello" / "greeting.txt").read_text() == "good morning\n"
    )

    told = bert.read(f"{page}/evidence")
    assert "verified: logged" in told.text and "reached" in told.text
    token = next(one for one in told.forms if one.fields.get("as") == "bundle").fields["token"]
    bundle = bert.post(f"{page}/evidence", {"token": token, "as": "bundle"})
    assert bundle.headers["content-disposition"] == f'attachment; filename="{name}.rxb"'
    report = bert.post(f"{page}/evidence", {"token": token, "as": "report"})
    assert b"<!doctype html>" in report.body
    with opened(folder) as instance:
        taken = accesses_of(instance.parts.ledger, name)
        own = records(instance, instance.parts.ledger.instance_id)
    assert [(one.by.person, one.action) for one in taken] == [
        ("bob", "view"),
        ("bob", "export"),
        ("bob", "export"),
    ]
    assert verify_own(bundle.body, own).holds(Rung.LOGGED)


def test_orders_are_recorded_with_their_reason_and_refused_in_words(world: World) -> None:
    alice, page = signed_in(world.at, "alice-token"), f"/console/operations/{world.read}"
    alice.submit("/console/plan?intent=host_facts", "/console/plan", mode="read_only", do="plan")
    newest = next(iter(states(world)))
    assert (
        alice.submit(
            f"/console/operations/{newest}", f"/console/operations/{newest}/cancel", reason=ATTACK
        ).status
        == 303
    )

    again = alice.post(f"/console/operations/{newest}/cancel", {})
    assert again.status == 403
    assert states(world)[newest] == State.CANCELLED
    assert "<script>pwned=1" in alice.read(f"/console/operations/{newest}").text
    assert alice.read(page).text


def test_what_another_profile_offers_is_asked_for_there(world: World) -> None:
    alice = signed_in(world.at, "alice-token")
    page = alice.read("/console/plan?profile=adhoc")
    assert page.has("a", href="/console/plan?profile=hello&environment=here")
    intents = [got["href"] for tag, got in page.tags if tag == "a" and "intent=" in got.get("href", "")]

    form = alice.read(intents[0]).form("/console/plan")

    assert (form.fields["profile"], form.fields["environment"]) == ("adhoc", "there")
    for place in ("profile=no", "environment=no", "profile=../x", "environment=/etc/passwd"):
        assert "nothing is offered to you there" in alice.read(f"/console/plan?{place}").text


def test_what_a_catalog_offers_for_a_target_is_asked_for_through_it(world: World) -> None:
    alice, sara = signed_in(world.at, "alice-token"), signed_in(world.at, "sara-token")
    place = "/console/plan?catalog=site&entry=front"
    page = alice.read("/console/plan")
    assert page.has("a", href=place) and not page.has("a", href=place.replace("front", "broken"))
    bare = alice.read(place)
    assert bare.has("a", href=f"{place}&intent=set_greeting")
    form = alice.read(f"{place}&intent=host_facts").form("/console/plan")
    assert (form.fields["catalog"], form.fields["entry"]) == ("site", "front")

    asked_ = {**form.fields, "mode": "read_only", "target": "localhost"}
    why = alice.post("/console/plan", {**asked_, "do": "why"})
    again = Read(why.body).form("/console/plan")
    assert ("do", "plan") in again.buttons and again.fields["entry"] == "front"
    planned = [alice.post("/console/plan", {**again.fields, **asked_, "do": "plan"}) for _ in range(2)]
    assert {one.status for one in planned} == {303}
    assert len({one.headers["location"] for one in planned}) == 1
    with opened(world.folder) as instance:
        binding = binding_of(instance.operation(planned[0].headers["location"].rpartition("/")[2]).the_plan)
    assert binding is not None and (binding.file, binding.target) == ("root/site.catalog.yaml", "front")

    assert sara.read(place).has("a", href=f"{place}&intent=host_facts")  # The one intent that is hers.
    assert not sara.read(place).has("a", href=f"{place}&intent=set_greeting")
    assert sara.get(f"{place}&intent=set_greeting").status == 404
    otto = signed_in(world.at, "otto-token")
    for visitor, entry in ((otto, "front"), (alice, "broken"), (alice, "bare"), (alice, "../x"), (alice, "")):
        found = visitor.read(f"/console/plan?catalog=site&entry={entry}")
        assert "nothing is offered to you there" in found.text, entry
    assert "nothing is offered" in alice.read("/console/plan?catalog=/etc/passwd&entry=front").text
    assert alice.post("/console/plan", {**asked_, "entry": "bare", "do": "plan"}).status == 404
    assert not otto.read("/console/plan").has("a", href=place)


# --- lists ---


def test_a_list_goes_through_all_operations_once_and_finds_by_words(world: World) -> None:
    with opened(world.folder) as instance:
        every, before, seen = [line.operation_id for line in instance.list()], "0", list[str]()
        while True:
            found = page(instance, _anybody, before=int(before), limit=2)
            seen += [line.operation_id for line in found.operations]
            if found.next is None:
                break
            before = found.next
        words = page(instance, _anybody, words="HELLO/host facts apply", limit=50).operations
        some = page(instance, _anybody, words="host_facts alice", state="completed", limit=50).operations
        none = page(instance, lambda matter: False, limit=50)

    assert seen == every
    assert (words, none.operations, none.next) == ((), (), None)
    assert world.read in [line.operation_id for line in some]


def _anybody(matter: Matter) -> bool:
    return True


# --- colours ---


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it_as_wcag_aa_asks(scheme: str) -> None:
    sheet = packaged("report.css") + (HERE / "console.css").read_text(encoding="utf-8")
    colours: dict[str, str] = {}
    for block in re.findall(r":root \{([^}]*)\}", sheet):
        found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        colours = {**found, **colours} if scheme == "light" else {**colours, **found}

    for text in ("ink", "soft", "link", "good", "bad", "doubt", "mark"):
        for behind in ("paper", "panel"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    assert contrast(colours["on-link"], colours["link"]) >= 4.5


# --- the link that `serve` prints ---


def test_serve_prints_a_link_where_it_is_asked_to_and_none_into_a_journal(root: Path) -> None:
    with running(root, serve_as_typed, "--sign-in-link") as found:
        link = found.process.stderr.readline().rpartition(" ")[2].strip()
        assert link.startswith(f"http://127.0.0.1:{found.port}/console/sign-in?link=")
        visitor = Visitor(found)
        page = link.removeprefix(visitor.origin)
        assert visitor.submit(page, "/console/sign-in", secret="").status == 303
        assert visitor.read("/console").has("h1")
    with running(root, serve_as_typed) as found:
        found.stop()
        assert "link=" not in found.process.stderr.read()


# --- by the door of the root ---


def test_a_token_of_the_root_signs_in_until_it_is_revoked_and_guesses_are_counted(root: Path) -> None:
    settings = load_settings({"root": str(root)}, {}, root.parent, root.parent)

    async def token(*, revoke: bool) -> str:
        with open_instance(settings) as instance:
            if revoke:
                await Tokens(instance).revoke("ann")
                return ""
            return (await Tokens(instance).new(TokenAsked(name="ann", roles=("viewer",)))).token or ""

    with running(root) as found:
        ann = signed_in(found, asyncio.run(token(revoke=False)))
        assert "ann" in ann.read("/console").text
        assert ann.get("/console/plan").status == 403

        asyncio.run(token(revoke=True))

        assert ann.get("/console").status == 303
        guesses = [
            Visitor(found).post("/console/sign-in", {"secret": f"a-guess-{n}"}).status for n in range(22)
        ]
        assert guesses[0] == 401 and guesses[-1] == 429
