"""Public keys: every form gives the same key, and nothing unchecked passes."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from rexecop.proof import ed25519, publickey
from rexecop.proof.errors import (
    PublicKeyMalformed,
    SignatureError,
    SignatureMalformed,
    SignatureUnsupported,
    SignatureWrong,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.sshwire import ssh_string
from tests.needs import needs
from tests.proof.processes import run
from tests.proof.vectors import FOLDER

SIGNER = MemorySigner(1)


def other_keys() -> list[PublicKey]:
    keys = (
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    )
    return [
        PublicKey.from_line(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()) for key in keys
    ]


@given(st.integers(1, 2**64))
def test_line_wire_pem_and_raw_all_give_the_same_key(seed: int) -> None:
    key = MemorySigner(seed).public

    assert PublicKey.from_line(key.line) == key
    assert PublicKey.from_line(f"  {key.line} who@where and more\n") == key
    assert PublicKey.from_wire(key.wire) == key
    assert PublicKey.from_pem(key.pem) == key
    assert PublicKey.from_ed25519(key.raw) == key


def test_our_spelling_is_the_librarys() -> None:
    private = Ed25519PrivateKey.from_private_bytes((1).to_bytes(32, "big")).public_key()

    assert SIGNER.public.line == private.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert SIGNER.public.pem == private.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@needs("ssh-keygen")
def test_the_fingerprint_is_the_one_ssh_keygen_shows(tmp_path: Path) -> None:
    for number, key in enumerate([SIGNER.public, *other_keys()]):
        file = tmp_path / f"{number}.pub"
        file.write_text(key.line + "\n")

        assert run("ssh-keygen", "-lf", str(file)).split()[1] == key.fingerprint


def test_a_good_signature_passes_and_a_changed_one_does_not(backend: list[str]) -> None:
    signature = SIGNER.bare(b"message")

    publickey.verify_bare(SIGNER.public, b"message", signature)
    with pytest.raises(SignatureWrong):
        publickey.verify_bare(SIGNER.public, b"massage", signature)
    with pytest.raises(SignatureWrong):
        publickey.verify_bare(MemorySigner(2).public, b"message", signature)


def test_both_checks_refuse_the_same_weak_signatures(backend: list[str]) -> None:
    signature = SIGNER.bare(b"message")
    unreduced = int.from_bytes(signature[32:], "little") + ed25519.ORDER
    weak = [
        (1).to_bytes(32, "little") + signature[32:],
        signature[:32] + unreduced.to_bytes(32, "little"),
        signature[:-1],
        b"",
    ]
    for attempt in weak:
        with pytest.raises(SignatureMalformed):
            publickey.verify_bare(SIGNER.public, b"message", attempt)


def test_a_key_that_everything_verifies_under_cannot_be_made() -> None:
    for y in ed25519.SMALL_ORDER_Y:
        with pytest.raises(PublicKeyMalformed):
            PublicKey.from_ed25519(y.to_bytes(32, "little"))


def test_a_key_of_an_algorithm_nobody_here_checks_can_be_named_but_never_passes() -> None:
    wire = ssh_string(b"ssh-dss") + ssh_string(b"p") + ssh_string(b"q")
    key = PublicKey.from_wire(wire)

    assert key.fingerprint.startswith("SHA256:")
    with pytest.raises(SignatureUnsupported) as caught:
        publickey.verify(key, b"message", ssh_string(b"ssh-dss") + ssh_string(bytes(40)))
    assert caught.value.facts["algorithm"] == "ssh-dss"


def test_where_only_ed25519_is_taken_other_keys_are_refused_by_name() -> None:
    for key in other_keys():
        with pytest.raises(SignatureUnsupported) as caught:
            publickey.verify_bare(key, b"message", bytes(64))
        assert caught.value.facts["algorithm"] == key.algorithm
        assert caught.value.facts["allowed"] == "ssh-ed25519"


def test_a_key_that_proves_nothing_cannot_be_made() -> None:
    short = rsa.generate_private_key(65537, 1024).public_key()
    ssh = short.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(PublicKeyMalformed):
        PublicKey.from_line(ssh)

    curve, _ = other_keys()
    for wire in (
        curve.wire[:-1] + bytes([curve.wire[-1] ^ 1]),
        curve.wire + b"\0",
        curve.wire.replace(b"nistp256\0", b"nistp384\0"),
    ):
        with pytest.raises(PublicKeyMalformed):
            PublicKey.from_wire(wire)


@pytest.mark.parametrize("name", ["rsa", "ecdsa", "ed25519", "sk-ecdsa", "sk-ed25519"])
def test_published_keys_of_every_type_are_read(name: str) -> None:
    line = (FOLDER / "OpenSSH" / f"{name}-nopsw.key.pub").read_text()

    assert PublicKey.from_line(line).line == " ".join(line.split()[:2])


def test_pem_of_another_algorithm_is_unsupported_not_malformed() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()

    with pytest.raises(SignatureUnsupported):
        PublicKey.from_pem(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 " + "A" * 20_000,
        SIGNER.public.line[:-1],
        SIGNER.public.line + "\n" + SIGNER.public.line,
        SIGNER.public.line.replace("ssh-ed25519", "ssh-rsa"),
        SIGNER.public.line.replace("ssh-ed25519", "SSH ED25519"),
        "ssh-ed25519 \u00e9\u00e9\u00e9\u00e9",
    ],
)
def test_a_line_that_is_no_key_is_malformed(line: str) -> None:
    with pytest.raises(PublicKeyMalformed):
        PublicKey.from_line(line)


def test_bytes_after_the_key_are_malformed() -> None:
    with pytest.raises(PublicKeyMalformed):
        PublicKey.from_wire(SIGNER.public.wire + b"\x00")
    with pytest.raises(PublicKeyMalformed):
        PublicKey.from_pem(SIGNER.public.pem * 2)
    with pytest.raises(PublicKeyMalformed):
        PublicKey.from_wire(ssh_string(b"ssh-ed25519") + ssh_string(SIGNER.public.raw[:31]))


@given(st.binary(max_size=120))
def test_any_bytes_are_a_key_or_an_error_of_ours(data: bytes) -> None:
    try:
        key = PublicKey.from_wire(data)
    except SignatureError:
        return
    assert PublicKey.from_line(key.line) == key
