"""The reader of every format that people write: what it says of a document, as findings with codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, NamedTuple

from rexecop.app.access import described
from rexecop.app.actions import _read as _actions
from rexecop.app.authority import signatures_required
from rexecop.app.notices import _routes
from rexecop.app.root import Root
from rexecop.app.secrets import _Reading
from rexecop.app.service_file import _service
from rexecop.app.settings import _from_file
from rexecop.app.sinks import read_sinks
from rexecop.app.unattended import _webhooks
from rexecop.governance.entities import read_entities
from rexecop.governance.golden import read_cases
from rexecop.governance.importing import convert
from rexecop.governance.pack import Pack
from rexecop.operations.catalogs import read_catalog
from rexecop.operations.days import read_day
from rexecop.operations.environment import read_environment
from rexecop.operations.errors import one_line
from rexecop.operations.golden import golden_cases
from rexecop.operations.normalizer_spec import read_normalizer
from rexecop.operations.operator_words import read_words
from rexecop.operations.profile import _contract, _read_fixture
from rexecop.operations.profile_parts import read_connector, read_intent
from rexecop.operations.reactions import PACK_FILE, read_pack
from rexecop.operations.reading import Node, Problems
from rexecop.operations.redaction import read_redaction
from rexecop.operations.scheduling import read_schedules
from rexecop.operations.trigger_rules import read_trigger_rules
from rexecop.operations.validation import read_rules
from rexecop.operations.workflow_parts import read_workflow
from rexecop.proof.errors import RexecopError

REFUSED: Final = "refused"


class Said(NamedTuple):
    """One refusal."""

    code: str
    message: str


Reader = Callable[[bytes, str], list[Said]]
"""Returns what is refused in the bytes of a file with that stem."""


def _gathered(read: Callable[[bytes, str, Problems], object]) -> Reader:
    def said(data: bytes, stem: str) -> list[Said]:
        problems = Problems(REFUSED)
        read(data, stem, problems)
        return [Said(found.code, found.message) for found in problems.errors()]

    return said


def _part(read: Callable[[Node, str], object]) -> Reader:
    def parsed(data: bytes, stem: str, problems: Problems) -> None:
        root = problems.parse(data, f"{stem}.yaml")
        if root is not None:
            read(root, stem)

    return _gathered(parsed)


def _raising(read: Callable[[bytes, str], object]) -> Reader:
    def said(data: bytes, stem: str) -> list[Said]:
        try:
            read(data, stem)
        except RexecopError as error:
            return [Said(error.code, one_line(str(error)))]
        return []

    return said


def _in_root(name: str, read: Callable[[Root], object]) -> Reader:
    def readable(data: bytes, _stem: str) -> object:
        root = Root(_folder())
        path = root.path / name
        path.write_bytes(data)
        path.chmod(0o600)
        return read(root)

    return _raising(readable)


@cache
def _folder() -> Path:
    return Path(mkdtemp(prefix="rexecop-written-"))


def _settings(project: bool) -> Reader:
    def read(data: bytes, _stem: str) -> object:
        path = _folder() / "rexecop.toml"
        path.write_text(toml(json.loads(data)))
        return _from_file(path, project=project)

    return _raising(read)


def toml(table: Mapping[str, object]) -> str:
    """Return a flat table, or something that is none, as TOML."""
    if not isinstance(table, dict):
        return json.dumps(table)
    return "".join(
        f"{json.dumps(key)} = {'{}' if isinstance(value, dict) else json.dumps(value)}\n"
        for key, value in table.items()
    )


PACK: Final = {"pack.yaml": b'{"id": "site", "version": 1}', "entities.yaml": b'{"groups": ["sre", "dba"]}'}


@cache
def _pack() -> Pack:
    return Pack.parse(PACK)


READERS: Final[Mapping[str, Reader]] = {
    "profile": _gathered(lambda data, _, problems: _contract({"profile.yaml": data}, problems)),
    "intent": _part(read_intent),
    "workflow": _part(read_workflow),
    "connector": _part(read_connector),
    "normalizer": _part(read_normalizer),
    "validation_rule": _part(read_rules),
    "fixture": _part(_read_fixture),
    "redaction": _part(read_redaction),
    "reaction_pack": _gathered(lambda data, _, problems: read_pack({PACK_FILE: data}, problems)),
    "trigger_rules": _part(lambda root, _: read_trigger_rules(root)),
    "operator_metadata": _part(lambda root, _: read_words(root)),
    "finding_taxonomy": _part(lambda root, _: None),
    "case": _raising(lambda data, stem: golden_cases({f"tests/{stem}.case.yaml": data})),
    "day": _raising(read_day),
    "environment": _gathered(lambda data, stem, problems: read_environment({stem: data}, problems)),
    "target_catalog": lambda data, stem: [
        Said(found.code, found.message) for found in read_catalog(stem, data).problems.errors()
    ],
    "schedules": _gathered(read_schedules),
    "webhooks": _gathered(_webhooks),
    "execute": _gathered(lambda data, _, problems: _actions(Root(_folder()), data, problems)),
    "notify": _part(lambda root, _: _routes(root, {})),
    "secrets": _raising(lambda data, stem: _Reading({}).all(data, stem)),
    "service": _part(lambda root, _: _service(root)),
    "authzen": _in_root("authzen.yaml", described),
    "sinks": _in_root("sinks.yaml", read_sinks),
    "signing": _in_root("signing.yaml", lambda root: signatures_required(root.path)),
    "pack": _raising(lambda data, _: Pack.parse({"pack.yaml": data})),
    "entities": _raising(lambda data, stem: read_entities(data, source=stem)),
    "windows": _raising(lambda data, _: Pack.parse({**PACK, "windows.yaml": data})),
    "policy_cases": _raising(lambda data, stem: read_cases({f"tests/{stem}.yaml": data}, _pack())),
    "imported_policy": _raising(lambda data, stem: convert(data, source=stem, approvers="approvers")),
    "project_settings": _settings(project=True),
    "user_settings": _settings(project=False),
}
