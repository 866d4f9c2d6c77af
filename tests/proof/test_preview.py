"""What approvers sign says everything that would happen, and nothing in it can hide."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.worlds import (
    START,
    Book,
    a_change,
    change_step,
    process,
    read_step,
    scripted_step,
)
from rexecop.proof.call import Hole, ProcessRequest, ResourceLimits, Script, SecretRef, Terminal
from rexecop.proof.canonical import Json, digest_of, parse_json
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.codec import from_json
from rexecop.proof.errors import RecordMalformed
from rexecop.proof.plaintext import escape, quote
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Expectation, Pinned, Plan, Retry
from rexecop.proof.vocabulary import Effect, Isolation

GOLDEN = """\
step 2 of 2: set
  change        host-1 by shell.run
  runs          /usr/bin/tee <slot path>
  stdin         "new line\\n"
  may write     /srv
  limits        2000 ms, 4096 bytes of output, 64 processes, 500 ms to end
  isolation     rlimits: limits only, sees what its user sees
  repeating     changes nothing more
  slot          path is string path of step look like "/srv/[a-z]+", at most 64 letters
  if it may have happened, look
    read        host-1 by shell.run
    runs        /usr/bin/cat /srv/line
    reads as    line
    happened if line is "new"
  undo
    change      host-1 by shell.run
    runs        /usr/bin/tee /srv/line
    stdin       "old line\\n"
"""

FULL_STEP = change_step(
    call=process(
        Effect.CHANGE,
        "/usr/bin/tool",
        ("--to=", Hole(slot="path")),
        (SecretRef(secret="vault/key"),),
        "a b",
        stdin=("x", Hole(slot="path")),
        env={"LANG": "C", "TOKEN": (SecretRef(secret="vault/token"),)},
        cwd="/srv",
        writable=("/srv", "/var/tmp/x"),
        tty=Terminal(rows=30, columns=100),
        umask="0027",
        user="postgres",
        rlimits=ResourceLimits(open_files=50, user_processes=9),
        egress=("a.example:443", "b.example:25"),
        script=Script(
            interpreter=digest_of(b"sh"),
            digest=digest_of(b"script"),
            text="first line\nsecond line",
            files={"config": "x=1"},
            actions=("look",),
        ),
    ),
    needs=("look",),
    retry=Retry(attempts=3, on=("timeout",), delay_ms=10),
    normalizer="lines",
    precondition=Expectation(step="look", fact="lines", equals=1),
    postcondition=Expectation(step="set", fact="written", equals=True),
    pause_safe=True,
    continue_on_error=True,
)


def full() -> tuple[Sealed, Sealed]:
    book = Book("op_full")
    intent = book.intent(
        sponsor="sam",
        reason="a reason",
        idempotency_key="once",
        override_window="now",
        parameters={"a": [1, {"b": None}], "c": "x"},
    )
    plan = book.plan(
        (read_step(), FULL_STEP, scripted_step()),
        Effect.CHANGE,
        pinned=Pinned(operation="op_seen", observation=digest_of(b"o"), facts=digest_of(b"f")),
        undo_until=START,
        notes={"shape": "from environment"},
    )
    return intent, plan


def test_the_preview_of_a_step_reads_like_this() -> None:
    records = a_change().records

    assert preview(records[0], records[1]).endswith(GOLDEN)


def leaves(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def changed(value: Json, path: tuple[str | int, ...], put: Json) -> Json:
    if not path:
        return put
    first, *rest = path
    if isinstance(value, dict):
        return {k: changed(v, tuple(rest), put) if k == first else v for k, v in value.items()}
    assert isinstance(value, list)
    return [changed(v, tuple(rest), put) if i == first else v for i, v in enumerate(value)]


def others(value: Json) -> list[Json]:
    """Values of the same type to try in a leaf's place."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    assert isinstance(value, str)
    words: dict[str, list[Json]] = {
        "read": ["destroy"], "change": ["destroy"], "bubblewrap": ["none"], "rlimits": ["none"],
        "not-applicable": ["none"], "contained": ["shape"], "ok": ["failed"], "string": ["integer"],
    }  # fmt: skip
    if value.startswith("sha256:"):
        return [digest_of(value.encode())]
    return words.get(value, [value + "x", value + " ", value + "\u202e"])


def without_digests(intent: Sealed, plan: Sealed) -> str:
    """The preview without the one line that any change of the plan alters."""
    return preview(intent, plan).replace(plan.digest, "")


def test_whatever_changes_in_the_plan_changes_what_is_shown() -> None:
    intent, plan = full()
    shown = without_digests(intent, plan)
    value = parse_json(plan.body, bytes_max=len(plan.body))
    free = {"kind", "intent", "operation", "n", "prev"}
    tried = 0
    for path, leaf in leaves(value):
        if path[0] in free or path[-1] == "kind" or leaf is None:
            continue
        for put in others(leaf):
            try:
                record = from_json(Plan, changed(value, path, put))
            except RecordMalformed:
                continue  # A time or a kind that cannot be that.
            tried += 1
            assert without_digests(intent, seal(record)) != shown, path
    assert tried > 100


