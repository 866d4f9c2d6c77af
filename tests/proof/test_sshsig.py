"""SSHSIG both ways with the real ssh-keygen, and what must refuse."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from rexecop.proof import sshsig
from rexecop.proof.base64text import encode_base64
from rexecop.proof.errors import (
    SignatureError,
    SignatureMalformed,
    SignatureNamespaceMismatch,
    SignatureUnsupported,
    SignatureWrong,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.sshwire import ssh_string, ssh_uint32
from tests.needs import needs
from tests.proof.processes import exit_code, run

NAMESPACE = "approval@rexecop"
SIGNER = MemorySigner(1)


def armored(blob: bytes) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{encode_base64(blob)}\n-----END SSH SIGNATURE-----\n"


def blob_of(
    *,
    version: int = 1,
    reserved: bytes = b"",
    hash_name: bytes = b"sha512",
    algorithm: bytes = b"ssh-ed25519",
) -> bytes:
    signature = ssh_string(algorithm) + ssh_string(SIGNER.sign(sshsig.signed_data(NAMESPACE, b"yes")))
    fields = (SIGNER.public.wire, NAMESPACE.encode(), reserved, hash_name, signature)
    return b"SSHSIG" + ssh_uint32(version) + b"".join(ssh_string(field) for field in fields)


@given(st.binary(max_size=200), st.integers(1, 99))
def test_what_we_sign_verifies_for_its_namespace_and_names_the_key(message: bytes, seed: int) -> None:
    signer = MemorySigner(seed)
    text = sshsig.sign(signer, NAMESPACE, message)

    assert sshsig.verify(text, message, NAMESPACE) == signer.public
    assert sshsig.encode(sshsig.decode(text)) == text


@needs("ssh-keygen")
@pytest.mark.parametrize("message", [b"", b"approve\n", bytes(range(256)) * 100])
def test_ssh_keygen_accepts_what_we_sign(tmp_path: Path, message: bytes) -> None:
    allowed, signature = tmp_path / "allowed", tmp_path / "sig"
    allowed.write_text(f"ada@example {SIGNER.public.line}\n")
    signature.write_text(sshsig.sign(SIGNER, NAMESPACE, message))
    argv = ("ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "ada@example", "-s", str(signature), "-n")

    run(*argv, NAMESPACE, given=message)
    assert exit_code(*argv, NAMESPACE, given=message + b"!") != 0
    assert exit_code(*argv, "intent@rexecop", given=message) != 0


@needs("ssh-keygen")
@pytest.mark.parametrize("message", [b"", b"approve\n", bytes(range(256)) * 100])
def test_we_accept_what_ssh_keygen_signs(tmp_path: Path, message: bytes) -> None:
    key, file = tmp_path / "key", tmp_path / "message"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    file.write_bytes(message)
    run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file))
    text = (tmp_path / "message.sig").read_text()

    assert sshsig.verify(text, message, NAMESPACE) == PublicKey.from_line((tmp_path / "key.pub").read_text())
    assert sshsig.encode(sshsig.decode(text)) == text
    with pytest.raises(SignatureWrong):
        sshsig.verify(text, message + b"!", NAMESPACE)
    with pytest.raises(SignatureNamespaceMismatch):
        sshsig.verify(text, message, "intent@rexecop")


@needs("ssh-keygen")
@pytest.mark.parametrize(("kind", "name"), [("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "ssh-rsa")])
def test_a_signature_by_another_kind_of_key_is_unsupported_by_name(
    tmp_path: Path, kind: str, name: str
) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key))
    text = run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, given=b"yes")

    with pytest.raises(SignatureUnsupported) as caught:
        sshsig.verify(text, b"yes", NAMESPACE)
    assert caught.value.facts["algorithm"] == name


@needs("ssh-keygen")
def test_a_signature_over_another_hash_is_unsupported(tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, "-O", "hashalg=sha256")

    with pytest.raises(SignatureUnsupported) as caught:
        sshsig.verify(run(*argv, given=b"yes"), b"yes", NAMESPACE)
    assert caught.value.facts["hash"] == "sha256"


def test_a_signature_moved_to_another_namespace_or_key_is_wrong() -> None:
    found = sshsig.decode(sshsig.sign(SIGNER, NAMESPACE, b"yes"))

    with pytest.raises(SignatureWrong):
        sshsig.verify(sshsig.encode(replace(found, namespace="intent@rexecop")), b"yes", "intent@rexecop")
    with pytest.raises(SignatureWrong):
        sshsig.verify(sshsig.encode(replace(found, public=MemorySigner(2).public)), b"yes", NAMESPACE)


def test_a_blob_built_by_hand_verifies_so_that_the_broken_ones_below_fail_for_their_reason() -> None:
    assert sshsig.verify(armored(blob_of()), b"yes", NAMESPACE) == SIGNER.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        armored(b""),
        armored(blob_of()[1:]),
        armored(blob_of(version=2)),
        armored(blob_of(reserved=b"x")),
        armored(blob_of(algorithm=b"ssh-rsa")),
        armored(blob_of() + b"\x00"),
        armored(blob_of()[:-1]),
        armored(blob_of()) + armored(blob_of()),
        armored(blob_of()).replace("BEGIN", "START"),
        armored(bytes(40_000)),
    ],
    ids=range(12),
)
def test_what_is_not_exactly_one_signature_is_malformed(text: str) -> None:
    with pytest.raises(SignatureMalformed):
        sshsig.verify(text, b"yes", NAMESPACE)


@pytest.mark.parametrize("namespace", ["", "a" * 300, "caf\u00e9", "a\nb"])
def test_nothing_is_signed_for_a_namespace_that_cannot_be_written(namespace: str) -> None:
    with pytest.raises(SignatureMalformed):
        sshsig.sign(SIGNER, namespace, b"yes")


@given(st.data())
def test_a_changed_byte_never_verifies(data: st.DataObject) -> None:
    blob = bytearray(blob_of())
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SignatureError):
        sshsig.verify(armored(bytes(blob)), b"yes", NAMESPACE)
