"""Where secrets come from on this machine: what is read, and what is refused before it is."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secret_sources.credential import CredentialSecret
from rexecop.lanes.secret_sources.environment import EnvironmentSecret
from rexecop.lanes.secret_sources.file import FileSecret, FileSecrets, one_line_less
from rexecop.lanes.secret_sources.keyring import KeyringSecret
from rexecop.lanes.secrets import Source
from tests.lanes.support import run
from tests.needs import needs

CANARY: Final = "canary-in-a-file"


def private(path: Path, text: str = f"{CANARY}\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(source: Source) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        run(source.read())
    assert CANARY not in error.value.message
    return error.value


def test_a_variable_is_read_byte_for_byte_and_one_that_is_not_set_is_missing() -> None:
    environ = {"TOKEN": "abc\udcff\n"}

    assert run(EnvironmentSecret(name="TOKEN", environ=environ).read()).fields == {"": b"abc\xff\n"}
    assert refused(EnvironmentSecret(name="OTHER", environ=environ)).failure is Failure.SECRET_MISSING
    assert run(EnvironmentSecret(name="OTHER", environ=environ).doubt()) == "not set"
    assert "abc" not in repr(EnvironmentSecret(name="TOKEN", environ=environ))


def test_a_private_file_is_read_without_the_end_of_its_last_line(tmp_path: Path) -> None:
    source = FileSecret(path=str(private(tmp_path / "pw")))

    assert run(source.read()).fields == {"": CANARY.encode()}
    assert run(source.doubt()) is None
    assert one_line_less(b"a\n\n") == b"a\n" and one_line_less(b"a\r\n") == b"a"


def others_can_read(path: Path) -> None:
    private(path, mode=0o640)


def others_can_write(path: Path) -> None:
    private(path, mode=0o602)


def a_symlink(path: Path) -> None:
    path.symlink_to(private(path.with_name("real")))


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def a_folder(path: Path) -> None:
    path.mkdir(mode=0o700)


def nothing(path: Path) -> None:
    """Leave it away."""


def too_long(path: Path) -> None:
    private(path, "x" * (1 << 20) + "xx")


SPOILED: Final[tuple[tuple[Callable[[Path], None], Failure], ...]] = (
    (others_can_read, Failure.SECRET_PERMISSIONS),
    (others_can_write, Failure.SECRET_PERMISSIONS),
    (a_symlink, Failure.SECRET_PERMISSIONS),
    (a_pipe, Failure.SECRET_PERMISSIONS),
    (a_folder, Failure.SECRET_PERMISSIONS),
    (nothing, Failure.SECRET_MISSING),
)


@pytest.mark.parametrize(("spoil", "failure"), SPOILED)
@pytest.mark.parametrize("kind", [FileSecret, FileSecrets])
def test_a_file_that_others_could_read_or_change_is_refused_and_the_doctor_says_so(
    tmp_path: Path, spoil: Callable[[Path], None], failure: Failure, kind: type[FileSecret]
) -> None:
    path = tmp_path / "pw"
    spoil(path)
    source = kind(path=str(path))

    assert refused(source).failure is failure
    assert run(source.doubt()) == refused(source).message


@pytest.mark.parametrize("kind", [FileSecret, FileSecrets])
def test_a_file_that_is_too_long_is_refused(tmp_path: Path, kind: type[FileSecret]) -> None:
    too_long(tmp_path / "pw")

    assert refused(kind(path=str(tmp_path / "pw"))).failure is Failure.SECRET_UNREADABLE


@needs("root")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "pw")
    os.chown(path, 12345, 12345)

    assert refused(FileSecret(path=str(path))).failure is Failure.SECRET_PERMISSIONS


def test_what_was_opened_is_what_is_judged_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private(tmp_path / "pw")
    opened = os.open

    def swap_after_opening(name: str, flags: int, *more: int) -> int:
        found = opened(name, flags, *more)
        path.unlink()
        private(path, "somebody-elses\n", mode=0o666)
        return found

    monkeypatch.setattr(os, "open", swap_after_opening)

    assert run(FileSecret(path=str(path)).read()).fields == {"": CANARY.encode()}


@pytest.mark.parametrize(
    "text",
    [
        f"secrets: {CANARY}",
        f"other:\n  a: {CANARY}",
        f"secrets:\n  a: '{CANARY}\n",
        f"secrets:\n  a: {CANARY}\n  a: {CANARY}\n",
        f"- {CANARY}",
        f"secrets: &x\n  a: *{CANARY}",
    ],
)
def test_a_secrets_file_that_is_not_in_its_form_is_refused_and_not_repeated(
    tmp_path: Path, text: str
) -> None:
    path = private(tmp_path / "secrets.yaml", text)

    assert refused(FileSecrets(path=str(path))).failure is Failure.SECRET_UNREADABLE


def test_a_secrets_file_holds_texts_by_name(tmp_path: Path) -> None:
    path = private(
        tmp_path / "secrets.yaml", f"secrets:\n  db: {CANARY}\n  number: 5432\n  nested: {{a: b}}\n"
    )

    assert run(FileSecrets(path=str(path)).read()).fields == {"db": CANARY.encode()}


def test_a_credential_of_systemd_is_read_byte_for_byte(tmp_path: Path) -> None:
    private(tmp_path / "db", f"{CANARY}\n", mode=0o440)  # As systemd leaves it behind an access list.

    assert run(CredentialSecret(directory=str(tmp_path), name="db").read()).fields == {
        "": f"{CANARY}\n".encode()
    }


def test_a_credential_that_is_not_there_or_that_others_can_read_is_refused(tmp_path: Path) -> None:
    private(tmp_path / "open", mode=0o444)

    for directory, name, failure in (
        (str(tmp_path), "db", Failure.SECRET_MISSING),
        (str(tmp_path), "open", Failure.SECRET_PERMISSIONS),
        ("", "db", Failure.SECRET_MISSING),
    ):
        source = CredentialSecret(directory=directory, name=name)
        assert refused(source).failure is failure
        assert run(source.doubt()) == refused(source).message


class TestKeyring:
    """The real library, with its back end that keeps entries in a file."""

    @pytest.fixture(autouse=True)
    def _entries(self, tmp_path: Path) -> None:
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path),
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        }

    def source(self, account: str = "ops", **environ: str) -> KeyringSecret:
        return KeyringSecret(service="mail.example", account=account, environ={**self.environ, **environ})

    def keep(self, value: str) -> None:
        from keyrings.alt.file import PlaintextKeyring  # type: ignore[import-untyped]

        kept = PlaintextKeyring()
        kept.file_path = os.path.join(self.environ["XDG_DATA_HOME"], "python_keyring", "keyring_pass.cfg")
        kept.set_password("mail.example", "ops", value)

    def test_an_entry_is_read_and_one_that_is_not_there_is_missing(self) -> None:
        self.keep("canary-in-a-keyring\n\u00e4 ")

        assert run(self.source().read()).fields == {"": "canary-in-a-keyring\n\u00e4 ".encode()}
        assert refused(self.source("nobody")).failure is Failure.SECRET_MISSING
        assert refused(self.source("--help")).failure is Failure.SECRET_MISSING

    def test_a_machine_without_a_keyring_is_refused_by_the_name_of_the_error(self) -> None:
        error = refused(self.source(PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring"))

        assert error.failure is Failure.SECRET_UNREADABLE
        assert "NoKeyringError" in error.message

    def test_a_keyring_that_asks_and_waits_is_ended(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        waits = tmp_path / "waits"
        waits.write_text("#!/bin/sh\nexec sleep 30\n")
        waits.chmod(0o700)
        monkeypatch.setattr("rexecop.lanes.secret_sources.keyring.SECONDS_MAX", 0.1)
        monkeypatch.setattr(sys, "executable", str(waits))
        started = time.monotonic()

        assert refused(self.source()).failure is Failure.SECRET_SOURCE_DOWN
        assert time.monotonic() - started < 5

    def test_without_the_library_it_says_which_extra_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

        assert refused(self.source()).failure is Failure.SECRET_UNREADABLE
        assert "extra `keyring`" in str(run(self.source().doubt()))
