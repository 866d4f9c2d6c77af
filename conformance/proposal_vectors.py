"""What programs that nobody trusts may propose, and everything that is refused, each with its code.

`generate.py` writes them into `proposals`: one file for each, as it would come, and `index.json`, which
says what must be answered. PROTOCOL.md says how a reader is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rexecop.operations.errors import ProposalRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.operations.proposals import BYTES_MAX, EXPLANATION_MAX, Proposal, Why, check_about, read_proposal
from rexecop.operations.reactions import reaction_id
from rexecop.proof.canonical import Json, canonical_bytes, digest_of, parse_json
from rexecop.proof.codec import encode, from_json
from rexecop.proof.reaction import Observation

FOLDER: Final = Path(__file__).resolve().parent / "proposals"
OPERATION: Final = f"op_{'0' * 31}1"
OTHER: Final = f"op_{'0' * 31}2"
EVIDENCE: Final = f"operations/{OPERATION}/web1"
FACTS: Final[dict[str, Json]] = {"level": 9, "complete": True}
AUTHORITY: Final[dict[str, Json]] = {
    "trusted": False,
    "may_execute": False,
    "requires_profile_validation": True,
    "requires_govengine_admission": True,
}


@dataclass(frozen=True)
class Vector:
    """A proposal as it comes; with `about` it must be about the observation beside it."""

    name: str
    title: str
    data: bytes
    about: bool = False


def profile() -> Profile:
    """Return the profile that the proposals are about."""
    root = FOLDER / "profile"
    return load_profile({str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.yaml")})


def observation(known: Profile) -> bytes:
    """Return what an operation observed, which some of the proposals are about."""
    seen: dict[str, Json] = {
        "artifact_type": "observation_envelope",
        "schema_ref": "schemas/observation_envelope.v0.1.json",
        "schema_version": "v0.1",
        "observation_id": f"observation:{OPERATION}:web1",
        "observed_at": "2026-03-01T09:00:00.000Z",
        "profile_ref": {"id": known.name, "version": known.version, "digest": known.digest},
        "source": {"operation_id": OPERATION, "intent_id": "look", "target_id": "web1"},
        "facts": FACTS,
    }
    return canonical_bytes(seen)


def proposal_id(reaction: str, outcome: str, intent: str | None, operation: str = OPERATION) -> str:
    """Return the id that follows from what a proposal is about."""
    parts: list[Json] = [operation, reaction, outcome, intent, digest_of(canonical_bytes(FACTS))]
    return f"vectors-proposal-{digest_of(canonical_bytes(parts)).removeprefix('sha256:')[:24]}"


def vectors(seen: Observation, known: Profile) -> Iterator[Vector]:
    """Yield every vector."""
    pack = known.reactions
    assert pack is not None
    reaction = reaction_id(seen, pack.rules[0])
    good: dict[str, Json] = {
        "artifact_type": "escalation_proposal",
        "schema_ref": "schemas/escalation_proposal.v0.1.json",
        "schema_version": "v0.1",
        "proposal_id": proposal_id(reaction, "escalate", None),
        "reaction_id": reaction,
        "created_at": "2026-03-01T09:00:00.000Z",
        "suggested_outcome": "escalate",
        "intent_ref": None,
        "explanation": "health unknown, coverage complete; findings: high (medium)",
        "evidence_refs": [EVIDENCE],
        "authority": AUTHORITY,
    }
    text = json.dumps(good, separators=(",", ":"), sort_keys=True)
    for name, title, changes in (*_accepted(), *_refused(), *_injected()):
        yield Vector(name, title, _said(good, changes))
    for name, title, data in _malformed(text):
        yield Vector(name, title, data)
    for field in good:
        rest = {key: value for key, value in good.items() if key != field}
        yield Vector(f"without-{field}", f"It has no `{field}`.", _said(rest, {}))
    for name, title, changes in _about(reaction, reaction_id(seen, pack.rules[1])):
        yield Vector(name, title, _said(good, changes), about=True)


def _accepted() -> Iterator[tuple[str, str, Mapping[str, Json]]]:
    run, retry = "run_intent", "retry_intent"
    yield "escalation", "It hands what was seen to people.", {}
    yield "run-intent", "It suggests an intent that reads.", {"suggested_outcome": run, "intent_ref": "look"}
    yield "retry-intent", "It suggests to look again.", {"suggested_outcome": retry, "intent_ref": "look"}
    yield "no-op", "It suggests nothing.", {"suggested_outcome": "no_op"}
    yield "id-of-its-own", "Its id is of another program's making.", {"proposal_id": "model-7.answer_12"}
    yield (
        "longest-explanation",
        "Its explanation has as many characters as one may have.",
        {"explanation": "x" * EXPLANATION_MAX},
    )
    yield "explanation-in-polish", "Characters count, not bytes.", {"explanation": "ż" * EXPLANATION_MAX}
    yield (
        "most-references",
        "It names as much evidence as one may.",
        {"evidence_refs": [f"records/{n}" for n in range(16)]},
    )
    yield (
        "deep-reference",
        "A reference is a path of sixteen names.",
        {"evidence_refs": ["/".join("abcdefghijklmnop")]},
    )


def _refused() -> Iterator[tuple[str, str, Mapping[str, Json]]]:
    def may(**changes: Json) -> Mapping[str, Json]:
        return {"authority": {**AUTHORITY, **changes}}

    yield "may-execute", "It says that it may execute.", may(may_execute=True)
    yield "trusted", "It says that it is trusted.", may(trusted=True)
    yield (
        "validated-already",
        "It says that no profile needs to know it.",
        may(requires_profile_validation=False),
    )
    yield (
        "admitted-already",
        "It says that no policy needs to admit it.",
        may(requires_govengine_admission=False),
    )
    yield (
        "may-execute-as-a-word",
        "Authority is a word where true or false belongs.",
        may(may_execute="false"),
    )
    yield "may-execute-as-a-number", "Authority is a number where true or false belongs.", may(may_execute=0)
    yield "authority-with-more", "Its authority has a field of its own.", may(run_as="root")
    yield "authority-of-nothing", "It has no object as its authority.", {"authority": None}
    yield "another-artifact", "It is another kind of document.", {"artifact_type": "observation_envelope"}
    yield "schema-elsewhere", "Its schema is at an address.", {"schema_ref": "https://example.org/schema"}
    yield "another-version", "It is of a version that nobody knows.", {"schema_version": "v9"}
    yield "id-out-of-the-folder", "Its id leads out of a folder.", {"proposal_id": "../x"}
    yield "empty-reaction", "It names no reaction.", {"reaction_id": ""}
    yield (
        "reaction-of-two-lines",
        "The reaction it names has two lines.",
        {"reaction_id": "reaction-1\nreaction-2"},
    )
    yield "time-in-words", "Its time is none.", {"created_at": "yesterday"}
    yield "time-without-zone", "Its time has no zone.", {"created_at": "2026-03-01T09:00:00"}
    yield "unknown-outcome", "It suggests what no rule can.", {"suggested_outcome": "apply"}
    yield (
        "run-without-intent",
        "It suggests to run nothing in particular.",
        {"suggested_outcome": "run_intent"},
    )
    yield "escalation-with-intent", "It escalates, and names an intent.", {"intent_ref": "look"}
    for outcome in ("run_intent", "retry_intent"):
        word = outcome.partition("_")[0]
        asks: dict[str, Json] = {"suggested_outcome": outcome}
        yield f"{word}-unknown-intent", "No profile has the intent.", {**asks, "intent_ref": "no_such_intent"}
        yield f"{word}-change", "The intent changes something.", {**asks, "intent_ref": "set_line"}
    yield (
        "intent-by-path",
        "The intent is a path.",
        {"suggested_outcome": "run_intent", "intent_ref": "../intents/look"},
    )
    yield "unknown-field", "It has a field that none has.", {"command": "reboot"}
    yield "explanation-as-list", "Its explanation is a list.", {"explanation": ["health unknown"]}
    yield "references-as-text", "Its evidence is no list.", {"evidence_refs": EVIDENCE}
    yield "reference-of-a-number", "Its evidence is a number.", {"evidence_refs": [1]}


def _injected() -> Iterator[tuple[str, str, Mapping[str, Json]]]:
    """Yield what a text or a path would do to whoever reads it."""
    texts = {
        "empty-explanation": "",
        "long-explanation": "x" * (EXPLANATION_MAX + 1),
        "explanation-of-two-lines": "health unknown\nand more",
        "explanation-with-escape": "health \x1b[2Junknown",
        "explanation-read-backwards": "health \u202eunknown",
        "explanation-with-key": "-----BEGIN OPENSSH PRIVATE KEY-----",
        "explanation-with-bearer": "send Bearer abc",
        "explanation-with-address": "see https://example.org",
        "explanation-with-sudo": "try SUDO reboot",
        "explanation-with-docker": "docker  restart zabbix",
        "explanation-with-systemctl": "systemctl restart chrony",
        "explanation-with-password": "the password is wrong",
        "explanation-with-token": "a token ran out",
        "explanation-with-secret": "a secret is missing",
    }
    for name, text in texts.items():
        yield name, "The explanation is not one line of words about evidence.", {"explanation": text}
    paths: dict[str, list[Json]] = {
        "no-evidence": [],
        "too-much-evidence": [f"records/{n}" for n in range(17)],
        "absolute-reference": ["/etc/passwd"],
        "reference-upwards": ["a/../b"],
        "reference-home": ["~/x"],
        "reference-with-backslash": ["a\\b"],
        "reference-with-scheme": ["file:x"],
        "empty-reference": [""],
        "long-reference": ["x" * 257],
        "reference-too-deep": ["/".join("abcdefghijklmnopq")],
    }
    for name, found in paths.items():
        yield name, "Its evidence is not one to sixteen relative paths.", {"evidence_refs": found}


def _malformed(text: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield what is no JSON as evidence has it, made of the proposal `text`."""

    def instead(old: str, new: str) -> bytes:
        assert old in text
        return text.replace(old, new).encode()

    yield "nothing", "It is empty.", b""
    yield "half", "It ends in the middle.", text.encode()[: len(text) // 2]
    yield "two", "There are two.", text.encode() * 2
    yield "list", "It is a list of one proposal.", f"[{text}]".encode()
    yield "text", "It is a text.", b'"escalate"'
    yield "yaml", "It is YAML.", b"artifact_type: escalation_proposal\n"
    yield "not-utf8", "A byte of it is no UTF-8.", text.encode().replace(b"unknown", b"unkn\xffwn")
    yield "byte-order-mark", "A mark stands before it.", b"\xef\xbb\xbf" + text.encode()
    yield "lone-surrogate", "Half a character stands in it.", instead("unknown", "unkn\\ud800wn")
    yield "nan", "A number of it is none.", instead('"may_execute":false', '"may_execute":NaN')
    yield "infinity", "A number of it has no end.", instead('"may_execute":false', '"may_execute":-Infinity')
    yield "fraction", "A number of it has a fraction.", instead('"may_execute":false', '"may_execute":0.0')
    yield (
        "huge-number",
        "A number of it is too large.",
        instead('"may_execute":false', f'"may_execute":1{"0" * 400}'),
    )
    twice = '"may_execute":true,"may_execute":false'
    yield "key-twice", "A key of it stands there twice.", instead('"may_execute":false', twice)
    escaped = '"may_execut\\u0065":true,"may_execute":false'
    yield (
        "key-twice-in-two-spellings",
        "One key stands there in two spellings.",
        instead('"may_execute":false', escaped),
    )
    yield "comment", "It has a comment.", instead('{"artifact_type"', '{/* trusted */"artifact_type"')
    yield "trailing-comma", "It has a comma too many.", instead('"escalate"}', '"escalate",}')
    deep = "[" * 200 + "]" * 200
    yield "deep", "It is 200 arrays deep.", instead('"intent_ref":null', f'"intent_ref":{deep}')
    yield "very-deep", "It is 8000 arrays deep.", b"[" * 8000 + b"]" * 8000
    yield "too-large", f"It has more than {BYTES_MAX} bytes.", instead("health unknown", "x" * BYTES_MAX)
    yield (
        "too-much-room",
        f"With the room around it, it has more than {BYTES_MAX} bytes.",
        text.encode() + b" " * BYTES_MAX,
    )


def _about(reaction: str, other: str) -> Iterator[tuple[str, str, Mapping[str, Json]]]:
    """Yield proposals that should be about the observation, whose reaction is `reaction`."""
    asks: dict[str, Json] = {"suggested_outcome": "run_intent", "intent_ref": "look"}
    named = {**asks, "proposal_id": proposal_id(reaction, "run_intent", "look")}
    yield "about-what-was-observed", "Every digest is that of the observation.", named
    yield (
        "about-with-id-of-its-own",
        "Only the reaction has a digest to be compared.",
        {"proposal_id": "model-7"},
    )
    yield (
        "about-another-rule",
        "Its reaction is by a rule that does not hold.",
        {"reaction_id": other, "proposal_id": proposal_id(other, "escalate", None)},
    )
    yield "about-no-reaction", "Its reaction is of nothing.", {"reaction_id": f"reaction-{'0' * 24}"}
    yield "id-of-another-outcome", "Its id is of another outcome.", asks
    yield (
        "id-of-another-operation",
        "Its id is of another operation.",
        {"proposal_id": proposal_id(reaction, "escalate", None, OTHER)},
    )
    yield (
        "evidence-of-another-operation",
        "Its evidence is of another operation.",
        {"evidence_refs": [f"operations/{OTHER}/web1"]},
    )
    yield (
        "evidence-of-another-target",
        "Its evidence is of another target.",
        {"evidence_refs": [f"operations/{OPERATION}/web2"]},
    )


def _said(good: Mapping[str, Json], changes: Mapping[str, Json]) -> bytes:
    return json.dumps({**good, **changes}, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def answer(vector: Vector, seen: Observation, known: Profile) -> Mapping[str, Json]:
    """Return what must be answered: the digest of an accepted proposal, or the code of the refusal."""
    assert known.reactions is not None
    try:
        found: Proposal = read_proposal(vector.data, known)
        if vector.about:
            check_about(found, seen, known.reactions)
    except ProposalRefused as refused:
        return {"code": str(Why(str(refused.facts["why"])))}
    return {"digest": digest_of(encode(found))}


def files() -> Mapping[str, bytes]:
    """Return everything in `proposals` but the profile, by name."""
    known = profile()
    about = observation(known)
    seen = from_json(Observation, parse_json(about, bytes_max=len(about)))
    listed: dict[str, Json] = {}
    found = {"observation.json": about}
    for vector in vectors(seen, known):
        said = answer(vector, seen, known)
        name = f"{said.get('code', 'accepted')}_{vector.name}.json"
        if name in found:
            raise SystemExit(f"two proposals are called {name}")
        found[name] = vector.data
        more: dict[str, Json] = {"about": "observation.json"} if vector.about else {}
        listed[name] = {"title": vector.title, **more, **said}
    index: dict[str, Json] = {"profile": "profile", "proposals": listed}
    found["index.json"] = (json.dumps(index, indent=1) + "\n").encode()
    return found


def write(folder: Path = FOLDER) -> int:
    """Write the vectors anew beside the profile, and return how many there are."""
    for old in folder.glob("*.json"):
        old.unlink()
    made = files()
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return len(made) - 2
