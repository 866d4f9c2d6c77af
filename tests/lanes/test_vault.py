"""Secrets of a Vault server: read, made for one call and revoked after it, signed for minutes."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from rexecop.lanes.addresses import is_address
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secret_sources.environment import EnvironmentSecret
from rexecop.lanes.secret_sources.ssh_certificate import SshCertificate
from rexecop.lanes.secret_sources.vault import (
    ANSWER_BYTES_MAX,
    DynamicSecret,
    KeyValueSecret,
    VaultServer,
)
from rexecop.lanes.secrets import Held, Place, Secrets, Source
from tests.lanes.support import run
from tests.lanes.vault_server import ROOT_TOKEN, Vault, Version, vault_server
from tests.needs import needs

PATH: Final = "secret/app/db"


def token(value: str = ROOT_TOKEN) -> Source:
    return EnvironmentSecret(name="VAULT_TOKEN", environ={"VAULT_TOKEN": value})


def server(vault: Vault, **changes: object) -> VaultServer:
    plain = VaultServer(
        name="main",
        address=vault.address,
        namespace="",
        ca_file="",
        known_by=token(),
        role_id="",
        approle="approle",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def by_approle(vault: Vault, secret_id: str = "the-secret-id") -> VaultServer:
    vault.approle = ("the-role-id", "the-secret-id")
    known = EnvironmentSecret(name="SECRET_ID", environ={"SECRET_ID": secret_id})
    return server(vault, known_by=known, role_id="the-role-id")


def kv(found: VaultServer, version: int = 0, path: str = "app/db") -> KeyValueSecret:
    return KeyValueSecret(server=found, mount="secret", path=path, version=version)


def refused(source: Source) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        run(source.read())
    assert ROOT_TOKEN not in error.value.message
    return error.value


@pytest.fixture(name="vault")
def _vault() -> Iterator[Vault]:
    with vault_server() as vault:
        vault.put(PATH, {"password": "first-password"}, {"password": "second-password", "port": 5432})
        yield vault


def test_the_current_version_is_read_or_the_one_that_is_pinned(vault: Vault) -> None:
    assert run(kv(server(vault)).read()).fields == {"password": b"second-password"}
    assert run(kv(server(vault), version=1).read()).fields == {"password": b"first-password"}
    assert vault.asked == ["GET /v1/secret/data/app/db", "GET /v1/secret/data/app/db?version=1"]


def test_a_namespace_is_asked_for(vault: Vault) -> None:
    vault.namespace = "team/ops"

    assert refused(kv(server(vault))).failure is Failure.SECRET_MISSING
    assert run(kv(server(vault, namespace="team/ops")).read()).fields["password"] == b"second-password"


@pytest.mark.parametrize(
    ("version", "failure"),
    [
        (Version({}, deletion="2026-01-30T00:00:00Z"), Failure.SECRET_EXPIRED),
        (Version({}, destroyed=True), Failure.SECRET_EXPIRED),
    ],
)
def test_a_deleted_version_is_over_and_not_missing(vault: Vault, version: Version, failure: Failure) -> None:
    vault.put(PATH, {"password": "old-password"}, version)

    assert refused(kv(server(vault))).failure is failure
    assert refused(kv(server(vault), version=9)).failure is Failure.SECRET_MISSING
    assert refused(kv(server(vault), path="nothing/here")).failure is Failure.SECRET_MISSING


def test_a_token_that_does_not_count_is_a_refusal(vault: Vault) -> None:
    assert (
        refused(kv(server(vault, known_by=token("hvs.of-somebody-else")))).failure is Failure.SECRET_REFUSED
    )
    assert refused(kv(server(vault, known_by=token("two\r\nlines")))).failure is Failure.SECRET_UNUSABLE
    assert refused(kv(by_approle(vault, "wrong-secret-id"))).failure is Failure.SECRET_REFUSED


def test_a_login_lasts_for_one_call_and_its_token_is_revoked_after_it(vault: Vault) -> None:
    held = run(kv(by_approle(vault)).read())

    assert held.fields == {"password": b"second-password"}
    assert len(vault.tokens) == 2
    assert held.revoke is not None
    run(held.revoke())  # type: ignore[arg-type]
    assert vault.tokens == {ROOT_TOKEN}


def test_a_login_for_nothing_is_revoked_at_once(vault: Vault) -> None:
    assert refused(kv(by_approle(vault), path="nothing/here")).failure is Failure.SECRET_MISSING
    assert vault.tokens == {ROOT_TOKEN}


@pytest.mark.parametrize("login", [False, True])
def test_credentials_are_made_for_one_call_and_their_lease_is_revoked_after_it(
    vault: Vault, login: bool
) -> None:
    source = DynamicSecret(server=by_approle(vault) if login else server(vault), path="database/creds/app")
    places = {part: Place(source=source, field=part) for part in ("username", "password")}

    async def call() -> None:
        async with Secrets(places.__getitem__).lease(places) as values:
            assert values["password"].decode() == vault.made[-1]
            assert len(vault.leases) == 1

    run(call())

    assert len(vault.made) == 1
    assert (vault.leases, vault.tokens) == ({}, {ROOT_TOKEN})
    assert "POST /v1/sys/leases/revoke" in vault.asked


def test_credentials_without_a_lease_are_refused_because_nothing_ends_them(vault: Vault) -> None:
    source = DynamicSecret(server=server(vault), path=PATH.replace("secret/", "secret/data/"))

    assert refused(source).failure is Failure.SECRET_REFUSED


def test_a_lease_that_is_not_revoked_is_an_error_that_the_port_notes(vault: Vault) -> None:
    source = DynamicSecret(server=server(vault), path="database/creds/app")
    lease = Secrets(lambda name: Place(source=source, field="password")).lease(["x"])

    async def call() -> None:
        await lease.begin()
        vault.sealed = True
        await lease.end()

    run(call())

    assert lease._left == ["vault `main`, `database/creds/app`, made for each call"]


@pytest.mark.parametrize("status", [412, 429, 500, 502, 503])
def test_a_server_that_is_busy_sealed_or_broken_may_be_asked_again(vault: Vault, status: int) -> None:
    vault.answers["secret/data/app/db"] = (status, b'{"errors": ["canary"]}', {})

    error = refused(kv(server(vault)))

    assert error.failure is Failure.SECRET_SOURCE_DOWN
    assert "canary" not in error.message


def test_a_server_that_is_not_there_may_be_asked_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        source = kv(server(Vault(), address=address))
        assert refused(source).failure is Failure.SECRET_SOURCE_DOWN
        assert "does not answer" in str(run(source.doubt()))


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>canary</html>", {}),
        (200, b'{"data": {"data": {"a": 1}, "data": {}}}', {}),
        (200, b"[" * 10_000, {}),
        (200, b'"' + b"x" * (ANSWER_BYTES_MAX + 1) + b'"', {}),
        (307, b"", {"Location": "http://127.0.0.1:1/v1/secret/data/app/db"}),
        (401, b"canary", {}),
        (418, b"canary", {}),
    ],
)
def test_an_answer_that_is_none_refuses_and_is_not_repeated(
    vault: Vault, answer: tuple[int, bytes, dict[str, str]]
) -> None:
    vault.answers["secret/data/app/db"] = answer

    error = refused(kv(server(vault)))

    assert error.failure is Failure.SECRET_REFUSED
    assert "canary" not in error.message
    assert len(vault.asked) == 1


def test_a_secret_with_no_texts_in_it_has_none(vault: Vault) -> None:
    vault.put(PATH, {"port": 5432, "nested": {"password": "x"}, "rate": 1.5})

    assert run(kv(server(vault)).read()).fields == {}


def test_what_stands_in_the_way_is_said_without_asking_for_a_secret(vault: Vault) -> None:
    assert run(kv(server(vault)).doubt()) is None
    vault.sealed = True
    assert "sealed" in str(run(kv(server(vault)).doubt()))
    gone = EnvironmentSecret(name="GONE", environ={})
    assert "GONE" in str(run(kv(server(vault, known_by=gone)).doubt()))

    assert {line.split("?")[0] for line in vault.asked} == {"GET /v1/sys/health"}


@needs("openssl")
def test_a_certificate_that_does_not_hold_is_no_server(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=vault", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", pem, "-out", tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_bytes(pem.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    with vault_server(tls=pem) as vault:
        vault.put(PATH, {"password": "over-tls-password"})
        trusted = server(vault, ca_file=str(tmp_path / "cert.pem"))

        assert run(kv(trusted).read()).fields == {"password": b"over-tls-password"}
        assert refused(kv(server(vault))).failure is Failure.SECRET_REFUSED
        assert refused(kv(server(vault, ca_file="/nowhere.pem"))).failure is Failure.SECRET_REFUSED
        elsewhere = server(
            vault, address=vault.address.replace("127.0.0.1", "localhost"), ca_file=trusted.ca_file
        )
        assert refused(kv(elsewhere)).failure is Failure.SECRET_REFUSED


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("https://vault.example:8200", True),
        ("http://127.0.0.1:8200", True),
        ("http://[::1]:8200", True),
        ("http://vault.example:8200", False),
        ("https://user@vault.example", False),
        ("https://vault.example/v1", False),
        ("https://vault.example?x", False),
        ("https://vault.example:99999", False),
        ("ftp://127.0.0.1", False),
        ("vault.example", False),
        ("https://", False),
        ("https://v\u00e4ult.example", False),
        ("https://vault.example\r\nX: y", False),
    ],
)
def test_a_server_is_spoken_to_over_tls_or_on_this_machine(address: str, good: bool) -> None:
    assert is_address(address) is good


@needs("ssh-keygen")
class TestSshCertificates:
    @pytest.fixture(autouse=True)
    def _ca(self, vault: Vault, tmp_path: Path) -> None:
        self.vault = vault
        vault.ca = tmp_path / "ca"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", vault.ca], check=True)

    def source(self, **changes: object) -> SshCertificate:
        plain = SshCertificate(
            server=server(self.vault), mount="ssh", role="ops", principals=("root", "deploy"), seconds=120
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def test_a_key_is_made_for_one_call_and_certified_for_minutes(self, tmp_path: Path) -> None:
        held = [run(self.source().read()) for _ in range(2)]
        assert held[0].fields["key"] != held[1].fields["key"]

        shown = self.shown(held[0], tmp_path)

        assert "user certificate" in shown and "root" in shown and "deploy" in shown
        assert held[0].fields["key"].startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")

    def shown(self, held: Held, folder: Path) -> str:
        """What OpenSSH says of the certificate; it also takes the key for the one that is certified."""
        key = folder / "key"
        key.write_bytes(held.fields["key"])
        key.chmod(0o600)
        (folder / "key-cert.pub").write_bytes(held.fields["certificate"] + b"\n")
        public = subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, capture_output=True).stdout
        told = subprocess.run(
            ["ssh-keygen", "-L", "-f", folder / "key-cert.pub"], check=True, capture_output=True, text=True
        ).stdout
        (folder / "plain.pub").write_bytes(public)
        finger = subprocess.run(
            ["ssh-keygen", "-l", "-f", folder / "plain.pub"], check=True, capture_output=True, text=True
        ).stdout.split()[1]
        assert finger in told
        return told

    def test_a_certificate_that_lasts_longer_than_asked_for_is_not_used(self) -> None:
        self.vault.ssh_seconds = 3600

        assert refused(self.source()).failure is Failure.SECRET_UNUSABLE

    @pytest.mark.parametrize("signed", ["", "ssh-ed25519 AAAA", "canary", None])
    def test_what_is_no_certificate_of_the_key_is_not_used(self, signed: str | None) -> None:
        other = run(self.source().read()).fields["certificate"].decode()
        body = other if signed is None else signed
        reply = f'{{"data": {{"signed_key": "{body.strip()}"}}}}'.encode()
        self.vault.answers["ssh/sign/ops"] = (200, reply, {})

        error = refused(self.source())

        assert error.failure is Failure.SECRET_REFUSED
        assert "canary" not in error.message
