"""Environments: where a profile's operations run. Read strictly; holds references to secrets only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from rexecop.governance.errors import PackRefused
from rexecop.governance.importing import Calls
from rexecop.governance.narrowing import narrow
from rexecop.governance.schedules import ENTRIES_MAX, names, read_entry
from rexecop.governance.windows import Entry, Schedule
from rexecop.lanes.failures import Failure
from rexecop.operations.errors import EnvironmentRefused, PolicyPackUnsupported, SecretInline
from rexecop.operations.gathering import ANYWHERE, Site
from rexecop.operations.inline_secrets import refuse_inline_secrets
from rexecop.operations.pinned_files import ENVIRONMENT_FILE, environment_snapshot
from rexecop.operations.profile_model import CommandShape, Profile, RetrySpec
from rexecop.operations.reading import WORD, Fields, Node, Place, Problems
from rexecop.operations.scripted import ScriptedAction, read_scripted_action
from rexecop.proof.canonical import INTEGER_MAX, Digest, Json, digest_of
from rexecop.proof.message import Scalar
from rexecop.proof.vocabulary import Isolation, Mode

TARGETS_MAX: Final = 10_000  # The largest fan-out one operation is built for.
OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024  # A call that says more is a transfer, not an answer.
EXPECTED_MAX: Final = 512  # Names that have to be there on one target.
EXPECTED_LENGTH_MAX: Final = 256  # As long as a fact may be by default.
_SITE_KEYS: Final = "thresholds expected"
CRITICALITIES: Final = ("low", "medium", "high", "critical")


class Backend(StrEnum):
    """How a connector reaches its targets; several spellings mean the same backend."""

    SCRIPTED = "scripted"
    PROCESS = "process"
    SSH = "ssh"
    HTTP = "http"
    JSONRPC = "jsonrpc"
    SSE = "sse"
    WEBSOCKET = "websocket"
    GUEST = "guest"
    NODE = "node"
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
    "jsonrpc": Backend.JSONRPC,
    "sse": Backend.SSE,
    "websocket": Backend.WEBSOCKET,
    "guest": Backend.GUEST,
    "node": Backend.NODE,
}
PROGRAMS: Final = frozenset({Backend.PROCESS, Backend.GUEST, Backend.NODE})  # Their calls are commands.
READONLY_BACKENDS: Final = frozenset({"local_shell_readonly", "ssh_readonly"})

ATTEST: Final = "attest"  # Of every connection: as which classes its target has to be attested.
_COMMON: Final = (
    "backend mode enabled description timeout_seconds max_output_bytes isolation deployment_posture modes "
    "secrets attest"
)
# What says where a resource is reached over HTTP, by whom, and who has to answer there.
_RESOURCE: Final = (
    "base_url base_url_secret_ref auth headers tls destination_binding operator_egress_enforced "
    "dns_rebinding_protection network_scope allow_private addresses allow_plaintext"
)
_OF_BACKEND: Final[Mapping[Backend, str]] = {
    Backend.SCRIPTED: "actions fixture fixture_only",
    Backend.PROCESS: "allowlist",
    Backend.SSH: (
        "allowlist host user port identity_file_secret_ref certificate_secret_ref agent known_hosts_policy "
        "known_hosts_file host_keys jump sessions remote"
    ),
    Backend.GUEST: "allowlist runs_in socket uid host port ca grant",
    Backend.NODE: "allowlist runs_in node",
    Backend.HTTP: (
        "actions base_url base_url_secret_ref auth headers max_response_bytes retry tls destination_binding "
        "operator_egress_enforced dns_rebinding_protection network_scope allow_private addresses "
        "allow_plaintext redirects connect_timeout first_byte_timeout"
    ),
    Backend.JSONRPC: (
        f"{_RESOURCE} socket socket_uid program program_env program_cwd program_writable framing"
    ),
    Backend.SSE: _RESOURCE,
    Backend.WEBSOCKET: _RESOURCE,
}
_NOT_CONNECTION: Final = frozenset(f"{_COMMON} allowlist actions fixture fixture_only retry".split()) - {
    ATTEST
}
SHAPE_KEYS: Final = (
    "method path query headers body text form unwrap answer expect errors error_at pagination mutating "
    "max_response_bytes idempotency_header"
)
"""What an action over HTTP is written with, in profiles and environments."""
# Of actions written for HTTP, which a script may stand in for.
_HTTP_KEYS: Final = f"{SHAPE_KEYS} timeout_seconds retry"
RETRIES_MAX: Final = 10  # Beyond that a person should look.


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """A target: a thing (`members` empty) or a group."""

    name: str
    type: str
    members: tuple[str, ...]
    criticality: str | None
    attributes: Mapping[str, Scalar]
    connection: Mapping[str, Json]
    site: Site = ANYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """How this environment reaches what a connector is for. `declared` is the backend as written.

    `secrets` gives the names that calls may use for secrets (`{secret.NAME}`) their references.
    `shapes`, `timeouts` (milliseconds) and `retries` are by action; `retries` under `""` goes for all others.
    """

    name: str
    place: Place
    backend: Backend
    declared: str
    enabled: bool
    allowlist: Mapping[str, tuple[CommandShape, ...]]
    scripted: Mapping[str, ScriptedAction]
    mutating: Mapping[str, bool]
    fixture: str | None = None
    timeout_ms: int | None = None
    output_bytes: int | None = None
    isolation: Isolation | None = None
    connection: Mapping[str, Json]
    secrets: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    timeouts: Mapping[str, int] = field(default_factory=dict)
    retries: Mapping[str, RetrySpec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """Limits the operator sets on all operations of the environment.

    `concurrent_max` is how many that may change something run at one time; None for as many as may at all.
    """

    concurrent_max: int | None
    default_mode: Mode
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A whole environment. `digest` names the snapshot of its file; `rules` is the file if it has some."""

    id: str
    profile: str | None
    digest: Digest
    targets: Mapping[str, TargetSpec]
    connectors: Mapping[str, ConnectorConfig]
    values: Mapping[str, Scalar]
    safety: Safety
    everywhere: Site = ANYWHERE
    rules: bytes | None = None

    def site(self, target: str) -> Site:
        """Return the limits and expected names of `target`: its own before those of all."""
        own = self.targets[target].site if target in self.targets else ANYWHERE
        return Site(
            thresholds={**self.everywhere.thresholds, **own.thresholds},
            expected={**self.everywhere.expected, **own.expected},
        )


