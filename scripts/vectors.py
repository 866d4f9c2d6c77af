"""Write docs/formats/vectors.json anew from the code; `make docs` runs it.

Values for whoever implements the format pages: what goes in, and what must come out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from conformance.signers import SK_ED25519, SecurityKey, signer_of
from conformance.worlds import (
    DERIVE,
    INSTANCE_KEY,
    LIMITS,
    ORIGIN,
    STRANGER_KEY,
    TARGET,
    WITNESS_KEY,
    Book,
    Log,
    a_change,
    process,
    read_step,
    scripted_step,
)
from rexecop.proof import dsse, note, sshsig
from rexecop.proof.call import (
    Call,
    ExchangeRequest,
    HandlerRequest,
    Hole,
    ProcessRequest,
    ResourceLimits,
    Script,
    ScriptedReply,
    ScriptedRequest,
    SecretRef,
    Slot,
    Terminal,
    call_digest,
    fill,
)
from rexecop.proof.canonical import Json, canonical_bytes, commit, digest_of, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.container import pack
from rexecop.proof.errors import ProofError
from rexecop.proof.kinship import person_key
from rexecop.proof.merkle import leaf_hash, root_of
from rexecop.proof.message import Scalar
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.plaintext import escape, in_quotes, quote
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.receipts import PAYLOAD_TYPE, record_envelope, record_statement
from rexecop.proof.records import Plan
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.records.decision import ApprovalRule, Obligations, Terms, terms_digest
from rexecop.proof.records.plan import CallStep, Expectation, Pinned, PlannedTarget, Probe, Retry
from rexecop.proof.scope import scope_entries, scope_root, undo_scope_root
from rexecop.proof.suites import SUITES
from rexecop.proof.times import format_time, parse_time
from rexecop.proof.verify.patterns import affordable
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation, Phase, Verdict

FILE: Final = Path(__file__).resolve().parents[1] / "docs" / "formats" / "vectors.json"

TEXTS: Final = (
    *("", "plain", "a b", "/srv/x.y:1=@%+,~^-", 'say "hi"', "back\\slash", "two\nlines", "tab\there", "\r"),
    *("é", "ж語", "\u202eevil", "a\u200bb", "\u00a0", "\u00ad", "\ufe0f", "\u3164", "😀", "\u0378", "\x7f"),
    *("<slot x>", "'", "`", "$HOME", "a\u0301", "\ue000", "\ua4d0", "\u017f"),
)
PERSONS: Final = (
    "jan",
    "JAN ",
    "  Jan\t",
    "\uff2a\uff41\uff4e",
    "straße",
    "STRASSE",
    "ﬁn",
    "É",
    "e\u0301",
    "İ",
    "Σς",
    "",
    "\u3000",
)
PATTERNS: Final = (
    *(
        "",
        "[a-z]+",
        "/srv/[a-z0-9_.-]{1,64}",
        "[^/]+",
        "[]a]+",
        "[^]a]",
        r"\d{4}-\d{2}",
        r"\w+",
        r"a{,3}",
        "a{}",
    ),
    *(
        "a{2,1}",
        "[z-a]",
        "[]",
        "^*",
        r"\q",
        r"[\b]",
        r"\x41",
        r"\u00e9",
        "(a+)+$",
        "a|b",
        "a+?",
        "a++",
        "a{1}{2}",
    ),
    *("[[a]]", "[a&&b]", r"\1", "x" * 513, "a*a*a*a*a*a*b", "a.c", "^a$", r"[a-\d]", r"\101", "a{1,5}b{2}"),
)
VALUES: Final = (
    "",
    "a",
    "aaa",
    "abc",
    "/srv/line",
    "2026-03",
    "]",
    "b",
    "a{}",
    "A",
    "é",
    "ab٣_",
    "a\nc",
    "\b",
    "abb",
)
TIMES: Final = (
    *("2026-01-31T09:30:00.000Z", "1970-01-01T00:00:00.000Z", "9000-12-31T23:59:59.999Z"),
    *(
        "1969-12-31T23:59:59.999Z",
        "9001-01-01T00:00:00.000Z",
        "2026-02-29T00:00:00.000Z",
        "2024-02-29T00:00:00.000Z",
    ),
    *(
        "2026-01-31T09:30:60.000Z",
        "2026-01-31T24:00:00.000Z",
        "2026-01-31t09:30:00.000Z",
        "2026-01-31T09:30:00.000z",
    ),
    *(
        "2026-01-31T09:30:00Z",
        "2026-01-31T09:30:00.000+00:00",
        "2026-01-31T09:30:00,000Z",
        "2026-W05-6T09:30:00.000Z",
    ),
)


def hexed(data: bytes) -> str:
    """Return `data` as hex, as every vector shows bytes."""
    return data.hex()


def canonical() -> Json:
    """Return texts with what reading and writing them yields; null where one is refused."""
    texts = (
        *('{"b":1,"a":{"d":[],"c":null}}', '"\\u00e9\\ud83d\\ude00"', '"\\u001f\\u0008\\/\\n"', "-0", "[ ]"),
        *(
            "9007199254740992",
            "9007199254740993",
            "-9007199254740992",
            "1.0",
            "1e3",
            "NaN",
            "01",
            '{"a":1,"a":1}',
        ),
        *(
            '"\\ud800"',
            '{"é":1}',
            "[1,]",
            "1 2",
            "",
            '"\t"',
            '"\x7f"',
            "[" * 64 + "]" * 64,
            "[" * 65 + "]" * 65,
        ),
        *('{"aa":1,"a":2,"B":3,"~":4}', "true", " null\n"),
    )
    return [{"text": text, "canonical": _canonical(text)} for text in texts]


def _canonical(text: str) -> str | None:
    try:
        return canonical_bytes(parse_json(text.encode(), bytes_max=10_000)).decode()
    except ProofError:
        return None


def times() -> Json:
    """Return texts and whether each is a time as evidence writes it."""
    return [{"text": text, "valid": _is_time(text)} for text in TIMES]


def _is_time(text: str) -> bool:
    try:
        return format_time(parse_time(text)) == text
    except ProofError:
        return False


def patterns() -> Json:
    """Return for each pattern what it costs to try, and which values it takes; null when it is an error."""
    return [
        {
            "pattern": pattern,
            "affordable_up_to": max((n for n in range(4097) if affordable(pattern, n)), default=None),
            "takes": _taken(pattern) if affordable(pattern, 8) else "not tried",
        }
        for pattern in PATTERNS
    ]


def _taken(pattern: str) -> Json:
    try:
        return [value for value in VALUES if re.fullmatch(pattern, value)]
    except re.error:
        return None


FULL_CALL: Final = process(
    Effect.DESTROY,
    "/usr/bin/tool",
    ("--to=", Hole(slot="path")),
    (SecretRef(secret="vault/key"),),
    ("a", "b"),
    (),
    ("n=", Hole(slot="count"), ",", Hole(slot="deep"), SecretRef(secret="s")),
    "a b",
    stdin=("x", Hole(slot="path")),
    env={"LANG": "C", "TOKEN": (SecretRef(secret="vault/token"),), "U": ""},
    cwd="/srv",
    writable=("/srv", "/var/tmp/x"),
)
FULL_STEP: Final = CallStep(
    id="set it",
    target=TARGET,
    call=FULL_CALL,
    limits=replace(LIMITS, memory_bytes=1 << 20),
    isolation=Isolation.NONE,
    idempotent=False,
    needs=("look", "sum_up"),
    slots={
        "path": Slot(step="look", fact="path", type="string", pattern="/srv/[a-z]+", length_max=64),
        "count": Slot(step="look", fact="a.count", type="integer"),
        "deep": Slot(step="look", fact="deep", type="boolean", length_max=3),
    },
    retry=Retry(attempts=3, on=("timeout", "no answer"), delay_ms=10),
    normalizer="lines",
    precondition=Expectation(step="look", fact="lines", equals=1),
    postcondition=Expectation(step="set it", fact="written", equals=True),
    probe=Probe(
        call=process(Effect.READ, "/usr/bin/cat", "/srv/line"), normalizer="line", fact="line", equals="1"
    ),
    pause_safe=True,
    continue_on_error=True,
)
HANDLED: Final = Call(
    target="host-2",
    connector="mail",
    action="send",
    effect=Effect.CHANGE,
    request=HandlerRequest(action="send", payload='{"amount":1.5,"to":"Ünal"}'),
)
SURROUNDED: Final = replace(
    HANDLED,
    request=ProcessRequest(
        argv=("/bin/sh", "a b"),
        tty=Terminal(rows=50, attended=True),
        umask="0027",
        user="app user",
        rlimits=ResourceLimits(open_files=64, cpu_seconds=3),
        egress=("db.example:5432",),
        script=Script(
            interpreter=digest_of(b"sh"),
            digest=digest_of(b"text"),
            text='echo "one"\n\nexit 0',
            files={"z": "last", "a list": "x\ny"},
            actions=("look", "set it"),
        ),
    ),
)
EXCHANGED: Final = replace(
    HANDLED,
    request=ExchangeRequest(
        protocol="http/1",
        peers=("host-2:8443", "[::1]:80"),
        message={
            "method": "POST",
            "path": ["api", {"slot": "path"}, {"text": ["n-", {"slot": "count"}, {"secret": "tail"}]}, "ü"],
            "query": {"deep": {"slot": "deep"}, "a=1": {"text": ["a", "b"]}, "none": {"text": []}},
            "body": {"n": [1, True, None, {"slot": 5}, {"slot": "a", "b": 1}, {}], "s": {"text": [{"n": 1}]}},
            "token": {"text": ["Bearer ", {"secret": "api"}]},
        },
    ),
)
SCRIPTED: Final = ScriptedRequest(
    arguments={"n": 1, "text": "zero\u200bwidth"},
    replies=(
        ScriptedReply(ended=Ended.FAILED, error_class="busy", message="try again", delay_ms=20),
        ScriptedReply(ended=Ended.OK, stdout="up\n", repeat=3, data={"up": True}),
    ),
)


def full_plan() -> tuple[Sealed, Sealed]:
    """Return an intent and a plan with one of everything a preview can show."""
    book = Book("op_full")
    intent = book.intent(
        sponsor="sam",
        reason='\u202eno\n"yes"',
        idempotency_key="once",
        override_window="the customer is down",
        parameters={"b": [1, {"c": None}], "a": "x"},
    )
    asked = scripted_step()
    handled = read_step(
        "mail", target="host-2", call=HANDLED, grade=None, isolation=Isolation.NOT_APPLICABLE, undo=HANDLED
    )
    attest = ("node-key", "of its own")
    surrounded = read_step(
        "within",
        target="host-2",
        call=SURROUNDED,
        grade=None,
        limits=replace(FULL_STEP.limits, raw_output_bytes=1 << 30),
        isolation=Isolation.BUBBLEWRAP_CGROUP,
        retry=Retry(attempts=2, on=("timeout",), delay_ms=10, delay_max_ms=1000),
        undo=replace(SURROUNDED, request=ProcessRequest(argv=("/bin/true",), egress=())),
        attest=("node-key", "local machine"),
    )
    exchanged = replace(
        FULL_STEP, id="ask it", target="host-2", call=EXCHANGED, probe=None, undo=EXCHANGED, attest=attest
    )
    book.plan(
        (
            read_step(grade=Grade.SHAPE),
            replace(DERIVE, needs=()),
            FULL_STEP,
            replace(asked, call=replace(asked.call, request=SCRIPTED)),
            handled,
            exchanged,
            surrounded,
        ),
        Effect.DESTROY,
        pinned=Pinned(operation="op_seen", observation=digest_of(b"o"), facts=digest_of(b"f")),
        undo_until=book.at + timedelta(days=1),
        notes={"shape": "from environment"},
    )
    record = book.records[-1].record
    assert isinstance(record, Plan)
    target = PlannedTarget(
        id="host-2", type="host", criticality="very high", groups=("a,b", "c"), connection=digest_of(b"c")
    )
    targets = (*record.targets, target)
    del book.records[-1]
    fields = {name: getattr(record, name) for name in ("intent", "profile", "effect", "risk", "steps")}
    more = {name: getattr(record, name) for name in ("pinned", "undo_until", "notes")}
    return intent, book.add(Plan, environment=digest_of(b"another"), targets=targets, **fields, **more)


def previews() -> Json:
    """Return pairs of intent and plan, with their previews."""
    change = a_change().records
    return [_preview(change[0], change[1]), _preview(*full_plan())]


def _preview(intent: Sealed, plan: Sealed) -> Json:
    text = preview(intent, plan)
    return {
        "intent": to_json(intent.record),
        "plan": to_json(plan.record),
        "plan_digest": plan.digest,
        "text": text,
        "digest": preview_digest(text),
    }


def calls() -> Json:
    """Return templates with values, the calls they are filled to, and all digests."""
    values: Mapping[str, Scalar] = {"path": "/srv/line", "count": -3, "deep": True}
    plain = replace(FULL_CALL, request=ProcessRequest(argv=("/bin/x", ("a", "b"), ())))
    return [
        {
            "template": to_json(template),
            "template_digest": call_digest(template),
            "values": values,
            "filled": to_json(fill(template, values)),
            "filled_digest": call_digest(fill(template, values)),
        }
        for template in (FULL_CALL, plain, HANDLED, EXCHANGED, SURROUNDED)
    ]


def scopes() -> Json:
    """Return plans' scope entries in order, and both roots."""
    found: list[Json] = []
    for plan in (a_change().records[1].record, full_plan()[1].record):
        assert isinstance(plan, Plan)
        found.append(
            {
                "steps": [to_json(step) for step in plan.steps],
                "work": [to_json(entry) for entry in scope_entries(plan, Phase.DO, Phase.PROBE)],
                "scope": scope_root(plan),
                "undo": [to_json(entry) for entry in scope_entries(plan, Phase.UNDO)],
                "undo_scope": undo_scope_root(plan),
            }
        )
    return found


