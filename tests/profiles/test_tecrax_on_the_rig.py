"""What tecrax reads and changes over real SSH, HTTP and processes: when all is well, and when it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from rexecop.operations.errors import NothingToUndo
from rexecop.proof.canonical import Json
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.outcome import Outcome
from tecrax import profile_root
from tests.app.support import records
from tests.needs import needs
from tests.profiles.rigged import HOST, Changed, Site, change, standing, undone
from tests.rig.rig import BEFORE, NEW_IMAGE, OLD_IMAGE, without_rule

pytestmark = needs("sshd", "ssh-keygen")

GONE: Final = "standby-01"
SWITCH: Final = "switch-01"

INTENTS: Final[Mapping[str, str]] = {
    "collect_basic_host_inventory": HOST,
    "check_ntp_health": HOST,
    "check_ntp_server_health": HOST,
    "check_docker_services_health": HOST,
    "collect_host_security_posture_readonly": HOST,
    "check_zabbix_container_health": HOST,
    "collect_zabbix_problem_summary_readonly": HOST,
    "collect_zabbix_host_availability_summary_readonly": HOST,
    "check_adguard_health": HOST,
    "check_portainer_health": HOST,
    "collect_network_device_inventory_readonly": SWITCH,
    "assess_network_device_management_posture_readonly": SWITCH,
    "diagnose_monitoring_host": HOST,
}


@pytest.fixture(scope="module")
def stands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("rig")) as found:
        yield found


@pytest.fixture
def site(stands: Site) -> Site:
    stands.rig.scenario()
    stands.rig.as_new()
    return stands


@pytest.mark.parametrize(("intent", "target"), INTENTS.items(), ids=INTENTS)
def test_every_read_intent_is_green_on_a_healthy_site(site: Site, intent: str, target: str) -> None:
    ran = site.run(intent, target)

    assert (ran.state, ran.facts["status"], ran.findings) == ("completed", "healthy", set())


def test_a_dry_run_of_every_read_intent_asks_nobody(site: Site) -> None:
    before = site.rig.asked()

    assert {site.run(intent, target, "dry_run").state for intent, target in INTENTS.items()} == {"completed"}
    assert site.rig.asked() == before
    site.run("check_ntp_health")
    assert site.rig.asked() == before + 2


# Rules of the environment that are taken out, what is asked then, and what says no.
RULES: Final[Sequence[tuple[str, str, str, str]]] = (
    ("allow-time", "check_ntp_health", "read_only", "no-rule-allows-it"),
    ("call-host-ntp-sync", "check_ntp_health", "read_only", "no-rule-allows-the-call"),
    ("ask-power", "reboot_guest", "apply", "no-rule-allows-it"),
    ("calls-pve-guests", "reboot_guest", "apply", "no-rule-allows-the-call"),
)


@pytest.mark.parametrize(("rule", "intent", "mode", "says_no"), RULES, ids=[row[0] for row in RULES])
def test_the_rules_of_its_environment_are_in_force(
    site: Site, rule: str, intent: str, mode: str, says_no: str
) -> None:
    narrower = site.folder / "narrower.yaml"
    narrower.write_text(without_rule(site.rig.environment.read_text(), rule))
    asked = site.asks(intent, HOST, mode)

    allowed = site.runner.run(site.instance.plan(asked))
    denied = site.runner.run(site.instance.plan(replace(asked, env=str(narrower))))

    assert (allowed.state != "blocked", denied.state) == (True, "blocked")
    assert f"monitoring-host/{says_no}" in "\n".join(site.instance.why(denied.operation_id).lines)


def test_an_inventory_of_the_rig_is_held_to_the_bounds_of_its_rule(site: Site) -> None:
    planned = site.runner.run(site.instance.plan(site.asks("collect_basic_host_inventory")))
    several = site.runner.run(site.instance.plan(site.asks("collect_basic_host_inventory", "monitored")))
    terms = [one.record.terms for one in records(site.instance, planned.operation_id)
             if isinstance(one.record, Decision)][-1]  # fmt: skip

    assert (terms.obligations.steps_max, terms.obligations.output_bytes) == (9, 8192)
    assert several.state == "blocked" and "steps" in "\n".join(site.instance.why(several.operation_id).lines)


# Scenario, intent, state of the operation, status, what is found.
FAULTS: Final[Sequence[tuple[str, str, str, str, str]]] = (
    ("ntp-down", "check_ntp_health", "failed", "unhealthy", "no_time_daemon not_synchronized"),
    ("ntp-not-synchronized", "check_ntp_health", "failed", "unhealthy", "not_synchronized"),
    ("timesyncd", "check_ntp_health", "completed", "healthy", ""),
    ("docker-absent", "check_docker_services_health", "completed", "not_applicable", "docker_not_installed"),
    ("docker-stopped", "check_docker_services_health", "failed", "unhealthy", "docker_not_running"),
    ("upgrades-off", "collect_host_security_posture_readonly", "completed", "degraded",
     "updates_not_automatic"),
    ("updates-and-reboot", "collect_host_security_posture_readonly", "completed", "degraded",
     "reboot_required security_updates_pending"),
    ("disk-full", "collect_basic_host_inventory", "completed", "unhealthy", "root_filling root_full"),
    ("overloaded", "collect_basic_host_inventory", "completed", "unhealthy",
     "load_high memory_low memory_out"),
    ("zabbix-500", "check_zabbix_container_health", "failed", "unhealthy",
     "zabbix_http_error zabbix_no_version"),
    ("zabbix-slow", "check_zabbix_container_health", "failed", "unknown", ""),
    ("zabbix-wrong-token", "collect_zabbix_problem_summary_readonly", "failed", "unknown", ""),
    ("portainer-404", "check_portainer_health", "failed", "unhealthy",
     "portainer_http_error portainer_no_version"),
    ("portainer-wrong-certificate", "check_portainer_health", "failed", "unknown", ""),
    ("adguard-redirect", "check_adguard_health", "failed", "degraded", "web_login_redirects"),
    ("dns-blocks", "check_adguard_health", "failed", "unhealthy", "dns_blocks_what_must_resolve"),
    ("dns-timeout", "check_adguard_health", "failed", "unhealthy", "dns_no_answer"),
    ("switch-unknown", "collect_network_device_inventory_readonly", "failed", "unknown", ""),
    ("stratum-16", "check_ntp_server_health", "completed", "unhealthy",
     "clock_alarm not_synchronized stratum_far"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "intent", "state", "status", "found"), FAULTS, ids=[row[0] for row in FAULTS]
)
def test_what_goes_wrong_is_a_finding(
    site: Site, scenario: str, intent: str, state: str, status: str, found: str
) -> None:
    site.rig.scenario(scenario)

    ran = site.run(intent, INTENTS[intent])

    assert (ran.state, ran.facts["status"], ran.findings) == (state, status, set(found.split()))


def test_a_diagnosis_tells_all_that_is_wrong_at_once(site: Site) -> None:
    site.rig.scenario(
        "ntp-down",
        "docker-stopped",
        "upgrades-off",
        "disk-full",
        "zabbix-500",
        "portainer-404",
        "dns-timeout",
    )

    ran = site.run("diagnose_monitoring_host")

    assert ran.state == "completed"
    assert ran.findings == {
        "host_inventory_unhealthy",
        "ntp_unhealthy",
        "ntp_server_unavailable",
        "docker_unhealthy",
        "host_security_degraded",
        "zabbix_unhealthy",
        "adguard_unhealthy",
        "portainer_unhealthy",
    }


def test_a_host_that_cannot_be_reached_is_unknown_and_the_rest_is_told(site: Site) -> None:
    alone = site.run("check_ntp_health", GONE)
    whole = site.run("diagnose_monitoring_host", GONE)

    assert (alone.state, alone.facts["status"]) == ("failed", "unknown")
    assert whole.findings == {
        f"{part}_unavailable" for part in ("host_inventory", "ntp", "ntp_server", "docker", "host_security")
    }
    assert whole.state == "completed"


def outcomes(site: Site, changed: Changed, step: str) -> list[Outcome]:
    """Return how each try of `step` ended."""
    kept = [sealed.record for sealed in records(site.instance, changed.operation)]
    return [one for one in kept if isinstance(one, Outcome) and one.step == step]


def test_a_service_is_restarted_and_seen_to_run(site: Site) -> None:
    changed = change(site, "restart_service", HOST, str(profile_root()), unit="nginx.service")

    assert changed.state == "completed", changed
    asked = "\n".join(site.instance.why(changed.operation).lines)
    assert "tecrax/a-change-needs-somebody-else" in asked, asked


def test_a_service_that_does_not_come_back_stops_the_wave_and_is_started_again(site: Site) -> None:
    site.rig.scenario("restart-fails")

    changed = change(site, "restart_service", "monitored", unit="nginx.service")

    assert changed.state == "failed" and "postcondition" in changed.steps["verify@monitoring-01"], changed
    assert changed.steps["restart@standby-01"].split()[0] == "pending"
    assert (site.rig.folder / "units/nginx.service").read_text() == "active\n"


NEW: Final = "server 192.0.2.7 iburst\n"
CHRONY: Final[Mapping[str, Json]] = {"name": "site.conf", "unit": "chrony.service"}


@pytest.fixture
def file(site: Site) -> Path:
    path = site.rig.folder / "files/site.conf"
    path.write_text(BEFORE)
    return path


def test_time_is_configured_with_before_and_after_and_given_back(site: Site, file: Path) -> None:
    changed = change(site, "configure_time_sync", content=NEW, **CHRONY)

    assert (changed.state, file.read_text()) == ("completed", NEW), changed
    assert (site.rig.folder / "loaded").read_text() == NEW
    assert undone(site, changed)
    assert (file.read_text(), (site.rig.folder / "loaded").read_text()) == (BEFORE, BEFORE)


def test_a_file_that_its_parser_refuses_is_not_put(site: Site, file: Path) -> None:
    changed = change(site, "configure_time_sync", content="serve 192.0.2.7\n", **CHRONY)

    assert (changed.state, file.read_text()) == ("failed", BEFORE), changed
    assert "nonzero_exit" in changed.steps["check"]


def test_a_clock_that_does_not_synchronize_gets_its_file_back(site: Site, file: Path) -> None:
    site.rig.scenario("never-synchronizes")

    changed = change(site, "configure_time_sync", content=NEW, **CHRONY)

    assert (changed.state, file.read_text()) == ("failed", NEW), changed
    assert undone(site, changed) and file.read_text() == BEFORE
    assert (site.rig.folder / "loaded").read_text() == BEFORE


def test_a_managed_file_is_put_after_the_parser_of_its_kind_took_it(site: Site, file: Path) -> None:
    changed = change(site, "configure_file", content=NEW, format="chrony", **CHRONY)

    assert (changed.state, file.read_text()) == ("completed", NEW), changed
    assert "check_nginx" not in changed.steps
    assert undone(site, changed) and file.read_text() == BEFORE


def test_a_maintenance_window_ends_by_itself_and_can_be_undone(site: Site) -> None:
    zabbix = site.rig.zabbix
    changed = change(
        site, "start_zabbix_maintenance", name="patching", host_id="10084", since=1764250000, until=1764257200
    )

    assert changed.state == "completed", changed
    assert [one["active_till"] for one in zabbix.maintenance.values()] == [1764257200]
    assert undone(site, changed) and not zabbix.maintenance


def test_protection_is_paused_for_a_time_and_resumed(site: Site) -> None:
    changed = change(site, "pause_adguard_protection", duration_ms=600_000)

    assert changed.state == "completed", changed
    assert (site.rig.adguard.protection, site.rig.adguard.paused_ms) == (False, 600_000)
    assert undone(site, changed) and site.rig.adguard.protection


def test_a_guest_is_shut_down_when_its_task_says_so_and_started_again(site: Site) -> None:
    changed = change(site, "shutdown_guest")

    assert (changed.state, site.rig.proxmox.power["101"]) == ("completed", "stopped"), changed
    assert undone(site, changed) and site.rig.proxmox.power["101"] == "running"


def test_a_guest_whose_task_fails_is_no_success(site: Site) -> None:
    site.rig.scenario("pve-task-fails")

    changed = change(site, "start_guest", GONE)

    assert changed.state == "failed" and "got timeout" in changed.steps["task_ok"], changed


def test_a_task_that_takes_its_time_is_waited_for_and_a_container_is_a_guest_too(site: Site) -> None:
    site.rig.proxmox.task_looks = 1

    changed = change(site, "start_guest", "print-01")

    assert (changed.state, site.rig.proxmox.power["203"]) == ("completed", "running"), changed
    assert undone(site, changed) and site.rig.proxmox.power["203"] == "stopped"


def test_a_task_that_does_not_end_is_given_up_after_its_time(site: Site) -> None:
    site.rig.scenario("pve-task-hangs")

    changed = change(site, "shutdown_guest", "wiki-01")

    assert changed.state == "failed", changed
    assert "not_yet postcondition: `state` is `running`" in changed.steps["await_task"]
    assert site.rig.proxmox.looks == 11


def test_a_guest_that_is_as_it_shall_be_is_left_alone(site: Site) -> None:
    before = len(site.rig.proxmox.tasks)

    started = change(site, "start_guest", "wiki-01")
    stopped = change(site, "shutdown_guest", "print-01")

    assert (started.state, stopped.state) == ("completed", "completed"), (started, stopped)
    assert started.steps["move"].split()[0] == "skipped" and len(site.rig.proxmox.tasks) == before
    with pytest.raises(NothingToUndo):
        undone(site, started)


def test_a_guest_is_rebooted_and_one_that_does_not_run_is_not(site: Site) -> None:
    changed, refused = change(site, "reboot_guest", "wiki-01"), change(site, "reboot_guest", "print-01")

    assert (changed.state, site.rig.proxmox.uptime["201"]) == ("completed", 12), changed
    assert refused.state == "failed" and "`power` is `stopped`" in refused.steps["read_before"], refused
    with pytest.raises(NothingToUndo):
        undone(site, changed)


def test_guests_are_stopped_in_waves_and_started_again(site: Site) -> None:
    proxmox = site.rig.proxmox

    changed = change(site, "shutdown_guest", "office")

    moves = [task.split(":")[5:7] for task in proxmox.tasks[-2:]]
    assert (changed.state, moves) == ("completed", [["qmshutdown", "201"], ["qmshutdown", "202"]]), changed
    assert undone(site, changed)
    assert [proxmox.power[guest] for guest in ("201", "202", "203")] == ["running", "running", "stopped"]


def test_a_guest_of_the_first_wave_that_fails_spares_the_others(site: Site) -> None:
    site.rig.scenario("pve-task-fails")

    changed = change(site, "reboot_guest", "files-01,wiki-01")

    assert changed.state == "failed" and "got timeout" in changed.steps["task_ok@files-01"], changed
    assert changed.steps["move@wiki-01"].split()[0] == "pending"


PATCH: Final[Mapping[str, Json]] = {"snapshot": "before_patch"}


def test_a_patch_window_takes_a_snapshot_and_drops_it_where_asked(site: Site) -> None:
    kept = change(site, "patch_host", **PATCH, drop_snapshot=False)
    assert (kept.state, site.rig.proxmox.snapshots["101"]) == ("completed", ["before_patch"]), kept
    assert kept.steps["reboot/move"].split()[0] == "skipped"
    site.rig.proxmox.snapshots["101"].clear()

    dropped = change(site, "patch_host", **PATCH, drop_snapshot=True)
    assert (dropped.state, site.rig.proxmox.snapshots["101"]) == ("completed", []), dropped


def test_an_upgrade_that_breaks_is_rolled_back_to_the_snapshot(site: Site) -> None:
    site.rig.scenario("upgrade-breaks", "updates-and-reboot")

    changed = change(site, "patch_host", **PATCH, drop_snapshot=True)

    assert changed.state == "failed" and "nonzero_exit" in changed.steps["upgrade"], changed
    assert undone(site, changed)
    assert "qmrollback:101" in site.rig.proxmox.tasks[-1]


def test_a_host_whose_packages_ask_for_it_is_rebooted_and_seen_to_be_back(site: Site) -> None:
    site.rig.scenario("kernel-update")
    boot, server = (site.rig.folder / "boot-id").read_text(), site.rig.host.process.pid

    changed = change(site, "patch_host", HOST, str(profile_root()), **PATCH, drop_snapshot=True)

    assert (changed.state, site.rig.proxmox.snapshots["101"]) == ("completed", []), changed
    assert (site.rig.folder / "boot-id").read_text() != boot and site.rig.host.process.pid != server
    kinds = [task.split(":")[5] for task in site.rig.proxmox.tasks[-3:]]
    assert kinds == ["qmsnapshot", "qmreboot", "qmdelsnapshot"]
    tried = [one.error_class for one in outcomes(site, changed, "back")]
    assert set(tried[:-1]) == {"transient_connector_error"} and tried[-1] is None


def test_a_host_that_does_not_go_down_is_not_taken_for_one_that_is_back(site: Site) -> None:
    site.rig.scenario("kernel-update")
    site.rig.proxmox.moved = lambda guest, move: None

    changed = change(site, "patch_host", **PATCH, drop_snapshot=True)

    assert changed.state == "failed" and "`boot` is `same`" in changed.steps["back"], changed
    assert site.rig.proxmox.snapshots["101"] == ["before_patch"]


def test_a_host_that_never_comes_back_can_be_rolled_back(site: Site) -> None:
    site.rig.scenario("kernel-update", "host-stays-down")

    changed = change(site, "patch_host", **PATCH, drop_snapshot=True)

    assert changed.state == "failed" and "transient_connector_error" in changed.steps["back"], changed
    assert [changed.steps[step].split()[0] for step in ("started", "units_after", "drop")] == ["pending"] * 3
    assert site.rig.proxmox.snapshots["101"] == ["before_patch"]
    assert undone(site, changed)
    site.rig.settle()
    assert site.rig.host.process.poll() is None and not (site.rig.folder / "upgraded").exists()
    assert site.run("collect_basic_host_inventory").state == "completed"


STACK: Final[Mapping[str, Json]] = {
    "project": "wiki", "service": "app", "container": "wiki-app-1", "image": "ghcr.io/example/wiki:1"
}  # fmt: skip


@pytest.mark.parametrize(("scenario", "state"), [("healthy", "completed"), ("unhealthy-image", "failed")])
def test_a_redeployed_service_can_have_its_image_back(site: Site, scenario: str, state: str) -> None:
    running = site.rig.folder / "images/running"
    site.rig.scenario(scenario)

    changed = change(site, "redeploy_stack", **STACK)

    assert (changed.state, running.read_text().strip()) == (state, NEW_IMAGE), changed
    assert undone(site, changed) and running.read_text().strip() == OLD_IMAGE


def test_a_backup_and_a_verification_are_waited_for(site: Site) -> None:
    backup = change(site, "backup_guest_now", storage="pbs")
    verification = change(site, "verify_datastore_now", store="main")

    assert (backup.state, verification.state) == ("completed", "completed"), (backup, verification)
    assert "vzdump:101" in site.rig.proxmox.tasks[-1] and site.rig.backups.verified == 1
