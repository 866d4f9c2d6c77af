"""Redaction by the name of a profile's rules, on a real root: what is stored, counted, shown and refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from rexecop.app.instance import Instance
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.receipt import Receipt
from tests.app.support import asked, change, made, opened, records, scratch, verified
from tests.app.test_step_approvals import WRITES, marked

RULES = "redaction:\n  - {pattern: 'good \\w+', marker: '[greeting]'}\n"


def oblige(folder: Path, name: str) -> None:
    rule = folder / "root" / "policy" / "starter" / "requirements" / "approvals.cedar"
    rule.write_text(rule.read_text().replace('@obligations("receipt")', f'@obligations("redaction={name}")'))


def on_a_root(story: Callable[[Path, Instance, str], Awaitable[None]]) -> None:
    async def whole() -> None:
        with scratch() as folder:
            await made(folder)
            profile = marked(folder, WRITES, WRITES)
            (Path(profile) / "redactions").mkdir()
            (Path(profile) / "redactions" / "greetings.yaml").write_text(RULES)
            with opened(folder) as instance:
                await story(folder, instance, profile)

    asyncio.run(whole())


def test_outputs_and_facts_are_kept_without_what_the_pinned_rules_take_out_and_it_is_counted() -> None:
    async def story(folder: Path, instance: Instance, profile: str) -> None:
        oblige(folder, "greetings")
        (folder / "rexecop-hello" / "greeting.txt").write_text("a good day\nand a bad one\n")
        view = await instance.plan(replace(asked(folder, "show_greeting", "read_only"), profile=profile))
        assert "redaction of greetings" in instance.asked_in_words(view.operation_id)
        (Path(profile) / "redactions" / "greetings.yaml").unlink()
        with opened(folder) as another:  # Which knows the profile by what was pinned.
            ended = await another.start(view.operation_id, as_planned=True)
        assert ended.state == "completed", ended.reason
        outcomes = [one.record for one in records(instance, view.operation_id)]
        (output,) = instance.outputs(view.operation_id)
        assert output.text == "a [greeting]\nand a bad one\n"
        assert not any("good day" in str(one) for one in outcomes)
        told = [one for one in outcomes if isinstance(one, Outcome)]
        assert any("[greeting]" in str(one.facts) for one in told)
        assert [(ref.redactions, ref.truncated) for one in told for ref in (one.blobs or {}).values()] == [
            (1, False)
        ]
        receipt = outcomes[-1]
        assert isinstance(receipt, Receipt)
        found = [(one.met, one.how) for one in receipt.obligations if one.name == "redaction"]
        assert found == [(True, "greetings: 1 places taken out of outputs")]
        assert verified(instance, view.operation_id).findings == ()

    on_a_root(story)


def test_a_name_that_no_rule_of_the_profile_has_is_refused_at_plan() -> None:
    async def story(folder: Path, instance: Instance, profile: str) -> None:
        oblige(folder, "patients")
        view = await instance.plan(replace(change(folder), profile=profile))
        assert view.state == "blocked"
        assert "redaction `patients` is not active here, only greetings, secrets" in str(view.reason)
        plain = await instance.plan(change(folder))  # Rules are of one profile; the built-in one has none.
        assert "only secrets" in str(plain.reason)

    on_a_root(story)