def terms() -> Json:
    """Return terms and their digests."""
    asked = Terms(
        verdict=Verdict.APPROVAL_REQUIRED,
        approvals=(ApprovalRule(count=2, group="ops"),),
        obligations=Obligations(output_bytes=10, no_network=True),
        not_after=Book("x").at,
    )
    plain = Terms(verdict=Verdict.ALLOWED, approvals=(), obligations=Obligations())
    return [{"terms": to_json(one), "digest": terms_digest(one)} for one in (plain, asked)]


def tree() -> Json:
    """Return a log's leaves with their hashes, roots of all sizes, and every proof between them."""
    leaves = [b"", b"\x00", b"leaf 2", b"leaf 3", b"leaf 4", b"leaf 5", b"leaf 6"]
    log = Log()
    roots: list[Json] = [hexed(root_of([]))]
    inclusion: list[Json] = []
    consistency: list[Json] = []
    for size, leaf in enumerate(leaves, 1):
        log.append(leaf)
        roots.append(hexed(log.frontier.root()))
        for index in range(size):
            path: Json = [hexed(node) for node in log.prove(index)[1]]
            inclusion.append({"index": index, "size": size, "path": path})
        for old in range(size + 1):
            path = [hexed(node) for node in log.grown(old)[1]]
            consistency.append({"old": old, "new": size, "path": path})
    return {
        "leaves": [{"data": hexed(leaf), "hash": hexed(leaf_hash(leaf))} for leaf in leaves],
        "roots": roots,
        "inclusion": inclusion,
        "consistency": consistency,
    }