def keys_of(backend: Backend) -> frozenset[str]:
    """Return the keys by which a connector of `backend`, or a target it reaches, says how it is reached."""
    return frozenset(f"{_OF_BACKEND.get(backend, '')} {ATTEST}".split()) - _NOT_CONNECTION


def secret_references(environment: Environment) -> dict[str, list[str]]:
    """Return the references to secrets in `environment`, with what uses each."""
    found: dict[str, list[str]] = {}
    for name, connector in environment.connectors.items():
        for reference in (*connector.secrets.values(), *_references(connector.connection)):
            found.setdefault(reference, []).append(f"connector {name}")
    for name, target in environment.targets.items():
        for reference in _references(target.connection):
            found.setdefault(reference, []).append(f"target {name}")
    return found


def _references(value: Json) -> Iterator[str]:
    """Yield what stands under `secret_ref` and keys that end like it, however deep."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key.endswith("secret_ref") and isinstance(item, str):
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


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


def read_environment(files: Mapping[str, bytes], problems: Problems) -> Environment | None:
    """Return the environment, keeping every problem; None if it cannot be read at all."""
    if len(files) != 1:
        problems.add(
            f"{len(files)} environment files, one is read", Place(next(iter(files), ENVIRONMENT_FILE))
        )
        return None
    ((file, data),) = files.items()
    root = problems.parse(data, file)
    if root is None:
        return None
    refuse_inline_secrets(root)
    top = root.section("environment")
    fields = top.fields(
        f"id profile description targets connectors safety policy_pack policy values {_SITE_KEYS}", "id"
    )
    pack = fields.get("policy_pack")
    if pack is not None:
        _check_pack(pack, data)
    named = fields.get("policy")
    if named is not None:
        # A pack that is named and not in force would be authority somebody relies on.
        named.refuse(
            "packs are in force from the root's folder `policy` only; put it there",
            code=PolicyPackUnsupported.code,
        )
    fields.text("description")
    targets = {name: _target(name, node) for name, node in fields.entries("targets")}
    if len(targets) > TARGETS_MAX:
        top.refuse(f"{len(targets)} targets, at most {TARGETS_MAX} are read", allowed=str(TARGETS_MAX))
    return Environment(
        id=fields.token("id"),
        profile=fields.token("profile") or None,
        digest=digest_of(environment_snapshot(files)),
        targets=targets,
        connectors={name: _connector(name, node) for name, node in fields.entries("connectors")},
        values={name: node.scalar() for name, node in fields.entries("values", WORD)},
        safety=_safety(fields.part("safety"), fields.token("id")),
        everywhere=_site(fields),
        rules=data if pack is not None else None,
    )


def _check_pack(pack: Node, data: bytes) -> None:
    """Refuse rules that cannot be said here, where they stand; which calls they are about is known later."""
    try:
        narrow(data, source=pack.place.file, profile="any", calls={})
    except PackRefused as refused:
        line = refused.facts.get("line")
        place = replace(pack.place, line=line if isinstance(line, int) else pack.place.line)
        words = refused.message.removeprefix(f"{place.file}:{place.line}: ")
        pack.problems.add(words, place, field=pack.name, code=PolicyPackUnsupported.code)


def pack_of(environment: Environment, profile: Profile) -> Mapping[str, bytes]:
    """Return the files of the pack that the rules of `environment` come to for `profile`; none without rules.

    Raises:
        PackRefused: they say what cannot be said here.
    """
    if environment.rules is None:
        return {}
    calls = calls_of(environment, profile)
    return narrow(environment.rules, source=ENVIRONMENT_FILE, profile=profile.name, calls=calls)


def calls_of(environment: Environment, profile: Profile) -> Calls:
    """Return the calls of `profile` that `environment` configures, each with its backend as written."""
    return {
        (name, action): environment.connectors[name].declared
        for name, spec in profile.connectors.items()
        if name in environment.connectors
        for action in spec.actions
    }


def _target(name: str, node: Node) -> TargetSpec:
    fields = node.fields(
        f"type kind members criticality risk_class description attributes owners connection {_SITE_KEYS}"
    )
    members = fields.tokens("members", TARGETS_MAX)
    kind = fields.token("type") or fields.token("kind") or ("group" if members else "host")
    if (kind == "group") != bool(members):
        node.refuse(f"target `{name}`: type `group` and `members` go together")
    if len(set(members)) != len(members):
        node.refuse(f"target `{name}` lists a member twice")
    fields.texts("owners", 64)
    critical = [
        fields.maybe(key, lambda item: item.one_of(CRITICALITIES)) for key in ("criticality", "risk_class")
    ]
    return TargetSpec(
        name=name,
        type=kind,
        members=members,
        criticality=next(filter(None, critical), None),
        attributes={key: item.scalar() for key, item in fields.entries("attributes", WORD)},
        connection=fields.mapping("connection"),
        site=_site(fields),
    )


def _site(fields: Fields) -> Site:
    limits = fields.entries("thresholds", WORD)
    return Site(
        thresholds={name: node.integer(-INTEGER_MAX, INTEGER_MAX) for name, node in limits},
        expected={
            name: tuple(item.text(EXPECTED_LENGTH_MAX) for item in node.items(EXPECTED_MAX))
            for name, node in fields.entries("expected", WORD)
        },
    )


def _connector(name: str, node: Node) -> ConnectorConfig:
    value = node.value if isinstance(node.value, dict) else {}
    written = value.get("backend", value.get("mode"))
    declared = written if isinstance(written, str) else "mock"
    if not isinstance(written, str | None):
        node.refuse(f"`{node.name}.backend` is no name of a backend", allowed=", ".join(BACKENDS))
    backend = BACKENDS.get(declared, Backend.OTHER)
    if backend is Backend.OTHER:
        fields = Fields(node, value)
    else:
        # Keys of a mock that stands in for a real connector may stay in the file.
        known = " ".join(_OF_BACKEND.values()) if backend is Backend.SCRIPTED else _OF_BACKEND[backend]
        fields = node.fields(f"{_COMMON} {known}")
    scripted = backend is Backend.SCRIPTED
    actions = dict(fields.entries("actions")) if scripted or backend is Backend.HTTP else {}
    shaped = (
        {key: item.fields(_HTTP_KEYS) for key, item in actions.items()} if backend is Backend.HTTP else {}
    )
    trying = {"": fields, **shaped} if backend is Backend.HTTP else {}
    return ConnectorConfig(
        name=name,
        place=node.place,
        backend=backend,
        declared=declared,
        enabled=fields.boolean("enabled", default=True),
        allowlist=_allowlist(fields),
        scripted={key: read_scripted_action(item, _HTTP_KEYS) for key, item in actions.items() if scripted},
        mutating={
            key: flag
            for key, item in actions.items()
            if isinstance(item.value, dict) and isinstance(flag := item.value.get("mutating"), bool)
        },
        fixture=(fields.text("fixture") or None) if scripted else None,
        timeout_ms=_seconds(fields),
        output_bytes=fields.maybe("max_output_bytes", lambda item: item.integer(1, OUTPUT_BYTES_MAX)),
        isolation=read_isolation(fields),
        connection={key: value for key, value in node.mapping().items() if key not in _NOT_CONNECTION},
        secrets={key: item.token() for key, item in fields.entries("secrets", WORD)},
        shapes={key: _shape(item) for key, item in shaped.items()},
        timeouts={key: found for key, item in shaped.items() if (found := _seconds(item)) is not None},
        retries={
            key: spec for key, item in trying.items() if (spec := item.maybe("retry", _retry)) is not None
        },
    )


def _seconds(fields: Fields) -> int | None:
    """Return `timeout_seconds` in milliseconds."""
    seconds = fields.maybe("timeout_seconds", lambda item: item.integer(1, 86_400))
    return None if seconds is None else seconds * 1000


def _shape(fields: Fields) -> dict[str, Json]:
    return {
        key: value for key, value in fields.node.mapping().items() if key not in ("timeout_seconds", "retry")
    }


def _retry(node: Node) -> RetrySpec:
    """Return how often a call is tried again; here `max_attempts` counts the first try, too."""
    fields = node.fields("max_attempts base_delay max_delay on")
    classes = fields.maybe("on", lambda item: tuple(entry.one_of(Failure) for entry in item.items(64)))
    return RetrySpec(
        retries=fields.integer("max_attempts", 1, 1, RETRIES_MAX + 1) - 1,
        on=None if classes is None else tuple(map(str, classes)),
        never=(),
        delay_ms=_milliseconds(fields, "base_delay", 50),
        delay_max_ms=_milliseconds(fields, "max_delay", 200),
    )


def _milliseconds(fields: Fields, key: str, default: int) -> int:
    """Return the seconds at `key`, which may have a fraction, in milliseconds."""
    node = fields.get(key)
    if node is None:
        return default
    if (
        isinstance(node.value, bool)
        or not isinstance(node.value, int | Decimal)
        or not 0 <= node.value <= 3600
    ):
        node.refuse(f"`{node.name}` is not a number of seconds", allowed="0..3600")
        return default
    return int(node.value * 1000)


def read_isolation(fields: Fields) -> Isolation | None:
    """Return the class asked for; None for the best there is."""
    classes = [str(item) for item in Isolation if item is not Isolation.NOT_APPLICABLE]
    word = fields.one_of("isolation", ("best", *classes), "best")
    return None if word == "best" else Isolation(word)


def _allowlist(fields: Fields) -> dict[str, tuple[CommandShape, ...]]:
    found: dict[str, tuple[CommandShape, ...]] = {}
    for node in fields.items("allowlist"):
        entry = node.fields("action command args description", "action command")
        shape = CommandShape(command=entry.text("command"), args=entry.texts("args", 256))
        action = entry.token("action")
        found[action] = (*found.get(action, ()), shape)
    return found


def _safety(node: Node, environment: str) -> Safety:
    fields = node.fields(
        "default_mode max_concurrent_operations target_lock_enabled maintenance_windows freezes "
        "override apply_requires_govengine secrets_source"
    )
    limited = fields.get("max_concurrent_operations") is not None
    limit = fields.integer("max_concurrent_operations", 1, 1, 10_000)
    fields.boolean("target_lock_enabled")
    return Safety(
        concurrent_max=limit if limited else None,
        default_mode=fields.one_of("default_mode", Mode, Mode.DRY_RUN),
        schedule=Schedule(
            source=f"environment `{environment}`",
            windows=_entries(fields.items("maintenance_windows", ENTRIES_MAX)),
            freezes=_entries(fields.items("freezes", ENTRIES_MAX)),
            override=_groups(fields),
        ),
    )


def _entries(nodes: Iterable[Node]) -> tuple[Entry, ...]:
    found: list[Entry] = []
    for node in nodes:
        try:
            found.append(read_entry(node.value))
        except ValueError as error:
            node.refuse(f"`{node.name}`: {error}")
            break  # To find that a recurrence never happens takes a while, so it is done once.
    return tuple(found)


def _groups(fields: Fields) -> tuple[str, ...]:
    try:
        return names(fields.values, "override")
    except ValueError as error:
        fields.node.refuse(f"`{fields.node.name}`: {error}")
        return ()
