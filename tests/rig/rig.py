"""A site on loopback that profiles are tried on: one host behind a real sshd, and the services beside it.

The host answers every command from the folders of `scenarios/`; which of them is a word in the file
`scenario`, read at each command. Its environment is the shipped example with the addresses of the rig.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lanes.sshd import Sshd, free_port, sshd
from tests.lanes.web import Asked, Route, Web, authority, issue, server_context, serving
from tests.rig.systems import (
    TOKEN,
    AdGuard,
    BackupServer,
    DockerProxy,
    Portainer,
    Proxmox,
    System,
    Zabbix,
    answering,
)

HERE: Final = Path(__file__).parent
EXAMPLE: Final = HERE.parents[1] / "examples/environments/monitoring-host.example.yaml"
HEALTHY: Final = "healthy"
TEMPORARY: Final = "9007"
"""The guest that backups are restored to."""
NAMES: Final = ("zabbix", "adguard", "portainer", "pve", "pbs", "docker")
PLAIN: Final = ("adguard", "docker")  # Without TLS.
BEFORE: Final = "server 192.0.2.1 iburst\n"
"""What stands in the one managed file of the host, `site.conf`."""
HOST_GUEST: Final = "101"
"""The guest of Proxmox that the host is: where it is rebooted, sshd goes away."""
BOOT_SECONDS: Final = 1.0
OLD_IMAGE: Final = f"sha256:{'a' * 64}"
NEW_IMAGE: Final = f"sha256:{'b' * 64}"
PROGRAMS: Final = (
    *("apt-get", "awk", "borg", "cat", "chronyc", "chronyd", "createdb", "df"),
    *("dig", "dropdb", "fail2ban-client", "find", "hostname", "journalctl", "mariadb", "mariadb-admin"),
    *("mariadb-dump", "needrestart", "ntpq", "nvme", "pg_dump", "pg_restore", "psql", "restic"),
    *(
        "sha256sum",
        "smartctl",
        "ss",
        "sshd",
        "sudo",
        "systemctl",
        "tecrax-network-cli-readonly",
        "timedatectl",
    ),
    *("uname", "upsc", "zpool"),
)
"""What is installed on the host; each is the same script under another name."""

# A session of the rig sees its own programs first. The shell that runs a call is the real one.
_FORCED: Final = '#!/bin/sh\nPATH={folder}/bin:/usr/bin:/bin exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
_SFTP: Final = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
)


@dataclass
class Rig:
    """What stands, and where. `secrets` are the variables an environment reads them from."""

    folder: Path
    host: Sshd
    zabbix: Zabbix
    adguard: AdGuard
    portainer: Portainer
    proxmox: Proxmox
    backups: BackupServer
    webs: Mapping[str, Web]
    secrets: Mapping[str, str]
    coming_back: threading.Timer | None = None

    def moved(self, guest: str, move: str) -> None:
        """Let the host go away and come back with the guest it is, as the scenarios in force say."""
        if guest != HOST_GUEST:
            return
        self.settle()
        if self.host.process.poll() is None:
            self.host.drop_connections()
            self.host.stop()
        if move == "shutdown" or (move == "reboot" and fault_of(self.folder, "pve") == "stays-down"):
            return
        (self.folder / "reboot-required").unlink(missing_ok=True)
        if move == "rollback":
            (self.folder / "upgraded").unlink(missing_ok=True)
        (self.folder / "boot-id").write_text(f"{uuid.uuid4()}\n")
        self.coming_back = threading.Timer(BOOT_SECONDS, self.host.start)
        self.coming_back.start()

    def settle(self) -> None:
        """Wait for a host that is on its way back."""
        if self.coming_back is not None:
            self.coming_back.join()

    def as_new(self) -> None:
        """Let the host be there, and Proxmox stand as at the beginning."""
        self.settle()
        if self.host.process.poll() is not None:
            self.host.start()
        for name in ("upgraded", "reboot-required"):
            (self.folder / name).unlink(missing_ok=True)
        self.proxmox.reset()
        self.proxmox.moved = self.moved

    @property
    def environment(self) -> Path:
        return self.folder / "environment.yaml"

    @property
    def programs(self) -> Path:
        """The folder with what stands in for programs of this machine: `dig`, the wrapper for switches."""
        return self.folder / "bin"

    def scenario(self, *names: str) -> None:
        """From now on the site is as `names` say; the first that knows an answer gives it."""
        for name in names:
            assert (self.folder / "scenarios" / name).is_dir(), name
        (self.folder / "scenario").write_text(" ".join(names or (HEALTHY,)) + "\n")

    def asked(self) -> int:
        """How many commands and requests there were."""
        asked = self.folder / "asked"
        commands = asked.read_text().count("\n") if asked.exists() else 0
        return commands + sum(len(web.asked) for web in self.webs.values())


def fault_of(folder: Path, system: str) -> str:
    """Return the word that the scenarios in force have for `system`."""
    for name in (folder / "scenario").read_text().split():
        path = folder / "scenarios" / name / system
        if path.is_file():
            return path.read_text().strip()
    return ""


def kept_of(folder: Path, system: str, path: str) -> str:
    """Return what the first scenario that knows it answers to a read of `path`; `@-6h@` is six hours ago."""
    name, at = f"{system} {re.sub('[^A-Za-z0-9=.,:@+-]', '_', path)}", int(time.time())
    for scenario in (*(folder / "scenario").read_text().split(), HEALTHY):
        file = folder / "scenarios" / scenario / name
        if file.is_file():
            return re.sub("@(-?[0-9]+)h@", lambda hours: str(at + 3600 * int(hours[1])), file.read_text())
    return ""


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """A site in `folder`, gone afterwards."""
    _host_files(folder)
    with ExitStack() as stack:
        ca = authority("rig CA")
        (folder / "ca.pem").write_text(ca.pem)
        trusted = issue(ca, "127.0.0.1")
        other = server_context(folder, issue(authority("another CA"), "127.0.0.1"))
        zabbix, adguard, portainer, proxmox, backups = (
            Zabbix(),
            AdGuard(),
            Portainer(),
            Proxmox(),
            BackupServer(),
        )
        systems: tuple[System, ...] = (zabbix, adguard, portainer, proxmox, backups, DockerProxy())
        webs = {}
        for name, system in zip(NAMES, systems, strict=True):
            context = None if name in PLAIN else server_context(folder, trusted)
            if context is not None:
                _wrong_certificate(context, other, folder, name)
            webs[name] = stack.enter_context(serving(context))
            webs[name].routes["*"] = _route(folder, name, system)
        sftp = next((path for path in _SFTP if Path(path).exists()), _SFTP[0])
        options = (f"ForceCommand {folder / 'forced'}", "LogLevel VERBOSE")
        host = stack.enter_context(sshd(folder / "host", *options, sftp=sftp))
        made = Rig(
            folder=folder,
            host=host,
            zabbix=zabbix,
            adguard=adguard,
            portainer=portainer,
            proxmox=proxmox,
            backups=backups,
            webs=webs,
            secrets=_secrets(folder, host, webs),
        )
        gone = free_port()
        known = host.known_hosts()
        known.write_text(f"{known.read_text()}[127.0.0.1]:{gone} {host.host_key}\n")
        made.environment.write_text(environment_of(made, gone))
        proxmox.moved = made.moved
        try:
            yield made
        finally:
            made.settle()


def _route(folder: Path, name: str, system: System) -> Route:
    answer = answering(system, lambda: fault_of(folder, name), lambda path: kept_of(folder, name, path))

    async def route(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if fault_of(folder, name) == "slow":
            await asyncio.sleep(600)  # Whoever asked is gone long before.
        writer.write(answer(asked))
        await writer.drain()

    return route


def _wrong_certificate(context: ssl.SSLContext, other: ssl.SSLContext, folder: Path, name: str) -> None:
    def choose(shown: ssl.SSLObject, server_name: str | None, _: ssl.SSLContext) -> None:
        if fault_of(folder, name) == "wrong-certificate":
            shown.context = other

    context.sni_callback = choose


def _host_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "scenarios", folder / "scenarios")
    (folder / "scenario").write_text(HEALTHY + "\n")
    (folder / "boot-id").write_text(f"{uuid.uuid4()}\n")
    (folder / "units").mkdir()
    for unit in ("chrony.service", "nginx.service"):
        (folder / "units" / unit).write_text("active\n")
    (folder / "images").mkdir()
    for name, image in (("running", OLD_IMAGE), ("tagged", OLD_IMAGE), ("newest", NEW_IMAGE)):
        (folder / "images" / name).write_text(image + "\n")
    for name in ("files", "proofs", "dumps", "databases"):
        (folder / name).mkdir()
    (folder / "databases/shop").write_text("".join(f"row {number}\n" for number in range(120)))
    (folder / "files/site.conf").write_text(BEFORE)
    (folder / "bin").mkdir()
    shutil.copy(HERE / "replay", folder / "bin/replay")
    for program in PROGRAMS:
        (folder / "bin" / program).symlink_to("replay")
    (folder / "forced").write_text(_FORCED.format(folder=folder))
    (folder / "forced").chmod(0o755)


def _secrets(folder: Path, host: Sshd, webs: Mapping[str, Web]) -> dict[str, str]:
    of = {
        "monitoring_identity": str(host.key),
        "operations_identity": str(host.key),
        "site_ca": str(folder / "ca.pem"),
        "zabbix_token": TOKEN,
        "zabbix_maintenance_token": TOKEN,
        "adguard_password": TOKEN,
        "portainer_key": TOKEN,
        "pve_token": f"tecrax@pve!rig={TOKEN}",
        "pve_restore_token": f"tecrax@pve!rig={TOKEN}",
        "restic_password": TOKEN,
        "borg_passphrase": TOKEN,
        "pve_audit_token": f"tecrax@pve!rig={TOKEN}",
        "pbs_token": f"tecrax@pbs!rig:{TOKEN}",
        "pbs_audit_token": f"tecrax@pbs!rig:{TOKEN}",
    }
    for name, web in webs.items():
        of[f"{name}_base_url"] = f"{'http' if name in PLAIN else 'https'}://127.0.0.1:{web.port}"
    return {f"REXECOP_SECRET_{name.upper()}": value for name, value in of.items()}


def environment_of(made: Rig, gone: int) -> str:
    """Return the shipped example with the addresses of the rig in it; at port `gone` nobody listens."""
    text = EXAMPLE.read_text()
    for old, new in (
        ("{host: 192.0.2.10, port: 22}", f"{{host: 127.0.0.1, port: {made.host.port}}}"),
        ("{host: 192.0.2.11, port: 22}", f"{{host: 127.0.0.1, port: {gone}}}"),
        ("first_byte_timeout: 5\n", "first_byte_timeout: 1\n"),
        ("user: tecrax\n", f"user: {made.host.user}\n"),
        ("user: tecrax-ops\n", f"user: {made.host.user}\n"),
        ("/etc/chrony/conf.d", str(made.folder / "files")),
        ("/var/lib/tecrax/proofs", str(made.folder / "proofs")),
        ("/var/lib/tecrax/dumps", str(made.folder / "dumps")),
        ("dump_bytes: 10737418240", "dump_bytes: 10485760"),
        ("/etc/rexecop/known_hosts", str(made.host.folder / "known_hosts")),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text


def without_rules(text: str) -> str:
    """Return the environment in `text` with no pack of its own."""
    left, taken = re.subn(r"^  policy_pack:\n(?:    .*\n|\n)*", "", text, flags=re.MULTILINE)
    assert taken == 1
    return left


def without_rule(text: str, rule: str) -> str:
    """Return the environment in `text` with one rule of its pack taken out."""
    left, taken = re.subn(rf"      - rule_id: {rule}\n(?:(?! +- rule_id| +#).*\n)*", "", text)
    assert taken == 1, rule
    return left
