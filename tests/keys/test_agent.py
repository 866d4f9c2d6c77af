"""The agent signer, with the real ssh-agent and with agents that misbehave."""

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.memory_signer import MemorySigner
from rexecop.keys import agent_signers, create_key
from rexecop.keys.agent import FRAME_BYTES_MAX, IDENTITIES_MAX, AgentSigner
from rexecop.keys.errors import AgentAnswerMalformed, AgentRefused, AgentUnreachable
from rexecop.proof import publickey, sshsig
from rexecop.proof.sshwire import ssh_string, ssh_uint32
from tests.needs import needs
from tests.proof.processes import run

SIGNER = MemorySigner(1)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of a running ssh-agent without keys."""
    path = tmp_path / "agent"
    said = run("ssh-agent", "-s", "-a", str(path))
    found = re.search(r"SSH_AGENT_PID=(\d+)", said)
    assert found is not None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    try:
        yield path
    finally:
        os.kill(int(found[1]), signal.SIGTERM)


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    """Starts agents that give one fixed answer to one request."""
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def start(answer: bytes) -> Path:
        path = tmp_path / f"agent{len(threads)}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        threads.append(thread)
        return path

    yield start
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


@needs("ssh-agent", "ssh-keygen")
def test_a_key_in_the_agent_signs_and_its_comment_is_known(agent: Path, tmp_path: Path) -> None:
    created = create_key(tmp_path / "id", "ada@example")
    run("ssh-add", "-q", str(tmp_path / "id"))

    (signer,) = agent_signers(agent)
    assert (signer.public, signer.comment) == (created.public, "ada@example")
    publickey.verify(created.public, b"message", signer.sign(b"message"))
    assert (
        sshsig.verify(sshsig.sign(signer, "intent@rexecop", b"x"), b"x", "intent@rexecop") == created.public
    )
    assert repr(signer) == f"AgentSigner({created.public.fingerprint})"


@needs("ssh-agent", "ssh-keygen")
def test_keys_of_other_algorithms_in_the_agent_are_left_out(agent: Path, tmp_path: Path) -> None:
    assert agent_signers(agent) == ()
    run("ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(tmp_path / "rsa"))
    run("ssh-add", "-q", str(tmp_path / "rsa"))

    assert agent_signers(agent) == ()


@needs("ssh-agent", "ssh-keygen")
def test_a_key_taken_out_of_the_agent_no_longer_signs(agent: Path, tmp_path: Path) -> None:
    create_key(tmp_path / "id", "")
    run("ssh-add", "-q", str(tmp_path / "id"))
    (signer,) = agent_signers(agent)
    run("ssh-add", "-q", "-D")

    with pytest.raises(AgentRefused):
        signer.sign(b"message")


def test_no_agent_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file", tmp_path / ("long" * 100), Path("nul\0")):
        with pytest.raises(AgentUnreachable):
            agent_signers(path)


def listing(*keys: bytes, count: int | None = None) -> bytes:
    entries = b"".join(ssh_string(key) + ssh_string(b"comment") for key in keys)
    return ssh_string(b"\x0c" + ssh_uint32(len(keys) if count is None else count) + entries)


def test_a_fixed_answer_in_form_is_read_so_that_the_broken_ones_below_fail_for_their_reason(
    answering: Callable[[bytes], Path],
) -> None:
    (signer,) = agent_signers(answering(listing(SIGNER.public.wire)))

    assert signer.public == SIGNER.public


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x00",
        ssh_uint32(0),
        ssh_uint32(FRAME_BYTES_MAX + 1),
        ssh_string(b"\x0c"),
        ssh_string(b"\x0e" + ssh_uint32(0)),
        listing(count=1),
        listing(*[ssh_string(b"ssh-rsa")] * (IDENTITIES_MAX + 1)),
        listing(SIGNER.public.wire, count=0),
        listing(SIGNER.public.wire + b"\x00"),
        listing(b"\xff\xff\xff\xff"),
        listing(SIGNER.public.wire)[:-1],
    ],
    ids=range(12),
)
def test_a_list_of_keys_that_breaks_the_protocol_is_malformed(
    answering: Callable[[bytes], Path], answer: bytes
) -> None:
    with pytest.raises(AgentAnswerMalformed):
        agent_signers(answering(answer))


def signed(signature: bytes, name: bytes = b"ssh-ed25519") -> bytes:
    return ssh_string(b"\x0e" + ssh_string(ssh_string(name) + ssh_string(signature)))


def test_an_agent_that_signs_right_is_believed(answering: Callable[[bytes], Path]) -> None:
    signer = AgentSigner(answering(signed(SIGNER.sign(b"message"))), SIGNER.public, "")

    assert signer.sign(b"message") == SIGNER.sign(b"message")


@pytest.mark.parametrize(
    "answer",
    [
        signed(SIGNER.sign(b"another message")),
        signed(MemorySigner(2).sign(b"message")),
        signed(SIGNER.sign(b"message"), b"ssh-rsa"),
        signed(bytes(63)),
        signed(b""),
        ssh_string(b"\x0e"),
    ],
    ids=range(6),
)
def test_a_signature_that_is_not_by_the_key_over_the_message_is_not_passed_on(
    answering: Callable[[bytes], Path], answer: bytes
) -> None:
    with pytest.raises(AgentAnswerMalformed):
        AgentSigner(answering(answer), SIGNER.public, "").sign(b"message")


def test_an_agent_that_says_no_has_refused(answering: Callable[[bytes], Path]) -> None:
    with pytest.raises(AgentRefused):
        AgentSigner(answering(ssh_string(b"\x05")), SIGNER.public, "").sign(b"message")


def test_more_than_an_agent_takes_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(AgentRefused):
        AgentSigner(tmp_path / "none", SIGNER.public, "").sign(bytes(FRAME_BYTES_MAX))
