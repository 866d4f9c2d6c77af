"""Upkeep of a site, governed: space, certificates, filters, problems, and a restart that is watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import pytest

from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Outcome
from tests.app.support import bob, records
from tests.lanes.web import Web, authority, issue, reply, server_context, serving
from tests.needs import needs
from tests.profiles.rigged import Changed, Site, change, undone
from tests.profiles.test_tecrax_on_the_rig import site, stands
from tests.rig.rig import without_rules

__all__ = ["site", "stands"]
pytestmark = needs("sshd", "ssh-keygen", "openssl")

WINDOW: Final[Mapping[str, Json]] = {
    "name": "restart", "host_id": "10084", "since": 1764250000, "until": 1764257200
}  # fmt: skip


def facts_of(site: Site, changed: Changed, name: str) -> Mapping[str, Json]:
    """Return what was noted last under `name`."""
    kept = [sealed.record for sealed in records(site.instance, changed.operation)]
    found = [one.facts for one in kept if isinstance(one, Outcome) and name in (one.facts or {})]
    assert found and found[-1] is not None
    return found[-1]


@pytest.fixture
def clean(site: Site) -> Site:
    for name in ("vacuumed", "pruned", "renewed"):
        (site.rig.folder / name).unlink(missing_ok=True)
    return site


@pytest.mark.parametrize(("hours", "freed"), [(0, 0), (240, 1_073_741_824)])
def test_space_is_given_back_and_it_is_said_how_much(clean: Site, hours: int, freed: int) -> None:
    changed = change(clean, "recover_space", images_hours=hours)

    assert changed.state == "completed", changed
    assert facts_of(clean, changed, "freed_bytes")["freed_bytes"] == freed
    assert (clean.rig.folder / "pruned").exists() == bool(hours)


def test_journals_go_only_when_two_people_said_so(clean: Site) -> None:
    carol = clean.folder / "carol"
    clean.runner.run(clean.instance.key_new("carol", "approver", carol))
    asked = clean.asks("recover_space", mode="apply", journal_mib=200)
    refused = clean.runner.run(clean.instance.plan(asked))
    assert refused.state == "blocked" and "imported-never-destroys" in str(refused.reason), refused

    # Where the environment has no rules of its own, those of this root and of the profile hold.
    open_to_it = clean.folder / "without-rules.yaml"
    open_to_it.write_text(without_rules(clean.rig.environment.read_text()))
    planned = clean.runner.run(clean.instance.plan(replace(asked, env=str(open_to_it))))
    clean.runner.run(clean.instance.approve(planned.operation_id, key=bob(clean.folder)))
    alone = clean.instance.status(planned.operation_id)
    assert (alone.state, (clean.rig.folder / "vacuumed").exists()) == ("waiting_for_approval", False), alone

    clean.runner.run(clean.instance.approve(planned.operation_id, key=carol))
    ran = clean.runner.run(clean.instance.start(planned.operation_id))

    changed = Changed(planned.operation_id, ran.state, {})
    assert ran.state == "completed" and facts_of(clean, changed, "freed_bytes")["freed_bytes"] == 536_870_912
    assert "freed 512.0M" in str(facts_of(clean, changed, "freed_bytes")["journal_says"])


def test_what_sudo_refuses_frees_nothing_and_is_no_success(clean: Site) -> None:
    clean.rig.scenario("clean-refused")

    changed = change(clean, "recover_space", images_hours=240)

    assert changed.state == "failed" and "nonzero_exit" in changed.steps["clean"], changed
    assert not (clean.rig.folder / "pruned").exists()


@dataclass(frozen=True)
class Server:
    """What shows a certificate that is soon over, and another one once it was renewed."""

    web: Web

    def asked_with(self) -> dict[str, Json]:
        return {
            "lineage": "www.example.org", "unit": "nginx.service", "host": "localhost",
            "port": self.web.port, "name": "localhost",
        }  # fmt: skip


@pytest.fixture
def server(clean: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    ca = authority("an authority that is believed here")
    shown = server_context(tmp_path, issue(ca, "localhost", days=9))
    renewed = server_context(tmp_path, issue(ca, "localhost", days=90))

    def choose(asked: object, name: str | None, _: object) -> None:
        if (clean.rig.folder / "renewed").exists():
            asked.context = renewed  # type: ignore[attr-defined]

    shown.sni_callback = choose
    with serving(shown) as web:
        web.routes["*"] = reply(b"")
        yield Server(web)


def test_a_certificate_is_rehearsed_renewed_and_seen_over_tls(clean: Site, server: Server) -> None:
    changed = change(clean, "renew_certificate", **server.asked_with())

    found = facts_of(clean, changed, "verify_code")
    reasons = [item["reason"] for item in cast("list[dict[str, str]]", found["findings"])]
    assert (changed.state, reasons, found["days_left"]) == ("failed", ["certificate_not_believed"], 89)


def test_a_renewal_that_cannot_be_rehearsed_is_not_tried(clean: Site, server: Server) -> None:
    clean.rig.scenario("renewal-rehearsal-fails")

    changed = change(clean, "renew_certificate", **server.asked_with())

    assert changed.state == "failed" and "nonzero_exit" in changed.steps["rehearse"], changed
    assert not (clean.rig.folder / "renewed").exists()


def test_filters_are_refreshed_and_lists_that_do_not_come_are_told(site: Site) -> None:
    before = site.rig.adguard.fetched
    fresh = change(site, "refresh_adguard_filters")
    assert fresh.state == "completed" and site.rig.adguard.fetched > before, fresh

    site.rig.scenario("filters-do-not-come")
    assert change(site, "refresh_adguard_filters").state == "failed"


def test_a_problem_is_acknowledged_once_and_given_back(site: Site) -> None:
    asked: Mapping[str, Json] = {"event": "4711", "message": "Somebody is at it."}
    changed = change(site, "acknowledge_problem", **asked)
    assert changed.state == "completed" and site.rig.zabbix.acknowledged == {"4711"}, changed

    again = change(site, "acknowledge_problem", **asked)
    assert again.state == "failed" and "precondition" in again.steps["acknowledge"], again
    assert undone(site, changed) and not site.rig.zabbix.acknowledged


def test_a_restarted_service_has_to_listen_and_not_to_fall_over(site: Site) -> None:
    listens = change(site, "restart_service", unit="nginx.service", port=80)
    deaf = change(site, "restart_service", unit="nginx.service", port=8443)
    site.rig.scenario("restart-again-and-again")
    falls = change(site, "restart_service", unit="nginx.service")

    assert (listens.state, deaf.state, falls.state) == ("completed", "failed", "failed")
    assert "postcondition" in deaf.steps["verify_port"], deaf
    assert "postcondition" in falls.steps["verify_restarts"], falls


def test_a_restart_in_a_window_opens_the_window_first(site: Site) -> None:
    site.rig.zabbix.maintenance.clear()

    changed = change(site, "restart_service_in_maintenance", unit="nginx.service", **WINDOW)

    assert changed.state == "completed", changed
    assert [one["name"] for one in site.rig.zabbix.maintenance.values()] == ["restart"]
    assert undone(site, changed) and not site.rig.zabbix.maintenance
