"""What tecrax proves by restoring it on the rig: guests, files, databases; and that nothing is left of it."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from rexecop.operations.errors import ParameterRefused
from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.validation import RuleVerdict, Validation
from tests.app.support import records
from tests.needs import needs
from tests.profiles.rigged import Changed, Site, change, standing, undone
from tests.rig.rig import TEMPORARY
from tests.rig.systems import NODE, POWER
from tests.store import servers

pytestmark = needs("sshd", "ssh-keygen")


@pytest.fixture(scope="module")
def stands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("restores")) as found:
        yield found


@pytest.fixture
def site(stands: Site) -> Site:
    stands.rig.scenario()
    stands.rig.proxmox.tasks.clear()
    return stands


def failed_rules(site: Site, changed: Changed) -> set[str]:
    """Return the rules that did not pass, without the name of their intent."""
    [judged] = [
        one.record for one in records(site.instance, changed.operation) if isinstance(one.record, Validation)
    ]
    return {rule.rule.partition(".")[2] for rule in judged.rules if rule.verdict is not RuleVerdict.PASSED}


def facts(site: Site, changed: Changed, step: str) -> Mapping[str, Json]:
    """Return the facts that `step` came to at last."""
    kept = [one.record for one in records(site.instance, changed.operation)]
    return [one.facts or {} for one in kept if isinstance(one, Outcome) and one.step == step][-1]


# --- guests ---

GUEST: Final[Mapping[str, Json]] = {
    "node": NODE, "guest": 101, "storage": "pbs", "temporary": "07",
    "probe_file": "/etc/hostname", "probe_text": "db-01",
}  # fmt: skip


def kinds(site: Site) -> list[str]:
    """Return the tasks Proxmox VE had for the temporary guest."""
    tasks = [task.split(":") for task in site.rig.proxmox.tasks]
    return [task[5] for task in tasks if task[6] == TEMPORARY]


def test_a_restored_guest_runs_apart_is_asked_and_is_gone_afterwards(site: Site) -> None:
    changed = change(site, "prove_guest_restore", **GUEST)

    assert (changed.state, failed_rules(site, changed)) == ("completed", set()), changed
    assert kinds(site) == ["qmrestore", "qmstart", "qmstop", "qmdestroy"]
    card = facts(site, changed, "read_isolation")
    assert (card["cards"], card["bridge"], card["mac"]) == (1, "vmbr9", "00:00:5E:00:53:07")
    assert facts(site, changed, "find")["archive"] == "pbs:backup/vm/101/2026-11-27T01:00:00Z"
    assert site.rig.proxmox.power == POWER


@pytest.mark.parametrize(
    ("scenario", "rules", "made"),
    [
        ("pve-restore-fails", {"not_restored", "not_started", "agent_silent", "file_differs"}, ["qmrestore"]),
        ("pve-keeps-card", {"not_started", "agent_silent", "file_differs"}, ["qmrestore", "qmdestroy"]),
        ("pve-other-file", {"file_differs"}, ["qmrestore", "qmstart", "qmstop", "qmdestroy"]),
    ],
)
def test_what_is_found_wrong_fails_the_proof_and_the_guest_is_destroyed_all_the_same(
    site: Site, scenario: str, rules: set[str], made: list[str]
) -> None:
    site.rig.scenario(scenario)

    changed = change(site, "prove_guest_restore", **GUEST)

    assert (changed.state, failed_rules(site, changed)) == ("failed", rules), changed
    assert kinds(site) == made
    assert site.rig.proxmox.power == POWER


@pytest.mark.parametrize(
    ("scenario", "step", "made"),
    [
        ("pve-start-refused", "start", ["qmrestore", "qmdestroy"]),
        ("pve-destroy-refused-once", "destroy", ["qmrestore", "qmstart", "qmstop", "qmstop", "qmdestroy"]),
    ],
)
def test_a_change_that_fails_in_mid_way_is_undone_by_itself(
    site: Site, scenario: str, step: str, made: list[str]
) -> None:
    site.rig.scenario(scenario)

    changed = change(site, "prove_guest_restore", **GUEST)

    assert changed.state == "failed" and "remote_error" in changed.steps[step], changed
    assert kinds(site) == made
    assert site.rig.proxmox.power == POWER


def test_a_number_that_is_taken_is_left_alone(site: Site) -> None:
    power = site.rig.proxmox.power
    power[TEMPORARY] = "running"
    try:
        changed = change(site, "prove_guest_restore", **GUEST)

        assert changed.state == "failed" and "postcondition" in changed.steps["free_before"], changed
        assert kinds(site) == [] and power[TEMPORARY] == "running"
    finally:
        del power[TEMPORARY]


def test_a_guest_without_a_backup_makes_nothing(site: Site) -> None:
    changed = change(site, "prove_guest_restore", **{**GUEST, "guest": 102})

    assert changed.state == "failed" and "postcondition" in changed.steps["find"], changed
    assert kinds(site) == []


# --- files ---

RESTIC: Final[Mapping[str, Json]] = {
    "repository": "/srv/restic", "host": "web-01", "file": "etc/hostname", "name": "proof", "size_floor": 5,
}  # fmt: skip
BORG: Final[Mapping[str, Json]] = {key: RESTIC[key] for key in ("file", "name", "size_floor")} | {
    "repository": "/srv/borg"
}
DIGEST: Final = hashlib.sha256(b"web-01\n").hexdigest()
FILES: Final = [("prove_restic_restore", RESTIC), ("prove_borg_restore", BORG)]


def left(site: Site) -> list[str]:
    """Return what is below the folders for restored files and dumps, and the databases but the one dumped."""
    names = ("proofs", "dumps", "databases")
    found = [path.name for name in names for path in (site.rig.folder / name).iterdir()]
    return sorted({*found} - {"shop"})


@pytest.mark.parametrize(("intent", "asked"), FILES, ids=["restic", "borg"])
def test_a_file_of_the_newest_backup_is_restored_compared_and_removed(
    site: Site, intent: str, asked: Mapping[str, Json]
) -> None:
    first = change(site, intent, **asked)
    second = change(site, intent, **asked, digest=facts(site, first, "assess")["digest"])

    assert (first.state, second.state) == ("completed", "completed"), (first, second)
    assert facts(site, first, "assess")["digest"] == DIGEST
    assert "compare" in second.steps and "compare" not in first.steps
    assert left(site) == []


def test_another_file_than_expected_fails_the_proof_and_is_removed(site: Site) -> None:
    site.rig.scenario("restic-other-file")

    changed = change(site, "prove_restic_restore", **RESTIC, digest=DIGEST)

    assert (changed.state, failed_rules(site, changed)) == ("failed", {"file_differs"}), changed
    assert left(site) == []


@pytest.mark.parametrize(("intent", "asked"), FILES, ids=["restic", "borg"])
def test_a_file_that_is_not_in_the_backup_fails_and_leaves_nothing(
    site: Site, intent: str, asked: Mapping[str, Json]
) -> None:
    changed = change(site, intent, **{**asked, "file": "etc/shadow"})

    assert changed.state == "failed" and left(site) == [], changed


def test_a_restore_that_breaks_off_has_its_folder_removed_by_itself(site: Site) -> None:
    site.rig.scenario("restic-restore-fails")

    changed = change(site, "prove_restic_restore", **RESTIC)

    assert changed.state == "failed" and "nonzero_exit" in changed.steps["restore"], changed
    assert left(site) == []


def test_a_folder_that_was_there_before_is_left_alone(site: Site) -> None:
    theirs = site.rig.folder / "proofs/proof"
    theirs.mkdir()
    try:
        changed = change(site, "prove_borg_restore", **BORG)

        assert changed.state == "failed" and "nonzero_exit" in changed.steps["make"], changed
        assert theirs.is_dir()
    finally:
        theirs.rmdir()


@pytest.mark.parametrize("file", ["../etc/shadow", "etc/../../shadow", "etc/.", "/etc/hostname", "etc/host*"])
def test_a_path_that_could_lead_out_is_refused(site: Site, file: str) -> None:
    with pytest.raises(ParameterRefused, match="file"):
        change(site, "prove_restic_restore", **{**RESTIC, "file": file})


# --- databases ---

DUMP: Final[Mapping[str, Json]] = {
    "database": "shop", "name": "shop_1", "table": "orders", "rows_floor": 100, "keep_dump": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(stands: Site) -> Iterator[psycopg.Connection]:
    """A database `shop` with 120 orders on a real PostgreSQL, whose programs the host of the rig has."""
    with psycopg.connect(servers.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop")
        url = make_conninfo(servers.url(), dbname="shop")
        with psycopg.connect(url, autocommit=True) as own:
            own.execute("CREATE TABLE orders AS SELECT number FROM generate_series(1, 120) AS number")
            parts, more = own.info, servers.programs()
            lines = [f"export PGHOST={shlex.quote(parts.host)} PGPORT={parts.port} PGUSER={parts.user}"]
            (stands.rig.folder / "postgresql").write_text("\n".join([*lines, f"PATH={more}:$PATH"]) + "\n")
        yield connection
        connection.execute("DROP DATABASE shop WITH (FORCE)")


def disposable(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'restore%'").fetchall()


def test_a_dump_of_postgresql_is_listed_restored_counted_and_dropped(
    site: Site, shop: psycopg.Connection
) -> None:
    changed = change(site, "dump_postgresql", **DUMP)

    assert (changed.state, failed_rules(site, changed)) == ("completed", set()), changed
    assert facts(site, changed, "list")["tables"] == 1
    assert facts(site, changed, "count")["count"] == 120
    assert disposable(shop) == [] and left(site) == []


def test_a_dump_that_is_kept_can_be_listed_later_and_undoing_removes_it(
    site: Site, shop: psycopg.Connection
) -> None:
    changed = change(site, "dump_postgresql", **{**DUMP, "keep_dump": True})
    dump = site.rig.folder / "dumps/shop_1/dump"

    assert changed.state == "completed" and dump.read_bytes().startswith(b"PGDMP"), changed
    assert dump.parent.stat().st_mode & 0o777 == 0o700
    assert undone(site, changed) and left(site) == [] and disposable(shop) == []


def test_too_few_rows_fail_the_proof_and_the_database_is_dropped(
    site: Site, shop: psycopg.Connection
) -> None:
    changed = change(site, "dump_postgresql", **{**DUMP, "rows_floor": 121})

    assert (changed.state, failed_rules(site, changed)) == ("failed", {"too_few_rows"}), changed
    assert disposable(shop) == [] and left(site) == []


def test_a_dump_that_does_not_restore_has_its_database_dropped_by_itself(
    site: Site, shop: psycopg.Connection
) -> None:
    # A check that looks at a table whose rows come later: such a dump is made, and does not restore.
    url = make_conninfo(servers.url(), dbname="shop")
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("CREATE TABLE zones AS SELECT 1 AS number")
        own.execute(
            "CREATE FUNCTION zoned(int) RETURNS bool LANGUAGE plpgsql"
            " AS 'BEGIN RETURN EXISTS (SELECT FROM public.zones); END'"
        )
        own.execute("ALTER TABLE orders ADD CONSTRAINT zoned CHECK (zoned(number))")
        try:
            changed = change(site, "dump_postgresql", **DUMP)
        finally:
            own.execute("DROP FUNCTION zoned CASCADE")
            own.execute("DROP TABLE zones")

    assert changed.state == "failed" and "nonzero_exit" in changed.steps["restore"], changed
    assert disposable(shop) == [] and left(site) == []


def test_a_dump_that_outgrows_its_bound_is_none(site: Site, shop: psycopg.Connection) -> None:
    url = make_conninfo(servers.url(), dbname="shop")
    with psycopg.connect(url, autocommit=True) as own:
        own.execute(
            "CREATE TABLE noise AS SELECT gen_random_uuid()::text || gen_random_uuid()::text AS id"
            " FROM generate_series(1, 400000)"
        )
        try:
            changed = change(site, "dump_postgresql", **DUMP)
        finally:
            own.execute("DROP TABLE noise")

    assert changed.state == "failed" and "nonzero_exit" in changed.steps["dump"], changed
    assert left(site) == []


def test_a_database_of_that_name_is_left_alone(site: Site, shop: psycopg.Connection) -> None:
    shop.execute("CREATE DATABASE restore_proof_shop_1")
    try:
        changed = change(site, "dump_postgresql", **DUMP)

        assert changed.state == "failed" and "nonzero_exit" in changed.steps["create"], changed
        assert disposable(shop) == [("restore_proof_shop_1",)] and left(site) == []
    finally:
        shop.execute("DROP DATABASE restore_proof_shop_1")


@pytest.mark.parametrize(
    ("scenario", "state", "step"),
    [
        ("healthy", "completed", "gone"),
        ("mariadb-cut-short", "failed", "end"),
        ("mariadb-restore-fails", "failed", "restore"),
    ],
)
def test_a_dump_of_mariadb_leaves_nothing_however_it_ends(
    site: Site, scenario: str, state: str, step: str
) -> None:
    site.rig.scenario(scenario)

    changed = change(site, "dump_mariadb", **DUMP)

    assert changed.state == state and left(site) == [], changed
    assert changed.steps[step].split()[0] == ("ok" if state == "completed" else "failed"), changed
