"""Catalogs as people use them: planned through, held to until the start, checked with all they name."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.catalogs import base_of, catalog_check, lint_catalog, offered, references_of, route
from rexecop.app.clock import SystemClock
from rexecop.app.events import Told, read_told, take_event
from rexecop.app.instance import Instance
from rexecop.app.offline import copy_examples
from rexecop.app.planner import PlanInput
from rexecop.app.views import OperationView
from rexecop.app.worker import Worker
from rexecop.operations.catalogs import Through, binding_of
from rexecop.operations.errors import (
    CatalogDrifted,
    CatalogRefused,
    EventRefused,
    NotApplicable,
    ProfileUnknown,
    TargetUnknown,
)
from rexecop.proof.canonical import digest_of
from rexecop.proof.payload import Value, payload_text
from tests.app.support import made, opened, verified
from tests.cli.conftest import Rexecop, alone, rexecop

__all__ = ["alone", "rexecop"]

CATALOG = "examples/catalogs/targets.readonly.example.yaml"
ENVIRONMENT = "examples/environments/small-public-unit-proxmox.example.yaml"
PROFILE = "examples/profiles/tecrax-fixture"
ONE = "examples/catalogs/one.yaml"  # Its second target alone: the other's profile takes a while to read.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a root and the examples."""
    folder = tmp_path_factory.mktemp("site")
    asyncio.run(made(folder))
    copy_examples(folder)
    head, _, last = (folder / CATALOG).read_text().partition("    - id: this-host")
    (folder / ONE).write_text(f"{head}    - id: critical-vms{last.partition('- id: critical-vms')[2]}")
    yield folder


def routed(site: Path, profile: str | None = None, catalog: Path | None = None) -> Through:
    base = base_of(site / "root")
    return route(catalog or site / CATALOG, "critical-vms", "check_backup_status", base, profile)


async def planned(instance: Instance, found: Through) -> OperationView:
    return await instance.plan(
        PlanInput(
            profile=found.profile,
            env=found.env,
            intent="check_backup_status",
            target=found.target,
            mode="read_only",
            catalog=found,
        )
    )


@contextmanager
def edited(path: Path, work: Callable[[str], str | None]) -> Iterator[None]:
    """Let a file be another for a while; None takes it away."""
    before = path.read_text()
    text = work(before)
    if text is None:
        path.unlink()
    else:
        assert text != before
        path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


def test_an_entry_stands_for_profile_environment_and_target_and_is_pinned_with_the_plan(site: Path) -> None:
    data = (site / CATALOG).read_bytes()
    with opened(site) as instance:
        view = asyncio.run(planned(instance, routed(site)))
        op = instance.operation(view.operation_id)
        done = asyncio.run(instance.start(view.operation_id))
        report = verified(instance, view.operation_id)
        kept = instance.parts.world.store.pinned(digest_of(data))
        shown = instance.preview(view.operation_id)

    binding = binding_of(op.the_plan)
    assert binding is not None and kept == data
    assert (binding.file, binding.digest, binding.target) == (f"{CATALOG}", digest_of(data), "critical-vms")
    assert (op.the_intent.target, op.the_intent.environment.id) == (
        "all_critical_vms",
        "small-public-unit-proxmox",
    )
    assert '"target":"critical-vms"' in shown and binding.digest in shown
    assert done.state == "completed" and report.findings == ()


DRIFT: dict[str, tuple[str, Callable[[str], str | None], str]] = {
    "an entry": (CATALOG, swapped("[tecrax.backup.status.v1]", "[]"), "`critical-vms`: `capabilities` is []"),
    "another entry": (CATALOG, swapped("lifecycle: example", "lifecycle: old"), "in it is the same"),
    "an entry that is gone": (CATALOG, swapped("id: critical-vms", "id: vms"), "no target `critical-vms`"),
    "a catalog that is broken": (CATALOG, lambda text: f"{text}x: y\n", "unknown key `x`"),
    "a catalog that is gone": (CATALOG, lambda text: None, "no file"),
    "the environment": (
        ENVIRONMENT,
        swapped("age_hours: 7", "age_hours: 8"),
        "proxmox.example.yaml` has other",
    ),
    "the profile": (f"{PROFILE}/profile.yaml", lambda text: f"{text}# more\n", "profile `tecrax` has other"),
}


