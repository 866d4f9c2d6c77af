"""What may not stand in the files: a domain in the core, a secret, a path of somebody's machine."""

import re
from pathlib import Path
from typing import Final

from tests.house.source import CORE, ROOT, python_files, tracked_files

# The core knows operations, not what is operated. Each of these belongs to a profile.
DOMAIN_WORDS: Final = (
    *("adguard", "apache", "chrony", "docker", "grafana", "haproxy", "hypervisor", "kubectl", "kubernetes"),
    *("lxc", "mysql", "nginx", "ntp", "podman", "postfix", "proxmox", "pve", "qemu", "redis", "samba"),
    *("technitium", "vm", "vms", "vmware", "wazuh", "zabbix", "zfs"),
)
# A word ends where letters and digits end: `restart_vm` and `VmState` name it, `evm` does not.
DOMAIN: Final = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(DOMAIN_WORDS)})(?![a-z0-9])", re.IGNORECASE)

SECRET: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"
    rb"|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
)
MACHINE: Final = re.compile(rb"(?<![A-Za-z0-9_.-])/(?:work|root|home|farm|Users)/[A-Za-z0-9]")
INDEX_HOST: Final = re.compile(
    rb"(?i)\b(?:[a-z0-9-]+\.)*(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com))\b"
)


def found(pattern: re.Pattern[bytes]) -> list[str]:
    """`file:line` of every match in the project's files."""
    here = Path(__file__)
    return [
        f"{file.relative_to(ROOT).as_posix()}:{line_of(content, match.start())}"
        for file in tracked_files()
        if file != here
        for content in [file.read_bytes()]
        for match in pattern.finditer(content)
    ]


def line_of(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1


def test_the_core_holds_no_word_of_any_domain() -> None:
    named = [
        f"{source.path}:{number} {match.group()}"
        for source in python_files(CORE)
        for number, line in enumerate(source.text.splitlines(), start=1)
        for match in DOMAIN.finditer(line)
    ]

    assert named == []


def test_no_file_holds_a_private_key_or_a_token() -> None:
    assert found(SECRET) == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    assert found(MACHINE) == []


def test_no_file_names_a_package_index() -> None:
    assert found(INDEX_HOST) == []
