"""Profiles and environments for tests: the shipped ones, and a small one to break."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rexecop.operations.environment import Environment, load_environment
from rexecop.operations.planning import PlanDraft, PlanRequest, compile_plan
from rexecop.operations.ports import Configuration
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Isolation, Mode

ROOT: Final = Path(__file__).parents[2]
HELLO: Final = ROOT / "src/rexecop/app/data/hello"
HELLO_ENVIRONMENT: Final = ROOT / "src/rexecop/app/data/hello.environment.yaml"
TECRAX: Final = ROOT / "profiles/tecrax/src/tecrax/profile"
RECON: Final = ROOT / "profiles/recon/src/recon/profile"
FIXTURE: Final = ROOT / "examples/profiles/tecrax-fixture"
FLEET: Final = ROOT / "examples/profiles/fleet"
ENVIRONMENTS: Final = ROOT / "examples/environments"
SHIPPED: Final = (HELLO, TECRAX, RECON, FIXTURE, FLEET)

REACHED: Final[Mapping[Isolation, bool]] = {
    Isolation.BUBBLEWRAP: False,
    Isolation.LANDLOCK_SECCOMP: True,
    Isolation.RLIMITS: True,
    Isolation.NONE: True,
}

# Every key the seed's formats have, as its documents show them.
SEED: Final[Mapping[str, str]] = {
    "profile.yaml": """
profile_contract:
  name: seedlike
  version: 0.3
  intents: {required: true}
  workflows: {required: true}
  connector_requirements: {required: true}
  risk_classes: {required: true}
  evidence_requirements: {required: true}
  governance_expectations: {required: true}
  validation_rules: {required: true}
  escalation_rules: {required: true}
  rollback_rules: {optional: true}
""",
    "intents/look.yaml": """
intent:
  id: look
  workflow: workflows/look.yaml
  risk: low
  enforce_declared_modes: true
  modes: [read_only, dry_run]
  facts_contract: site.look
  catalog:
    title: Look
    summary: Looks.
    target_kinds: [host]
    required_capabilities: [site.look.v1]
    side_effect_class: none
    validation_ref: validation_rules/look.yaml
    runbook_ref: docs/look.md
  reaction_observation:
    shared_state_key: reaction_observation
    schema_ref: schemas/observation.json
    source_intent: look
    producer_step: mark
    requires_completed_operation: true
""",
    "workflows/look.yaml": """
workflow:
  id: look
  intent: look
  mode: read_only
  risk: low
  description: Two looks and a mark.
  steps:
    - {id: read_name, type: connector, connector: shell, action: read_name, timeout: 10s, pause_safe: true}
    - id: fetch_status
      type: connector
      connector: shell
      action: fetch_status
      metadata: {continue_on_error: true}
    - {id: mark, type: internal, action: record_execution_checkpoint}
    - {id: look, type: internal, action: look}
    - {id: produce_receipt, type: evidence, action: produce_receipt}
  retry: {max_attempts: 1, allowed_on: [timeout, transient_connector_error], blocked_on: [policy_denied]}
""",
    "connectors/shell.yaml": """
