"""Profiles: from files to one typed value that fits together, or the place of what does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from rexecop.operations.errors import ProfileRefused, SecretInline
from rexecop.operations.handlers import FILE as HANDLERS_FILE
from rexecop.operations.handlers import read_handlers
from rexecop.operations.normalizer_spec import read_normalizer
from rexecop.operations.operator_words import FILE as WORDS_FILE
from rexecop.operations.operator_words import OperatorWords, read_words
from rexecop.operations.pinned_files import profile_snapshot
from rexecop.operations.process_spec import SCRIPTS
from rexecop.operations.profile_model import Profile
from rexecop.operations.profile_parts import read_connector, read_intent
from rexecop.operations.reactions import PACK_FILE, check_names, read_pack
from rexecop.operations.reading import Node, Place, Problems, listed
from rexecop.operations.redaction import read_redaction
from rexecop.operations.scripted import ScriptedAction, read_scripted_action
from rexecop.operations.trigger_rules import FILE as TRIGGERS
from rexecop.operations.trigger_rules import read_trigger_rules
from rexecop.operations.validation import read_rules
from rexecop.operations.workflow_parts import read_workflow
from rexecop.proof.canonical import digest_of

PROFILE_FILE: Final = "profile.yaml"
SECTIONS: Final = (
    "intents workflows connector_requirements risk_classes evidence_requirements governance_expectations "
    "validation_rules escalation_rules"
)
OPAQUE: Final = ("reactions/",)

T = TypeVar("T")


def load_profile(files: Mapping[str, bytes]) -> Profile:
    """Return the profile in `files` (path inside the profile to content).

    Raises:
        ProfileRefused: a file breaks its format; the message names file, line and field.
    """
    problems = Problems(ProfileRefused.code)
    profile = read_profile(files, problems)
    problems.raise_first(ProfileRefused, SecretInline)
    return profile


def read_profile(files: Mapping[str, bytes], problems: Problems) -> Profile:
    """Return what can be read of the profile, keeping every problem."""
    name, version, description = _contract(files, problems)
    profile = Profile(
        name=name,
        version=version,
        description=description,
        digest=digest_of(profile_snapshot(files)),
        intents=_folder(files, "intents", read_intent, problems),
        workflows={path: read_workflow(root, path) for path, root in _below(files, "workflows/", problems)},
        connectors=_folder(files, "connectors", read_connector, problems),
        rules=_folder(files, "validation_rules", read_rules, problems),
        normalizers=_folder(files, "normalizers", read_normalizer, problems),
        fixtures=_folder(files, "fixtures", _read_fixture, problems),
        scripts=_scripts(files, problems),
        redactions=_folder(files, "redactions", read_redaction, problems),
        words=next((read_words(root) for _, root in _below(files, WORDS_FILE, problems)), OperatorWords()),
        handlers=next(
            (read_handlers(root, path) for path, root in _below(files, HANDLERS_FILE, problems)), None
        ),
        reactions=read_pack(files, problems),
        triggers=next((read_trigger_rules(root) for _, root in _below(files, TRIGGERS, problems)), None),
    )
    # Other parts read these; here they only have to be strict YAML.
    _below({path: data for path, data in files.items() if path != PACK_FILE}, OPAQUE, problems)
    _check_names(profile, problems)
    check_names(profile, problems)
    return profile


def _contract(files: Mapping[str, bytes], problems: Problems) -> tuple[str, str, str]:
    data = files.get(PROFILE_FILE)
    if data is None:
        problems.add(f"a profile has a `{PROFILE_FILE}`", Place(PROFILE_FILE))
    root = None if data is None else problems.parse(data, PROFILE_FILE)
    if root is None:
        return "", "", ""
    known = f"name version description {SECTIONS} rollback_rules"
    fields = root.section("profile_contract").fields(known, "name version")
    for section in SECTIONS.split():
        # A section may be left out; written down, it must say that it is required.
        node = fields.get(section)
        if node is not None and not (isinstance(node.value, dict) and node.value.get("required")):
            node.refuse(f"`{section}` says `required: true` or is left out", allowed="required: true")
    return fields.token("name"), fields.text("version", most=64), fields.text("description")


def _below(
    files: Mapping[str, bytes], start: str | tuple[str, ...], problems: Problems
) -> list[tuple[str, Node]]:
    """Return path and root of every YAML file whose path starts so."""
    paths = [path for path in sorted(files) if path.startswith(start) and path.endswith((".yaml", ".yml"))]
    roots = ((path, problems.parse(files[path], path)) for path in paths)
    return [(path, root) for path, root in roots if root is not None]


def _folder(
    files: Mapping[str, bytes], folder: str, read: Callable[[Node, str], T], problems: Problems
) -> dict[str, T]:
    """Return what `read` makes of every file in `folder`, by the file's stem."""
    found: dict[str, T] = {}
    for path, root in _below(files, f"{folder}/", problems):
        stem = path.removeprefix(f"{folder}/").rpartition(".")[0]
        if "/" in stem:
            continue
        if stem in found:
            problems.add(f"`{stem}` is in two files", Place(path), found=stem)
        found[stem] = read(root, stem)
    return found


def _scripts(files: Mapping[str, bytes], problems: Problems) -> dict[str, str]:
    found = {}
    for path in sorted(path for path in files if path.startswith(SCRIPTS)):
        try:
            found[path] = files[path].decode()
        except UnicodeDecodeError:
            problems.add("a script is UTF-8 text", Place(path))
    return found


def _read_fixture(root: Node, stem: str) -> dict[str, ScriptedAction]:
    fields = root.section("fixture").fields("description actions", "actions")
    return {name: read_scripted_action(node) for name, node in fields.entries("actions")}


def _check_names(profile: Profile, problems: Problems) -> None:
    for rule in () if profile.triggers is None else profile.triggers.rules:
        if rule.operation is not None and rule.operation.intent not in profile.intents:
            problems.add(
                f"trigger rule `{rule.id}` plans `{rule.operation.intent}`, which is no intent",
                rule.place,
                field="operation.intent",
                found=rule.operation.intent,
                allowed=listed(sorted(profile.intents)[:32]),
            )
    for intent in profile.intents.values():
        if intent.workflow and intent.workflow not in profile.workflows:
            problems.add(
                f"workflow `{intent.workflow}` is not a file of the profile",
                intent.place,
                field="intent.workflow",
                found=intent.workflow,
                allowed=listed(sorted(profile.workflows)[:32]),
            )
    for workflow in profile.workflows.values():
        for step in (*workflow.steps, *workflow.rollback):
            if step.normalizer is not None and step.normalizer not in profile.normalizers:
                problems.add(
                    f"step `{step.id}` names the normalizer `{step.normalizer}`, which is not in the profile",
                    step.place,
                    field="normalize",
                    found=step.normalizer,
                    allowed=listed(sorted(profile.normalizers)),
                )
