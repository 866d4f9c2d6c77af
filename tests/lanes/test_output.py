import base64
import json
import shlex
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.lanes.encodings import ENCODED_BYTES_MIN, forms_of
from rexecop.lanes.output import REDACTED, Redactor

LETTERS = st.binary(max_size=40).map(lambda data: bytes(b"ab-"[byte % 3] for byte in data))
SECRETS = st.lists(LETTERS.filter(lambda value: len(value) > 1), min_size=1, max_size=3)
VALUES = st.text(min_size=8, max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
AROUND = st.binary(max_size=7)


def shown(secrets: list[bytes], *pieces: bytes) -> tuple[bytes, int]:
    """What is left of an output that came in `pieces`, and how much was taken out."""
    redactor = Redactor(secrets)
    text = b"".join([redactor.feed(piece) for piece in pieces] + [redactor.finish()])
    return text, redactor.redactions


@given(secrets=SECRETS, pieces=st.lists(LETTERS, max_size=6))
def test_no_secret_survives_however_the_output_is_cut(secrets: list[bytes], pieces: list[bytes]) -> None:
    left, _ = shown(secrets, *pieces)

    # What stands between two redactions was there as it is; no secret may be in it.
    assert not any(secret in part for part in left.split(REDACTED) for secret in secrets)


@given(secrets=SECRETS, data=LETTERS, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_what_comes_out_does_not_depend_on_where_the_output_was_cut(
    secrets: list[bytes], data: bytes, cuts: list[int]
) -> None:
    pieces = [data[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(data)])]

    assert shown(secrets, *pieces) == shown(secrets, data)


@given(pieces=st.lists(LETTERS, max_size=6))
def test_output_without_a_secret_is_not_touched(pieces: list[bytes]) -> None:
    assert shown([b"not-in-there"], *pieces) == (b"".join(pieces), 0)


def test_a_secret_cut_in_two_is_counted_once() -> None:
    assert shown([b"hunter2-hunter2"], b"pw: hun", b"ter2-hunter2!") == (b"pw: [redacted]!", 1)


def test_a_secret_that_begins_another_waits_for_the_longer_one() -> None:
    secrets = [b"password", b"password-of-the-database"]

    assert shown(secrets, b"it is password", b"-of-the-database.") == (b"it is [redacted].", 1)
    assert shown(secrets, b"it is password", b"-of-mine.") == (b"it is [redacted]-of-mine.", 1)


def test_what_cannot_begin_a_secret_is_not_held_back() -> None:
    redactor = Redactor([b"correct horse"])

    assert redactor.feed(b"Password: ") == b"Password: "
    assert redactor.feed(b"is it corr") == b"is it "


@given(value=VALUES, before=AROUND, after=AROUND)
def test_base64_of_a_secret_says_nothing_of_it_wherever_it_stands_in_the_text(
    value: bytes, before: bytes, after: bytes
) -> None:
    whole = base64.b64encode(before + value + after)

    for encoded in (whole, whole.translate(bytes.maketrans(b"+/", b"-_"))):
        left, count = shown([value], encoded)
        parts = left.split(REDACTED)
        assert count >= 1
        # At most one character at either end holds bits of the secret, and bits of its neighbour or none.
        assert len(parts[0]) <= -(-8 * len(before) // 6)
        assert len(parts[-1].rstrip(b"=")) <= -(-8 * len(after) // 6) + 1


@given(value=VALUES)
def test_no_common_encoding_of_a_secret_survives(value: bytes) -> None:
    forms = [
        value,
        value.hex().encode(),
        value.hex().upper().encode(),
        quote(value, safe="").encode(),
        quote(value).encode(),
        quote_plus(value).encode(),
        quote(value, safe="").lower().encode() if value.islower() else value,
    ]
    try:
        text = value.decode()
        forms += [json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()]
        forms += [shlex.quote(text).strip("'").encode()] if "'" not in (text[0], text[-1]) else []
    except UnicodeDecodeError:
        pass

    for form in forms:
        left, count = shown([value], b"<" + form + b">")
        assert (left, count) == (b"<[redacted]>", 1), form


@pytest.mark.parametrize(
    "form",
    [
        rb"""it'"'"'s 5$ \ "now"/so""",
        rb"""it'\''s 5$ \ "now"/so""",
        rb"""it's 5\$ \\ \"now\"/so""",
        rb"""it\'s\ 5\$\ \\\ \"now\"/so""",
        rb"""it's 5$ \\ \"now\"\/so""",
        b"it%27s%205%24%20%5c%20%22now%22%2fso",
        b"it%27s+5%24+%5C+%22now%22%2Fso",
        b"it's%205%24%20%5C%20%22now%22%2Fso",
    ],
)
def test_forms_that_programs_write_are_known(form: bytes) -> None:
    assert shown([rb"""it's 5$ \ "now"/so"""], b"<" + form + b">") == (b"<[redacted]>", 1)


def test_a_key_of_several_lines_is_taken_out_by_line_and_in_wrapped_base64() -> None:
    lines = [b"-----BEGIN KEY-----", *(bytes([letter]) * 64 for letter in b"abcd"), b"-----END KEY-----"]
    key = b"\n".join(lines)
    wrapped = base64.encodebytes(key).rstrip(b"\n")

    assert shown([key], b"\r\n".join(lines))[0] == b"\r\n".join([REDACTED] * 6)
    assert shown([key], lines[2] + b"|" + lines[4])[0] == REDACTED + b"|" + REDACTED
    assert shown([key], wrapped)[0].rstrip(b"=").removeprefix(REDACTED) in (b"", wrapped.rstrip(b"=")[-1:])


def test_a_short_value_that_was_declared_is_taken_out_and_its_shortest_encodings_are_not() -> None:
    assert shown([b"1234"], b"pin 1234, hex 31323334")[0] == b"pin [redacted], hex [redacted]"
    assert all(len(form) >= ENCODED_BYTES_MIN for form in forms_of([b"ab"]) if form != b"ab")
    assert shown([b""], b"nothing") == (b"nothing", 0)


def test_output_that_is_nothing_but_secrets_takes_time_in_step_with_its_length() -> None:
    class Counted(bytes):
        looks = 0

        def find(self, *arguments: object) -> int:
            Counted.looks += 1
            return super().find(*arguments)  # type: ignore[arg-type]

    redactor = Redactor([b"correct horse", b"battery staple"])
    flood = Counted(b"correct horse" * 1000)
    redactor._take(flood, [])

    assert redactor.redactions == 1000
    assert Counted.looks < 1000 + 2 * len(redactor._forms)
