"""The checks of hosts, nodes, backups and containers over real SSH and HTTP, when well and when not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from rexecop.proof.canonical import Json
from tests.needs import needs
from tests.profiles.rigged import HOST, Ran, Site
from tests.profiles.test_tecrax_on_the_rig import site, stands
from tests.rig.systems import NODE

__all__ = ["site", "stands"]
pytestmark = needs("sshd", "ssh-keygen")

BACKUPS: Final[Mapping[str, Json]] = {"node": NODE, "storage": "pbs"}
ON_NODE: Final[Mapping[str, Json]] = {"node": NODE, "device": "/dev/sda"}
GUEST: Final[Mapping[str, Json]] = {"node": NODE, "kind": "qemu", "guest": 101}
ATA: Final[Mapping[str, Json]] = {"device": "/dev/sda"}
NVME: Final[Mapping[str, Json]] = {"device": "/dev/nvme0"}
NAMES: Final[Mapping[str, Json]] = {"name": "example.com", "canary": "ads.example.net"}
WEB: Final[Mapping[str, Json]] = {"container": "web"}

# Intent, what it is asked with, and by scenario what is found.
CHECKS: Final[Sequence[tuple[str, Mapping[str, Json], Mapping[str, str]]]] = (
    ("check_backup_coverage_pve", BACKUPS, {
        "guest-not-backed-up": "guests_without_backup backup_old backup_lost last_task_failed"
                               " backup_tasks_failed"}),
    ("check_backup_integrity_pbs", {"store": "main"}, {
        "pbs-unwell": "verification_failed backup_old groups_never_verified verify_job_failed"
                      " datastore_full_soon"}),
    ("check_node_pve", ON_NODE, {
        "pve-node-unwell": "certificate_ends_soon certificate_ends_very_soon storage_not_active space_filling"
                           " space_full disk_failing disk_worn sectors_bad updates_pending"}),
    ("check_cluster_pve", {"node": NODE}, {
        "pve-cluster-unwell": "no_quorum nodes_offline ha_services_failed replication_failing"
                              " replication_behind"}),
    ("check_guest_pve", GUEST, {"guest-forgotten": "autostart_guest_not_running snapshots_old"}),
    ("check_disk_space", {}, {"mount-full": "space_filling space_full"}),
    ("check_disk_health", ATA, {"disk-prefail": "disk_failing sectors_pending"}),
    ("check_disk_health", NVME, {"nvme-worn": "disk_failing disk_worn"}),
    ("check_storage_pools", {}, {
        "scrub-old": "scrub_old", "pool-degraded": "pool_not_online", "array-degraded": "array_degraded"}),
    ("check_updates", {}, {
        "updates-and-reboot": "security_updates_pending updates_pending kernel_waits_for_reboot"
                              " reboot_required services_run_old_code"}),
    ("check_containers", {"endpoint": 2}, {
        "containers-unwell": "containers_unhealthy containers_restarting"}),
    ("check_containers_engine", WEB, {
        "containers-unwell": "containers_unhealthy containers_restarting container_restarted_often"}),
    ("check_time_sources", {}, {"ntp-unreachable": "no_source_reachable no_source_followed few_sources"}),
    ("check_ups", {"ups": "rack@localhost"}, {
        "ups-on-battery": "ups_on_battery battery_not_charged runtime_short"}),
    ("check_host_exposure", {}, {
        "exposed": "unexpected_tcp_socket authorized_keys_changed root_may_log_in_with_password"
                   " passwords_let_in fail2ban_down expected_jails_gone"}),
    ("check_dns_filtering", NAMES, {
        "dns-does-not-filter": "canary_not_blocked canary_not_filtered filters_old"}),
    ("check_domain_dns", {"domain": "example.com"}, {"domain-gone": "too_few_controllers"}),
    ("check_zabbix_truth", {}, {
        "zabbix-blind": "items_unsupported many_items_unsupported proxies_stale active_agents_gone"
                        " problems_nobody_took"}),
    ("daily_check", {}, {
        "unit-failed": "units_unhealthy", "mount-full": "disk_space_unhealthy",
        "exposed": "exposure_unhealthy"}),
    ("check_failed_units", {}, {
        "unit-failed": "units_failed", "timer-overdue": "timers_overdue",
        "errors-many": "many_errors many_errors_of_one"}),
)  # fmt: skip


def ran(site: Site, intent: str, parameters: Mapping[str, Json], mode: str = "read_only") -> Ran:
    planned = site.runner.run(site.instance.plan(site.asks(intent, HOST, mode, "", **parameters)))
    site.runner.run(site.instance.start(planned.operation_id))
    return site.seen(planned.operation_id)


def named(one: object) -> str:
    return one if isinstance(one, str) else ""


@pytest.mark.parametrize(("intent", "parameters", "faults"), CHECKS, ids=named)
def test_a_check_is_green_on_a_healthy_site_and_says_what_is_not_well(
    site: Site, intent: str, parameters: Mapping[str, Json], faults: Mapping[str, str]
) -> None:
    before = site.rig.asked()
    ran(site, intent, parameters, "dry_run")
    assert site.rig.asked() == before, "a dry run asked somebody"
    healthy = ran(site, intent, parameters)

    assert (healthy.state, healthy.facts["status"], healthy.findings) == ("completed", "healthy", set())
    for scenario, found in faults.items():
        site.rig.scenario(scenario)
        unwell = ran(site, intent, parameters)
        assert (unwell.state, unwell.findings) == ("failed", set(found.split())), scenario


def test_what_a_container_has_in_its_variables_is_not_kept(site: Site) -> None:
    planned = site.runner.run(
        site.instance.plan(site.asks("check_containers_engine", HOST, "read_only", "", **WEB))
    )
    site.runner.run(site.instance.start(planned.operation_id))

    kept = [
        path.read_bytes() for path in site.folder.rglob("*") if path.is_file() and "site" not in path.parts
    ]
    assert not any(b"made-up-value" in data for data in kept)
    assert any(b"RestartCount" in data for data in kept)


def test_a_certificate_is_looked_at_over_real_tls(site: Site) -> None:
    port = site.rig.webs["zabbix"].port

    found = ran(site, "check_certificate", {"host": "127.0.0.1", "port": port, "name": "localhost"})

    assert "certificate_not_believed" in found.findings, found  # The authority of the rig is nobody's.
    assert found.facts["days_left"] is not None