@pytest.mark.parametrize("what", DRIFT)
def test_what_is_another_since_the_plan_is_named_by_diff_and_keeps_the_operation_from_starting(
    site: Path, what: str
) -> None:
    file, work, said = DRIFT[what]
    with opened(site) as instance:
        name = asyncio.run(planned(instance, routed(site))).operation_id
        with edited(site / file, work):
            view = asyncio.run(instance.diff(name, None, None))
            with pytest.raises(CatalogDrifted) as caught:
                asyncio.run(instance.start(name))
            records = instance.status(name).state
        line = view.compared[0]
        same = asyncio.run(instance.diff(name, None, None))
        done = asyncio.run(instance.start(name))

    assert said in caught.value.message and caught.value.next_steps
    assert (line.what, line.verdict) == ("catalog", "changed") and said in " ".join(line.lines)
    assert records == "approved" and not same.changed and done.state == "completed"


def test_a_worker_leaves_what_drifted_in_the_queue_with_the_reason(site: Path) -> None:
    async def work(instance: Instance) -> str:
        view = await planned(instance, routed(site))
        instance.enqueue(view.operation_id)
        await Worker(instance, once=True).run(asyncio.Event())
        return view.operation_id

    with edited(site / CATALOG, lambda text: f"{text}# more\n"):
        through = routed(site)
    with opened(site) as instance:
        name = asyncio.run(work(instance))
        assert instance.status(name).state == "completed"
        drifted = asyncio.run(planned(instance, through)).operation_id
        instance.enqueue(drifted)
        asyncio.run(Worker(instance, once=True).run(asyncio.Event()))
        found = instance.parts.lifecycle.queue.verdict(drifted)

    assert found is not None and "has other content" in found.words


def test_what_has_begun_is_not_held_to_the_catalog_any_more(site: Path) -> None:
    with opened(site) as instance:
        name = asyncio.run(planned(instance, routed(site))).operation_id
        asyncio.run(instance.start(name))
        with edited(site / CATALOG, lambda text: None):
            assert asyncio.run(instance.start(name)).state == "completed"


def test_paths_are_kept_from_beside_the_root_so_that_everybody_finds_them(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site)
    with opened(Path()) as instance:
        found = routed(Path(), catalog=Path(CATALOG))
        name = asyncio.run(planned(instance, found)).operation_id
    monkeypatch.chdir(tmp_path)
    with opened(site) as instance:
        binding = binding_of(instance.operation(name).the_plan)
        assert binding is not None and binding.file == CATALOG
        assert asyncio.run(instance.start(name)).state == "completed"


def test_a_profile_that_is_named_beside_a_catalog_is_the_very_one_of_the_entry(
    site: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site / PROFILE, copy)
    assert routed(site, profile=str(copy)) == routed(site)

    (copy / "profile.yaml").write_text((copy / "profile.yaml").read_text() + "# more\n")
    with pytest.raises(NotApplicable, match=r"unsupported_profile: .* another copy of profile `tecrax`"):
        routed(site, profile=str(copy))


def test_what_is_not_for_a_target_is_not_planned_and_the_status_says_why(site: Path) -> None:
    for profile, old, new, status in (
        ("hello", "lifecycle: example", "lifecycle: old", "unsupported_profile"),
        (None, "[tecrax.backup.status.v1]", "[]", "missing_capability"),
        (None, "[backup_server]", "[]", "missing_connector"),
    ):
        intent = "show_greeting" if profile else "check_backup_status"
        with edited(site / CATALOG, swapped(old, new)), pytest.raises(NotApplicable) as caught:
            route(site / CATALOG, "critical-vms", intent, site, profile)
        assert caught.value.facts["status"] == status and caught.value.next_steps
    with pytest.raises(ProfileUnknown):
        offered("nowhere", site / CATALOG, "critical-vms")


