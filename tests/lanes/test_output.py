from hypothesis import given
from hypothesis import strategies as st

from rexecop.lanes.output import Redactor

LETTERS = st.binary(max_size=40).map(lambda data: bytes(b"ab-"[byte % 3] for byte in data))
SECRETS = st.lists(LETTERS.filter(lambda value: len(value) > 1), min_size=1, max_size=3)


@given(secrets=SECRETS, pieces=st.lists(LETTERS, max_size=6))
def test_no_secret_survives_however_the_output_is_cut(secrets: list[bytes], pieces: list[bytes]) -> None:
    redactor = Redactor(secrets)
    shown = b"".join(redactor.feed(piece) for piece in pieces) + redactor.finish()

    # What stands between two redactions was there as it is; no secret may be in it.
    assert not any(secret in part for part in shown.split(b"[redacted]") for secret in secrets)


@given(pieces=st.lists(LETTERS, max_size=6))
def test_output_without_a_secret_is_not_touched(pieces: list[bytes]) -> None:
    redactor = Redactor([b"not-in-there"])
    shown = b"".join(redactor.feed(piece) for piece in pieces) + redactor.finish()

    assert shown == b"".join(pieces)
    assert redactor.redactions == 0


def test_a_secret_cut_in_two_is_counted_once() -> None:
    redactor = Redactor([b"hunter2"])
    shown = redactor.feed(b"pw: hun") + redactor.feed(b"ter2!") + redactor.finish()

    assert (shown, redactor.redactions) == (b"pw: [redacted]!", 1)
