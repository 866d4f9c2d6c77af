"""Policy packs: a folder of Cedar text, checked as a whole and named by one digest.

pack.yaml                id, version; issuer, validity, description
*.cedar                  rules: permits and forbids
requirements/*.cedar     requirements: written as `permit`, they say when they apply
entities.yaml            people, groups, agents, services, target groups, actions
windows.yaml             maintenance windows, freezes, who may set them aside or lift a halt
schema.cedarschema       a copy of the schema, for editors
tests/*.yaml, README.md  for people; covered by the digest like the rest
pack.sig                 an issuer's signature over the digest; the one file it does not cover
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar, Final

from rexecop.execution.strict_yaml import Document, forbidden_character, load_yaml
from rexecop.governance.actions import Listing
from rexecop.governance.cedar import Rule, read_rules, split
from rexecop.governance.entities import NOBODY, Entities, mapping, read_entities
from rexecop.governance.errors import (
    AnnotationWrong,
    EntitiesWrong,
    PackFileUnknown,
    PackManifestWrong,
    PackRefused,
    PackTooLarge,
    PackUnsigned,
    PolicyMalformed,
    WindowsWrong,
)
from rexecop.governance.grammar import ID
from rexecop.governance.schedules import ENTRIES_MAX, names, read_entry
from rexecop.governance.schema import EARLIER, SCHEMA
from rexecop.governance.windows import Entry, Schedule
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.decision import PackRef
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role

FILES_MAX: Final = 256  # More files than this are not one body of rules.
FILE_BYTES_MAX: Final = 1024 * 1024
PACK_BYTES_MAX: Final = 8 * 1024 * 1024  # The size of a pack of 10,000 long policies.
POLICY_NAMESPACE: Final = "policy@rexecop"
SIGNATURE: Final = "pack.sig"
RULES_MAX: Final = 20_000  # Twice the largest pack whose speed is measured.

_FILE: Final = re.compile(
    r"pack\.yaml|entities\.yaml|windows\.yaml|schema\.cedarschema|README\.md"
    r"|(?:requirements/)?[A-Za-z0-9_.-]+\.cedar|tests/[A-Za-z0-9_.-]+\.yaml"
)
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,31}")
_MANIFEST_FIELDS: Final = frozenset({"id", "version", "issuer", "validity", "description"})
_WINDOWS: Final = "windows.yaml"
_WINDOWS_FIELDS: Final = frozenset({"maintenance_windows", "freezes", "override", "lift_halt"})
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackText:
    """The files of a pack as one value; the digest of its canonical bytes names the pack.

    `groups` says again who is in which group, for verifiers that read no YAML.
    """

    kind: ClassVar[str] = "policy-pack/1"

    files: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A pack that was read whole and without fault. `data` are the bytes `ref.digest` names.

    It holds from `not_before` until `not_after`, where it says so, and where it has to be
    signed as long as the enrolment `signed_by` does. `signature` is as found: nothing is
    proved about it before `signed`.
    """

    ref: PackRef
    not_before: datetime | None
    not_after: datetime | None
    rules: tuple[Rule, ...]
    requirements: tuple[Rule, ...]
    entities: Entities
    schedule: Schedule
    data: bytes
    signature: bytes | None = None
    signed_by: Enrolment | None = None

    @classmethod
    def parse(cls, files: Mapping[str, bytes]) -> Pack:
        """Return the pack made of `files` (path within the pack to content).

        Raises:
            PackRefused: a file, policy, annotation, name or limit is wrong, with its place.
            YamlRefused: `pack.yaml` or `entities.yaml` is not strict YAML.
        """
        texts = _checked_texts({path: data for path, data in files.items() if path != SIGNATURE})
        document = _manifest(texts)
        _require_few(texts)
        entities = NOBODY
        if "entities.yaml" in files:
            entities = read_entities(files["entities.yaml"], source="entities.yaml")
        rules, requirements = (tuple(_rules(texts, kind, entities.actions)) for kind in (False, True))
        _check_rules((*rules, *requirements), entities)
        name = _word(document, "id", ID)
        groups = {group: tuple(sorted(persons)) for group, persons in entities.members().items()}
        data = encode(PackText(files=texts, groups=groups))
        return cls(
            ref=PackRef(
                id=name,
                version=_word(document, "version", _VERSION),
                digest=digest_of(data),
            ),
            not_before=_moment(document, "not_before"),
            not_after=_moment(document, "not_after"),
            rules=rules,
            requirements=requirements,
            entities=entities,
            schedule=_schedule(texts, entities, f"pack `{name}`"),
            data=data,
            signature=files.get(SIGNATURE),
        )

    def signed(self, enrolled: Iterable[Enrolment]) -> Pack:
        """Return this pack as one that holds while the key that signed it does.

        Raises:
            PackUnsigned: `pack.sig` is missing, cannot be read, is over something else, or by nobody's
                key who issues packs.
        """
        if self.signature is None:
            raise _unsigned("it is missing, and packs have to be signed here")
        from rexecop.proof import sshsig  # Whose packs need not be signed need not wait for it.

        try:
            armored = self.signature.decode("ascii", "replace")
            key = sshsig.verify(armored, self.ref.digest.encode(), POLICY_NAMESPACE).public.fingerprint
        except RexecopError as error:
            raise _unsigned(f"no signature of `{self.ref.digest}`: {error.message}") from error
        mine = [one for one in enrolled if one.fingerprint == key and one.role is Role.ISSUER]
        standing = [one for one in mine if one.revoked is None]
        if not standing:
            what = "was revoked" if mine else "is enrolled for nobody who issues packs"
            raise _unsigned(f"it is by key `{key}`, which {what}")
        return replace(self, signed_by=standing[-1])

    def invalid_at(self, moment: datetime) -> str | None:
        """Return in words why the pack does not hold at `moment`, or None when it does."""
        if self.not_before is not None and moment < self.not_before:
            return f"pack `{self.ref.id}` is not valid yet"
        if self.not_after is not None and moment >= self.not_after:
            return f"pack `{self.ref.id}` has expired"
        if self.signed_by is not None and not self.signed_by.valid_at(moment):
            return f"the key of `{self.signed_by.person}` that signed pack `{self.ref.id}` has expired"
        return None


