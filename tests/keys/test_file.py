"""Key files: what we make OpenSSH reads, what OpenSSH makes we read, and what is refused."""

import os
import stat
from pathlib import Path

import pytest

from rexecop.keys import (
    KeyFileSigner,
    create_key,
    load_signer,
    load_ssh_signer,
    read_allowed_signers,
    read_public_key,
)
from rexecop.keys.errors import (
    KeyExists,
    KeyFileMalformed,
    KeyFileMissing,
    KeyFileUnsafe,
    KeyPassphraseProtected,
    KeyUnsupported,
)
from rexecop.keys.file import KEY_FILE_BYTES_MAX
from rexecop.proof import publickey, sshsig
from rexecop.proof.errors import AllowedSignersMalformed, PublicKeyMalformed
from tests.needs import needs
from tests.proof.processes import make_key, run
from tests.proof.vectors import FOLDER


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The path of a fresh key."""
    path = tmp_path / "id"
    create_key(path, "ada@example")
    return path


def test_a_created_key_loads_and_signs_for_its_public_half(tmp_path: Path) -> None:
    created = create_key(tmp_path / "id", "ada@example")
    loaded = load_signer(tmp_path / "id")

    assert loaded.public == created.public == read_public_key(tmp_path / "id.pub")
    publickey.verify(created.public, b"message", loaded.sign(b"message"))


def test_a_created_key_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_key(tmp_path / "id", "")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "id").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "id.pub").stat().st_mode) == 0o644


@pytest.mark.parametrize("comment", ["", "ada", "ada@example", "a longer comment, caf\u00e9"])
@needs("ssh-keygen")
def test_ssh_keygen_reads_and_signs_with_what_we_create(tmp_path: Path, comment: str) -> None:
    signer = create_key(tmp_path / "id", comment)

    assert (
        run("ssh-keygen", "-y", "-f", str(tmp_path / "id")).strip()
        == f"{signer.public.line} {comment}".strip()
    )
    assert run("ssh-keygen", "-lf", str(tmp_path / "id.pub")).split()[1] == signer.public.fingerprint
    text = run(
        "ssh-keygen", "-q", "-Y", "sign", "-f", str(tmp_path / "id"), "-n", "intent@rexecop", given=b"x"
    )
    assert sshsig.verify(text, b"x", "intent@rexecop").public == signer.public


@needs("ssh-keygen")
def test_a_key_made_by_ssh_keygen_loads(tmp_path: Path) -> None:
    path = tmp_path / "id"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(path))

    assert load_signer(path).public == read_public_key(tmp_path / "id.pub")


@needs("ssh-keygen")
def test_a_key_with_a_passphrase_is_refused_by_that_name_and_the_agent_is_suggested(tmp_path: Path) -> None:
    path = tmp_path / "id"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(path))

    with pytest.raises(KeyPassphraseProtected) as caught:
        load_signer(path)
    assert caught.value.next_steps == (f"ssh-add {path}",)


@needs("ssh-keygen")
@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
        ("rsa", "4096"),
    ],
)
def test_a_persons_key_of_every_kind_signs_what_ssh_keygen_accepts_and_an_instances_is_ed25519(
    tmp_path: Path, kind: str, bits: str
) -> None:
    path = tmp_path / "id"
    make_key(path, kind, bits)
    signer = load_ssh_signer(path)
    armored = sshsig.sign(signer, "approval@rexecop", b"yes")

    assert signer.public == read_public_key(tmp_path / "id.pub")
    assert sshsig.verify(armored, b"yes", "approval@rexecop").public == signer.public
    (tmp_path / "sig").write_text(armored)
    (tmp_path / "allowed").write_text(f"ada {signer.public.line}\n")
    argv = ("ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "ada", "-n")
    run(*argv, "approval@rexecop", "-s", str(tmp_path / "sig"), given=b"yes")
    if kind == "ed25519":
        assert load_signer(path).public == signer.public
        return
    with pytest.raises(KeyUnsupported) as caught:
        load_signer(path)
    assert caught.value.facts["allowed"] == "ssh-ed25519"


@pytest.mark.parametrize("name", ["sk-ed25519", "sk-ecdsa"])
def test_a_private_key_that_lies_in_a_security_key_is_unsupported_and_the_agent_is_suggested(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "id"
    path.write_bytes((FOLDER / "OpenSSH" / f"{name}-nopsw.key").read_bytes())
    path.chmod(0o600)

    with pytest.raises(KeyUnsupported) as caught:
        load_ssh_signer(path)
    assert caught.value.next_steps == (f"ssh-add {path}",)


@needs("ssh-keygen")
def test_a_key_too_weak_to_prove_anything_is_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "id"
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", str(path))

    with pytest.raises(KeyUnsupported, match="1024 bits"):
        load_ssh_signer(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o644, 0o777])
def test_a_key_others_can_reach_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)

    with pytest.raises(KeyFileUnsafe) as caught:
        load_signer(key)
    assert caught.value.facts["mode"] == f"{mode:04o}"


def test_a_key_only_its_owner_can_read_loads(key: Path) -> None:
    key.chmod(0o400)

    load_signer(key)


def test_a_key_of_someone_else_is_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)

    with pytest.raises(KeyFileUnsafe):
        load_signer(key)


def test_a_link_to_a_key_is_refused(key: Path) -> None:
    link = key.with_name("link")
    link.symlink_to(key)

    with pytest.raises(KeyFileUnsafe):
        load_signer(link)


def test_a_pipe_or_a_folder_in_the_keys_place_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(KeyFileUnsafe):
            load_signer(path)
        with pytest.raises(KeyFileUnsafe):
            read_public_key(path)


def test_a_missing_key_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "no" / "folder", tmp_path / "nul\0"):
        with pytest.raises(KeyFileMissing):
            load_signer(path)
        with pytest.raises(KeyFileMissing):
            read_public_key(path)


def cut(text: str) -> str:
    lines = text.splitlines()
    return "\n".join((*lines[:2], lines[-1])) + "\n"


@pytest.mark.parametrize("case", ["empty", "words", "binary", "cut", "flipped", "other PEM", "huge"])
def test_a_file_that_holds_no_key_is_malformed(key: Path, case: str) -> None:
    text = key.read_text()
    contents = {
        "empty": b"",
        "words": b"not a key\n",
        "binary": bytes(range(256)),
        "cut": cut(text).encode(),
        "flipped": flip_in_private_part(text).encode(),
        "other PEM": text.replace("OPENSSH ", "").encode(),
        "huge": text.encode() + b"\n" * KEY_FILE_BYTES_MAX,
    }
    key.write_bytes(contents[case])

    with pytest.raises(KeyFileMalformed):
        load_signer(key)


def flip_in_private_part(text: str) -> str:
    """Change the check bytes, so that the two no longer agree."""
    lines = text.splitlines()
    lines[3] = ("A" if lines[3][0] != "A" else "B") + lines[3][1:]
    return "\n".join(lines) + "\n"


def test_nothing_is_ever_overwritten_and_half_a_pair_is_never_left(tmp_path: Path) -> None:
    first = create_key(tmp_path / "id", "")
    with pytest.raises(KeyExists):
        create_key(tmp_path / "id", "")
    assert load_signer(tmp_path / "id").public == first.public

    (tmp_path / "other.pub").write_text("in the way")
    with pytest.raises(KeyExists):
        create_key(tmp_path / "other", "")
    assert not (tmp_path / "other").exists()
    assert (tmp_path / "other.pub").read_text() == "in the way"


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "id").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KeyExists):
        create_key(tmp_path / "id", "")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_for_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileMissing):
        create_key(tmp_path / "none" / "id", "")


@pytest.mark.parametrize("comment", ["two\nlines", "nul\0", "x" * 300])
def test_a_comment_that_would_break_the_line_is_refused(tmp_path: Path, comment: str) -> None:
    with pytest.raises(KeyFileMalformed):
        create_key(tmp_path / "id", comment)
    assert list(tmp_path.iterdir()) == []


def test_a_public_key_is_read_from_a_file_a_line_or_a_pem_block(key: Path) -> None:
    public = load_signer(key).public
    pem = key.with_name("id.pem")
    pem.write_text(public.pem)

    for given in (key.with_name("id.pub"), str(key.with_name("id.pub")), public.line, public.pem, pem):
        assert read_public_key(given) == public


def test_a_private_key_where_a_public_one_belongs_is_said_so(key: Path) -> None:
    with pytest.raises(KeyFileMalformed) as caught:
        read_public_key(key)
    assert caught.value.next_steps == (f"use {key}.pub",)


def test_a_file_without_a_public_key_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello there\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    with pytest.raises(PublicKeyMalformed):
        read_public_key(tmp_path / "text")
    with pytest.raises(KeyFileMalformed):
        read_public_key(tmp_path / "binary")


def test_a_signer_shows_its_fingerprint_and_nothing_of_its_key(key: Path) -> None:
    signer: KeyFileSigner = load_signer(key)

    assert repr(signer) == f"KeyFileSigner({signer.public.fingerprint})"


def test_who_may_sign_is_read_from_a_file_with_the_same_care(key: Path) -> None:
    line = load_signer(key).public.line
    (key.parent / "allowed").write_text(f"ada {line}\n")
    (key.parent / "broken").write_text(f"{line}\n")

    (signer,) = read_allowed_signers(key.parent / "allowed")
    assert (signer.principals, signer.public.line) == (("ada",), line)
    with pytest.raises(AllowedSignersMalformed):
        read_allowed_signers(key.parent / "broken")
    with pytest.raises(KeyFileMissing):
        read_allowed_signers(key.parent / "none")
