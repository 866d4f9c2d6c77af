"""Event streams are read as the HTML standard says, however the bytes are cut."""

import pytest

from rexecop.lanes.errors import EventTooLarge
from rexecop.lanes.eventstream import Event, EventStream

CASES = {
    # The examples of the standard, and its corner cases.
    "several data lines": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("message", "YHOO\n+2\n10", "")]),
    "comments and ids": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [Event("message", "first event", "1"), Event("message", "second event", "")],
    ),
    "empty data": (b"data\n\ndata\ndata\n\ndata:", [Event("message", "", ""), Event("message", "\n", "")]),
    "one space is left out": (b"data:test\n\ndata: test\n\n", [Event("message", "test", "")] * 2),
    "a type": (
        b"event: add\ndata: 73\n\nevent: remove\n\ndata: 1\n\n",
        [Event("add", "73", ""), Event("message", "1", "")],
    ),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [Event("message", "a", "")]),
    "only the first mark": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [Event("message", "b", "")]),
    "all line ends": (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [Event("message", c, "") for c in "abc"]),
    "lines of one event": (b"data: a\r\ndata: b\r\n\r\n", [Event("message", "a\nb", "")]),
    "an id with NUL is ignored": (
        b"id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n",
        [Event("message", "a", "7"), Event("message", "b", "7")],
    ),
    "an id stays": (b"id: 7\n\ndata: a\n\n", [Event("message", "a", "7")]),
    "unknown fields": (b"colour: red\ndata: a\nData: b\n\n", [Event("message", "a", "")]),
    "broken UTF-8": (b"data: \xff\n\n", [Event("message", "\ufffd", "")]),
    "an unfinished event": (b"data: a\n", []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_read_as_the_standard_says(name: str) -> None:
    data, events = CASES[name]

    assert list(EventStream(1_000).feed(data)) == events


@pytest.mark.parametrize("name", CASES)
def test_where_a_read_cuts_the_stream_changes_nothing(name: str) -> None:
    stream, wanted = CASES[name]

    for place in range(len(stream) + 1):
        parser = EventStream(1_000)
        pieces = (stream[:place], b"", stream[place:])
        assert [event for piece in pieces for event in parser.feed(piece)] == wanted
    parser = EventStream(1_000)
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == wanted


def test_retry_takes_digits_only() -> None:
    stream = EventStream(1_000)
    for data, wanted in ((b"retry: x\n", None), (b"retry: 250\n", 250), (b"retry: -1\n", 250)):
        list(stream.feed(data))
        assert stream.retry_ms == wanted


@pytest.mark.parametrize("piece", [b"x" * 10, b"data: x\n", b": x\n"])
def test_an_event_that_does_not_end_is_ended(piece: bytes) -> None:
    stream = EventStream(1_000)

    with pytest.raises(EventTooLarge):
        for _ in range(1_000):
            list(stream.feed(piece))


def test_many_small_events_are_no_large_one() -> None:
    stream = EventStream(10)

    assert len(list(stream.feed(b"data: x\n\n" * 1_000))) == 1_000
