"""Looks at the network of a sandbox from within, before anything runs there.

A fork of the keeper joins the network, opens the port where the proxy will listen, hands
it out to the lane, and tries what must fail and what must not. Nothing of it stays inside.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, NoReturn

from rexecop.lanes import handover, kernel, wire

PROXY: Final = ("127.0.0.1", 3128)  # Free, because the network was made for this call.
NOWHERE: Final = ("192.0.2.1", 80)  # Kept for documentation (RFC 5737); it leads nowhere from anywhere.
ADMITTED: Final = "200"
REFUSED: Final = "403"
HELLO: Final = b"here"  # What the lane's own canary says to whoever reaches it.
DIRECT_SECONDS: Final = (
    0.5  # A network with nothing in it refuses at once; one that is silent leads somewhere.
)
TRY_SECONDS: Final = 5.0  # The lane answers in a millisecond; a loaded machine takes longer.


def scout(pid: int, listed: int, unlisted: int, link: int, report_write: int) -> NoReturn:
    """Report what the network of `pid` lets through, and end.

    `listed` and `unlisted` are ports of the lane on the loopback of the machine: the proxy
    knows the first and must refuse the second, and neither may be reached without it.
    """
    try:
        kernel.enter_network(pid)
        with socket.create_server(PROXY) as server, socket.socket(fileno=link) as out:
            handover.send(out, b"l", [server.fileno()])
        facts = {
            "canary_direct": _direct((PROXY[0], listed)),
            "canary_beyond": _direct(NOWHERE),
            "canary_listed": _through(listed),
            "canary_unlisted": _through(unlisted),
        }
        os.write(report_write, wire.pack([wire.READY, *wire.pairs(facts)]))
    except (OSError, ValueError) as error:
        os.write(report_write, wire.pack(wire.refusal("egress", getattr(error, "errno", 0) or 0, str(error))))
    finally:
        os._exit(0)


def _direct(address: tuple[str, int]) -> str:
    """Connect without the proxy; return the refusal, or `allowed`, also where no refusal came."""
    with socket.socket() as opened:
        opened.settimeout(DIRECT_SECONDS)
        number = opened.connect_ex(address)
    return "allowed" if number in (0, errno.EAGAIN) else errno.errorcode.get(number, "refused")


def _through(port: int) -> str:
    """Connect to `port` of the machine through the proxy; return its status, `silent` if nobody is there."""
    with socket.create_connection(PROXY, TRY_SECONDS) as opened:
        opened.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
        answer = b""
        while data := opened.recv(1024):
            answer += data
    status = answer[9:12].decode("ascii", "replace")
    return status if status != ADMITTED or answer.endswith(HELLO) else "silent"
