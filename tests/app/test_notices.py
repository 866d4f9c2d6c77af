"""Who is told on a real root: of what waits, ends and is an emergency; what is not taken is sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.instance import Instance
from rexecop.app.notices import RootNotices, Routes
from rexecop.app.reminding import ESCALATION, REMINDER, remind
from rexecop.app.root import Root
from rexecop.app.secrets import Locator
from rexecop.engines.telling import ENDED, GLASS, TEST, TOPIC, WANTED
from rexecop.lanes.secrets import Secrets
from rexecop.operations.events import read_event
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.payload import parse_payload
from rexecop.proof.records.instance import Note
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.times import format_time
from tests.app.support import bob, change, greeting, made, opened, records, scratch, verified
from tests.app.test_reminders import later
from tests.app.test_step_approvals import ASKS, STEP, WRITES, marked
from tests.lanes.web import reply, serving

OBLIGED = '@approvals("1 of approvers")\n@obligations("notify=oncall, review<=4h")'


def configure(folder: Path, text: str) -> None:
    path = folder / "root" / "notify.yaml"
    path.write_text(text)
    path.chmod(0o600)


def by_command(folder: Path, end: str = "") -> str:
    """Return a `notify.yaml` whose one command keeps what it is told in the file `told`."""
    keeps = f"cat >> {folder}/told; env | sort > {folder}/env; {end}"
    return json.dumps(
        {
            "timeout": "15s",
            "senders": {"pager": {"command": ["/bin/sh", "-c", keeps]}},
            "groups": {"*": ["pager"]},
        }
    )


def told(folder: Path) -> list[dict[str, object]]:
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def oblige(folder: Path, old: str = '@approvals("1 of approvers")', new: str = OBLIGED) -> None:
    """Let the starter pack oblige changes to tell `oncall`, in which carol is."""
    pack = folder / "root" / "policy" / "starter"
    rule, people = pack / "requirements" / "approvals.cedar", pack / "entities.yaml"
    assert old in rule.read_text()
    rule.write_text(rule.read_text().replace(old, new))
    text = people.read_text()
    text = text.replace("'carol': {groups: [approvers]}", "'carol': {groups: [approvers, oncall]}")
    people.write_text(text.replace("groups: [approvers", "groups: [oncall, approvers", 1))
    (pack / "pack.sig").unlink(missing_ok=True)


def notes(instance: Instance, operation: str) -> list[str]:
    found = (sealed.record for sealed in records(instance, operation))
    return [note.text for note in found if isinstance(note, Note) and note.topic == TOPIC]


def obligation(instance: Instance, operation: str) -> tuple[bool, str]:
    receipt = records(instance, operation)[-1].record
    assert isinstance(receipt, Receipt)
    return next((one.met, one.how) for one in receipt.obligations if one.name == "notify")


def on_a_root(story: Callable[[Path, Instance], Awaitable[None]]) -> None:
    async def whole() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(whole())


def test_who_may_approve_is_told_once_and_who_the_terms_name_is_told_of_the_end() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        oblige(folder)
        configure(folder, by_command(folder))
        operation = (await instance.plan(change(folder))).operation_id
        (wanted,) = told(folder)
        assert (wanted["event"], wanted["groups"]) == (WANTED, ["approvers"])
        assert (wanted["operation"], wanted["requester"]) == (operation, "alice")
        assert "good evening" not in (folder / "told").read_text()  # No parameter leaves.
        assert set((folder / "env").read_text().split()) >= {"PWD=" + str(Path.cwd())}
        assert "HOME=" not in (folder / "env").read_text()
        await instance.start(operation)
        assert len(told(folder)) == 1  # It waits for the very same.
        await instance.approve(operation, key=bob(folder))
        assert (await instance.start(operation)).state == "completed"
        ended = told(folder)[1]
        assert (ended["event"], ended["groups"], ended["state"]) == (ENDED, ["oncall"], "completed")
        assert obligation(instance, operation) == (True, "oncall by pager: accepted")
        assert [text.split(" (")[0] for text in notes(instance, operation)] == [
            f"{WANTED} to approvers by pager: accepted",
            f"{ENDED} to oncall by pager: accepted",
        ]
        assert verified(instance, operation).findings == ()

    on_a_root(story)


def test_what_is_not_taken_changes_nothing_but_is_said_kept_and_sent_again_under_the_same_id() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        oblige(folder)
        configure(folder, by_command(folder, end="exit 3"))
        operation = (await instance.plan(change(folder))).operation_id
        await instance.approve(operation, key=bob(folder))
        view = await instance.start(operation)
        assert view.state == "completed" and greeting(folder) == "good evening\n"
        met, how = obligation(instance, operation)
        assert not met and how.startswith(
            "not told: oncall; oncall by pager: not sent: `/bin/sh` ended with 3"
        )
        assert [found.code for found in verified(instance, operation).findings] == ["E09h"]
        assert any("not sent" in line for line in instance.why(operation).lines)
        notices = instance.parts.telling.notices
        assert [(one.notice.event, one.tries) for one in notices.undelivered()] == [(WANTED, 1), (ENDED, 1)]
        checks = {one.name: one for one in instance.check().checks}
        assert checks["notify"].status == "warning" and "2 notices" in checks["notify"].message

        assert all(one.failed for one in await instance.parts.telling.retry())
        assert [one.tries for one in notices.undelivered()] == [2, 2]
        configure(folder, by_command(folder))
        assert not any(one.failed for one in await instance.parts.telling.retry())
        assert notices.undelivered() == () and await instance.parts.telling.retry() == ()
        assert len({said["id"] for said in told(folder)}) == 2 and len(told(folder)) == 6
        assert notes(instance, operation)[-1].startswith(f"{ENDED} to oncall by pager: accepted")
        assert not obligation_of_last_receipt(instance, operation)

    on_a_root(story)


def obligation_of_last_receipt(instance: Instance, operation: str) -> bool:
    receipts = [one.record for one in records(instance, operation) if isinstance(one.record, Receipt)]
    return next(one.met for one in receipts[-1].obligations if one.name == "notify")


def test_an_operation_is_refused_whose_terms_oblige_to_tell_whom_nobody_can_tell() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        oblige(folder)
        for text in (
            None,
            '{"senders": {"a": {"command": ["/bin/true"]}}, "groups": {"other": ["a"]}}',
            "no",
        ):
            if text is not None:
                configure(folder, text)
            view = await instance.plan(change(folder))
            assert view.state == "blocked" and "nobody can be told for group `oncall`" in str(view.reason)

    on_a_root(story)


def test_who_cannot_be_told_any_more_once_it_began_leaves_no_work_half_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(folder: Path, instance: Instance) -> None:
        oblige(folder)
        configure(folder, by_command(folder))
        operation = (await instance.plan(change(folder))).operation_id
        await instance.approve(operation, key=bob(folder))
        notices, asked = instance.parts.telling.notices, []
        tells = notices.routes

        def spoiled_after_the_ticket() -> Routes:
            asked.append(1)
            if len(asked) > 1:
                configure(folder, "spoiled: true")
            return tells()

        monkeypatch.setattr(notices, "routes", spoiled_after_the_ticket)
        assert (await instance.start(operation)).state == "completed"
        met, how = obligation(instance, operation)
        assert not met and "notify.yaml: not sent: notify.yaml:1: unknown key `spoiled`" in how

    on_a_root(story)


def test_the_glass_being_broken_is_told_at_once() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        oblige(folder, new='@approvals("1 of approvers")\n@break_glass("review<=4h")')
        configure(folder, by_command(folder))
        view = await instance.plan(replace(change(folder), break_glass="the site is down"))
        assert view.state == "approved"
        (said,) = told(folder)
        assert said["event"] == GLASS and "site is down" not in str(said)

    on_a_root(story)


def test_reminders_are_sent_and_the_pack_says_to_whom_what_waits_is_escalated() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        oblige(folder, new='@approvals("1 of approvers")\n@escalate("oncall after 4h")')
        configure(folder, by_command(folder))
        await instance.plan(change(folder))
        (soon,) = await remind(instance, None)
        assert (soon.remind, soon.escalate) == (("bob",), ())
        (late,) = await remind(later(instance, 241), None)
        assert (late.remind, late.escalate) == (("bob",), ("carol",))
        found = [(said["event"], said["groups"], said.get("people")) for said in told(folder)]
        assert found == [
            (WANTED, ["approvers"], None),
            (REMINDER, ["approvers"], ["bob"]),
            (REMINDER, ["approvers"], ["bob"]),
            (ESCALATION, ["oncall"], ["carol"]),
        ]

    on_a_root(story)


def test_who_is_asked_is_told_what_to_type_until_when_and_where_it_is_shown() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        await instance.key_new("carol", "approver", folder / "carol")
        rule = folder / "root" / "policy" / "starter" / "requirements" / "approvals.cedar"
        rule.write_text(rule.read_text().replace("1 of approvers", "2 of approvers"))
        configure(
            folder, json.dumps({**json.loads(by_command(folder)), "console_url": "https://ops.example"})
        )
        operation = (await instance.plan(change(folder))).operation_id
        number = instance.status(operation).number
        (wanted,) = told(folder)
        assert wanted["command"] == f"rexecop approve {number}" and "expires" not in wanted
        assert str(wanted["text"]).endswith(f"; to answer: rexecop approve {number}")
        assert wanted["link"] == f"https://ops.example/console/operations/{operation}"
        await instance.approve(operation, key=bob(folder))
        said = instance.operation(operation).standing_approvals()[0].statement
        (waiting,) = await remind(instance, None)
        reminder = told(folder)[1]
        ends = format_time(said.expires)
        assert waiting.expires == said.expires and reminder["expires"] == ends
        assert str(reminder["text"]).endswith(f"; to answer by {ends}: rexecop approve {number}")
        assert instance.status(operation).state == "waiting_for_approval"  # A notice says yes for nobody.

    on_a_root(story)


def test_who_is_asked_about_a_step_is_told_to_name_it_and_that_its_ticket_ends() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        asked = replace(change(folder), profile=marked(folder, WRITES, WRITES + ASKS))
        operation = (await instance.plan(asked)).operation_id
        await instance.approve(operation, key=bob(folder))
        configure(folder, by_command(folder))
        view = await instance.start(operation)
        (wanted,) = told(folder)
        assert view.state == "paused"
        assert wanted["command"] == f"rexecop approve {view.number} --step {STEP}"
        ticket = instance.operation(operation).sealed_ticket.record
        assert isinstance(ticket, Ticket) and wanted["expires"] == format_time(ticket.expires)

    on_a_root(story)


def test_an_address_of_the_console_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    text = "senders: {a: {command: [/bin/true]}}\ngroups: {x: [a]}\nconsole_url: "
    assert routes(tmp_path, f"{text}http://127.0.0.1:5000\n").console == "http://127.0.0.1:5000"
    assert routes(tmp_path, f"{text}https://ops.example/t/red\n").console == "https://ops.example/t/red"
    for wrong in ("http://ops.example", "https://me:pw@ops.example", "https://ops.example/x", "ops",
                  "https://ops.example/t/Red", "https://ops.example/t/", "/t/red"):  # fmt: skip
        with pytest.raises(RexecopError, match="`console_url` is no address of a service"):
            routes(tmp_path, f"{text}'{wrong}'\n")


def test_a_test_says_that_it_is_one_and_nothing_of_it_is_kept() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        configure(folder, by_command(folder, end="exit 1"))
        notices = instance.parts.telling.notices
        (sent,) = await notices.test(None)
        assert sent.failed and told(folder)[0]["event"] == TEST
        assert notices.undelivered() == ()
        (unknown,) = await notices.test("nobody")
        assert unknown.failed == "`notify.yaml` names no sender `nobody`"

    on_a_root(story)


@pytest.mark.parametrize(
    ("sender", "words"),
    [
        ("{command: [page]}", "begins with the path of a program"),
        ("{command: /bin/true}", "not a list"),
        ("{webhook: 'http://chat.example/x', secret: s}", "no address"),
        ("{webhook: 'https://user:pass@chat.example/x', secret: s}", "no address"),
        ("{webhook: 'https://chat.example/x#y', secret: s}", "no address"),
        ("{webhook: 'https://chat.example/x'}", "`secret` is missing"),
        ("{webhook: 'https://chat.example/x', secret: s, events: json}", "not one of cloudevents"),
        ("{webhook: 'https://chat.example/x', secret: s, source: /ops}", "`senders.a.source` is of events"),
        ("{webhook: 'https://chat.example/x', secret: s, events: cloudevents, source: 'a b'}", "is not like"),
        ("{webhook: 'https://chat.example/x', secret: 'whsec_a/b+c='}", "is not like"),
        ("{smtp: mail.example, from: a@b.example, to: [c@d.example], tls: none}", "safe to use"),
        ("{smtp: mail.example, from: 'a@b.example>', to: [c@d.example]}", "is not like"),
        ("{smtp: mail.example, from: a@b.example, to: []}", "names nobody"),
        ("{smtp: mail.example, from: a@b.example, to: [c@d.example], user: u}", "one of `user`"),
        ("{ntfy: 'http://ntfy.example/ops'}", "`senders.a.ntfy` is no address"),
        ("{ntfy: 'https://ntfy.example/ops', secret: s}", "unknown key `secret`"),
        ("{glpi: 'https://glpi.example/apirest.php'}", "`user_token` is missing"),
        ("{glpi: 'https://glpi.example/apirest.php?x=1', user_token: t}", "ends with a path"),
        ("{glpi: 'http://glpi.example/apirest.php', user_token: t}", "`senders.a.glpi` is no address"),
        ("{shell: 'true'}", "unknown key `shell`"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_without_what_was_found(
    tmp_path: Path, sender: str, words: str
) -> None:
    with pytest.raises(RexecopError) as found:
        routes(tmp_path, f"senders: {{a: {sender}}}\ngroups: {{x: [a]}}\n")
    assert found.value.code == "notify-refused" and words in found.value.message
    assert "whsec_" not in found.value.message and "user:pass" not in found.value.message


def routes(folder: Path, text: str, mode: int = 0o600) -> Routes:
    (folder / "notify.yaml").write_text(text)
    (folder / "notify.yaml").chmod(mode)
    root = Root(folder)
    return RootNotices(root, Secrets(Locator(root, {})), SystemClock(), SystemIds(), {}, "ins_1").routes()


def test_an_event_comes_from_the_instance_where_the_file_names_no_other_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REXECOP_SECRET_BUS", "0123456789abcdef01234567")

    async def story(folder: Path, instance: Instance) -> None:
        with serving() as web:
            web.routes["/in"] = reply(status=202)
            told = f"webhook: 'http://127.0.0.1:{web.port}/in', secret: bus, events: cloudevents"
            configure(folder, f"senders: {{bus: {{{told}}}}}\ngroups: {{'*': [bus]}}\n")
            operation = (await instance.plan(change(folder))).operation_id
            (asked,) = web.asked
        event = read_event(parse_payload(asked.body, bytes_max=8192), digest_of(asked.body))
        assert event.source == f"urn:rexecop:{instance.parts.ledger.instance_id}"
        assert (event.type, event.subject) == (f"rexecop.{WANTED}", operation)

    on_a_root(story)


def test_a_group_without_a_line_of_its_own_is_told_as_everybody_is(tmp_path: Path) -> None:
    text = "senders: {a: {command: [/bin/true]}, b: {command: [/bin/true]}}\n"
    found = routes(tmp_path, text + 'groups: {sre: [a], quiet: [], "*": [b]}\n')
    assert [found.of(group) for group in ("sre", "quiet", "other")] == [("a",), (), ("b",)]
    assert found.seconds == 10
    for wrong in ("groups: {sre: [c]}", "groups: {}\ntimeout: 16s"):
        with pytest.raises(RexecopError, match=r"known: a, b|more than 15 s"):
            routes(tmp_path, f"{text}{wrong}\n")


def test_a_file_that_others_could_write_is_not_followed(tmp_path: Path) -> None:
    with pytest.raises(RexecopError) as found:
        routes(tmp_path, "senders: {a: {command: [/bin/true]}}\ngroups: {x: [a]}\n", 0o666)
    assert found.value.code == "root-unsafe"
