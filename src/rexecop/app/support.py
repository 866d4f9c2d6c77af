"""A support bundle: how a root is doing, for somebody who must not see what is done with it.

What goes in is chosen field by field; there is nothing that filters secrets out of more.
Persons and targets get names that hold within one bundle. Parameters, outputs, reasons,
messages and whatever else people or programs wrote as text stay where they are.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, Final

from rexecop import __version__
from rexecop.app.errors import SupportUnredacted
from rexecop.app.instance import Instance
from rexecop.app.sealed import ENVELOPE, MANIFEST, new_file, seal_manifest
from rexecop.app.settings import SETTINGS, Kind, Settings
from rexecop.app.views import CheckView
from rexecop.lanes.failures import Failure
from rexecop.proof.canonical import Digest, Json, canonical_bytes, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode, to_json
from rexecop.proof.container import pack
from rexecop.proof.errors import RexecopError
from rexecop.proof.records import Outcome
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Ended
from rexecop.store.reading import Reading

OPERATIONS_MAX: Final = 200  # The newest: what went wrong is among them.
ERRORS_MAX: Final = 50
PACKAGES: Final = ("apsw", "cedarpy", "click", "cryptography", "jsonschema", "msgspec", "pyyaml", "rich")
# Of each kind the fields that only take words and numbers of ours, and the names of steps.
ROW: Final = ("operation", "state", "mode", "profile", "intent")
SHOWN: Final = {
    "decision/1": ("request.gate", "terms.verdict"),
    "approval/1": ("statement.approves",),
    "attempt/1": ("permit.step", "phase", "isolation"),
    "outcome/1": ("step", "ended", "status", "duration_ms"),
    "command/1": ("verb",),
    "validation/1": ("verdict",),
    "receipt/1": ("state", "attempts"),
}
WRONG: Final = (Ended.FAILED, Ended.REFUSED, Ended.UNKNOWN)
# Checks whose words are the program's own or the system's; others may quote names, paths or files.
SPOKEN: Final = ("storage", "index", "clock", "disk", "isolation")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportManifest:
    """What a support bundle holds; `checkpoint` is the newest, by the digest of its note, where one is."""

    kind: ClassVar[str] = "support-bundle/1"

    instance: str
    program: str
    checkpoint: Digest | None
    members: Mapping[str, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportView:
    """A support bundle that was written."""

    path: str
    bytes: int
    digest: Digest


def write_support_bundle(instance: Instance, path: Path, *, redacted: bool) -> SupportView:
    """Write what helps to find a fault, and no secret, to the new file `path`.

    Raises:
        SupportUnredacted: it was not asked for redacted. FileRefused: it cannot be written.
    """
    if not redacted:
        raise SupportUnredacted(
            "a support bundle is given to others, so there is only the redacted one: no parameters, outputs, "
            "reasons or names; evidence for whoever may see all of it is what `rexecop export` writes",
            next_steps=("rexecop support bundle --redacted",),
        )
    ledger, policy = instance.parts.ledger, instance.parts.authority.policy()
    try:
        note = instance.log_checkpoint().encode()
    except RexecopError:
        kept = ledger.kept_checkpoint()  # Damaged: what was signed last still stands.
        note = b"" if kept is None else kept.note
    skeletons, errors = _skeletons(ledger)
    parts: dict[str, Json] = {
        "about.json": {
            "program": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in PACKAGES},
        },
        "settings.json": _settings(instance.settings),
        "doctor.json": [_check(item) for item in instance.check().checks],
        "policy.json": {"packs": [to_json(pack) for pack in policy.packs], "rules": policy.rule_ids},
        "ledger.json": {
            **ledger.counts(),
            "epoch": ledger.epoch,
            "quarantined": sorted(ledger.quarantined()),
        },
        "errors.json": errors,
        "skeletons.json": skeletons,
    }
    members = {name: canonical_bytes(value) for name, value in parts.items()} | {"checkpoint.txt": note}
    digests = {name: digest_of(data) for name, data in members.items()}
    bound = digests["checkpoint.txt"] if note else None
    manifest = encode(
        SupportManifest(instance=ledger.instance_id, program=__version__, checkpoint=bound, members=digests)
    )
    envelope = seal_manifest(manifest, instance.parts.world.signer)
    data = pack({**members, MANIFEST: manifest, ENVELOPE: envelope})
    with new_file(path) as part:
        part.write_bytes(data)
    return SupportView(path=str(path), bytes=len(data), digest=digest_of(data))


def _settings(settings: Settings) -> Json:
    """Return settings that only take words of ours; of texts and paths only whether they are set."""
    found: dict[str, Json] = {}
    for setting in SETTINGS:
        value = getattr(settings, "as_label" if setting.name == "as" else setting.name, None)
        said = "default" if value in (None, "", setting.default) else "set"
        plain = setting.choices or setting.kind in (Kind.FLAG, Kind.INTEGER)
        found[setting.name] = value if plain else said
    return found


def _check(check: CheckView) -> Json:
    facts = dict(check.facts or {})
    if check.name.split()[0] not in SPOKEN:
        return {"name": check.name, "status": check.status, "code": facts.get("code")}
    return {"name": check.name, "status": check.status, "message": check.message, "facts": facts}


def _skeletons(ledger: Reading) -> tuple[list[Json], list[Json]]:
    """Return the newest operations without what they were about, and the last calls that went wrong."""
    names: dict[tuple[str, str], str] = {}
    skeletons: list[Json] = []
    errors: list[Json] = []
    for number, row in ledger.rows(limit=OPERATIONS_MAX):
        journal = ledger.journal(row.operation)
        records = [_record(sealed, names) for sealed in journal.records]
        errors += [{"number": number, **found} for found in records[::-1] if found.get("ended") in WRONG]
        shown: dict[str, Json] = {name: getattr(row, name) for name in ROW}
        shown |= {
            "target": _stand_in(names, "target", row.target),
            "damaged": [one.n for one in journal.damaged],
        }
        skeletons.append({"number": number, **shown, "records": records})
    return skeletons, errors[:ERRORS_MAX]


def _record(sealed: Sealed, names: dict[tuple[str, str], str]) -> dict[str, Json]:
    record = sealed.record
    by = f"{_stand_in(names, 'person', record.by.person)} ({record.by.established})"
    found: dict[str, Json] = {"n": record.n, "kind": record.kind, "at": format_time(record.at), "by": by}
    found["bytes"] = len(sealed.body)
    for place in SHOWN.get(record.kind, ()):
        value = attrgetter(place)(record)
        # A step on one of several targets has the target in its name.
        found[place.rpartition(".")[2]] = value.partition("@")[0] if place.endswith("step") else value
    if isinstance(record, Outcome):
        found["error_class"] = record.error_class if record.error_class in tuple(Failure) else None
    return found


def _stand_in(names: dict[tuple[str, str], str], what: str, name: str) -> str:
    """Return the name that stands for a person or target within one bundle, by who came first."""
    return names.setdefault((what, name), f"{what}-{sum(kind == what for kind, _ in names) + 1}")
