"""Profiles: from files to one typed value that fits together, or the place of what does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from rexecop.operations.errors import ProfileRefused, SecretInline
from rexecop.operations.normalizer_spec import Normalizer, read_normalizer
from rexecop.operations.pinned_files import files_of_snapshot, profile_snapshot
from rexecop.operations.profile_actions import read_connector
from rexecop.operations.profile_model import IntentSpec, Profile, WorkflowSpec
from rexecop.operations.profile_steps import read_intent, read_workflow
from rexecop.operations.reading import Fields, Node, Problems
from rexecop.operations.scripted import ScriptedAction, read_scripted_action
from rexecop.operations.validation import read_rules
from rexecop.proof.canonical import digest_of

PROFILE_FILE: Final = "profile.yaml"
SECTIONS: Final = (
    *("intents", "workflows", "connector_requirements", "risk_classes", "evidence_requirements"),
    *("governance_expectations", "validation_rules", "escalation_rules"),
)
OPAQUE: Final = ("reactions/", "triggers/", "operator_metadata.yaml")

T = TypeVar("T")


def snapshot(files: Mapping[str, bytes]) -> bytes:
    """Return the pinned form of a profile: the canonical bytes of every file that matters.

    Raises:
        ProfileRefused: too many or too large files, or one that is not text.
    """
    return profile_snapshot(files)


def load_profile(files: Mapping[str, bytes]) -> Profile:
    """Return the profile in `files` (path inside the profile to content).

    Raises:
        ProfileRefused: a file breaks its format; the message names file, line and field.
    """
    problems = Problems(ProfileRefused.code)
    profile = read_profile(files, problems)
    problems.raise_first(ProfileRefused, SecretInline)
    return profile


def profile_from_snapshot(data: bytes) -> Profile:
    """Return the profile whose pinned form is `data`.

    Raises:
        InputMissing: `data` is not a snapshot. ProfileRefused: as `load_profile`.
    """
    return load_profile(files_of_snapshot(data, "profile-snapshot/1"))


def read_profile(files: Mapping[str, bytes], problems: Problems) -> Profile:
    """Return what can be read of the profile, keeping every problem."""
    reader = _Files(files, problems)
    name, version, description = reader.contract()
    normalizers = reader.folder("normalizers", read_normalizer)
    profile = Profile(
        name=name,
        version=version,
        description=description,
        digest=digest_of(profile_snapshot(files)),
        intents=reader.folder("intents", read_intent),
        workflows=reader.workflows(),
        connectors=reader.folder("connectors", read_connector),
        rules=reader.folder("validation_rules", read_rules),
        normalizers=normalizers,
        fixtures=reader.folder("fixtures", _read_fixture),
    )
    reader.opaque()
    for intent in profile.intents.values():
        _check_workflow_exists(intent, profile.workflows, problems)
    for workflow in profile.workflows.values():
        _check_names(workflow, normalizers, problems)
    return profile


class _Files:
    """The files of a profile, read by folder."""

    def __init__(self, files: Mapping[str, bytes], problems: Problems) -> None:
        self.files = files
        self.problems = problems

    def contract(self) -> tuple[str, str, str]:
        data = self.files.get(PROFILE_FILE)
        if data is None:
            self.problems.add(f"a profile has a `{PROFILE_FILE}`", file=PROFILE_FILE)
            return "", "", ""
        root = self.problems.parse(data, PROFILE_FILE)
        if root is None:
            return "", "", ""
        top = root.fields(("profile_contract",), ("profile_contract",)).get("profile_contract")
        if top is None:
            return "", "", ""
        fields = top.fields(
            ("name", "version", "description", *SECTIONS, "rollback_rules"), ("name", "version")
        )
        for section in SECTIONS:
            _check_section(fields, section)
        return fields.token("name"), fields.text("version", most=64), fields.text("description")

    def folder(self, folder: str, read: Callable[[Node, str], T]) -> dict[str, T]:
        """Return what `read` makes of every file in `folder`, by the file's stem."""
        found: dict[str, T] = {}
        for path in sorted(self.files):
            parent, _, last = path.rpartition("/")
            stem, dot, ending = last.rpartition(".")
            if parent != folder or not dot or ending not in ("yaml", "yml"):
                continue
            if stem in found:
                self.problems.add(f"`{stem}` is in two files", file=path, found=stem)
            root = self.problems.parse(self.files[path], path)
            if root is not None:
                found[stem] = read(root, stem)
        return found

    def workflows(self) -> dict[str, WorkflowSpec]:
        found: dict[str, WorkflowSpec] = {}
        for path in sorted(self.files):
            if path.startswith("workflows/") and path.endswith((".yaml", ".yml")):
                root = self.problems.parse(self.files[path], path)
                if root is not None:
                    found[path] = read_workflow(root, path)
        return found

    def opaque(self) -> None:
        """Hold files that other parts read to the strict form of YAML."""
        for path in sorted(self.files):
            if path.startswith(OPAQUE) and path.endswith((".yaml", ".yml")):
                self.problems.parse(self.files[path], path)


def _check_section(fields: Fields, section: str) -> None:
    """A section may be left out; written down, it must say that it is required."""
    node = fields.get(section)
    if node is None:
        return
    if not isinstance(node.value, dict) or not node.value.get("required"):
        node.refuse(f"`{section}` says `required: true` or is left out", allowed="required: true")


def _read_fixture(root: Node, stem: str) -> dict[str, ScriptedAction]:
    top = root.fields(("fixture",), ("fixture",)).get("fixture")
    if top is None:
        return {}
    fields = top.fields(("description", "actions"), ("actions",))
    return {name: read_scripted_action(node) for name, node in fields.entries("actions")}


def _check_workflow_exists(
    intent: IntentSpec, workflows: Mapping[str, WorkflowSpec], problems: Problems
) -> None:
    if intent.workflow and intent.workflow not in workflows:
        problems.add(
            f"workflow `{intent.workflow}` is not a file of the profile",
            file=intent.place.file,
            line=intent.place.line,
            field="intent.workflow",
            found=intent.workflow,
            allowed=", ".join(sorted(workflows)[:32]),
        )


def _check_names(workflow: WorkflowSpec, normalizers: Mapping[str, Normalizer], problems: Problems) -> None:
    for step in (*workflow.steps, *workflow.rollback):
        if step.normalizer is not None and step.normalizer not in normalizers:
            problems.add(
                f"step `{step.id}` names the normalizer `{step.normalizer}`, which the profile does not have",
                file=step.place.file,
                line=step.place.line,
                field="normalize",
                found=step.normalizer,
                allowed=", ".join(sorted(normalizers)),
            )
