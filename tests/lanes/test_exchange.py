"""Messages of exchanges are whole before a secret is read, and say nothing of one that does not fit."""

from dataclasses import dataclass
from typing import Final

import pytest

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.exchange import read_message
from rexecop.lanes.failures import Failure
from rexecop.lanes.secrets import Place, Secrets
from rexecop.proof.call import Call, ExchangeRequest, secrets_of
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect
from tests.lanes.support import Kept, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """A message to try it with."""

    path: str
    token: str


GOOD: Final[dict[str, Json]] = {"path": "/v1", "token": {"text": ["Bearer ", {"secret": "api"}]}}


def read(message: dict[str, Json], value: bytes = b"canary-token", asked: list[str] | None = None) -> object:
    """Read `message` as a lane does; `asked` hears which secrets were looked for."""

    def locate(name: str) -> Place:
        if asked is not None:
            asked.append(name)
        return Place(source=Kept({name: value}), field=name)

    request = ExchangeRequest(protocol="http/1", message=message)
    call = Call(target="t", connector="c", action="a", effect=Effect.READ, request=request)

    async def whole() -> object:
        lease = Secrets(locate).lease(secrets_of(call))
        try:
            return await read_message(request, Greeting, lease)
        finally:
            await lease.end()

    return run(whole())


def test_secrets_are_filled_in_and_named_for_taking_them_out() -> None:
    assert read(GOOD) == (Greeting(path="/v1", token="Bearer canary-token"), (b"canary-token",))


def test_a_message_that_is_none_is_refused_before_any_secret_is_looked_for() -> None:
    asked: list[str] = []

    with pytest.raises(RequestRefused) as refused:
        read({**GOOD, "more": "x"}, asked=asked)

    assert (refused.value.failure, asked) == (Failure.REQUEST_INVALID, [])


def test_a_secret_that_does_not_fit_its_place_is_not_named() -> None:
    with pytest.raises(RequestRefused) as refused:
        read(GOOD, b"canary\xff\xfe\xfd")

    assert refused.value.failure is Failure.SECRET_UNUSABLE
    assert "canary" not in refused.value.message
