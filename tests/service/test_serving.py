"""Starting and stopping, and what demo mode never does."""

import asyncio
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rexecop.app.build import open_instance
from rexecop.app.errors import RootMissing
from rexecop.app.serving import open_serving
from rexecop.app.settings import Settings, load_settings
from rexecop.operations.errors import StoreUnavailable
from rexecop.service.application import create_app
from rexecop.service.errors import AddressUnavailable, DemoExposed
from rexecop.service.server import is_loopback, listen, serve, shown_address
from tests.service import counting
from tests.service.counting import HELD
from tests.service.running import Reply, running
from tests.service.test_nonces import until

BLOCK_EVERYTHING = b'@id("frozen") @reason("freeze") forbid (principal, action, resource);\n'


def settings_of(root: Path) -> Settings:
    return load_settings({"root": str(root)}, {}, root.parent, root.parent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_told_to_stop_ends_well(root: Path, number: signal.Signals) -> None:
    with running(root) as service:
        assert service.get("/health").status == 200
        assert service.stop(number) == 0


def test_a_request_in_flight_is_finished_before_the_service_ends(root: Path, tmp_path: Path) -> None:
    trace, replies = tmp_path / "trace", list[Reply]()
    trace.touch()
    with running(root, counting.main, str(trace), "brief") as service:
        asking = threading.Thread(target=lambda: replies.append(service.execute("echo", {}, "last")))
        asking.start()
        until(trace, HELD)
        assert service.stop() == 0
        asking.join()

    assert [reply.status for reply in replies] == [200]
    with open_instance(settings_of(root)) as instance:
        assert instance.status("@").state == "completed"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_demo_mode_does_not_listen_where_others_can_reach_it(root: Path, host: str) -> None:
    with pytest.raises(DemoExposed):
        serve(settings_of(root), host=host, port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_loopback_is_known_by_address(host: str) -> None:
    assert is_loopback(host)


def test_an_address_in_use_is_one_clear_error() -> None:
    with listen("127.0.0.1", 0) as first:
        port = int(shown_address(first).rpartition(":")[2])
        with pytest.raises(AddressUnavailable) as found:
            listen("127.0.0.1", port)

    assert "already in use" in found.value.message and found.value.facts["port"] == port


def test_an_address_of_another_machine_is_one_clear_error() -> None:
    with pytest.raises(AddressUnavailable):
        listen("192.0.2.1", 0)


def test_nothing_is_left_listening_when_the_root_is_missing(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RootMissing):
        serve(settings_of(tmp_path / ".rexecop"), host="127.0.0.1", port=port)
    listen("127.0.0.1", port).close()


def test_what_the_operator_forbids_stays_forbidden_in_demo_mode(root: Path) -> None:
    with running(root) as service:
        assert service.execute("echo", {}, "before").status == 200
        folder = root / "policy" / "freeze"
        folder.mkdir(mode=0o700)
        (folder / "rules.cedar").write_bytes(BLOCK_EVERYTHING)
        (folder / "pack.yaml").write_bytes(b'id: freeze\nversion: "1"\n')
        (folder / "rules.cedar").chmod(0o600)
        (folder / "pack.yaml").chmod(0o600)
        threading.Event().wait(0.2)  # A pack binds within 50 ms of being there.
        reply = service.execute("echo", {}, "after")

    assert reply.status == 403
    assert "freeze/frozen" in str(reply.json["detail"]) and "operation_id" in reply.json


def test_a_pack_that_cannot_be_read_stops_everything_and_readiness_says_so(root: Path) -> None:
    with running(root) as service:
        (root / "policy" / "starter" / "rules.cedar").write_bytes(b"permit (")
        threading.Event().wait(0.2)
        assert service.execute("echo", {}, "x").status == 403
        reply = service.get("/ready")

    assert reply.status == 503 and reply.headers["retry-after"] == "1"
    assert reply.json["ready"] is False and "policy" in str(reply.json["detail"])


def test_a_ledger_that_cannot_be_written_is_not_ready(settings: Settings) -> None:
    class Broken:
        async def append(self, batch: object) -> None:
            raise StoreUnavailable("the disk is full")

        def records_of(self, operation: str) -> int:
            return 1

    with open_serving(settings) as serving:
        assert asyncio.run(serving.problems()) == ()
        sound = serving._world
        serving._world = replace(sound, store=Broken())  # type: ignore[arg-type]
        assert asyncio.run(serving.problems()) == ("ledger: the disk is full",)
        serving._world = sound


def test_a_defect_is_answered_in_one_line_and_the_connection_goes_on(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_serving(settings) as serving, TestClient(create_app(serving, None)) as client:

        async def broken(action: str, payload: object, nonce: str, artifact: object) -> None:
            raise RuntimeError("secret-detail")

        serving.execute = broken  # type: ignore[method-assign,assignment]
        reply = client.post("/execute", json={"action": "echo", "nonce": "x"})
        assert client.get("/health").status_code == 200

    assert (reply.status_code, reply.json()) == (500, {"detail": "Internal Server Error"})
    assert capsys.readouterr().err == "rexecop: error[internal-error]: /execute: RuntimeError\n"