def _unsigned(what: str) -> PackUnsigned:
    return PackUnsigned(what, source=SIGNATURE, step="rexecop policy sign DIR --key ISSUER_KEY")


def _checked_texts(files: Mapping[str, bytes]) -> dict[str, str]:
    if len(files) > FILES_MAX:
        raise PackTooLarge(f"{len(files)} files, at most {FILES_MAX} are read", source="pack")
    if sum(map(len, files.values())) > PACK_BYTES_MAX:
        raise PackTooLarge(f"more than {PACK_BYTES_MAX} bytes in all", source="pack")
    return {path: _checked_text(path, files[path]) for path in sorted(files)}


def _checked_text(path: str, data: bytes) -> str:
    if not _FILE.fullmatch(path):
        raise PackFileUnknown("no file of a policy pack; it would be ignored", source=path[:200])
    if len(data) > FILE_BYTES_MAX:
        raise PackTooLarge(f"{len(data)} bytes, at most {FILE_BYTES_MAX} are read", source=path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyMalformed("not UTF-8", source=path, line=line) from error
    found = forbidden_character(text)
    if found is not None:
        raise PolicyMalformed(f"character {found[0]} is not allowed", source=path, line=found[1])
    if path == "schema.cedarschema" and text != SCHEMA and digest_of(data) not in EARLIER:
        raise PackRefused("not the schema in use; leave the file out or write the shipped one", source=path)
    return text


def _manifest(texts: Mapping[str, str]) -> Document:
    if "pack.yaml" not in texts:
        raise PackManifestWrong("it is missing; it names the pack's `id` and `version`", source="pack.yaml")
    document = load_yaml(texts["pack.yaml"], source="pack.yaml")
    fields = mapping(document, (), _MANIFEST_FIELDS, PackManifestWrong)
    mapping(document, ("validity",), frozenset({"not_before", "not_after"}), PackManifestWrong)
    if not isinstance(fields.get("issuer"), str | None):
        raise _manifest_wrong(document, "issuer", "`issuer` is text")
    return document


def _word(document: Document, name: str, form: re.Pattern[str]) -> str:
    value = mapping(document, (), None, PackManifestWrong).get(name)
    # `version: 1.10` keeps its digits as a decimal, so it can be taken as written.
    text = "" if value is None or isinstance(value, bool | list | dict) else str(value)
    if not form.fullmatch(text):
        what = f"`{name}` is missing or not a short word like `{form.pattern}`"
        raise _manifest_wrong(document, name, what)
    return text


def _moment(document: Document, name: str) -> datetime | None:
    value = mapping(document, ("validity",), None, PackManifestWrong).get(name)
    if value is None:
        return None
    if isinstance(value, str) and (_DAY.fullmatch(value) or _MOMENT.fullmatch(value)):
        try:
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        except ValueError:
            pass  # It has the form of a date that does not exist; the answer below says so.
    what = f"`{value}` is not a UTC time like `2026-01-31` or `2026-01-31T09:30:00Z`"
    raise _manifest_wrong(document, "validity", what)


def _manifest_wrong(document: Document, name: str, what: str) -> PackManifestWrong:
    return PackManifestWrong(what, source=document.source, line=document.line((name,)))


def _rules(texts: Mapping[str, str], requirement: bool, listing: Listing) -> Iterator[Rule]:
    for path, text in texts.items():
        if path.endswith(".cedar") and path.startswith("requirements/") == requirement:
            yield from read_rules(text, source=path, requirement=requirement, listing=listing)


def _schedule(texts: Mapping[str, str], entities: Entities, name: str) -> Schedule:
    if _WINDOWS not in texts:
        return Schedule(source=name)
    document = load_yaml(texts[_WINDOWS], source=_WINDOWS)
    fields = dict(mapping(document, (), _WINDOWS_FIELDS, WindowsWrong))
    try:
        override, lift_halt = names(fields, "override"), names(fields, "lift_halt")
    except ValueError as error:
        raise WindowsWrong(str(error), source=_WINDOWS) from error
    for group in (*override, *lift_halt):
        if group not in entities.groups:
            what = f"it names group `{group}`, which entities.yaml does not have"
            raise EntitiesWrong(what, source=_WINDOWS)
    return Schedule(
        source=name,
        windows=tuple(_entries(document, "maintenance_windows")),
        freezes=tuple(_entries(document, "freezes")),
        override=override,
        lift_halt=lift_halt,
    )


def _entries(document: Document, section: str) -> Iterator[Entry]:
    listed = mapping(document, (), None, WindowsWrong).get(section, [])
    if not isinstance(listed, list) or len(listed) > ENTRIES_MAX:
        what = f"`{section}` is not a list of up to {ENTRIES_MAX} entries"
        raise WindowsWrong(what, source=_WINDOWS, line=document.line((section,)))
    for index, value in enumerate(listed):
        try:
            yield read_entry(value)
        except ValueError as error:
            what, line = f"`{section}[{index}]`: {error}", document.line((section, index))
            raise WindowsWrong(what, source=_WINDOWS, line=line) from error


def _require_few(texts: Mapping[str, str]) -> None:
    """Count policies before any is parsed: that takes a thousand times as long."""
    cedar = [(path, text) for path, text in texts.items() if path.endswith(".cedar")]
    if sum(text.count(";") for _, text in cedar) <= RULES_MAX:
        return
    found = sum(1 for path, text in cedar for _ in split(text, source=path))
    if found > RULES_MAX:
        raise PackTooLarge(f"{found} policies, at most {RULES_MAX} are read", source="pack")


def _check_rules(rules: tuple[Rule, ...], entities: Entities) -> None:
    seen: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in seen:
            first = seen[rule.id]
            what = f"policy id `{rule.id}` is used already at {first.source}:{first.line}"
            raise AnnotationWrong(what, source=rule.source, line=rule.line)
        seen[rule.id] = rule
        missing = entities.lacks(rule)
        if missing is not None:
            what = f"policy `{rule.id}` names {missing}, which entities.yaml does not have"
            raise EntitiesWrong(what, source=rule.source, line=rule.line)