def keys() -> Json:
    """Return keys in every form, and the ids they have in notes."""
    found: list[Json] = []
    for signer, name in ((INSTANCE_KEY, ORIGIN), (WITNESS_KEY, "witness.example")):
        public = signer.public
        types = {str(int(kind)): NoteKey(name=name, public=public, type=kind) for kind in SignatureType}
        found.append(
            {
                "raw": hexed(public.raw),
                "line": public.line,
                "fingerprint": public.fingerprint,
                "pem": public.pem,
                "note_name": name,
                "note_key_ids": {kind: hexed(key.key_id) for kind, key in types.items()},
                "vkeys": {kind: key.encode() for kind, key in types.items()},
            }
        )
    return found


def notes() -> Json:
    """Return a checkpoint with the line of its log and of a witness."""
    log = Log()
    log.append(b"one")
    found = note.parse(log.checkpoint())
    seen = note.cosign(found.text, "witness.example", WITNESS_KEY, at_seconds=1_772_000_000)
    whole = replace(found, signatures=(*found.signatures, seen))
    return {
        "note": whole.encode().decode(),
        "text": found.text,
        "cosigned": f"cosignature/v1\ntime 1772000000\n{found.text}",
        "log": INSTANCE_KEY.public.line,
        "witness": WITNESS_KEY.public.line,
    }


