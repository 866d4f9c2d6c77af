"""A call that may reach single hosts reaches these and nothing else, and that was tried before it ran."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.lanes import egress, kernel, sandbox, scout
from rexecop.lanes.addresses import is_public
from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.sandbox import why_not_held
from rexecop.lanes.scout import PROXY
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.wire import Launch
from rexecop.proof.call import Call, ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.egress import split, within
from rexecop.proof.vocabulary import Ended, Grade, Isolation
from tests.lanes.support import LIMITS, call_lane, process, result_of, run
from tests.needs import needs

PRIVATE = Isolation.BUBBLEWRAP


class Server:
    """A listener on the loopback of this machine that says its name to everyone and counts them."""

    def __init__(self, says: bytes) -> None:
        self.met = 0
        self._says = says
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                opened, _ = self._socket.accept()
                self.met += 1
                with opened:
                    opened.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + self._says)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    server = Server(b"reached")
    yield server
    server.close()


@pytest.fixture(scope="module", name="lane")
def _lane() -> Iterator[ProcessLane]:
    lane = ProcessLane(isolation=dict.fromkeys(Isolation, Grade.SHAPE), secrets=NO_SECRETS, hidden=())
    yield lane
    lane.close()


def call_to(*listed: str, argv: tuple[str, ...]) -> Call:
    call = process(*argv)
    assert isinstance(call.request, ProcessRequest)
    return replace(call, request=replace(call.request, egress=listed))


def curl(url: str, *options: str) -> tuple[str, ...]:
    """A tunnel through the proxy, also for a plain URL."""
    return ("curl", "-sS", "-m", "5", "-p", *options, url)


def ran(lane: ProcessLane, call: Call, isolation: Isolation = PRIVATE) -> LaneResult:
    return result_of(call_lane(lane, call, limits=LIMITS, isolation=isolation))


@needs("bwrap", "curl")
class TestAListedHost:
    def test_it_is_reached_and_told_with_its_address(self, lane: ProcessLane, server: Server) -> None:
        entry = f"127.0.0.1:{server.port}"
        result = ran(lane, call_to(entry, argv=curl(f"http://{entry}/")))

        assert (result.ended, result.stdout) == (Ended.OK, b"reached"), result
        assert (result.measured.network, server.met) == ("egress-list", 1)
        facts = result.measured.facts or {}
        assert facts["egress"] == [entry]
        assert facts["egress_reached"] == {entry: "127.0.0.1"}
        # Whoever is reached may act on what it is sent, so this is no contained read.
        assert facts["grade"] == "shape"

    def test_a_name_leads_into_the_house_only_where_its_address_is_listed_too(
        self, lane: ProcessLane, server: Server
    ) -> None:
        named, literal = f"localhost:{server.port}", f"127.0.0.1:{server.port}"
        refused = ran(lane, call_to(named, argv=curl(f"http://{named}/")))
        assert (refused.failure, server.met) == (Failure.NONZERO_EXIT, 0)

        reached = ran(lane, call_to(named, literal, argv=curl(f"http://{named}/")))
        assert (reached.stdout, server.met) == (b"reached", 1)

    @needs("cgroup")
    def test_it_is_reached_from_a_control_group_too(self, lane: ProcessLane, server: Server) -> None:
        entry = f"127.0.0.1:{server.port}"
        call = call_to(entry, argv=curl(f"http://{entry}/"))

        assert ran(lane, call, Isolation.BUBBLEWRAP_CGROUP).stdout == b"reached"


@needs("bwrap", "curl")
class TestEverythingElse:
    def test_another_port_of_a_listed_host_is_refused_and_counted(
        self, lane: ProcessLane, server: Server
    ) -> None:
        result = ran(lane, call_to("127.0.0.1:9", argv=curl(f"http://127.0.0.1:{server.port}/")))

        assert b"403" in result.stderr
        assert (result.measured.facts or {})["egress_refused"] == 1
        assert server.met == 0

    def test_nothing_is_reached_past_the_proxy(self, lane: ProcessLane, server: Server) -> None:
        entry = f"127.0.0.1:{server.port}"
        result = ran(lane, call_to(entry, argv=curl(f"http://{entry}/", "--noproxy", "*")))

        assert (result.failure, server.met) == (Failure.NONZERO_EXIT, 0)

    def test_a_request_that_is_no_tunnel_is_refused(self, lane: ProcessLane, server: Server) -> None:
        entry, proxy = f"127.0.0.1:{server.port}", f"http://{PROXY[0]}:{PROXY[1]}"
        result = ran(lane, call_to(entry, argv=("curl", "-sS", "-i", "-x", proxy, f"http://{entry}/")))

        assert b" 405 " in result.stdout
        assert server.met == 0

    def test_what_the_canary_used_is_refused_once_the_program_may_start(self) -> None:
        async def after() -> int:
            proxy = egress.Egress(["db.example:443"])
            listed, _ = await proxy.start()
            assert (await proxy._connect(_asking(listed)))[0] == 200
            proxy.open()
            status, _ = await proxy._connect(_asking(listed))
            await proxy.close()
            return status

        assert run(after()) == 403


def _asking(port: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
    return reader


@needs("bwrap")
class TestTheCanary:
    def test_its_answers_are_facts_of_the_outcome(self, lane: ProcessLane) -> None:
        facts = ran(lane, call_to("db.example:443", argv=("true",))).measured.facts or {}

        assert (facts["canary_listed"], facts["canary_unlisted"]) == (200, 403)
        assert (facts["canary_direct"], facts["canary_beyond"]) == ("ECONNREFUSED", "ENETUNREACH")

    def test_a_proxy_that_lets_everything_through_refuses_the_call(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reach = egress.Egress._reach
        monkeypatch.setattr(egress.Egress, "_connect", lambda self, reader: self._open_to_all(reader))

        async def open_to_all(
            self: egress.Egress, reader: asyncio.StreamReader
        ) -> tuple[int, egress.Opened | None]:
            head = await reader.readuntil(b"\r\n\r\n")
            self._listed |= {split(head.split()[1].decode())}
            return await reach(self, split(head.split()[1].decode()))

        monkeypatch.setattr(egress.Egress, "_open_to_all", open_to_all, raising=False)
        result = ran(lane, call_to("db.example:443", argv=("true",)))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
        assert "through the proxy" in (result.message or "")

    def test_a_network_that_is_the_machine_s_refuses_the_call(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = sandbox.bubblewrap_options

        def shared(**given: object) -> list[str]:
            return [*options(**given)[:1], "--share-net", *options(**given)[1:]]  # type: ignore[arg-type]

        monkeypatch.setattr(sandbox, "bubblewrap_options", shared)
        result = ran(lane, call_to("db.example:443", argv=("true",)))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)

    def test_nothing_listed_is_contacted_before_the_clearance(
        self, lane: ProcessLane, server: Server
    ) -> None:
        def refuse() -> None:
            assert server.met == 0
            raise ClearanceRefused(Failure.FENCE_LOST, "another runner took over")

        call = call_to(f"127.0.0.1:{server.port}", argv=curl(f"http://127.0.0.1:{server.port}/"))
        with pytest.raises(ClearanceRefused):
            call_lane(lane, call, isolation=PRIVATE, clearance=refuse)
        assert server.met == 0

    @pytest.mark.parametrize(
        "broken",
        [
            {"canary_listed": "403"},
            {"canary_listed": "silent"},
            {"canary_unlisted": "200"},
            {"canary_direct": "allowed"},
            {"canary_beyond": "allowed"},
            {"canary_beyond": None},
        ],
        ids=repr,
    )
    def test_one_answer_that_is_off_is_enough(self, broken: dict[str, str | None]) -> None:
        good = {"canary_listed": "200", "canary_unlisted": "403"}
        good |= {"canary_direct": "ECONNREFUSED", "canary_beyond": "ENETUNREACH"}
        told = {name: value for name, value in {**good, **broken}.items() if value is not None}
        free = dict.fromkeys(Launch._fields[9:], 0) | {"uid": -1, "listed": 1}
        lists: dict[str, object] = {
            "argv": [],
            "env": {},
            "readable": [],
            "writable": [],
            "groups": [],
            "cgroups": [],
        }
        launch = Launch(isolation="bubblewrap", program="", cwd="/", **lists, **free)  # type: ignore[arg-type]

        assert why_not_held(launch, good) is None
        assert why_not_held(launch, told) is not None


@pytest.mark.parametrize("isolation", [Isolation.NONE, Isolation.RLIMITS, Isolation.LANDLOCK_SECCOMP])
def test_a_class_that_cannot_hold_a_program_to_hosts_refuses(lane: ProcessLane, isolation: Isolation) -> None:
    result = ran(lane, call_to("db.example:443", argv=("true",)), isolation)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)


@pytest.mark.parametrize(
    ("isolation", "ended"),
    [
        pytest.param(Isolation.LANDLOCK_SECCOMP, Ended.OK, marks=needs("landlock")),
        pytest.param(Isolation.BUBBLEWRAP, Ended.OK, marks=needs("bwrap")),
        (Isolation.RLIMITS, Ended.REFUSED),
    ],
)
def test_no_host_at_all_needs_a_class_without_a_network(
    lane: ProcessLane, isolation: Isolation, ended: Ended
) -> None:
    assert ran(lane, call_to(argv=("true",)), isolation).ended is ended


def test_an_address_is_looked_up_once_for_the_whole_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is answered differently the second time leads where it led the first time."""
    answers = [["127.0.0.1"], ["203.0.113.7"]]

    async def looked_up(host: str, port: int) -> list[str]:
        return answers.pop(0)

    monkeypatch.setattr(egress, "_addresses", looked_up)
    server = Server(b"")

    async def twice() -> dict[str, Json]:
        proxy = egress.Egress([f"db.example:{server.port}", f"127.0.0.1:{server.port}"])
        for _ in range(2):
            status, opened = await proxy._reach(("db.example", server.port))
            assert status == 200 and opened is not None
            opened[1].close()
        return proxy.facts

    assert run(twice())["egress_reached"] == {f"db.example:{server.port}": "127.0.0.1"}
    assert len(answers) == 1
    server.close()


