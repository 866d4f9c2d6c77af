"""SSHSIG both ways with the real ssh-keygen, and what must refuse."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from conformance.signers import SK_ECDSA, SK_ED25519, RsaSigner, SecurityKey, signer_of
from rexecop.proof import sshsig
from rexecop.proof.base64text import encode_base64
from rexecop.proof.errors import (
    SignatureError,
    SignatureMalformed,
    SignatureNamespaceMismatch,
    SignatureUnsupported,
    SignatureUserAbsent,
    SignatureWrong,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.sshwire import ssh_string, ssh_uint32
from rexecop.proof.suites import SUITES
from tests.needs import needs
from tests.proof.processes import exit_code, make_key, run

IDS: Final = [suite.id for suite in SUITES.entries]
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
    signature = ssh_string(algorithm) + ssh_string(SIGNER.bare(sshsig.signed_data(NAMESPACE, b"yes")))
    fields = (SIGNER.public.wire, NAMESPACE.encode(), reserved, hash_name, signature)
    return b"SSHSIG" + ssh_uint32(version) + b"".join(ssh_string(field) for field in fields)


@given(st.binary(max_size=200), st.integers(1, 99))
def test_what_we_sign_verifies_for_its_namespace_and_names_the_key(message: bytes, seed: int) -> None:
    signer = MemorySigner(seed)
    text = sshsig.sign(signer, NAMESPACE, message)

    assert sshsig.verify(text, message, NAMESPACE).public == signer.public
    assert sshsig.encode(sshsig.decode(text)) == text


def accepts(folder: Path, key: PublicKey, text: str, message: bytes, namespace: str = NAMESPACE) -> bool:
    """Whether the real ssh-keygen says that `text` is a good signature by `key`."""
    allowed, signature = folder / "allowed", folder / "sig"
    allowed.write_text(f"ada@example {key.line}\n")
    signature.write_text(text)
    argv = ("ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "ada@example", "-s", str(signature), "-n")
    return exit_code(*argv, namespace, given=message) == 0


@needs("ssh-keygen")
@pytest.mark.parametrize("suite", IDS)
@pytest.mark.parametrize("message", [b"", b"approve\n", bytes(range(256)) * 100], ids=range(3))
def test_ssh_keygen_accepts_what_we_sign(tmp_path: Path, suite: str, message: bytes) -> None:
    signer = signer_of(suite)
    text = sshsig.sign(signer, NAMESPACE, message)

    assert sshsig.verify(text, message, NAMESPACE).public == signer.public
    assert accepts(tmp_path, signer.public, text, message)
    assert not accepts(tmp_path, signer.public, text, message + b"!")
    assert not accepts(tmp_path, signer.public, text, message, "intent@rexecop")


@needs("ssh-keygen")
@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
def test_of_security_keys_ssh_keygen_and_we_agree_but_for_the_touch_that_only_we_ask_for(
    tmp_path: Path, kind: str
) -> None:
    touched, verified = SecurityKey(kind, 3), SecurityKey(kind, 3, flags=0x05)
    untouched = SecurityKey(kind, 3, flags=0x00)
    for key in (touched, verified):
        text = sshsig.sign(key, NAMESPACE, b"yes")
        assert accepts(tmp_path, key.public, text, b"yes")
        sshsig.verify(text, b"yes", NAMESPACE)

    text = sshsig.sign(untouched, NAMESPACE, b"yes")
    assert accepts(tmp_path, untouched.public, text, b"yes")
    with pytest.raises(SignatureUserAbsent):
        sshsig.verify(text, b"yes", NAMESPACE)
    other = sshsig.encode(
        replace(sshsig.decode(text), public=SecurityKey(kind, 3, application="ssh:x").public)
    )
    assert not accepts(tmp_path, SecurityKey(kind, 3, application="ssh:x").public, other, b"yes")
    with pytest.raises(SignatureWrong):
        sshsig.verify(other, b"yes", NAMESPACE)


KEYGEN: Final = [
    ("ed25519", "256"),
    ("ecdsa", "256"),
    ("ecdsa", "384"),
    ("ecdsa", "521"),
    ("rsa", "2048"),
    ("rsa", "3072"),
    ("rsa", "4096"),
]


@needs("ssh-keygen")
@pytest.mark.parametrize(("kind", "bits"), KEYGEN)
def test_we_accept_what_ssh_keygen_signs(tmp_path: Path, kind: str, bits: str, backend: list[str]) -> None:
    key, file = tmp_path / "key", tmp_path / "message"
    make_key(key, kind, bits)
    public = PublicKey.from_line((tmp_path / "key.pub").read_text())
    for message in (b"", b"approve\n", bytes(range(256)) * 100):
        file.write_bytes(message)
        run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file))
        text = (tmp_path / "message.sig").read_text()
        (tmp_path / "message.sig").unlink()

        assert sshsig.verify(text, message, NAMESPACE).public == public
        assert sshsig.encode(sshsig.decode(text)) == text
        with pytest.raises(SignatureWrong):
            sshsig.verify(text, message + b"!", NAMESPACE)
        with pytest.raises(SignatureNamespaceMismatch):
            sshsig.verify(text, message, "intent@rexecop")
    assert backend


def test_an_rsa_signature_over_sha256_inside_is_taken_and_one_over_sha1_is_not() -> None:
    for suite in ("rsa-sha2-512", "rsa-sha2-256"):
        text = sshsig.sign(RsaSigner(suite=suite), NAMESPACE, b"yes")
        assert sshsig.verify(text, b"yes", NAMESPACE).shown.suite == suite
    with pytest.raises(SignatureUnsupported) as caught:
        sshsig.verify(sshsig.sign(RsaSigner(suite="ssh-rsa"), NAMESPACE, b"yes"), b"yes", NAMESPACE)
    assert caught.value.facts["algorithm"] == "ssh-rsa"


@needs("ssh-keygen")
def test_a_signature_over_another_hash_is_unsupported(tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, "-O", "hashalg=sha256")

    with pytest.raises(SignatureUnsupported) as caught:
        sshsig.verify(run(*argv, given=b"yes"), b"yes", NAMESPACE)
    assert (caught.value.facts["hash"], caught.value.facts["allowed"]) == ("sha256", "sha512")


def test_a_signature_moved_to_another_namespace_or_key_is_wrong() -> None:
    found = sshsig.decode(sshsig.sign(SIGNER, NAMESPACE, b"yes"))

    with pytest.raises(SignatureWrong):
        sshsig.verify(sshsig.encode(replace(found, namespace="intent@rexecop")), b"yes", "intent@rexecop")
    with pytest.raises(SignatureWrong):
        sshsig.verify(sshsig.encode(replace(found, public=MemorySigner(2).public)), b"yes", NAMESPACE)


def test_a_blob_built_by_hand_verifies_so_that_the_broken_ones_below_fail_for_their_reason() -> None:
    assert sshsig.verify(armored(blob_of()), b"yes", NAMESPACE).public == SIGNER.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        armored(b""),
        armored(blob_of()[1:]),
        armored(blob_of(version=2)),
        armored(blob_of(reserved=b"x")),
        armored(blob_of(algorithm=b"ecdsa-sha2-nistp256")),
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


@given(st.sampled_from(IDS), st.data())
def test_a_changed_byte_never_verifies(suite: str, data: st.DataObject) -> None:
    whole = sshsig.sign(signer_of(suite), NAMESPACE, b"yes").splitlines()
    blob = bytearray(base64.b64decode("".join(whole[1:-1])))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SignatureError):
        sshsig.verify(armored(bytes(blob)), b"yes", NAMESPACE)


@given(st.binary(max_size=300), st.sampled_from([b"", b"SSHSIG", b"SSHSIG" + ssh_uint32(1)]))
def test_any_bytes_in_armor_end_in_an_error_of_ours(data: bytes, before: bytes) -> None:
    with pytest.raises(SignatureError):
        sshsig.verify(armored(before + data), b"yes", NAMESPACE)
