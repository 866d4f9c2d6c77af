"""Trust over TLS: who is believed, who is not, and what is written before that is settled (nothing)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rexecop.lanes.failures import Failure
from rexecop.lanes.http import HttpLane
from rexecop.lanes.port import LaneResult
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Ended, Isolation
from tests.lanes.support import call_lane, result_of, secrets_of
from tests.lanes.web import (
    Authority,
    Issued,
    Web,
    authority,
    facts_of,
    http_call,
    issue,
    reply,
    server_context,
    serving,
)


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def issued(ca: Authority) -> Issued:
    return issue(ca, "127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, issued: Issued) -> Iterator[Web]:
    with serving(server_context(tmp_path_factory.mktemp("tls"), issued)) as server:
        server.routes["/x"] = reply(b"trusted")
        yield server


def ask(
    web: Web, *, identity: str = "", method: str = "GET", host: str = "127.0.0.1", **tls: Json
) -> LaneResult:
    lane = HttpLane(secrets=secrets_of(identity=identity.encode()))
    if identity:
        tls["identity"] = {"secret": "identity"}
    call = http_call(web.port, "/x", method=method, host=host, scheme="https", tls=tls)
    try:
        return result_of(call_lane(lane, call, isolation=Isolation.NOT_APPLICABLE))
    finally:
        lane.close()


def test_the_named_ca_is_believed_and_the_certificate_is_told(
    web: Web, ca: Authority, issued: Issued
) -> None:
    result = ask(web, ca=ca.pem)

    assert (result.ended, result.stdout) == (Ended.OK, b"trusted")
    assert facts_of(result)["certificate"] == issued.fingerprint
    assert facts_of(result)["tls"] == "TLSv1.3"
    assert "tls_verified" not in facts_of(result)


def test_a_pinned_certificate_is_believed_without_a_ca(web: Web, issued: Issued) -> None:
    assert ask(web, fingerprint=issued.fingerprint).ended is Ended.OK


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("trust", ["system", "another CA", "another certificate", "both, one wrong"])
def test_whom_nothing_vouches_for_gets_nothing(web: Web, ca: Authority, trust: str, method: str) -> None:
    web.asked.clear()
    wrong = "sha256:" + "0" * 64
    trusted: dict[str, dict[str, Any]] = {
        "system": {},
        "another CA": {"ca": authority("other").pem},
        "another certificate": {"fingerprint": wrong},
        "both, one wrong": {"ca": ca.pem, "fingerprint": wrong},
    }

    result = ask(web, method=method, **trusted[trust])

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.TLS_FAILED)
    assert web.asked == []


@pytest.mark.parametrize(
    ("names", "expired", "words"), [(("other.test",), False, "match"), (("127.0.0.1",), True, "expired")]
)
def test_a_certificate_for_somebody_else_or_of_yesterday_is_none(
    tmp_path: Path, ca: Authority, names: tuple[str, ...], expired: bool, words: str
) -> None:
    with serving(server_context(tmp_path, issue(ca, *names, expired=expired))) as server:
        result = ask(server, ca=ca.pem)

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.TLS_FAILED)
    assert words in (result.message or "")


def test_the_name_of_the_server_may_be_another_than_where_it_is(tmp_path: Path, ca: Authority) -> None:
    with serving(server_context(tmp_path, issue(ca, "inside.test"))) as server:
        server.routes["/x"] = reply(b"trusted")

        assert ask(server, ca=ca.pem, server_name="inside.test").ended is Ended.OK
        assert ask(server, ca=ca.pem).failure is Failure.TLS_FAILED


def test_trusting_anybody_is_said_in_the_outcome(web: Web) -> None:
    result = ask(web, verify=False)

    assert (result.ended, facts_of(result)["tls_verified"]) == (Ended.OK, False)


def test_our_own_certificate_comes_from_a_secret_and_is_shown(
    tmp_path: Path, ca: Authority, issued: Issued
) -> None:
    ours = issue(ca, "operator.test")
    with serving(server_context(tmp_path, issued, clients=ca)) as server:
        server.routes["/x"] = reply(b"trusted")

        assert ask(server, ca=ca.pem, identity=ours.pem).ended is Ended.OK
        assert len(server.certificates) == 1
        refused = ask(server, ca=ca.pem)
        # Under TLS 1.3 a server says no after the handshake, and by hanging up.
        assert (refused.ended, refused.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
        broken = ask(server, ca=ca.pem, identity="no certificate at all")
        assert (broken.ended, broken.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)


def test_a_ca_that_is_none_is_refused(web: Web) -> None:
    result = ask(web, ca="-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n")

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