def test_what_is_not_listed_is_not_even_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def looked_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["1.1.1.1"]

    monkeypatch.setattr(egress, "_addresses", looked_up)

    async def refused() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(b"CONNECT other.example:443 HTTP/1.1\r\n\r\n")
        return (await egress.Egress(["db.example:443"])._connect(reader))[0]

    assert (run(refused()), asked) == (403, [])


def test_the_scout_tells_what_is_reached_from_what_is_refused(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert scout._direct(("127.0.0.1", server.port)) == "allowed"
    assert scout._direct(("127.0.0.1", port)) == "ECONNREFUSED"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "fd00:ec2::254"),
        *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:a00:1::", "192.0.2.1"),
    ],
)
def test_an_address_of_the_house_is_not_public_however_it_is_wrapped(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "entry",
    [
        *("db.example", "db.example:", "db.example:0", "db.example:65536", "db.example:0443", ":443"),
        *("DB.example:443", "*.example:443", "db..example:443", "db.example.:443", "::1:443", "[::1]"),
        *("db.example:443 ", "db.example:443\r\n", "http://db.example:443", "user@db.example:443", "-x:1"),
    ],
)
def test_what_is_no_host_and_port_is_no_entry(entry: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split(entry)


@given(host=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True), port=st.integers(1, 65_535))
def test_an_entry_is_within_itself_and_its_host_and_nothing_else(host: str, port: int) -> None:
    entry = f"{host}:{port}"

    assert split(entry) == (host, port)
    assert within([entry], [entry]) and within([entry], [host])
    assert not within([entry], [f"{host}:{port % 65_535 + 1}"]) and not within([entry], [f"x{host}"])
    assert within([], []) and not within([entry], [])


@given(head=st.binary(max_size=200))
def test_nonsense_for_the_proxy_is_refused_and_nothing_else(head: bytes) -> None:
    async def answered() -> int:
        reader = asyncio.StreamReader(limit=egress.HEAD_BYTES_MAX)
        reader.feed_data(head + b"\r\n\r\n")
        reader.feed_eof()
        return (await egress.Egress(["db.example:443"])._connect(reader))[0]

    assert run(answered()) in (400, 403, 405)


@needs("root")
def test_the_network_of_this_process_can_be_entered_and_is_its_own() -> None:
    """The scout's way in, on a process whose network is the same: nothing changes."""
    import os

    pid = os.fork()
    if pid == 0:
        try:
            kernel.enter_network(os.getppid())
            os._exit(0)
        except OSError:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
