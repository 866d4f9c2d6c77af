"""The agent signer, with the real ssh-agent and with agents that misbehave."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from conformance.memory_signer import MemorySigner
from conformance.signers import SK_ECDSA, SK_ED25519, SecurityKey, signer_of
from rexecop.keys import agent_signers, create_key, read_public_key
from rexecop.keys.agent import FRAME_BYTES_MAX, IDENTITIES_MAX, AgentSigner
from rexecop.keys.errors import AgentAnswerMalformed, AgentRefused, AgentUnreachable
from rexecop.proof import publickey, sshsig
from rexecop.proof.sshwire import ssh_mpint, ssh_string, ssh_uint32
from tests.needs import needs
from tests.proof.processes import make_key, run, ssh_agent

SIGNER = MemorySigner(1)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of a running ssh-agent without keys."""
    path = tmp_path / "agent"
    with ssh_agent(path):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield path


@pytest.fixture
def asked() -> list[bytes]:
    """What the agents of `answering` were asked."""
    return []


@pytest.fixture
def answering(tmp_path: Path, asked: list[bytes]) -> Iterator[Callable[[bytes], Path]]:
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
                asked.append(connection.recv(1 << 16))
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
    armored = sshsig.sign(signer, "intent@rexecop", b"x")
    assert sshsig.verify(armored, b"x", "intent@rexecop").public == created.public
    assert repr(signer) == f"AgentSigner({created.public.fingerprint})"


@needs("ssh-agent", "ssh-keygen")
@pytest.mark.parametrize(
    ("kind", "bits", "suite"),
    [
        ("ed25519", "256", "ssh-ed25519"),
        ("ecdsa", "256", "ecdsa-sha2-nistp256"),
        ("ecdsa", "384", "ecdsa-sha2-nistp384"),
        ("ecdsa", "521", "ecdsa-sha2-nistp521"),
        ("rsa", "2048", "rsa-sha2-512"),
        ("rsa", "3072", "rsa-sha2-512"),
        ("rsa", "4096", "rsa-sha2-512"),
    ],
)
def test_a_key_of_every_kind_in_the_agent_signs_and_never_with_sha1(
    agent: Path, tmp_path: Path, kind: str, bits: str, suite: str
) -> None:
    make_key(tmp_path / "id", kind, bits)
    run("ssh-add", "-q", str(tmp_path / "id"))

    (signer,) = agent_signers(agent)
    shown = publickey.verify(signer.public, b"message", signer.sign(b"message"))

    assert signer.public == read_public_key(tmp_path / "id.pub")
    assert shown.suite == suite


def test_a_security_key_in_the_agent_signs_when_it_is_touched(
    answering: Callable[[bytes], Path],
) -> None:
    for kind in (SK_ED25519, SK_ECDSA):
        key, untouched = SecurityKey(kind, 3), SecurityKey(kind, 3, flags=0)
        (offered,) = agent_signers(answering(listing(key.public.wire)))
        assert offered.public == key.public
        blob = key.sign(b"message")
        assert AgentSigner(answering(said(blob)), key.public, "").sign(b"message") == blob
        with pytest.raises(AgentAnswerMalformed, match="user was present"):
            AgentSigner(answering(said(untouched.sign(b"message"))), key.public, "").sign(b"message")


@pytest.mark.parametrize(("suite", "flags"), [("rsa-sha2-512", 4), ("ssh-ed25519", 0), (SK_ECDSA, 0)])
def test_the_agent_is_asked_for_sha512_where_it_would_take_sha1(
    answering: Callable[[bytes], Path], asked: list[bytes], suite: str, flags: int
) -> None:
    signer = signer_of(suite)
    AgentSigner(answering(said(signer.sign(b"message"))), signer.public, "").sign(b"message")

    body = b"\x0d" + ssh_string(signer.public.wire) + ssh_string(b"message") + ssh_uint32(flags)
    assert asked == [ssh_string(body)]


def test_keys_nobody_here_can_use_are_left_out_and_their_neighbours_are_not(
    answering: Callable[[bytes], Path],
) -> None:
    short = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    useless = (
        ssh_string(b"ssh-rsa") + ssh_mpint(short.e) + ssh_mpint(short.n),
        ssh_string(b"ssh-dss") + ssh_string(b"p"),
        ssh_string(b"ssh-ed25519-cert-v01@openssh.com") + ssh_string(b"nonce"),
        SIGNER.public.wire + b"\x00",
        b"\xff\xff\xff\xff",
        b"",
    )
    (signer,) = agent_signers(answering(listing(*useless, SIGNER.public.wire)))

    assert signer.public == SIGNER.public


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
        listing(SIGNER.public.wire)[:-1],
    ],
    ids=range(10),
)
def test_a_list_of_keys_that_breaks_the_protocol_is_malformed(
    answering: Callable[[bytes], Path], answer: bytes
) -> None:
    with pytest.raises(AgentAnswerMalformed):
        agent_signers(answering(answer))


def said(blob: bytes) -> bytes:
    return ssh_string(b"\x0e" + ssh_string(blob))


def signed(signature: bytes, name: bytes = b"ssh-ed25519") -> bytes:
    return said(ssh_string(name) + ssh_string(signature))


def test_an_agent_that_signs_right_is_believed(answering: Callable[[bytes], Path]) -> None:
    signer = AgentSigner(answering(said(SIGNER.sign(b"message"))), SIGNER.public, "")

    assert signer.sign(b"message") == SIGNER.sign(b"message")


@pytest.mark.parametrize(
    "answer",
    [
        said(SIGNER.sign(b"another message")),
        said(MemorySigner(2).sign(b"message")),
        signed(SIGNER.bare(b"message"), b"ssh-rsa"),
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
