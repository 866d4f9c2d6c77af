"""Catalogs: what is read, what is refused and where, and in which order something is in the way."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.operations.catalogs import (
    Binding,
    Catalog,
    Offer,
    Status,
    Through,
    applicability,
    check_target,
    load_catalog,
    offers,
    read_catalog,
)
from rexecop.operations.environment import load_environment
from rexecop.operations.errors import InputRefused, IntentUnknown, TargetUnknown
from rexecop.operations.profile import load_profile
from rexecop.proof.canonical import Digest, digest_of
from tests.operations.folders import ROOT, SEED_ENVIRONMENT, TECRAX, folder, seed
from tests.operations.test_bad_input import broken

EXAMPLE = ROOT / "examples/catalogs/targets.readonly.example.yaml"
TEXT = """\
target_catalog:
  version: "0.1"
  targets:
    - id: front
      target_kind: host
      profile_ref: seedlike
      environment_ref: site.yaml
      environment_target: web
      capabilities: [site.look.v1]
      connector_refs: [site]
      classification: {criticality: low, spare: true}
    - {id: back, target_kind: vm, profile_ref: ./p, environment_ref: e, capabilities: [], connector_refs: []}
"""


def catalog(text: str = TEXT) -> Catalog:
    return load_catalog("c.yaml", text.encode())


def refused(text: str) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        catalog(text)
    return caught.value


def test_the_format_of_the_seed_is_read_as_it_is() -> None:
    found = catalog()
    front = found.target("front")

    assert found.digest == digest_of(TEXT.encode())
    assert (front.kind, front.profile_ref, front.environment_ref) == ("host", "seedlike", "site.yaml")
    assert (front.capabilities, front.connectors) == (("site.look.v1",), ("site",))
    assert front.shown["classification"] == {"criticality": "low", "spare": True}
    assert found.target("back").environment_target == "back"
    assert found.target("back").shown["environment_target"] == "back"
    assert catalog(TEXT.replace('"0.1"', "0.1")).targets.keys() == found.targets.keys()
    with pytest.raises(TargetUnknown, match="did you mean `front`"):
        found.target("frunt")


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("target_catalog:", "targets:", 1, "targets"),
        ('version: "0.1"', 'version: "0.2"', 2, "target_catalog.version"),
        ('  version: "0.1"\n', "", 1, "target_catalog"),
        ("id: back", "id: front", 12, "target_catalog.targets[1]"),
        ("- id: front", "- id: 'a b'", 4, "target_catalog.targets[0].id"),
        ("      target_kind: host\n", "", 4, "target_catalog.targets[0]"),
        (
            "environment_ref: site.yaml",
            "environment_ref: [x]",
            7,
            "target_catalog.targets[0].environment_ref",
        ),
        ("profile_ref: seedlike", "profile: seedlike", 6, "target_catalog.targets[0].profile"),
        ("[site.look.v1]", "site.look.v1", 9, "target_catalog.targets[0].capabilities"),
        (
            "connector_refs: [site]",
            "connector_refs: [[site]]",
            10,
            "target_catalog.targets[0].connector_refs[0]",
        ),
        ("spare: true", "spare: [1]", 11, "target_catalog.targets[0].classification.spare"),
        ("spare: true", "api_token: abcdef", 11, "target_catalog.targets[0].classification.api_token"),
        ("criticality: low", "criticality: low, criticality: high", 11, None),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(
    old: str, new: str, line: int, field: str | None
) -> None:
    assert old in TEXT
    error = refused(TEXT.replace(old, new))

    assert error.facts["file"] == "c.yaml" and error.facts["line"] == line
    assert error.facts.get("field") == field
    assert error.message.startswith(f"c.yaml:{line}: ") and "abcdef" not in error.message


def test_a_catalog_has_one_target_at_least_and_so_many_at_most() -> None:
    head, entry = TEXT.partition("    - id")[0], TEXT.splitlines()[-1]
    many = "\n".join(entry.replace("id: back", f"id: t{n}") for n in range(1025))

    assert "at least one target" in refused(head.replace("targets:", "targets: []")).message
    assert "at most 1024" in refused(f"{head}{many}\n").message
    assert len(catalog(f"{head}{many.rpartition(chr(10))[0]}\n").targets) == 1024


@settings(max_examples=60)
@given(data=st.data())
def test_a_broken_catalog_is_read_or_refused_in_one_line_with_its_place(data: st.DataObject) -> None:
    text = broken(data, data.draw(st.sampled_from([TEXT, EXAMPLE.read_text()])))
    environment = load_environment({"site.yaml": SEED_ENVIRONMENT.encode()})
    found = read_catalog("c.yaml", text.encode())
    read = list(found.problems.errors())
    for entry in found.targets.values():
        check_target(entry, environment)
    findings = found.problems.findings
    assert all(one.file == "c.yaml" and one.line >= 1 and "\n" not in one.text() for one in findings)
    try:
        catalog(text)
    except InputRefused as error:
        assert error.message.startswith("c.yaml:") and "\n" not in error.message
        assert read
    else:
        assert not read


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(InputRefused) as caught:
        load_catalog("c.yaml", data)
    assert "\n" not in caught.value.message


# --- what is offered ---


def look(**changed: object) -> Offer:
    return replace(offers(load_profile(seed()), "look")[0], **changed)  # type: ignore[arg-type]


def test_what_is_offered_follows_from_the_intents_and_workflows_of_the_profile() -> None:
    profile = load_profile(folder(TECRAX))
    found = {one.operation: one for one in offers(profile)}

    assert found.keys() == profile.intents.keys()
    restart = found["restart_zabbix_agent"]
    assert restart.required_connectors == ("zabbix_agent",)
    assert (restart.effect, restart.side_effect_class) == ("change", "service_restart")
    assert restart.required_capabilities == ("tecrax.host.agent_control.v1",)
    assert found["collect_network_device_inventory_readonly"].target_kinds == ("network_device",)
    assert len({one.digest for one in found.values()}) == len(found)
    with pytest.raises(IntentUnknown, match="did you mean `check_disk_space`"):
        offers(profile, "check_disk_spice")


def test_connectors_that_only_a_rollback_needs_are_needed() -> None:
    files = folder(TECRAX)
    path = "workflows/restart_zabbix_agent.yaml"
    text = files[path].decode()
    head, rollback, rest = text.partition("rollback:")
    profile = load_profile(
        {**files, path: (head + rollback + rest.replace("zabbix_agent", "host_units")).encode()}
    )

    assert offers(profile, "restart_zabbix_agent")[0].required_connectors == ("host_units", "zabbix_agent")


def test_of_everything_in_the_way_the_first_in_order_is_said_and_nothing_is_ever_allowed() -> None:
    environment = load_environment({"site.yaml": SEED_ENVIRONMENT.encode()})
    connector = next(iter(environment.connectors))
    front = replace(catalog().target("front"), capabilities=("a", "b"), connectors=(connector,))
    fits = look(target_kinds=("host",), required_capabilities=("a",), required_connectors=(connector,))
    wrong: tuple[tuple[Status, dict[str, object], tuple[str, ...]], ...] = (
        (Status.UNSUPPORTED_PROFILE, {"profile": "other"}, ("other",)),
        (Status.UNSUPPORTED_TARGET_KIND, {"target_kinds": ("vm",)}, ("vm",)),
        (Status.MISSING_CAPABILITY, {"required_capabilities": ("a", "c", "d")}, ("c", "d")),
        (Status.MISSING_CONNECTOR, {"required_connectors": (connector, "x")}, ("x",)),
    )
    for chosen in product((False, True), repeat=len(wrong)):
        bad = [one for one, is_wrong in zip(wrong, chosen, strict=True) if is_wrong]
        offer = replace(fits, **{key: value for _, changed, _ in bad for key, value in changed.items()})  # type: ignore[arg-type]
        found = applicability(offer, front, fits.profile, environment)
        assert (found.status, found.wanted) == (
            (bad[0][0], bad[0][2]) if bad else (Status.ADMISSION_REQUIRED, ())
        )
    assert [str(one) for one in Status] == [*(str(one) for one, _, _ in wrong), "admission_required"]
    assert not any("allow" in one for one in Status)


def test_an_operation_that_names_no_kind_is_for_every_kind() -> None:
    environment = load_environment({"site.yaml": SEED_ENVIRONMENT.encode()})
    front = replace(catalog().target("front"), kind="printer", connectors=tuple(environment.connectors))
    offer = look(target_kinds=(), required_capabilities=())

    assert applicability(offer, front, offer.profile, environment).status is Status.ADMISSION_REQUIRED


def test_a_connector_counts_where_catalog_and_environment_both_have_it_switched_on() -> None:
    environment = load_environment({"site.yaml": SEED_ENVIRONMENT.encode()})
    name = next(iter(environment.connectors))
    off = replace(environment, connectors={name: replace(environment.connectors[name], enabled=False)})
    offer = look(target_kinds=(), required_capabilities=(), required_connectors=(name,))
    front = catalog().target("front")
    named, unnamed = replace(front, connectors=(name,)), replace(front, connectors=())

    assert applicability(offer, named, offer.profile, environment).status is Status.ADMISSION_REQUIRED
    for entry, here in ((named, off), (unnamed, environment)):
        found = applicability(offer, entry, offer.profile, here)
        assert (found.status, found.wanted) == (Status.MISSING_CONNECTOR, (name,)) and found.next


def test_an_environment_for_another_profile_is_the_first_thing_in_the_way() -> None:
    environment = replace(load_environment({"site.yaml": SEED_ENVIRONMENT.encode()}), profile="other")
    offer = look(target_kinds=("vm",))

    found = applicability(offer, catalog().target("front"), offer.profile, environment)

    assert found.status is Status.UNSUPPORTED_PROFILE and "`other`" in found.reason


def test_what_a_plan_notes_of_a_catalog_stands_beside_its_other_notes() -> None:
    binding = Binding(file="c.yaml", digest=Digest("sha256:" + "1" * 64), target="front")
    notes = Through(profile="p", env="e", target="t", binding=binding, data=b"").noted(
        {"left_out": {"a": "b"}}
    )

    assert notes == {
        "left_out": {"a": "b"},
        "catalog": {"file": "c.yaml", "digest": binding.digest, "target": "front"},
    }
