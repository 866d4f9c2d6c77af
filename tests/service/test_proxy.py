"""A proxy in front says who comes, and is believed where it is that proxy and shows its secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from starlette.datastructures import Headers

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock
from rexecop.app.door import Caller, ServiceRole, ServiceScope
from rexecop.app.doors import FAILURES_MAX, RootDoor, Throttle
from rexecop.app.errors import CallerThrottled, CallerUnknown
from rexecop.app.root import Root
from rexecop.app.service_file import read_service_file
from rexecop.app.serving import Serving
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Established
from tests.lanes.support import FakeClock
from tests.service.conftest import fresh_root

SECRET: Final = "what-only-the-proxy-knows"
PEER: Final = "198.51.100.3"
SAID: Final[Mapping[str, object]] = {
    "peers": ["192.0.2.9", "198.51.100.0/24", "2001:db8::/32"],
    "secret": digest_of(SECRET.encode()),
    "user": "X-Forwarded-User",
    "groups": "x-forwarded-groups",
    "roles": {"sre": ["operator"], "audit": ["auditor"], "bots": ["agent"]},
    "scopes": {"sre": {"targets": ["web-*"]}},
}
GOOD: Final[Mapping[str, str]] = {
    "x-forwarded-user": "alice",
    "x-forwarded-groups": "other, sre,audit",
    "x-proxy-secret": SECRET,
}


def configure(root: Path, **changed: object) -> None:
    said = {name: value for name, value in {**SAID, **changed}.items() if value is not None}
    path = root / "service.yaml"
    path.write_text(json.dumps({"proxy": said}))
    path.chmod(0o600)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    settings = fresh_root(tmp_path_factory.mktemp("proxy"))
    configure(settings.root)
    with Serving(open_instance(settings)) as found:
        yield found


@pytest.fixture
def door(serving: Serving) -> RootDoor:
    assert isinstance(serving.door, RootDoor)
    clock = FakeClock(at=SystemClock().now())
    return RootDoor(
        Root(serving.settings.root), serving.door._authority, serving.access, clock, Throttle(clock)
    )


def come(door: RootDoor, peer: str | None = PEER, **changed: str) -> Caller:
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return door.caller({name: value for name, value in headers.items() if value}, peer)


def test_whom_the_proxy_speaks_for_comes_in_by_its_word(door: RootDoor) -> None:
    caller = come(door)

    principal = caller.identity.principal
    assert (caller.name, principal.established, principal.credential) == (
        "alice",
        Established.TOKEN,
        f"proxy:{PEER}",
    )
    assert caller.roles == {ServiceRole.OPERATOR, ServiceRole.AUDITOR}
    assert caller.scope == ServiceScope(targets=("web-*",))
    assert come(door, "2001:db8::1").name == come(door, "192.0.2.9").name == "alice"
    assert come(door, x_forwarded_groups="").roles == frozenset()
    assert come(door, x_forwarded_groups="sre,bots").roles == frozenset()  # An agent without a sponsor.


@pytest.mark.parametrize("peer", ["203.0.113.1", "192.0.2.8", "127.0.0.1", "::ffff:192.0.2.9", "x", "", None])
def test_from_elsewhere_the_same_headers_say_nothing(door: RootDoor, peer: str | None) -> None:
    with pytest.raises(CallerUnknown):
        come(door, peer)


@pytest.mark.parametrize(
    "changed",
    [
        {"x_proxy_secret": ""},
        {"x_proxy_secret": SECRET + "x"},
        {"x_proxy_secret": digest_of(SECRET.encode())},
        {"x_forwarded_user": ""},
        {"x_forwarded_user": "engine"},
        {"x_forwarded_user": " alice"},
        {"x_forwarded_user": "x" * 200},
    ],
    ids=str,
)
def test_without_the_secret_or_a_name_nobody_comes_in(door: RootDoor, changed: dict[str, str]) -> None:
    with pytest.raises(CallerUnknown):
        come(door, **changed)


@pytest.mark.parametrize("twice", GOOD)
def test_a_header_that_is_there_twice_is_nobodys(door: RootDoor, twice: str) -> None:
    pairs = [(name.encode(), one.encode()) for name, one in [*GOOD.items(), (twice, GOOD[twice])]]
    if twice == "x-forwarded-groups":
        assert door.caller(Headers(raw=pairs), PEER).roles == frozenset()
        return
    with pytest.raises(CallerUnknown):
        door.caller(Headers(raw=pairs), PEER)


def test_who_guesses_the_secret_waits_and_the_proxy_does_not(door: RootDoor) -> None:
    for _ in range(FAILURES_MAX):
        with pytest.raises(CallerUnknown) as refused:
            come(door, x_proxy_secret="guess")
        assert not isinstance(refused.value, CallerThrottled)

    with pytest.raises(CallerThrottled):
        come(door, x_proxy_secret="guess")
    assert come(door).name == "alice"


@pytest.mark.parametrize(
    "changed",
    [
        {"peers": []},
        {"peers": ["proxy.example"]},
        {"peers": ["198.51.100.3/24"]},
        {"peers": None},
        {"secret": "open sesame"},
        {"secret": None},
        {"user": "authorization"},
        {"user": "x-proxy-secret"},
        {"user": "host"},
        {"groups": "x y"},
        {"roles": {"sre": ["king"]}},
        {"roles": None},
        {"scopes": {"sre": {"targets": []}}},
        {"trust": True},
    ],
    ids=str,
)
def test_a_proxy_that_anybody_could_be_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    configure(tmp_path, **changed)
    with pytest.raises(RexecopError):
        read_service_file(Root(tmp_path))
