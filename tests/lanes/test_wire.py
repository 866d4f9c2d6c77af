import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.lanes import wire
from rexecop.lanes.wire import Launch

FIELDS = st.lists(st.binary(max_size=30), max_size=6)


@given(frames=st.lists(FIELDS, max_size=4), cut=st.integers(min_value=1, max_value=7))
def test_frames_arrive_whole_however_the_socket_cuts_them(frames: list[list[bytes]], cut: int) -> None:
    sent = b"".join(wire.pack(fields) for fields in frames)
    buffer = bytearray()
    taken: list[list[bytes]] = []
    for at in range(0, len(sent), cut):
        buffer += sent[at : at + cut]
        while (fields := wire.take_frame(buffer)) is not None:
            taken.append(fields)

    assert taken == frames


@given(body=st.binary(max_size=60))
def test_nonsense_is_an_error_or_fields_and_nothing_else(body: bytes) -> None:
    try:
        fields = wire.unpack(body)
    except ValueError:
        return
    assert wire.pack(fields)[wire.HEAD_BYTES :] == body


def test_a_frame_that_is_too_large_is_refused_by_its_head() -> None:
    with pytest.raises(ValueError, match="at most"):
        wire.take_frame(bytearray((wire.FRAME_BYTES_MAX + 1).to_bytes(4, "big")))


@given(
    argv=st.lists(st.binary(max_size=20), max_size=4),
    env=st.dictionaries(st.binary(max_size=5), st.binary(max_size=9), max_size=3),
    write=st.booleans(),
)
def test_a_launch_arrives_as_it_was_sent(argv: list[bytes], env: dict[bytes, bytes], write: bool) -> None:
    launch = Launch(
        isolation="none",
        program="/bin/true",
        argv=argv,
        env=env,
        cwd="/",
        readable=["/"],
        writable=["/var/lib/é"],
        groups=["4", "27"],
        cgroups=[],
        write=write,
        skip=2,
        timeout_ms=1,
        grace_ms=2,
        processes=3,
        memory_bytes=4,
        address_bytes=6,
        file_bytes=5,
        cpu_seconds=7,
        open_files=8,
        user_processes=9,
        umask=0o022,
        uid=-1,
        gid=-1,
        tty=False,
        listed=0,
        unlisted=0,
    )

    assert Launch.from_fields(launch.fields()) == launch
