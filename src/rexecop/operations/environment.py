"""Environments: where a profile's operations run. Read strictly; holds references to secrets only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rexecop.operations.errors import EnvironmentRefused, PolicyPackUnsupported, SecretInline
from rexecop.operations.inline_secrets import refuse_inline_secrets
from rexecop.operations.pinned_files import ENVIRONMENT_FILE, environment_snapshot, files_of_snapshot
from rexecop.operations.profile_model import CommandShape
from rexecop.operations.reading import WORD, Fields, Node, Problems
from rexecop.operations.scripted import ScriptedAction, read_scripted_action
from rexecop.proof.call import Scalar
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.vocabulary import Isolation, Mode

TARGETS_MAX: Final = 10_000  # The largest fan-out one operation is built for.
OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024  # A call that says more is a transfer, not an answer.
CRITICALITIES: Final = ("low", "medium", "high", "critical")


class Backend(StrEnum):
    """How a connector reaches its targets; several spellings mean the same backend."""

    SCRIPTED = "scripted"
    PROCESS = "process"
    SSH = "ssh"
    HTTP = "http"
    OTHER = "other"


BACKENDS: Final[Mapping[str, Backend]] = {
    "mock": Backend.SCRIPTED,
    "static_fixture": Backend.SCRIPTED,
    "simulated": Backend.SCRIPTED,
    "fixture": Backend.SCRIPTED,
    "process": Backend.PROCESS,
    "local_shell_readonly": Backend.PROCESS,
    "ssh": Backend.SSH,
    "ssh_readonly": Backend.SSH,
    "http": Backend.HTTP,
    "http_api": Backend.HTTP,
}
READONLY_BACKENDS: Final = frozenset({"local_shell_readonly", "ssh_readonly"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """A target: a thing (`members` empty) or a group."""

    name: str
    type: str
    members: tuple[str, ...]
    criticality: str | None
    attributes: Mapping[str, Scalar]
    owners: tuple[str, ...]
    connection: Mapping[str, Json]
    thresholds: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """How this environment reaches what a connector is for. `declared` is the backend as written."""

    name: str
    file: str
    line: int
    backend: Backend
    declared: str
    enabled: bool
    allowlist: Mapping[str, tuple[CommandShape, ...]]
    scripted: Mapping[str, ScriptedAction]
    mutating: Mapping[str, bool]
    fixture: str | None
    timeout_ms: int | None
    output_bytes: int | None
    isolation: Isolation | None
    connection: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """Limits the operator sets on all operations of the environment."""

    default_mode: Mode
    concurrent_max: int
    target_lock: bool
    windows: tuple[Json, ...]
    freezes: tuple[Json, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A whole environment. `digest` names the snapshot of its file; `policy` a folder of packs."""

    id: str
    profile: str | None
    description: str
    digest: Digest
    targets: Mapping[str, TargetSpec]
    connectors: Mapping[str, ConnectorConfig]
    values: Mapping[str, Scalar]
    safety: Safety
    policy: str | None


def load_environment(files: Mapping[str, bytes]) -> Environment:
    """Return the environment in the one file of `files` (name to content).

    Raises:
        EnvironmentRefused: it breaks the format; SecretInline: it holds a secret;
        PolicyPackUnsupported: it carries rules in a form that cannot be enforced.
    """
    problems = Problems(EnvironmentRefused.code)
    environment = read_environment(files, problems)
    problems.raise_first(EnvironmentRefused, SecretInline, PolicyPackUnsupported)
    if environment is None:
        raise EnvironmentRefused("there is no environment file")
    return environment


def environment_from_snapshot(data: bytes) -> Environment:
    """Return the environment whose pinned form is `data`.

    Raises:
        InputMissing: `data` is not a snapshot. Others as `load_environment`.
    """
    return load_environment(files_of_snapshot(data, "environment-snapshot/1"))


def read_environment(files: Mapping[str, bytes], problems: Problems) -> Environment | None:
    """Return the environment, keeping every problem; None if it cannot be read at all."""
    if len(files) != 1:
        problems.add(f"{len(files)} environment files, one is read", file=next(iter(files), ENVIRONMENT_FILE))
        return None
    ((file, data),) = files.items()
    root = problems.parse(data, file)
    if root is None:
        return None
    refuse_inline_secrets(root)
    top = root.fields(("environment",), ("environment",)).get("environment")
    if top is None:
        return None
    fields = top.fields(
        (
            "id",
            "profile",
            "description",
            "targets",
            "connectors",
            "safety",
            "policy_pack",
            "policy",
            "values",
        ),
        ("id",),
    )
    pack = fields.get("policy_pack")
    if pack is not None:
        pack.refuse(
            "rules under `policy_pack` cannot be enforced; write them as Cedar in the folder `policy` names",
            allowed="policy: DIR",
            code=PolicyPackUnsupported.code,
        )
    return Environment(
        id=fields.token("id"),
        profile=fields.token("profile") or None,
        description=fields.text("description"),
        digest=digest_of(environment_snapshot(files)),
        targets=_targets(fields, top),
        connectors={name: _connector(name, node) for name, node in fields.entries("connectors")},
        values={name: node.scalar() for name, node in fields.entries("values", WORD)},
        safety=_safety(fields.get("safety") or top.child("safety", {})),
        policy=fields.text("policy") or None,
    )


def _targets(fields: Fields, top: Node) -> dict[str, TargetSpec]:
    found = {name: _target(name, node) for name, node in fields.entries("targets")}
    if len(found) > TARGETS_MAX:
        top.refuse(f"{len(found)} targets, at most {TARGETS_MAX} are read", allowed=str(TARGETS_MAX))
    return found