connector:
  name: shell
  backend: local_shell_readonly
  capabilities: [read_name, fetch_status]
  modes: [read_only, dry_run]
  timeout_default: 10s
  required_capability_descriptors: [host.read.v1]
  required_capability_descriptors_by_backend: {local_shell_readonly: [host.read.v1]}
  network_policy_binding: {allowed_network_egress: [none], allowed_network_schemes: [https]}
  safe_output_fields: [stdout]
  command_shapes:
    read_name: {command: hostname, args: [], public_projection: {safe_fields: [stdout]}}
    fetch_status:
      command: curl
      args: [-sS, -o, /dev/null, -w, "%{http_code}", http://192.0.2.1/login.html]
""",
    "validation_rules/look.yaml": """
validation_rule:
  intent: look
  steps:
    - {type: require_mapping, key: look, fail: {rule: look.missing, details: {reason: look_missing}}}
    - {type: require_equals, path: look.complete, value: true, pass_rule: look.ok, fail_rule: look.bad}
    - type: require_truthy_path
      path: look.name
      pass_rule: look.named
      fail_rule: look.unnamed
      details_from: look
""",
    # Ours: where the seed would run Python.
    "normalizers/look.yaml": """
normalizer:
  store_as: look
  facts:
    name: {from: read_name, regex: '^(?P<value>\\S+)$'}
    code: {from: fetch_status, text: true, type: integer, required: false}
""",
    "reactions/reaction_pack.yaml": """
id: seedlike.readonly
version: v0.1
budgets: {max_depth: 3, max_reactions: 5}
rules:
  - id: clock
    priority: 20
    when:
      - {path: facts.components.clock.status, operator: equals, value: unhealthy}
      - {path: facts.offset_ms, operator: gte, value: 100}
    finding: {kind: site.clock_unhealthy, severity: medium, summary: The clock is off.}
    outcome: run_intent
    intent_ref: look
  - id: clock_unavailable
    priority: 21
    when:
      - {path: facts.components.clock.status, operator: in, value: [unavailable, unknown]}
    finding: {kind: site.component_unavailable, severity: low, summary: The clock cannot be read.}
    outcome: escalate
  - id: disk
    when:
      - {path: facts.disk, operator: exists, value: true}
      - {path: facts.disk.state, operator: not_equals, value: ok}
    finding: {kind: site.disk, severity: critical, summary: A disk is not well.}
    outcome: retry_intent
    intent_ref: look
  - id: well
    priority: 100
    when: [{path: facts.observed_health, operator: equals, value: healthy}]
    finding: {kind: site.well, severity: info, summary: All is well.}
    outcome: no_op
fallback:
  finding: {kind: site.unclassified, severity: low, summary: Nobody knows this.}
  outcome: escalate
""",
    "triggers/trigger_rules.yaml": "id: rules\nversion: 1\nrules: []\n",
    "operator_metadata.yaml": "schema_version: 0.1\nprofile: {label: Seedlike}\nintents: {}\n",
    "docs/look.md": "# Look\n",
}

SEED_ENVIRONMENT: Final = """
environment:
  id: site
  profile: seedlike
  description: One host.
  targets:
    web: {type: host, criticality: medium}
    pair: {type: group, members: [web, other]}
  connectors:
    shell:
      backend: local_shell_readonly
      enabled: true
      timeout_seconds: 5
      max_output_bytes: 4096
      allowlist:
        - {action: read_name, command: hostname, args: []}
        - action: fetch_status
          command: curl
          args: [-sS, -o, /dev/null, -w, "%{http_code}", http://192.0.2.1/login.html]
  safety:
    default_mode: dry_run
    max_concurrent_operations: 1
    target_lock_enabled: true
    apply_requires_govengine: true
    secrets_source: environment
"""


def folder(root: Path) -> dict[str, bytes]:
    """Return the files below `root` by their path in it."""
    return {
        file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()
    }


def seed(**changes: str | None) -> dict[str, bytes]:
    """Return the seed's files; `changes` replace whole files, None takes one away."""
    files: dict[str, str | None] = {**SEED, **changes}
    return {path: text.encode() for path, text in files.items() if text is not None}


def edited(path: str, old: str, new: str) -> dict[str, bytes]:
    """Return the seed's files with one text replaced in one of them."""
    assert old in SEED[path]
    return seed(**{path: SEED[path].replace(old, new, 1)})


def environment(text: str = SEED_ENVIRONMENT, name: str = "site.yaml") -> Environment:
    """Return the environment that `text` describes."""
    return load_environment({name: text.encode()})


def environment_file(path: Path) -> Environment:
    """Return the environment in a file, its scratch folder filled in."""
    data = path.read_bytes().replace(b"@SCRATCH_DIRECTORY@", b"/srv/scratch/hello")
    return load_environment({path.name: data})


def plan(
    profile: Profile | Mapping[str, bytes],
    where: Environment,
    intent: str,
    target: str,
    mode: Mode = Mode.READ_ONLY,
    parameters: Mapping[str, Json] | None = None,
    reached: Mapping[Isolation, bool] = REACHED,
    outside: Configuration | None = None,
) -> PlanDraft:
    """Return the plan for a request."""
    loaded = profile if isinstance(profile, Profile) else load_profile(profile)
    request = PlanRequest(intent=intent, target=target, mode=mode, parameters=parameters or {})
    return compile_plan(request, loaded, where, reached, outside)
