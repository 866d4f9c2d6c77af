"""Plans: exact calls, nothing left to choose, and a refusal that says what is allowed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.environment import Environment, load_environment
from rexecop.operations.errors import (
    CommandGuarded,
    ConnectorRefused,
    EnvironmentRefused,
    IntentUnknown,
    InternalActionUnknown,
    IsolationUnavailable,
    LaneUnavailable,
    ModeRefused,
    ParameterRefused,
    ProfileRefused,
    SecretInline,
    TargetUnknown,
)
from rexecop.operations.guards import check_command
from rexecop.operations.planning import PlanDraft
from rexecop.operations.profile import load_profile
from rexecop.proof.call import REPEAT_MAX, Hole, ProcessRequest, ScriptedRequest, fill
from rexecop.proof.codec import decode, encode
from rexecop.proof.records.plan import CallStep, DeriveStep
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode
from tests.operations.folders import (
    ENVIRONMENTS,
    FIXTURE,
    HELLO,
    HELLO_ENVIRONMENT,
    REACHED,
    SEED_ENVIRONMENT,
    TECRAX,
    edited,
    environment,
    environment_file,
    folder,
    plan,
    seed,
)

SITE = ENVIRONMENTS / "small-public-unit-proxmox.example.yaml"
STAGING = ENVIRONMENTS / "small-public-unit-proxmox.staging.example.yaml"


def calls(draft: PlanDraft) -> dict[str, CallStep]:
    return {step.id: step for step in draft.steps if isinstance(step, CallStep)}


def argv(draft: PlanDraft, step: str) -> tuple[object, ...]:
    request = calls(draft)[step].call.request
    assert isinstance(request, ProcessRequest)
    return request.argv


def greeting(value: object = "hi", mode: Mode = Mode.APPLY) -> PlanDraft:
    return plan(
        folder(HELLO),
        environment_file(HELLO_ENVIRONMENT),
        "set_greeting",
        "localhost",
        mode,
        {"greeting": value},  # type: ignore[dict-item]
    )


@pytest.mark.parametrize("root", [TECRAX, FIXTURE], ids=["installed", "fixture"])
def test_the_quick_start_plans_the_members_the_environment_lists(root: Path) -> None:
    draft = plan(
        folder(root),
        environment_file(SITE),
        "check_backup_status",
        "all_critical_vms",
        Mode.DRY_RUN,
    )

    assert [target.id for target in draft.targets] == ["vm-zabbix-01", "vm-pbs-01"]
    assert [step.id for step in draft.steps] == [
        "read_backup_status@vm-zabbix-01",
        "read_backup_status@vm-pbs-01",
    ]
    requests = [step.call.request for step in calls(draft).values()]
    assert all(isinstance(request, ScriptedRequest) for request in requests)
    assert requests[0] != requests[1]
    assert draft.effect is Effect.READ


def test_a_change_through_scripts_carries_its_undo_and_its_probe() -> None:
    draft = plan(folder(TECRAX), environment_file(SITE), "restart_zabbix_agent", "vm-pbs-01", Mode.APPLY)

    step = calls(draft)["restart_agent"]
    assert (step.call.effect, step.idempotent, step.grade) == (Effect.CHANGE, False, None)
    assert step.undo is not None and step.undo.action == "start_agent"
    assert step.probe is not None and step.probe.equals is True
    assert step.retry is not None and step.retry.on == ("transient_connector_error",)


def test_values_enter_calls_whole_and_undo_writes_back_what_was_observed() -> None:
    draft = greeting("a; rm -rf {target} $(x)")

    step = calls(draft)["write_greeting"]
    request = step.call.request
    assert isinstance(request, ProcessRequest)
    assert request.argv[-3:] == ("tee", "--", "/srv/scratch/hello/greeting.txt")
    assert request.stdin == "a; rm -rf {target} $(x)\n"
    assert request.writable == ("/srv/scratch/hello",)
    assert step.undo is not None and isinstance(step.undo.request, ProcessRequest)
    assert step.undo.request.stdin == (Hole(slot="previous"),)
    filled = fill(step.undo, {"previous": "before\n"}).request
    assert isinstance(filled, ProcessRequest) and filled.stdin == "before\n"
    assert step.slots is not None and step.slots["previous"].step == "read_current"


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200))
def test_a_value_never_becomes_more_than_one_text(value: str) -> None:
    request = calls(greeting(value))["write_greeting"].call.request

    assert isinstance(request, ProcessRequest)
    assert request.stdin == value + "\n"
    assert value not in request.argv or value in ("tee", "--", "flock")


def test_a_seed_profile_plans_unchanged() -> None:
    draft = plan(seed(), environment(), "look", "web")

    assert argv(draft, "read_name") == ("hostname",)
    # The quiet flag the seed's backend adds is part of the plan, and braces that are no placeholder stay.
    assert argv(draft, "fetch_status")[:2] == ("curl", "-q")
    assert "%{http_code}" in argv(draft, "fetch_status")
    assert [step.id for step in draft.steps] == ["read_name", "fetch_status", "look"]
    assert isinstance(draft.steps[2], DeriveStep) and draft.steps[2].needs == ("read_name", "fetch_status")
    read, fetch = calls(draft).values()
    assert (read.limits.timeout_ms, fetch.limits.timeout_ms, read.limits.output_bytes) == (
        10_000,
        5_000,
        4096,
    )
    assert (fetch.continue_on_error, read.pause_safe, fetch.needs) == (True, True, ("read_name",))
    assert read.retry is not None and read.retry.attempts == 2


def test_a_plan_is_the_same_every_time_and_survives_the_codec() -> None:
    first, second = greeting(), greeting()

    assert encode(first) == encode(second)
    assert decode(PlanDraft, encode(first)) == first


def test_two_targets_have_their_own_ids_needs_and_slots() -> None:
    text = HELLO_ENVIRONMENT.read_text().replace("@SCRATCH_DIRECTORY@", "/srv/a")
    site = environment(
        text.replace("  connectors:", "    both: {members: [localhost, other]}\n  connectors:")
    )

    draft = plan(folder(HELLO), site, "set_greeting", "both", Mode.APPLY, {"greeting": "x"})

    step = calls(draft)["write_greeting@other"]
    assert step.needs == ("read_current@other",)
    assert step.slots is not None and step.slots["previous"].step == "read_current@other"
    assert len({item.id for item in draft.steps}) == len(draft.steps) == 6


ENTRY = "{action: read_name, command: hostname, args: []}"
CONNECTORS = [
    ("      enabled: true", "      enabled: false", "switched off"),
    ("    shell:\n      backend", "    other:\n      backend", "does not configure"),
    ("backend: local_shell_readonly", "backend: process", "the profile allows local_shell_readonly"),
    (ENTRY, "{action: read_name, command: id, args: []}", "not the command"),
    (ENTRY, "{action: other, command: id}", "not in the allowlist"),
    (ENTRY, f"{ENTRY}\n        - {ENTRY}", "2 allowlist"),
]


class TestRefusals:
    def test_an_unknown_intent_names_the_nearest(self) -> None:
        with pytest.raises(IntentUnknown, match="did you mean `look`"):
            plan(seed(), environment(), "lok", "web")

    def test_an_unknown_target_names_the_known(self) -> None:
        with pytest.raises(TargetUnknown, match="pair"):
            plan(seed(), environment(), "look", "nowhere")

    def test_an_environment_of_another_profile_is_refused(self) -> None:
        with pytest.raises(EnvironmentRefused, match="for profile `tecrax`"):
            plan(seed(), environment_file(SITE), "look", "vm-pbs-01")

    @pytest.mark.parametrize("mode", [Mode.APPLY, Mode.RECOVERY])
    def test_a_mode_that_was_not_declared_is_refused(self, mode: Mode) -> None:
        with pytest.raises(ModeRefused, match="dry_run"):
            plan(seed(), environment(), "look", "web", mode)

    @pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.EMERGENCY_READONLY])
    def test_the_other_read_modes_go_with_read_only(self, mode: Mode) -> None:
        assert plan(seed(), environment(), "look", "web", mode).mode is mode

    @pytest.mark.parametrize("mode", [Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY])
    def test_a_change_never_plans_in_a_read_mode_whatever_the_profile_claims(self, mode: Mode) -> None:
        path = "intents/set_greeting.yaml"
        files = folder(HELLO)
        files[path] = files[path].replace(b"modes: [dry_run, apply]", b"modes: [read_only]")

        with pytest.raises(ModeRefused, match="only reads"):
            plan(
                files,
                environment_file(HELLO_ENVIRONMENT),
                "set_greeting",
                "localhost",
                mode,
                {"greeting": "x"},
            )

    def test_a_dry_run_may_show_a_change(self) -> None:
        assert greeting(mode=Mode.DRY_RUN).effect is Effect.CHANGE

    @pytest.mark.parametrize(
        "given_values",
        [
            {},
            {"greeting": ""},
            {"greeting": "a\nb"},
            {"greeting": "a\n"},
            {"greeting": 1},
            {"greeting": "x" * 201},
            {"greeting": "x", "more": 1},
            {"greting": "x"},
        ],
    )
    def test_parameters_outside_the_schema_are_refused(self, given_values: Mapping[str, str]) -> None:
        with pytest.raises(ParameterRefused):
            plan(
                folder(HELLO),
                environment_file(HELLO_ENVIRONMENT),
                "set_greeting",
                "localhost",
                Mode.APPLY,
                given_values,
            )

    def test_parameters_an_intent_does_not_take_are_refused(self) -> None:
        with pytest.raises(ParameterRefused, match="takes no parameters"):
            plan(seed(), environment(), "look", "web", parameters={"x": 1})

    def test_a_secret_is_no_parameter(self) -> None:
        with pytest.raises(SecretInline):
            greeting("ghp_" + "x" * 36)

    def test_a_connector_without_a_lane_is_named(self) -> None:
        http = STAGING.read_text()
        start, end = http.index("      backend: http_api"), http.index("    zabbix_agent:")
        other = environment(http[:start] + "      backend: carrier_pigeon\n" + http[end:])
        with pytest.raises(LaneUnavailable, match="`backup_server`"):
            plan(folder(TECRAX), other, "check_backup_status", "vm-pbs-01", Mode.DRY_RUN)

    def test_an_intent_without_rules_is_refused(self) -> None:
        with pytest.raises(ProfileRefused, match="no rules"):
            plan(seed(**{"validation_rules/look.yaml": None}), environment(), "look", "web")

    def test_an_unknown_internal_action_is_refused(self) -> None:
        with pytest.raises(InternalActionUnknown):
            plan(seed(**{"normalizers/look.yaml": None}), environment(), "look", "web")

    @pytest.mark.parametrize(("old", "new", "named"), CONNECTORS)
    def test_a_connector_in_another_shape_is_refused(self, old: str, new: str, named: str) -> None:
        assert old in SEED_ENVIRONMENT
        with pytest.raises(ConnectorRefused, match=named):
            plan(seed(), environment(SEED_ENVIRONMENT.replace(old, new, 1)), "look", "web")

    def test_a_scripted_connector_may_stand_in_for_any_other(self) -> None:
        text = SEED_ENVIRONMENT.replace(
            "backend: local_shell_readonly",
            "backend: mock\n      actions: {read_name: {stdout: web}, fetch_status: {stdout: '200'}}",
        )

        step = calls(plan(seed(), environment(text), "look", "web"))["read_name"]

        assert isinstance(step.call.request, ScriptedRequest)
        assert step.isolation is Isolation.NOT_APPLICABLE

    def test_a_scripted_flood_is_in_the_plan_and_one_without_end_is_refused(self) -> None:
        def flooding(times: int) -> Environment:
            reply = f"{{stdout: web, repeat: {times}}}"
            return environment(
                SEED_ENVIRONMENT.replace(
                    "backend: local_shell_readonly",
                    f"backend: mock\n      actions: {{read_name: {reply}, fetch_status: {{stdout: '200'}}}}",
                )
            )

        request = calls(plan(seed(), flooding(9), "look", "web"))["read_name"].call.request

        assert isinstance(request, ScriptedRequest)
        assert [(reply.stdout, reply.repeat) for reply in request.replies] == [("web", 9)]
        with pytest.raises(EnvironmentRefused, match=r"repeat"):
            plan(seed(), flooding(REPEAT_MAX + 1), "look", "web")

    def test_a_placeholder_that_names_nothing_is_refused(self) -> None:
        files = folder(HELLO)
        path = "connectors/local.yaml"
        files[path] = files[path].replace(b"{env.scratch_directory}", b"{env.scratch}")

        with pytest.raises(ProfileRefused, match=r"`\{env\.scratch\}` names nothing"):
            plan(files, environment_file(HELLO_ENVIRONMENT), "show_greeting", "localhost")

    def test_a_value_is_never_read_as_an_option(self) -> None:
        old, new = "command: hostname, args: []", "command: hostname, args: ['{name}']"
        files = {
            **edited("connectors/shell.yaml", old, new),
            "intents/look.yaml": b"intent: {workflow: workflows/look.yaml, modes: [read_only], "
            b"parameters: {name: {}}}",
        }
        where = environment(SEED_ENVIRONMENT.replace(old, new))

        assert argv(plan(files, where, "look", "web", parameters={"name": "a-b"}), "read_name")[1] == "a-b"
        with pytest.raises(ParameterRefused, match="option"):
            plan(files, where, "look", "web", parameters={"name": "-a"})


class TestIsolation:
    def test_the_strongest_reached_class_is_fixed_at_plan(self) -> None:
        reached = {**REACHED, Isolation.BUBBLEWRAP: True}
        step = calls(plan(seed(), environment(), "look", "web", reached=reached))["read_name"]

        assert (step.isolation, step.grade) == (Isolation.BUBBLEWRAP, Grade.CONTAINED)

    def test_a_read_below_containment_is_declared_only(self) -> None:
        reached = {Isolation.RLIMITS: True}
        step = calls(plan(seed(), environment(), "look", "web", reached=reached))["read_name"]

        assert (step.isolation, step.grade) == (Isolation.RLIMITS, Grade.SHAPE)

    def test_a_class_asked_for_is_reached_or_refused_never_lowered(self) -> None:
        text = SEED_ENVIRONMENT.replace("      enabled: true", "      isolation: bubblewrap")

        with pytest.raises(IsolationUnavailable, match="bubblewrap"):
            plan(seed(), environment(text), "look", "web")

    def test_nothing_reached_is_refused(self) -> None:
        with pytest.raises(IsolationUnavailable, match="doctor"):
            plan(seed(), environment(), "look", "web", reached={})


class TestEmergency:
    def test_an_emergency_read_is_short_small_and_made_once(self) -> None:
        text = SEED_ENVIRONMENT.replace("timeout_seconds: 5", "timeout_seconds: 60").replace("4096", "900000")
        draft = plan(seed(), environment(text), "look", "web", Mode.EMERGENCY_READONLY)

        for step in calls(draft).values():
            assert step.limits.timeout_ms <= 10_000
            assert step.limits.output_bytes <= 64 * 1024
            assert step.retry is None


class TestRetries:
    def test_every_class_never_means_a_change_that_may_not_happen_twice(self) -> None:
        files = folder(TECRAX)
        path = "workflows/restart_zabbix_agent.yaml"
        files[path] = files[path].replace(b"allowed_on: [transient_connector_error], ", b"")

        draft = plan(files, environment_file(SITE), "restart_zabbix_agent", "vm-pbs-01", Mode.APPLY)

        assert calls(draft)["restart_agent"].retry is None
        assert calls(draft)["read_agent_before"].retry is not None

    def test_a_lost_change_is_not_tried_again_even_when_asked_for(self) -> None:
        files = folder(TECRAX)
        path = "workflows/restart_zabbix_agent.yaml"
        files[path] = files[path].replace(b"[transient_connector_error]", b"[timeout, unknown_outcome]")

        draft = plan(files, environment_file(SITE), "restart_zabbix_agent", "vm-pbs-01", Mode.APPLY)

        assert calls(draft)["restart_agent"].retry is None

    def test_a_read_looks_again_where_its_answer_does_not_hold_and_a_change_does_not(self) -> None:
        files = folder(TECRAX)
        path = "workflows/restart_zabbix_agent.yaml"
        files[path] = files[path].replace(b"[transient_connector_error]", b"[validation_failed]")

        made = calls(plan(files, environment_file(SITE), "restart_zabbix_agent", "vm-pbs-01", Mode.APPLY))

        rules = {name: made[name].retry for name in ("read_agent_before", "restart_agent")}
        assert {name: rule.on if rule else () for name, rule in rules.items()} == {
            "read_agent_before": ("not_yet", "validation_failed"),
            "restart_agent": ("validation_failed",),
        }


GUARDED = [
    *("flock /tmp/x sudo id", "flock /tmp/x -c id"),
    *("sudo id", "/usr/bin/sudo id", "SUDO id", "sh -c id", "bash -lc id", "env sudo id", "env X=1 sh -c id"),
    *("systemctl restart x", "systemctl --now disable x", "service x stop", "docker run x"),
    *("docker compose up", "timeout 5 su x"),
]
PLAIN = ["systemctl is-active ntp", "docker ps", "cat /etc/sudoers", "sh script", "ls -c"]


class TestGuards:
    @pytest.mark.parametrize("command", GUARDED)
    def test_a_read_is_no_command_that_acts(self, command: str) -> None:
        with pytest.raises(CommandGuarded):
            check_command(command.split(), Effect.READ, "x")

    @pytest.mark.parametrize("command", PLAIN)
    def test_plain_commands_pass(self, command: str) -> None:
        check_command(command.split(), Effect.READ, "x")

    def test_no_effect_hands_text_to_a_shell(self) -> None:
        with pytest.raises(CommandGuarded):
            check_command(("sh", "-c", "id"), Effect.DESTROY, "x")

    def test_the_command_itself_is_never_a_value(self) -> None:
        with pytest.raises(CommandGuarded):
            check_command(((Hole(slot="x"),), "a"), Effect.CHANGE, "x")

    def test_a_seed_profile_cannot_bring_a_guarded_command(self) -> None:
        files = edited("connectors/shell.yaml", "{command: hostname, args: []", "{command: sudo, args: [id]")
        text = SEED_ENVIRONMENT.replace("command: hostname, args: []", "command: sudo, args: [id]")

        with pytest.raises(CommandGuarded):
            plan(files, environment(text), "look", "web")


SCRIPTED_UPDATES = """
environment:
  id: site
  targets: {web1: {}}
  connectors:
    host_updates:
      backend: mock
      actions: {read_upgrades: {stdout: ""}, read_needrestart: {stdout: ""}, read_reboot_marker: {stdout: ""}}
"""


def test_an_action_that_says_it_reads_is_no_change_because_of_a_word_in_its_name() -> None:
    draft = plan(
        folder(TECRAX),
        load_environment({"site.yaml": SCRIPTED_UPDATES.encode()}),
        "check_updates",
        "web1",
        Mode.READ_ONLY,
    )

    assert calls(draft)["read_reboot_marker"].call.effect is Effect.READ


def test_an_effect_nobody_declared_is_refused_not_guessed_for_real_commands() -> None:
    profile = load_profile(folder(HELLO))
    local = profile.connectors["local"]
    action = replace(local.actions["read_hostname"], effect=None)
    bare = replace(local, actions={**local.actions, "read_hostname": action})

    with pytest.raises(ConnectorRefused, match="declare its `effect`"):
        plan(
            replace(profile, connectors={"local": bare}),
            environment_file(HELLO_ENVIRONMENT),
            "host_facts",
            "localhost",
        )