def envelopes() -> Json:
    """Return a record with its Statement, PAE and envelope."""
    sealed = a_change().records[-1]
    payload = record_statement(sealed)
    return {
        "record": to_json(sealed.record),
        "digest": sealed.digest,
        "payload": payload.decode(),
        "pae": hexed(dsse.pae(PAYLOAD_TYPE, payload)),
        "envelope": record_envelope(sealed, INSTANCE_KEY).decode(),
        "key": INSTANCE_KEY.public.line,
    }


def sshsigs() -> Json:
    """Return a message with what its SSHSIG signs and the armored signature."""
    message = b"a message"
    return {
        "message": message.decode(),
        "namespace": APPROVAL_NAMESPACE,
        "signed": hexed(sshsig.signed_data(APPROVAL_NAMESPACE, message)),
        "armored": sshsig.sign(STRANGER_KEY, APPROVAL_NAMESPACE, message),
        "key": STRANGER_KEY.public.line,
    }


def suites() -> Json:
    """Return a signature by a key of every suite, and one by a security key that nobody touched."""
    signers = {suite.id: signer_of(suite.id) for suite in SUITES.entries}
    untouched = SecurityKey(SK_ED25519, 11, flags=0)
    return [
        {
            "suite": suite,
            "key": signer.public.line,
            "fingerprint": signer.public.fingerprint,
            "armored": sshsig.sign(signer, APPROVAL_NAMESPACE, b"a message"),
            "touched": signer is not untouched,
        }
        for suite, signer in (*signers.items(), (SK_ED25519, untouched))
    ]