def _target(name: str, node: Node) -> TargetSpec:
    fields = node.fields(
        (
            *("type", "kind", "members", "criticality", "risk_class", "description", "attributes", "owners"),
            *("connection", "thresholds"),
        )
    )
    members = fields.tokens("members", TARGETS_MAX)
    kind = fields.token("type") or fields.token("kind") or ("group" if members else "host")
    if (kind == "group") != bool(members):
        node.refuse(f"target `{name}`: type `group` and `members` go together")
    if len(set(members)) != len(members):
        node.refuse(f"target `{name}` lists a member twice")
    criticality = fields.one_of("criticality", CRITICALITIES, "") or fields.one_of(
        "risk_class", CRITICALITIES, ""
    )
    return TargetSpec(
        name=name,
        type=kind,
        members=members,
        criticality=criticality or None,
        attributes={key: item.scalar() for key, item in fields.entries("attributes", WORD)},
        owners=fields.texts("owners", 64),
        connection=fields.mapping("connection"),
        thresholds={key: item.integer(-(2**53), 2**53) for key, item in fields.entries("thresholds", WORD)},
    )


_COMMON: Final = (
    *("backend", "mode", "enabled", "description", "timeout_seconds", "max_output_bytes", "isolation"),
    *("deployment_posture", "modes"),
)
_OF_BACKEND: Final[Mapping[Backend, tuple[str, ...]]] = {
    Backend.SCRIPTED: ("actions", "fixture", "fixture_only"),
    Backend.PROCESS: ("allowlist",),
    Backend.SSH: (
        *("allowlist", "host", "user", "port", "identity_file_secret_ref", "known_hosts_policy"),
        "known_hosts_file",
    ),
    Backend.HTTP: (
        *("actions", "base_url", "base_url_secret_ref", "auth", "max_response_bytes", "retry", "tls"),
        *("destination_binding", "operator_egress_enforced", "dns_rebinding_protection", "network_scope"),
    ),
}
_NOT_CONNECTION: Final = frozenset({*_COMMON, "allowlist", "actions", "fixture", "fixture_only", "retry"})


def _connector(name: str, node: Node) -> ConnectorConfig:
    declared = _declared_backend(node)
    backend = BACKENDS.get(declared, Backend.OTHER)
    known = _OF_BACKEND.get(backend)
    fields = Fields(node, node.value) if known is None and isinstance(node.value, dict) else None
    if fields is None:
        # Keys of a mock that stands in for a real connector may stay in the file.
        others = (key for keys in _OF_BACKEND.values() for key in keys) if backend is Backend.SCRIPTED else ()
        fields = node.fields(tuple(dict.fromkeys((*_COMMON, *(known or ()), *others))))
    seconds, output = fields.get("timeout_seconds"), fields.get("max_output_bytes")
    isolation = fields.one_of("isolation", ("best", *ISOLATIONS), "best")
    scripted = backend is Backend.SCRIPTED
    actions = dict(fields.entries("actions")) if backend in (Backend.SCRIPTED, Backend.HTTP) else {}
    return ConnectorConfig(
        name=name,
        file=node.file,
        line=node.line,
        backend=backend,
        declared=declared,
        enabled=fields.boolean("enabled", default=True),
        allowlist=_allowlist(fields),
        scripted={key: read_scripted_action(item, HTTP_KEYS) for key, item in actions.items()}
        if scripted
        else {},
        mutating=_mutating(actions),
        fixture=(fields.text("fixture") or None) if scripted else None,
        timeout_ms=None if seconds is None else seconds.integer(1, 86_400) * 1000,
        output_bytes=None if output is None else output.integer(1, OUTPUT_BYTES_MAX),
        isolation=None if isolation == "best" else Isolation(isolation),
        connection={key: value for key, value in node.mapping().items() if key not in _NOT_CONNECTION},
    )


ISOLATIONS: Final = tuple(str(item) for item in Isolation if item is not Isolation.NOT_APPLICABLE)
HTTP_KEYS: Final = (
    *(
        "method",
        "path",
        "query",
        "body",
        "unwrap",
        "timeout_seconds",
        "max_response_bytes",
        "retry",
        "pagination",
    ),
)


def _declared_backend(node: Node) -> str:
    if not isinstance(node.value, dict):
        return "mock"
    found = node.value.get("backend", node.value.get("mode", "mock"))
    return found if isinstance(found, str) else "mock"


def _allowlist(fields: Fields) -> dict[str, tuple[CommandShape, ...]]:
    found: dict[str, tuple[CommandShape, ...]] = {}
    for node in fields.items("allowlist"):
        entry = node.fields(("action", "command", "args", "description"), ("action", "command"))
        shape = CommandShape(command=entry.text("command"), args=entry.texts("args", 256))
        action = entry.token("action")
        found[action] = (*found.get(action, ()), shape)
    return found


def _mutating(actions: Mapping[str, Node]) -> dict[str, bool]:
    return {
        name: value
        for name, node in actions.items()
        if isinstance(node.value, dict) and isinstance(value := node.value.get("mutating"), bool)
    }


def _safety(node: Node) -> Safety:
    fields = node.fields(
        (
            *("default_mode", "max_concurrent_operations", "target_lock_enabled", "maintenance_windows"),
            *("freezes", "apply_requires_govengine", "secrets_source"),
        )
    )
    return Safety(
        default_mode=Mode(fields.one_of("default_mode", tuple(map(str, Mode)), Mode.DRY_RUN)),
        concurrent_max=fields.integer("max_concurrent_operations", 1, 1, 10_000),
        target_lock=fields.boolean("target_lock_enabled", default=True),
        windows=tuple(item.json() for item in fields.items("maintenance_windows", 64)),
        freezes=tuple(item.json() for item in fields.items("freezes", 64)),
    )
