"""The rules of the shipped monitoring host: for each, a request that it alone decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import pytest

from rexecop.governance.admission import Policy, decide
from rexecop.governance.importing import Calls
from rexecop.governance.lint import lint
from rexecop.governance.narrowing import narrow
from rexecop.governance.pack import Pack
from rexecop.operations.environment import load_environment, pack_of
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.proof.records.decision import ApprovalRule, Obligations, RequestCall, RequestTarget, Terms
from rexecop.proof.vocabulary import Effect, Gate, Mode
from tests.governance.cases import request
from tests.operations.folders import ENVIRONMENTS, TECRAX, folder
from tests.rig.rig import without_rule

EXAMPLE: Final = ENVIRONMENTS / "monitoring-host.example.yaml"
HOUSE: Final = {
    "pack.yaml": b"id: house\nversion: '1'\n",
    "entities.yaml": b"groups: [approvers]\npeople: {alice: {groups: [approvers]}}\n",
    "rules.cedar": b'@id("all")\npermit (principal, action, resource);\n',
}
HOST, SWITCH, GUEST = "monitoring-01", "switch-01", "files-01"

READS: Final[Mapping[str, str]] = {
    "allow-diagnosis": "diagnose_monitoring_host",
    "allow-time": "check_ntp_health",
    "allow-time-server": "check_ntp_server_health",
    "allow-docker": "check_docker_services_health",
    "allow-host-security": "collect_host_security_posture_readonly",
    "allow-zabbix": "check_zabbix_container_health",
    "allow-zabbix-problems": "collect_zabbix_problem_summary_readonly",
    "allow-zabbix-availability": "collect_zabbix_host_availability_summary_readonly",
    "allow-dns": "check_adguard_health",
    "allow-portainer": "check_portainer_health",
}
BOUNDED: Final = {"allow-inventory-within-bounds": "collect_basic_host_inventory"}
CALLS: Final[Mapping[str, str]] = {
    "call-host-os-release": "monitoring_host/read_os_release",
    "call-host-kernel-identity": "monitoring_host/read_kernel_identity",
    "call-host-hostname": "monitoring_host/read_hostname",
    "call-host-uptime": "monitoring_host/read_uptime",
    "call-host-load-average": "monitoring_host/read_load_average",
    "call-host-filesystem-usage": "monitoring_host/read_filesystem_usage",
    "call-host-memory-summary": "monitoring_host/read_memory_summary",
    "call-host-ntp-sync": "monitoring_host/read_ntp_sync_state",
    "call-host-time-daemons": "monitoring_host/read_time_daemons",
    "call-host-time-daemon": "monitoring_host/read_chrony_tracking monitoring_host/read_ntpq_variables",
    "call-host-docker-service": "monitoring_host/read_docker_service_state",
    "call-host-docker-socket": "monitoring_host/read_docker_socket_state",
    "call-host-unattended-upgrades": "monitoring_host/read_unattended_upgrades_state",
    "call-host-available-updates": "monitoring_host/read_available_updates",
    "call-host-aslr": "monitoring_host/read_aslr_state",
    "call-host-dmesg-restrict": "monitoring_host/read_dmesg_restrict_state",
    "call-host-reboot-required-marker": "monitoring_host/read_reboot_required_marker",
    "call-adguard-dns-resolution": "adguard_dns/read_adguard_dns_resolution",
    "call-adguard-login-page": "adguard_web/read_adguard_login_page",
    "call-zabbix-api-version": "zabbix_api/read_zabbix_api_version",
    **{
        f"call-zabbix-count-problems-severity-{n}": f"zabbix_api_authenticated/count_problems_severity_{n}"
        for n in range(6)
    },
    "call-zabbix-count-hosts-enabled": "zabbix_api_authenticated/count_hosts_enabled",
    "call-zabbix-count-hosts-disabled": "zabbix_api_authenticated/count_hosts_disabled",
    "call-zabbix-count-interfaces-unknown": "zabbix_api_authenticated/count_interfaces_unknown",
    "call-zabbix-count-interfaces-available": "zabbix_api_authenticated/count_interfaces_available",
    "call-zabbix-count-interfaces-unavailable": "zabbix_api_authenticated/count_interfaces_unavailable",
    "call-portainer-status": "portainer_api/read_portainer_status",
}
DENY: Final = "deny-other-changes"
SWITCH_READS: Final = {
    "allow-switch-inventory": "collect_network_device_inventory_readonly",
    "allow-switch-posture": "assess_network_device_management_posture_readonly",
}
SWITCH_CALLS: Final = {
    "call-switch-system-info": "network_device_cli/read_network_system_info",
    "call-switch-ssh-status": "network_device_cli/read_network_ssh_status",
}
CHECKS: Final[Mapping[str, str]] = {
    "allow-host-checks": "daily_check check_disk_space check_disk_health check_storage_pools"
    " check_failed_units check_updates check_host_exposure check_ups check_time_sources",
    "allow-proxmox-checks": "check_node_pve check_cluster_pve check_guest_pve check_backup_coverage_pve"
    " check_backup_integrity_pbs",
    "allow-service-checks": "check_certificate check_domain_dns check_dns_filtering check_zabbix_truth"
    " check_containers check_containers_engine",
}
CHECK_CALLS: Final[Mapping[str, str]] = {
    "calls-host-checks": "host_storage/read_space host_units/read_timers host_updates/read_upgrades"
    " host_disks/read_smart host_exposure/read_listening host_ups/read_ups time_sources/read_timesync",
    "calls-probes": "certificate/read_certificate dns_probe/read_canary",
    "calls-service-checks": "adguard_api/read_stats zabbix_truth/read_proxies pve_api/read_disks"
    " pbs_api/read_snapshots portainer_containers/read_containers docker_api/read_disk_use",
}
ASKS: Final[Mapping[str, tuple[str, str]]] = {
    "ask-service": (
        "restart_service restart_service_in_maintenance configure_time_sync configure_file redeploy_stack",
        HOST,
    ),
    "ask-patch": ("patch_host", HOST),
    "ask-power": ("start_guest shutdown_guest reboot_guest", GUEST),
    "ask-backup": ("backup_guest_now verify_datastore_now", GUEST),
    "ask-quiet": ("start_zabbix_maintenance pause_adguard_protection", HOST),
    "ask-upkeep": ("recover_space renew_certificate refresh_adguard_filters acknowledge_problem", HOST),
    "ask-proof": (
        "prove_guest_restore prove_restic_restore prove_borg_restore dump_postgresql dump_mariadb",
        HOST,
    ),
}
CHANGE_CALLS: Final[Mapping[str, str]] = {
    "calls-service-control": "service_control/restart_service service_control/read_service",
    "calls-managed-file": "managed_file/put_file managed_file/read_digest",
    "calls-time-sync": "time_sync/await_sync",
    "calls-host-patching": "host_patching/upgrade_packages host_patching/compare_boot_id",
    "calls-container-stack": "container_stack/bring_up",
    "calls-zabbix-maintenance": "zabbix_maintenance/create_maintenance",
    "calls-adguard-control": "adguard_control/pause_protection",
    "calls-pve-guests": "pve_guests/rollback_snapshot pve_guests/read_task",
    "calls-pbs-control": "pbs_control/start_verification",
    "calls-upkeep": "space_control/clean_packages certificate_control/renew",
    "calls-renewed-certificate": "certificate/read_certificate",
    "calls-zabbix-events": "zabbix_events/acknowledge_event",
    "calls-restores": "restic_restore/restore_file borg_restore/extract_file postgresql_dump/restore_dump"
    " mariadb_dump/restore_dump",
    "calls-guest-restores": "pve_restore/restore_backup pve_restore/destroy_temporary",
}

Asked = dict[str, Any]


def reading(intent: str, target: str = HOST) -> Asked:
    about = RequestTarget(id=target, type="host", criticality="medium")
    return {"intent": intent, "effect": Effect.READ, "mode": Mode.READ_ONLY, "targets": (about,)}


def changing(intent: str, target: str = HOST) -> Asked:
    return {**reading(intent, target), "effect": Effect.CHANGE, "mode": Mode.APPLY, "risk": "high"}


def calling(name: str, intent: Asked) -> Asked:
    connector, action = name.split("/")
    call = RequestCall(connector=connector, action=action, effect=Effect.READ)
    return {**intent, "gate": Gate.CALL, "call": call}


def rows() -> Iterator[tuple[str, Asked, str]]:
    """Yield each rule with what it is asked, and the verdict."""
    for rule, intent in {**READS, **BOUNDED}.items():
        yield rule, reading(intent), "allowed"
    for rule, intent in SWITCH_READS.items():
        yield rule, reading(intent, SWITCH), "allowed"
    for rule, intents in CHECKS.items():
        for intent in intents.split():
            yield rule, reading(intent), "allowed"
    for rule, names in {**CALLS, **SWITCH_CALLS, **CHECK_CALLS}.items():
        for name in names.split():
            yield rule, calling(name, reading("diagnose_monitoring_host")), "allowed"
    for rule, (intents, target) in ASKS.items():
        for intent in intents.split():
            yield rule, changing(intent, target), "approval_required"
    for rule, names in CHANGE_CALLS.items():
        for name in names.split():
            yield rule, calling(name, changing("patch_host")), "allowed"


@cache
def text() -> str:
    return EXAMPLE.read_text()


@cache
def profile() -> Profile:
    return load_profile(folder(TECRAX))


@cache
def calls() -> Calls:
    found = load_environment({"environment.yaml": text().encode()}).connectors
    specs = {name: spec for name, spec in profile().connectors.items() if name in found}
    return {(name, action): found[name].declared for name, spec in specs.items() for action in spec.actions}


@cache
def policy(environment: str) -> Policy:
    files = narrow(environment.encode(), source="environment.yaml", profile="tecrax", calls=calls())
    return Policy((Pack.parse(HOUSE),), (Pack.parse(files),))


def answer(environment: str, asked: Asked) -> Terms:
    about = {"profile": "tecrax", "environment": "monitoring-host", **asked}
    return decide(policy(environment), request(**about)).terms


def test_the_table_has_every_rule_of_the_example() -> None:
    ids = re.findall(r"^      - rule_id: (\S+)$", text(), re.MULTILINE)
    first = (*READS, *BOUNDED, *CALLS, DENY)

    assert (len(READS), len(BOUNDED), len(CALLS)) == (10, 1, 32) and tuple(ids[:44]) == first
    more = {*SWITCH_READS, *SWITCH_CALLS, *CHECKS, *CHECK_CALLS, *ASKS, *CHANGE_CALLS}
    assert set(ids[44:]) == more and len(ids) == len(set(ids))


def test_there_is_a_rule_for_every_intent_and_call_that_the_example_connects() -> None:
    about = {*READS.values(), *BOUNDED.values(), *SWITCH_READS.values()}
    about |= {intent for intents in CHECKS.values() for intent in intents.split()}
    about |= {intent for intents, _ in ASKS.values() for intent in intents.split()}
    unconnected = {"check_backup_status", "check_backup_restic", "check_backup_borg", "restart_zabbix_agent"}
    assert set(profile().intents) - about == unconnected

    changing_calls = {name.split("/")[0] for names in CHANGE_CALLS.values() for name in names.split()}
    changes = {intent for intents, _ in ASKS.values() for intent in intents.split()}
    for workflow in (profile().workflows[profile().intents[intent].workflow] for intent in changes):
        for step in (*workflow.steps, *workflow.rollback):
            if step.connector:
                asked = calling(f"{step.connector}/{step.action}", changing("patch_host"))
                assert str(answer(text(), asked).verdict) == "allowed", (workflow.id, step.id)
    changing_calls.discard("certificate")  # Read by both; as a change it is tried above.
    for connector, action in calls():
        asked = (
            reading("diagnose_monitoring_host") if connector not in changing_calls else changing("patch_host")
        )
        assert str(answer(text(), calling(f"{connector}/{action}", asked)).verdict) == "allowed", action


@cache
def blocks() -> Mapping[str, str]:
    """Return the text of each rule by its name."""
    found = re.findall(r"(      - rule_id: (\S+)\n(?:(?! +- rule_id| +#).*\n)*)", text())
    return {name: block for block, name in found}


@cache
def only(rule: str) -> str:
    """Return an environment whose one rule is `rule`."""
    return f"environment:\n  policy_pack:\n    policy_id: one\n    version: '1'\n    rules:\n{blocks()[rule]}"


@pytest.mark.parametrize(("rule", "asked", "verdict"), tuple(rows()))
def test_each_rule_and_no_other_lets_through_what_it_is_about(rule: str, asked: Asked, verdict: str) -> None:
    found = {name: str(answer(only(name), asked).verdict) for name in blocks()}

    assert str(answer(text(), asked).verdict) == verdict
    assert {name: one for name, one in found.items() if one != "blocked"} == {rule: verdict}


def test_what_is_not_among_the_changes_is_denied_whatever_else_is_allowed() -> None:
    generous = (
        "      - {rule_id: all, effect: allow, conditions: {action.category: operation}}\n"
        "      - {rule_id: all-calls, effect: allow, conditions: {action.connector: monitoring_host}}\n"
    )

    for asked in (
        changing("restart_zabbix_agent"),
        calling("monitoring_host/read_uptime", changing("dance")),
    ):
        assert str(answer(text() + generous, asked).verdict) == "blocked"
        assert str(answer(without_rule(text(), DENY) + generous, asked).verdict) == "allowed"
    assert str(answer(text() + generous, reading("restart_zabbix_agent")).verdict) == "allowed"


def test_the_inventory_is_held_to_its_bounds_and_nothing_else_is() -> None:
    inventory = answer(text(), reading(BOUNDED["allow-inventory-within-bounds"]))

    assert inventory.obligations == Obligations(
        receipt=True, output_digest=True, timeout_ms=10_000, steps_max=9, output_bytes=8192
    )
    assert answer(text(), reading(READS["allow-time"])).obligations == Obligations()


def test_a_change_waits_for_one_approver_and_leaves_a_receipt() -> None:
    terms = answer(text(), changing("reboot_guest", GUEST))

    assert terms.approvals == (ApprovalRule(count=1, group="approvers"),) and terms.obligations.receipt


@pytest.mark.parametrize(
    "asked",
    [
        reading("check_ntp_health", SWITCH),
        reading("check_backup_status"),
        {**reading("check_ntp_health"), "risk": "high"},
        changing("restart_service", GUEST),
        changing("patch_host", SWITCH),
        {**changing("patch_host"), "effect": Effect.DESTROY},
        calling("adguard_control/read_protection", reading("check_adguard_health")),
        calling("monitoring_host/read_uptime", changing("patch_host")),
    ],
    ids=str,
)
def test_what_no_rule_is_about_is_denied(asked: Asked) -> None:
    assert str(answer(text(), asked).verdict) == "blocked"


def test_the_pack_it_comes_to_has_no_error() -> None:
    pack = Pack.parse(pack_of(load_environment({"environment.yaml": text().encode()}), profile()))

    assert [one for one in lint(pack) if one.severity == "error"] == []
