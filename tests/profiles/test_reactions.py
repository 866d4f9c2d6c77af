"""The reactions of tecrax: what follows from each state of each component, and a day of a site."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rexecop.app.offline import replay_day
from rexecop.operations.profile import load_profile
from rexecop.operations.reactions import Chain, react
from rexecop.proof.reaction import Reacts
from tecrax import cli, profile_root
from tests.operations.folders import TECRAX, folder

PACK = load_profile(folder(TECRAX)).reactions
LOOKS = {
    "host_inventory": "collect_basic_host_inventory",
    "ntp": "check_ntp_health",
    "zabbix": "check_zabbix_container_health",
    "docker": "check_docker_services_health",
    "adguard": "check_adguard_health",
    "portainer": "check_portainer_health",
    "host_security": "collect_host_security_posture_readonly",
    "ntp_server": "check_ntp_server_health",
    "network_device": "collect_network_device_inventory_readonly",
}


@pytest.mark.parametrize("component", LOOKS)
def test_what_is_not_well_is_looked_at_again_and_what_is_not_known_is_for_people(component: str) -> None:
    assert PACK is not None
    for status, outcome in (
        ("unhealthy", Reacts.RUN),
        ("degraded", Reacts.RUN),
        ("unknown", Reacts.ESCALATE),
        ("unavailable", Reacts.ESCALATE),
    ):
        found = react(PACK, {"components": {component: {"status": status}}}, Chain())
        assert (found.outcome, found.intent) == (
            outcome,
            LOOKS[component] if outcome is Reacts.RUN else None,
        )
        assert len(found.held) == 1


def test_where_all_is_well_nothing_follows_and_the_rest_is_for_people() -> None:
    assert PACK is not None
    assert react(PACK, {"status": "healthy"}, Chain()).outcome is Reacts.NO_OP
    assert react(PACK, {"status": "odd"}, Chain()).rule is PACK.fallback
    assert (PACK.budgets.depth, PACK.budgets.reactions) == (3, 5)


def test_every_finding_has_a_name_of_the_taxonomy() -> None:
    assert PACK is not None
    words = yaml.safe_load((profile_root() / "finding_taxonomy.yaml").read_text())["finding_taxonomy"]
    used = {rule.finding.kind for rule in (*PACK.rules, PACK.fallback)}

    assert used == set(words["kinds"])
    assert {rule.finding.severity.value for rule in PACK.rules} <= set(words["severities"])


def test_the_day_of_a_site_comes_out_as_it_did() -> None:
    followed = replay_day("tecrax", profile_root() / "tests" / "monitoring.day.yaml")

    assert [one for one in followed if one.differences] == []
    assert {one.outcome for one in followed} == {"no_op", "run_intent", "escalate"}
    assert {one.why for one in followed if one.why} == {
        *("reaction_cooling_down", "reaction_cycle_detected"),
        *("max_reaction_depth_exceeded", "reaction_budget_exhausted"),
    }


def test_facts_from_a_file_become_an_observation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text('{"status": "healthy"}')
    words = ["reaction-observation", "--input", str(facts), "--operation", "op_1", "--target", "mon-1"]

    assert cli.run(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["artifact_type"], said["facts"]) == ("observation_envelope", {"status": "healthy"})
    assert said["source"] == {
        "operation_id": "op_1",
        "intent_id": "diagnose_monitoring_host",
        "target_id": "mon-1",
    }
    assert said["profile_ref"]["id"] == "tecrax"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reaction-observation"], "--operation"),
        (["reaction-observation", "--operation", "1", "--what"], "--what"),
        (["reaction-observation", "--operation", "1", "--root", "/nowhere"], "root-missing"),
        (
            ["reaction-observation", "--input", "/nowhere", "--operation", "1", "--target", "t"],
            "file-missing",
        ),
        (
            ["reaction-observation", "--input", "LIST", "--operation", "1", "--target", "t"],
            "observation-refused",
        ),
        (
            ["reaction-observation", "--input", "BIG", "--operation", "1", "--target", "t"],
            "observation-refused",
        ),
        (["reaction-observation", "--input", "GOOD", "--operation", "1"], "observation-refused"),
        (["escalation-proposal", "--operation", "1", "--root", "/nowhere"], "root-missing"),
    ],
)
def test_what_cannot_be_said_is_one_line(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"LIST": "[]", "BIG": f'{{"a": "{"x" * 17_000}"}}', "GOOD": "{}"}.items():
        (tmp_path / name).write_text(text)

    code = cli.run([str(tmp_path / word) if word in ("LIST", "BIG", "GOOD") else word for word in words])

    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err
