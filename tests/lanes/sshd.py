"""A real OpenSSH server on loopback for tests: own configuration, own host keys, a free port."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

START_SECONDS: Final = 60.0  # A server that does not listen by then never will.

# What a server separates its privileges in; a container without an init system lacks it.
RUNTIME_FOLDER: Final = Path("/run/sshd")


@dataclass
class Sshd:
    """A running server; `key` is the private key that `user` may come in with."""

    folder: Path
    port: int
    user: str
    process: subprocess.Popen[bytes]

    @property
    def key(self) -> Path:
        return self.folder / "user"

    @property
    def host_key(self) -> str:
        """The public host key, as `ssh-ed25519 AAAA...`."""
        return public(self.folder / "host")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def known_hosts(self) -> Path:
        """Write a file that knows this server, and return its path."""
        path = self.folder / "known_hosts"
        path.write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        return path

    def drop_connections(self) -> None:
        """End the processes of all connections, as a network that breaks would; the server goes on."""
        for child in children(self.process.pid):
            try:
                os.kill(child, 9)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def start(self) -> None:
        """Run it again where it was, as a host that comes back; what it had was lost with it."""
        self.process = _launched(self.folder)
        _await(self)


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def public(key: Path) -> str:
    """Return the public half of `key` without its comment."""
    return " ".join(key.with_name(key.name + ".pub").read_text().split()[:2])


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", str(key)], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def sshd(
    folder: Path, *options: str, host_key: Path | None = None, sftp: str = "internal-sftp"
) -> Iterator[Sshd]:
    """Run a server in `folder`; `options` are lines of its configuration that go before the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        RUNTIME_FOLDER.mkdir(mode=0o755, exist_ok=True)
    if host_key is None:
        make_key(folder / "host")
    else:
        shutil.copy(host_key, folder / "host")
        shutil.copy(host_key.with_name(host_key.name + ".pub"), folder / "host.pub")
    if not (folder / "user").exists():
        make_key(folder / "user")
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = free_port()
    (folder / "config").write_text(
        "\n".join(
            (
                *options,
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {folder / 'host'}",
                f"AuthorizedKeysFile {folder / 'authorized_keys'}",
                f"PidFile {folder / 'pid'}",
                "UsePAM no",
                "StrictModes no",
                "PermitRootLogin yes",
                "PasswordAuthentication no",
                f"Subsystem sftp {sftp}",
                "MaxStartups 100",
                # Without start files of the shell of whoever runs the tests.
                f"SetEnv HOME={folder}",
                "",
            )
        )
    )
    server = Sshd(folder=folder, port=port, user=getpass.getuser(), process=_launched(folder))
    try:
        _await(server)
        yield server
    finally:
        server.drop_connections()
        server.stop()


def _launched(folder: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin") or "sshd"
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stderr=log)


def _await(server: Sshd) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if server.process.poll() is not None:
            raise AssertionError(f"sshd ended with {server.process.returncode}: {server.log}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(f"sshd does not listen: {server.log}")