# --- what a catalog names ---

BROKEN: dict[str, tuple[str, str, int, str, str]] = {
    "no environment": ("small-public-unit-proxmox.example", "nowhere", 8, "environment_ref", "no file"),
    "no profile": (
        "../profiles/tecrax-fixture",
        "tecracks",
        7,
        "profile_ref",
        "no profile `tecracks`",
    ),
    "no profile there": ("../profiles/tecrax-fixture", "../profiles", 7, "profile_ref", "no profile"),
    "another kind": ("target_kind: group", "target_kind: host", 6, "target_kind", "as `group`, not `host`"),
    "no target": ("all_critical_vms", "all_critical_wms", 9, "environment_target", "did you mean `all_crit"),
    "another profile": (
        "../profiles/tecrax-fixture",
        "hello",
        8,
        "environment_ref",
        "is for profile `tecrax`",
    ),
    "no connector": (
        "[backup_server]",
        "[backup_servers]",
        11,
        "connector_refs",
        "no connector `backup_servers`",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_lint_and_doctor_name_the_line_where_a_catalog_and_what_it_names_differ(
    site: Path, what: str
) -> None:
    old, new, line, field, said = BROKEN[what]
    with edited(site / ONE, swapped(old, new)):
        errors = [one for one in lint_catalog(site / ONE) if one.severity == "error"]
        check = catalog_check(site / ONE)

    assert [(one.line, one.field) for one in errors] == [(line, f"target_catalog.targets[0].{field}")]
    assert said in errors[0].message and check.status == "failed" and said in check.message


def test_a_broken_file_that_an_entry_names_is_named_with_both_places(site: Path) -> None:
    with edited(site / ENVIRONMENT, swapped("type: group", "type: host")):
        with pytest.raises(CatalogRefused) as caught:
            offered(None, site / ONE, "critical-vms")
        errors = lint_catalog(site / ONE)

    assert f"{ONE}:8: " in caught.value.message and "proxmox.example.yaml:" in caught.value.message
    assert (caught.value.facts["line"], caught.value.facts["field"]) == (
        8,
        "target_catalog.targets[0].environment_ref",
    )
    assert [one.line for one in errors] == [8]


def test_a_capability_that_no_operation_asks_for_is_a_warning_with_the_nearest_one(site: Path) -> None:
    with edited(site / ONE, swapped("[tecrax.backup.status.v1]", "[tecrax.backup.state.v1]")):
        (warning,) = lint_catalog(site / ONE)

    assert warning.severity == "warning" and "did you mean `tecrax.backup.status.v1`" in warning.message
    assert lint_catalog(site / ONE) == () and catalog_check(site / ONE).status == "ok"


def test_references_to_secrets_of_every_environment_of_a_catalog_are_found(site: Path) -> None:
    with edited(site / ONE, swapped("proxmox.example", "proxmox.staging.example")):
        found = references_of(site / ONE)

    assert found["staging_backup_token"] == ["connector backup_server of `small-public-unit-proxmox-staging`"]
    assert references_of(site / ONE) == {}


# --- on the command line ---


def test_the_lines_of_the_seed_print_targets_and_operations(rexecop: Rexecop, site: Path) -> None:
    catalog = str(site / CATALOG)
    targets = rexecop("targets", "list", "--catalog", catalog, "--json").found
    found = rexecop("operations", "list", "--catalog", catalog, "--target", "this-host", "--json").found

    assert [str(one["id"]) for one in listed(targets["targets"])] == ["this-host", "critical-vms"]
    statuses = {
        str(one["operation"]["operation"]): one["applicability"]["status"]
        for one in listed(found["operations"])
    }
    assert statuses["collect_basic_host_inventory"] == "admission_required"
    assert statuses["collect_network_device_inventory_readonly"] == "unsupported_target_kind"
    assert statuses["check_backup_status"] == "missing_capability"
    assert statuses["check_disk_space"] == "missing_connector"


def listed(value: object) -> list[dict[str, dict[str, str]]]:
    assert isinstance(value, list)
    return value


def test_what_is_unavailable_is_everything_that_something_is_in_the_way_of(
    rexecop: Rexecop, site: Path
) -> None:
    words = ("--catalog", str(site / CATALOG), "--target", "critical-vms")
    whole = listed(rexecop("operations", "list", *words, "--json").found["operations"])
    rest = listed(rexecop("operations", "unavailable", *words, "--json").found["operations"])
    one = rexecop("operations", "unavailable", *words, "--intent", "check_backup_status")

    assert rest == [item for item in whole if item["applicability"]["status"] != "admission_required"]
    assert 0 < len(rest) < len(whole) and one.out == "no operation\n"


def test_one_target_and_one_operation_are_shown_whole(rexecop: Rexecop, site: Path) -> None:
    catalog = ("--catalog", str(site / CATALOG))
    target = rexecop("targets", "show", "critical-vms", *catalog)
    shown = rexecop("targets", "show", "critical-vms", *catalog, "--json").found
    explained = rexecop("operations", "explain", "show_greeting", "--profile", "hello", "--json").found
    here = rexecop("operations", "explain", "check_backup_status", *catalog, "--target", "critical-vms")

    assert "all_critical_vms" in target.out and "criticality" in target.out
    assert shown["digest"] == digest_of((site / CATALOG).read_bytes())
    assert explained["applicability"] is None and "show_greeting" in json.dumps(explained["operation"])
    assert "admission_required" in here.out and "policy answers" in here.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("targets", "list"), 2, "--catalog"),
        (("targets", "list", "--catalog", "nowhere.yaml"), 2, "file-missing"),
        (("targets", "show", "this-hots", "--catalog", CATALOG), 2, "did you mean `this-host`"),
        (("operations", "list", "--catalog", CATALOG), 2, "go together"),
        (("operations", "list", "--target", "this-host"), 2, "go together"),
        (("operations", "unavailable", "--profile", "hello"), 2, "name a target"),
        (("operations", "explain", "nothing", "--profile", "hello"), 2, "intent-unknown"),
        (
            ("plan", "--catalog", CATALOG, "--env", "e", "--intent", "x", "--target", "this-host"),
            2,
            "or `--env`",
        ),
        (
            ("plan", "--catalog", CATALOG, "--intent", "check_updates", "--target", "this-host"),
            2,
            "not-applicable",
        ),
        (("catalog", "lint", CATALOG), 0, "nothing to say"),
        (("secrets", "doctor", "--catalog", CATALOG), 0, "ok"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_answered_says_what_is_missing(
    rexecop: Rexecop,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(site)

    ended = rexecop(*words)

    assert ended.code == code and said in ended.out + ended.err and "Traceback" not in ended.err


def test_operations_without_any_profile_ask_for_one(rexecop: Rexecop) -> None:
    ended = rexecop("operations", "list")

    assert ended.code == 2 and "name a profile, or a catalog and a target" in ended.err


# --- events ---

RULES = """
id: nights
rules:
  - id: backups
    event_type: backup.finished
    decision: plan_operation
    operation: {intent: check_backup_status, catalog_target_from: subject, mode: read_only}
  - id: fixed
    event_type: backup.due
    decision: plan_operation
    operation: {intent: check_backup_status, catalog_target: critical-vms, mode: read_only}
  - id: plain
    event_type: backup.seen
    decision: plan_operation
    operation: {intent: check_backup_status, target: all_critical_vms, mode: read_only}
"""


@pytest.fixture
def ruled(site: Path) -> Iterator[Path]:
    rules = site / PROFILE / "triggers" / "trigger_rules.yaml"
    rules.parent.mkdir(exist_ok=True)
    rules.write_text(RULES)
    yield site
    rules.unlink()


def told(
    site: Path, name: str, kind: str = "backup.finished", subject: str = "critical-vms", **where: str
) -> Told:
    event: dict[str, Value] = {
        "specversion": "1.0", "id": name, "source": "/pbs", "type": kind, "subject": subject,
        "time": SystemClock().now().isoformat(), "cooldownkey": name,
    }  # fmt: skip
    found = read_told(
        payload_text(event).encode(),
        str(site / PROFILE),
        where.get("env"),
        catalog=where.get("catalog", str(site / CATALOG)),
    )
    assert found is not None
    return found


def test_a_rule_that_names_an_entry_plans_through_the_catalog_and_is_held_to_it(ruled: Path) -> None:
    name = ""
    with opened(ruled) as instance:
        for kind, subject in (("backup.finished", "critical-vms"), ("backup.due", "elsewhere")):
            view = asyncio.run(take_event(instance, told(ruled, kind, kind, subject)))
            assert view.operation is not None
            name = view.operation.operation_id
            op = instance.operation(name)
            binding = binding_of(op.the_plan)
            assert binding is not None and (binding.file, binding.target) == (CATALOG, "critical-vms")
            assert op.the_intent.target == "all_critical_vms"
        old = edited(ruled / CATALOG, swapped("lifecycle: example", "lifecycle: old"))
        with old, pytest.raises(CatalogDrifted):
            asyncio.run(instance.start(name))
        assert asyncio.run(instance.start(name)).state == "completed"


def test_the_status_in_the_catalog_is_why_an_event_is_not_planned(ruled: Path) -> None:
    with opened(ruled) as instance:
        before = len(instance.list(limit=1000))
        with (
            edited(ruled / CATALOG, swapped("[backup_server]", "[]")),
            pytest.raises(NotApplicable) as caught,
        ):
            asyncio.run(take_event(instance, told(ruled, "lacking")))
        assert caught.value.facts["status"] == "missing_connector"
        with pytest.raises(TargetUnknown, match="has no target `mars`"):
            asyncio.run(take_event(instance, told(ruled, "mars", subject="mars")))
        assert len(instance.list(limit=1000)) == before
        # What was refused was not used up: the same event is planned once the catalog has it.
        assert asyncio.run(take_event(instance, told(ruled, "lacking"))).outcome == "planned"


def test_a_rule_needs_what_it_looks_its_target_up_in(ruled: Path) -> None:
    alone = replace(told(ruled, "no-catalog"), catalog=None, env=str(ruled / ENVIRONMENT))
    with opened(ruled) as instance:
        with pytest.raises(EventRefused, match="looks its target up in `catalog`") as caught:
            asyncio.run(take_event(instance, alone))
        assert caught.value.facts["field"] == "catalog"
        with pytest.raises(EventRefused, match="looks its target up in `env`"):
            asyncio.run(take_event(instance, told(ruled, "no-env", "backup.seen")))
        both = told(ruled, "both", "backup.seen", env=str(ruled / ENVIRONMENT))
        view = asyncio.run(take_event(instance, both)).operation
        assert view is not None and binding_of(instance.operation(view.operation_id).the_plan) is None


def test_a_trigger_of_flags_or_of_an_event_takes_a_catalog(
    rexecop: Rexecop, ruled: Path, tmp_path: Path
) -> None:
    words = ("--root", str(ruled / "root"), "trigger", "--catalog", str(ruled / CATALOG))
    asked = ("--intent", "check_backup_status", "--mode", "read_only")
    flags = rexecop(*words, "--target", "critical-vms", *asked, "--json")
    event = tmp_path / "event.json"
    event.write_bytes(payload_text(told(ruled, "cli").value).encode())
    file = rexecop(*words, "--profile", str(ruled / PROFILE), "--file", str(event), "--json")
    wrong = rexecop(*words, "--target", "this-host", *asked, "--profile", str(ruled / PROFILE))
    both = rexecop(*words, "--target", "critical-vms", *asked, "--env", "x")

    with opened(ruled) as instance:
        for one in (flags, file):
            assert one.code == 0, one.err
            assert binding_of(instance.operation(str(one.found["operation_id"])).the_plan) is not None
    assert (wrong.code, "unsupported_profile" in wrong.err) == (2, True), wrong.err
    assert both.code == 2 and "give it or `--env`" in both.err