def shown() -> str:
    """Return the characters that previews show as they are: ranges of code points in hex."""
    found: list[list[int]] = []
    for code in (code for code in range(0x110000) if escape(chr(code)) == chr(code)):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in found)


def vectors() -> dict[str, Json]:
    """Return everything that stands in the file."""
    members = {"b": b"second", "a.txt": b""}
    return {
        "canonical": canonical(),
        "times": times(),
        "digest": {"data": hexed(b"abc"), "digest": digest_of(b"abc")},
        "commitment": {
            "key": "07" * 32,
            "data": hexed(b"out\n"),
            "commitment": commit(b"\x07" * 32, b"out\n"),
        },
        "container": {
            "members": {name: hexed(data) for name, data in members.items()},
            "bytes": hexed(pack(members)),
        },
        "quoting": [{"text": one, "e": escape(one), "qq": in_quotes(one), "q": quote(one)} for one in TEXTS],
        "person_keys": [{"name": name, "key": person_key(name)} for name in PERSONS],
        "patterns": {"values": list(VALUES), "patterns": patterns()},
        "calls": calls(),
        "scopes": scopes(),
        "terms": terms(),
        "previews": previews(),
        "tree": tree(),
        "keys": keys(),
        "notes": notes(),
        "envelopes": envelopes(),
        "sshsig": sshsigs(),
        "suites": suites(),
        "shown": shown(),
    }


def page() -> str:
    """Return the file."""
    return json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the file."""
    FILE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
