"""The table of suites: what is in it is checked one way, what is not never passes, and a hybrid may join."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from conformance.signers import SK_ECDSA, SK_ED25519, EcdsaSigner, RsaSigner, SecurityKey, signer_of
from rexecop.proof import ecdsa, ed25519, library, publickey, rsa, sshsig
from rexecop.proof.errors import (
    ProofError,
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureUnsupported,
    SignatureUserAbsent,
    SignatureWrong,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer, sign_bare
from rexecop.proof.sshwire import SshReader, ssh_mpint, ssh_string, ssh_uint32
from rexecop.proof.suites import NOT_TAKEN, SUITES, KeyFlags, Suite, Suites

IDS: Final = [suite.id for suite in SUITES.entries]
every_suite: Final = pytest.mark.parametrize("suite", IDS)


def test_the_table_has_every_signature_openssh_makes_today_but_sha1_and_webauthn() -> None:
    curves = ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]

    assert ["ssh-ed25519", *curves, "rsa-sha2-512", "rsa-sha2-256", SK_ED25519, SK_ECDSA] == IDS
    assert {suite.id: suite.key_type for suite in SUITES.entries if suite.id != suite.key_type} == {
        "rsa-sha2-512": "ssh-rsa",
        "rsa-sha2-256": "ssh-rsa",
    }


@every_suite
def test_a_signature_of_every_suite_passes_and_names_it(suite: str, backend: list[str]) -> None:
    signer = signer_of(suite)

    shown = publickey.verify(signer.public, b"message", signer.sign(b"message"))

    assert backend
    assert shown.suite == suite
    assert shown.flags == (KeyFlags.USER_PRESENT if suite.startswith("sk-") else None)


@every_suite
def test_another_message_or_another_key_is_wrong(suite: str, backend: list[str]) -> None:
    signer = signer_of(suite)
    other = RsaSigner(3072).public if suite.startswith("rsa") else signer_of(suite, seed=12).public

    with pytest.raises(SignatureWrong):
        publickey.verify(signer.public, b"massage", signer.sign(b"message"))
    with pytest.raises((SignatureWrong, SignatureMalformed)):
        publickey.verify(other, b"message", signer.sign(b"message"))


@every_suite
def test_a_signature_with_bytes_missing_or_left_over_is_malformed(suite: str, backend: list[str]) -> None:
    signer = signer_of(suite)
    blob = signer.sign(b"message")

    for attempt in (b"", blob[:9], blob[:-1], blob + b"\0", ssh_string(suite.encode()), ssh_string(b"\xff")):
        with pytest.raises(SignatureMalformed):
            publickey.verify(signer.public, b"message", attempt)


@given(st.sampled_from(IDS), st.data())
def test_a_changed_byte_of_key_or_signature_never_passes(suite: str, data: st.DataObject) -> None:
    signer = signer_of(suite)
    wire, blob = bytearray(signer.public.wire), bytearray(signer.sign(b"message"))
    changed = data.draw(st.sampled_from([wire, blob]))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(ProofError):
        SUITES.verify(bytes(wire), b"message", bytes(blob))


@given(st.sampled_from(IDS), st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_for_key_and_signature_end_in_an_error_of_ours(suite: str, key: bytes, blob: bytes) -> None:
    name = next(one.key_type for one in SUITES.entries if one.id == suite)
    for wire in (key, ssh_string(name.encode()) + key):
        for attempt in (blob, ssh_string(suite.encode()) + blob):
            with pytest.raises(ProofError):
                SUITES.verify(wire, b"message", attempt)
        try:
            made = PublicKey.from_wire(wire)
        except ProofError:
            continue
        assert made.wire == wire


@every_suite
def test_a_signature_of_one_suite_by_a_key_of_another_type_is_malformed(suite: str) -> None:
    for other in IDS:
        signer = signer_of(other)
        if SUITES.of_key(signer.public.algorithm)[0].key_type != signer_of(suite).public.algorithm:
            with pytest.raises(SignatureMalformed):
                publickey.verify(signer_of(suite).public, b"message", signer.sign(b"message"))


WEBAUTHN = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"


@pytest.mark.parametrize(
    ("suite", "name"), [("rsa-sha2-512", "ssh-rsa"), ("sk-ecdsa-sha2-nistp256@openssh.com", WEBAUTHN)]
)
def test_what_a_known_key_signs_with_and_nobody_checks_is_unsupported_and_says_what_is(
    suite: str, name: str
) -> None:
    with pytest.raises(SignatureUnsupported) as caught:
        publickey.verify(signer_of(suite).public, b"message", _named(name))
    assert caught.value.facts["allowed"] == ", ".join(IDS)


@every_suite
@pytest.mark.parametrize("name", ["ssh-rsa", "ssh-dss", WEBAUTHN, "ssh-ed2u519", "none", ""])
def test_a_name_that_the_type_of_the_key_has_not_is_malformed(suite: str, name: str) -> None:
    public = signer_of(suite).public
    if NOT_TAKEN.get(public.algorithm) == name:
        name += "x"
    with pytest.raises(SignatureMalformed):
        publickey.verify(public, b"message", _named(name))


def test_any_name_by_a_key_of_no_suite_is_unsupported() -> None:
    public = PublicKey("ssh-dss", ssh_string(b"ssh-dss") + ssh_string(b"p"))
    for name in ("ssh-dss", "none", ""):
        with pytest.raises(SignatureUnsupported):
            publickey.verify(public, b"message", _named(name))


def _named(name: str) -> bytes:
    return ssh_string(name.encode()) + ssh_string(bytes(64))


def test_a_right_sha1_signature_is_not_taken() -> None:
    signer = RsaSigner(suite="ssh-rsa")

    with pytest.raises(SignatureUnsupported):
        publickey.verify(signer.public, b"message", signer.sign(b"message"))


def test_numbers_not_written_the_shortest_way_are_malformed() -> None:
    signer = EcdsaSigner("nistp256", 5)
    reader = SshReader(signer.bare(b"message"))
    r, s = reader.string(), reader.string()
    for bad in (b"\0" + r, r.lstrip(b"\0") if r[:1] == b"\0" else b"\xff" + r, b""):
        blob = ssh_string(b"ecdsa-sha2-nistp256") + ssh_string(ssh_string(bad) + ssh_string(s))
        with pytest.raises(SignatureMalformed):
            publickey.verify(signer.public, b"message", blob)
    numbers = RsaSigner().private.public_key().public_numbers()
    n = ssh_mpint(numbers.n)
    for wire in (ssh_string(b"\0\1\0\1") + n, ssh_mpint(numbers.e) + ssh_string(b"\0" + n[4:])):
        with pytest.raises(PublicKeyMalformed):
            PublicKey.from_wire(ssh_string(b"ssh-rsa") + wire)


@given(st.integers(0, 2**600))
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    assert SshReader(ssh_mpint(number)).mpint() == number


# --- security keys ---


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
@pytest.mark.parametrize("flags", [0x00, 0x04, 0x80, 0xFE])
def test_a_security_key_nobody_touched_does_not_count(kind: str, flags: int, backend: list[str]) -> None:
    key = SecurityKey(kind, 3, flags=flags)

    with pytest.raises(SignatureUserAbsent):
        publickey.verify(key.public, b"message", key.sign(b"message"))


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
@pytest.mark.parametrize("flags", [0x01, 0x05, 0x81, 0xFF])
def test_what_a_security_key_says_of_its_user_is_shown(kind: str, flags: int) -> None:
    key = SecurityKey(kind, 3, flags=flags)

    shown = publickey.verify(key.public, b"message", key.sign(b"message"))

    assert shown.flags is not None
    assert (KeyFlags.USER_VERIFIED in shown.flags) is bool(flags & 0x04)


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
def test_flags_counter_and_application_are_part_of_what_is_signed(kind: str) -> None:
    key, absent = SecurityKey(kind, 3), SecurityKey(kind, 3, flags=0)
    blob, untouched = key.sign(b"message"), absent.sign(b"message")
    elsewhere = SecurityKey(kind, 3, application="ssh:elsewhere")

    for attempt in (untouched[:-5] + b"\1" + untouched[-4:], blob[:-1] + bytes([blob[-1] ^ 1])):
        with pytest.raises(SignatureWrong):
            publickey.verify(key.public, b"message", attempt)
    with pytest.raises(SignatureWrong):
        publickey.verify(elsewhere.public, b"message", blob)


# --- with the library and without ---


def test_with_and_without_the_library_the_error_for_a_bad_form_is_the_same(backend: list[str]) -> None:
    point, n = EcdsaSigner("nistp256", 5).fields[-65:], RsaSigner().private.public_key().public_numbers().n
    weak = ed25519.PUBLIC_BYTES * b"\0"

    with pytest.raises(PublicKeyMalformed):
        library.verify_ed25519(weak, b"", bytes(64))
    for r, s in ((0, 1), (1, 0), (ecdsa.CURVES["nistp256"].order, 1)):
        with pytest.raises(SignatureMalformed):
            library.verify_ecdsa("nistp256", point, b"", r, s)
    with pytest.raises(PublicKeyMalformed):
        library.verify_rsa(2**2048 + 1, 2**65 + 1, "sha256", b"", bytes(257))
    for signature in (bytes(255), n.to_bytes(256, "big")):
        with pytest.raises(SignatureMalformed):
            library.verify_rsa(n, 65537, "sha256", b"", signature)


def test_what_the_library_will_not_take_is_checked_in_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    asked = []

    def refuses(*_: object) -> object:
        asked.append(1)
        raise ValueError("not in this build")

    monkeypatch.setattr(Ed25519PublicKey, "from_public_bytes", refuses)
    monkeypatch.setattr(EllipticCurvePublicKey, "from_encoded_point", refuses)
    monkeypatch.setattr(RSAPublicNumbers, "public_key", refuses, raising=False)
    for suite in IDS[:4]:
        signer = signer_of(suite, seed=21)
        publickey.verify(signer.public, b"message", signer.sign(b"message"))
        with pytest.raises(SignatureWrong):
            publickey.verify(signer.public, b"massage", signer.sign(b"message"))
    assert len(asked) == 8


# --- where only Ed25519 is taken ---


@pytest.mark.parametrize("suite", IDS[1:])
def test_nobody_is_asked_for_a_bare_signature_but_by_an_ed25519_key(suite: str) -> None:
    class Counting:
        public = signer_of(suite).public
        asked = 0

        def sign(self, data: bytes) -> bytes:
            self.asked += 1
            return signer_of(suite).sign(data)

    signer: Signer = (counting := Counting())
    with pytest.raises(SignatureUnsupported):
        sign_bare(signer, b"message")
    assert counting.asked == 0


def test_a_bare_signature_is_taken_out_of_a_blob_that_holds_nothing_else() -> None:
    class Odd:
        def __init__(self, blob: bytes) -> None:
            self.public, self.blob = MemorySigner(1).public, blob

        def sign(self, data: bytes) -> bytes:
            return self.blob

    good = MemorySigner(1).sign(b"message")
    assert sign_bare(Odd(good), b"message") == MemorySigner(1).bare(b"message")
    for blob in (b"", good + b"\0", good[:-1], ssh_string(b"ssh-rsa") + ssh_string(bytes(64))):
        with pytest.raises(SignatureMalformed):
            sign_bare(Odd(blob), b"message")


# --- a suite that joins ---

HYBRID: Final = "hybrid-ed25519-mldsa65@example.org"


def _hybrid_key(key: SshReader) -> tuple[bytes, bytes]:
    classical, lattice = key.string(), key.string()
    ed25519.require_point(classical)
    return classical, lattice


def _hybrid_check(key: SshReader, message: bytes, signature: SshReader) -> None:
    classical, lattice = _hybrid_key(key)
    library.verify_ed25519(classical, message, signature.string())
    try:
        MLDSA65PublicKey.from_public_bytes(lattice).verify(signature.string(), message)
    except InvalidSignature as error:
        raise SignatureWrong("the lattice half did not sign these bytes") from error


class HybridSigner:
    def __init__(self) -> None:
        self.classical, self.lattice = MemorySigner(31), MLDSA65PrivateKey.from_seed_bytes(bytes(32))
        halves = (self.classical.public.raw, self.lattice.public_key().public_bytes_raw())
        self.public = PublicKey(HYBRID, b"".join(map(ssh_string, (HYBRID.encode(), *halves))))

    def sign(self, data: bytes) -> bytes:
        return b"".join(
            map(ssh_string, (HYBRID.encode(), self.classical.bare(data), self.lattice.sign(data)))
        )


def test_a_post_quantum_hybrid_joins_as_one_more_entry_and_nothing_else_changes() -> None:
    joined = Suites(
        (*SUITES.entries, Suite(id=HYBRID, key_type=HYBRID, read_key=_hybrid_key, check=_hybrid_check))
    )
    signer = HybridSigner()
    armored = sshsig.sign(signer, "approval@rexecop", b"yes")

    signed = sshsig.verify(armored, b"yes", "approval@rexecop", joined)

    assert (signed.public, signed.shown.suite) == (signer.public, HYBRID)
    with pytest.raises(SignatureUnsupported):
        sshsig.verify(armored, b"yes", "approval@rexecop")
    with pytest.raises(SignatureWrong):
        sshsig.verify(armored, b"no", "approval@rexecop", joined)


@pytest.mark.parametrize("half", [0, 1])
def test_both_halves_of_a_hybrid_have_to_sign(half: int) -> None:
    joined = Suites((Suite(id=HYBRID, key_type=HYBRID, read_key=_hybrid_key, check=_hybrid_check),))
    signer = HybridSigner()
    found = sshsig.decode(sshsig.sign(signer, "approval@rexecop", b"yes"))
    data = sshsig.signed_data("approval@rexecop", b"yes")
    halves = [signer.classical.bare(data), signer.lattice.sign(data)]
    halves[half] = (signer.classical.bare(b"other"), signer.lattice.sign(b"other"))[half]
    blob = b"".join(map(ssh_string, (HYBRID.encode(), *halves)))

    with pytest.raises(SignatureWrong):
        sshsig.verify(sshsig.encode(replace(found, signature=blob)), b"yes", "approval@rexecop", joined)


def test_the_longest_key_and_signature_taken_fit_the_limits_of_the_armor() -> None:
    size = rsa.MODULUS_BITS_MAX // 8
    wire = ssh_string(b"ssh-rsa") + ssh_mpint(65537) + ssh_mpint(2 ** (8 * size) - 1)
    blob = ssh_string(b"rsa-sha2-512") + ssh_string(bytes(size))
    found = sshsig.SshSignature(public=PublicKey("ssh-rsa", wire), namespace="n", signature=blob)

    assert sshsig.decode(sshsig.encode(found)) == found
    assert len(found.public.line) < publickey.LINE_LENGTH_MAX
    assert ssh_uint32(size) in blob
