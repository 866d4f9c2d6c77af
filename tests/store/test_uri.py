"""What `--storage` understands and how it refuses the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.store.errors import StorageRefused
from rexecop.store.uri import parse_storage


@pytest.mark.parametrize("value", [None, "", "sqlite"])
def test_sqlite_is_the_default(value: str | None) -> None:
    found = parse_storage(value)

    assert (found.kind, found.remark) == ("sqlite", None)


def test_file_is_understood_and_remarked_on() -> None:
    found = parse_storage("file")

    assert found.kind == "sqlite"
    assert found.remark is not None


def test_a_server_is_named_without_what_is_ours_to_read() -> None:
    found = parse_storage(
        "postgres://alice@db.example:5433/ledger?sslmode=verify-full&schema=team_1&password_ref=pg"
    )

    assert found.url == "postgresql://alice@db.example:5433/ledger?sslmode=verify-full"
    assert (found.kind, found.schema, found.password_ref) == ("postgres", "team_1", "pg")
    assert found.place == "postgresql://db.example:5433/ledger?schema=team_1"


def test_a_server_on_this_machine_needs_no_host() -> None:
    found = parse_storage("postgresql:///ledger?host=/run/postgresql")

    assert found.url == "postgresql:///ledger?host=/run/postgresql"
    assert (found.schema, found.place) == ("rexecop", "postgresql:///ledger")


REFUSED = {
    "postgresql://db.example/ledger?schema=Teams": "storage-unsupported",
    "postgresql://db.example/ledger?schema=pg_catalog": "storage-unsupported",
    "postgresql://db.example/ledger?schema=a;b": "storage-unsupported",
    "postgresql://db.example/ledger?password_ref=": "storage-unsupported",
    "postgresql://[db.example/ledger": "storage-unsupported",
    "postgresql://alice:hunter2@db.example/ledger": "storage-password",
    "postgresql://:hunter2@db.example/ledger": "storage-password",
    "postgresql://db.example/ledger?user=alice&password=hunter2": "storage-password",
    "postgresql://db.example/ledger?PASSWORD=hunter2": "storage-password",
    "mysql://alice:hunter2@db.example/ledger": "storage-password",
    "postgresql://alice:hunter2@[db/ledger": "storage-password",
    "mysql://db.example/ledger": "storage-unsupported",
    "SQLITE": "storage-unsupported",
    "memory": "storage-unsupported",
    "a b hunter2": "storage-unsupported",
    "postgresql": "storage-unsupported",
}


@pytest.mark.parametrize(("value", "code"), REFUSED.items())
def test_every_other_value_is_refused_with_its_code_and_without_its_secret(value: str, code: str) -> None:
    with pytest.raises(StorageRefused) as refused:
        parse_storage(value)

    assert refused.value.code == code
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in str(refused.value.facts)


@given(st.text())
def test_no_text_is_more_than_refused(value: str) -> None:
    try:
        assert parse_storage(value).kind in {"sqlite", "postgres"}
    except StorageRefused as error:
        assert error.code in {"storage-password", "storage-unsupported"}