def test_whatever_changes_in_the_intent_changes_what_is_shown() -> None:
    intent, plan = full()
    shown = preview(intent, plan)
    value = parse_json(intent.body, bytes_max=len(intent.body))
    for path, leaf in leaves(value):
        if path[-1] in ("kind", "n", "prev", "mode", "established") or path == ("at",) or leaf is None:
            continue
        for put in others(leaf):
            record = seal(from_json(Intent, changed(value, path, put)))
            assert isinstance(plan.record, Plan)
            bound = dataclasses.replace(plan.record, intent=record.digest)
            assert preview(record, seal(bound)).replace(seal(bound).digest, plan.digest) != shown, path


def test_nothing_may_be_dropped_from_a_step_unseen() -> None:
    intent, plan = full()
    shown = without_digests(intent, plan)
    assert isinstance(plan.record, Plan)
    step, request = FULL_STEP, FULL_STEP.call.request
    assert isinstance(request, ProcessRequest)
    smaller = [
        *(dataclasses.replace(request, argv=request.argv[:i] + request.argv[i + 1 :]) for i in range(4)),
        dataclasses.replace(request, stdin=None),
        dataclasses.replace(request, env=None),
        dataclasses.replace(request, env={}),
        dataclasses.replace(request, cwd=None),
        dataclasses.replace(request, writable=()),
        dataclasses.replace(request, tty=None),
        dataclasses.replace(request, umask=None),
        dataclasses.replace(request, user=None),
        dataclasses.replace(request, rlimits=None),
        dataclasses.replace(request, egress=None),
        dataclasses.replace(request, egress=()),
        dataclasses.replace(request, egress=("a.example:443 b.example:25",)),
        dataclasses.replace(request, script=None),
        dataclasses.replace(request, argv=("/usr/bin/tool", *request.argv[1:3], "a", "b")),
    ]
    steps = [dataclasses.replace(step, call=dataclasses.replace(step.call, request=r)) for r in smaller]
    steps += [
        dataclasses.replace(step, slots=None),
        dataclasses.replace(step, retry=None),
        dataclasses.replace(step, normalizer=None),
        dataclasses.replace(step, precondition=None),
        dataclasses.replace(step, postcondition=None),
        dataclasses.replace(step, probe=None),
        dataclasses.replace(step, undo=None),
        dataclasses.replace(step, needs=()),
    ]

    for other in steps:
        record = dataclasses.replace(plan.record, steps=(plan.record.steps[0], other, plan.record.steps[2]))
        assert without_digests(intent, seal(record)) != shown


@given(st.text(max_size=20))
def test_no_text_can_hide_or_steer_in_a_preview(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    book = Book("op_x")
    intent = book.intent(reason=text)
    plan = book.plan((read_step(call=process(Effect.READ, "/bin/x", text)),), Effect.READ)

    lines = preview(intent, plan).splitlines()

    for line in lines:
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co") for char in line)
    assert sum(line.lstrip().startswith("runs ") for line in lines) == 1


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_two_texts_look_the_same(left: str, right: str) -> None:
    assert (quote(left) == quote(right)) == (left == right)


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_no_two_command_lines_look_the_same(left: list[str], right: list[str]) -> None:
    assert (" ".join(map(quote, left)) == " ".join(map(quote, right))) == (left == right)


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\u202e", "\\u{202e}"),
        ("\u2066", "\\u{2066}"),
        ("\u200b", "\\u{200b}"),
        ("\u00ad", "\\u{ad}"),
        ("\ufeff", "\\u{feff}"),
        ("\u00a0", "\\u{a0}"),
        ("\u3164", "\\u{3164}"),
        ("\ufe0f", "\\u{fe0f}"),
        ("\x1b", "\\u{1b}"),
        ("\U000e0041", "\\u{e0041}"),
        ("\r", "\\u{d}"),
        ("é", "é"),
        ("ж", "ж"),
        ("語", "語"),
    ],
)
def test_characters_that_hide_or_steer_are_shown_by_number(char: str, shown: str) -> None:
    assert escape(f"a{char}b") == f"a{shown}b"


def test_marks_say_what_a_reader_must_not_overlook() -> None:
    book = Book("op_x")
    intent = book.intent()
    step = change_step(undo=None, isolation=Isolation.NONE)
    call = dataclasses.replace(step.call, effect=Effect.DESTROY)
    text = preview(intent, book.plan((dataclasses.replace(step, call=call),), Effect.DESTROY))

    for words in ("destroys", "nothing pinned", "no undo for set", "without isolation"):
        assert words in text


def test_the_digest_is_of_the_text_and_the_text_is_the_same_every_time() -> None:
    intent, plan = full()

    assert preview(intent, plan) == preview(intent, plan)
    assert preview_digest(preview(intent, plan)) == digest_of(preview(intent, plan).encode())


def test_a_plan_is_only_shown_with_its_own_intent() -> None:
    intent, plan = full()
    other = a_change().records[0]

    for pair in ((other, plan), (plan, intent), (intent, intent)):
        with pytest.raises(RecordMalformed):
            preview(*pair)
