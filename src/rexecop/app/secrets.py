"""Where secret references resolve: a variable of the environment, what the root says, the secrets file.

    vaults:
      main:
        address: https://vault.example:8200
        token: {file: /run/rexecop/vault-token}
    references:
      db-password: {vault: main, kv: app/db, field: password}
      pin: {file: /etc/rexecop/pin, short: true}

`secrets.yaml` of the root is the operator's: profiles and environments only name references.
The first of the three that knows a reference is asked, and no other if it fails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rexecop.app.errors import SecretSourcesRefused
from rexecop.app.files import read_file, require_private
from rexecop.app.root import Root
from rexecop.execution.errors import YamlRefused
from rexecop.lanes.addresses import is_address
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secret_sources.credential import VARIABLE, CredentialSecret
from rexecop.lanes.secret_sources.environment import EnvironmentSecret
from rexecop.lanes.secret_sources.file import FileSecret, FileSecrets
from rexecop.lanes.secret_sources.keyring import KeyringSecret
from rexecop.lanes.secrets import Place, Source
from rexecop.operations.reading import Fields, Finding, Node, Problems
from rexecop.proof.errors import RexecopError

if TYPE_CHECKING:  # A vault is spoken to over TLS, which most roots never load.
    from rexecop.lanes.secret_sources.vault import VaultServer

PREFIX: Final = "REXECOP_SECRET_"
FILE: Final = "REXECOP_SECRETS_FILE"
PRINCIPALS_MAX: Final = 16
VERSION_MAX: Final = 2**31  # Of a KV secret.

_TOKEN: Final = "environment file credential"
_SIMPLE: Final = f"{_TOKEN} keyring"
# What can be had of a server, and what else may be said of it.
_OF_VAULT: Final = {"kv": "mount version", "dynamic": "", "ssh": "mount principals seconds"}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ABSOLUTE: Final = re.compile(r"/[^\0]{1,4094}")
# Segments of a path at a server; what would lead out of it, or need quoting, is none.
_PATH: Final = re.compile(r"(?!\.)[A-Za-z0-9_.@-]{1,128}(/(?!\.)[A-Za-z0-9_.@-]{1,128}){0,15}")
_FREE: Final = re.compile(r"[^\0-\x1f-][^\0-\x1f]{0,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the root says of a reference; without a source it says only whether it may be `short`."""

    source: Source | None
    field: str
    short: bool


class Locator:
    """Says where references resolve. What the root says is read again when its file changed."""

    def __init__(self, root: Root, environ: Mapping[str, str]) -> None:
        self._file = root.secrets
        self._environ = environ
        self._stamp: tuple[int, ...] | None = None
        self._declared: Mapping[str, Declared] = {}
        self._files: Sequence[str] = ()

    def __call__(self, reference: str) -> Place:
        """Return where `reference` resolves.

        Raises:
            RequestRefused: nowhere, or what the root says cannot be followed.
        """
        try:
            declared = self.declared().get(reference)
        except RexecopError as error:
            words = (
                f"`{self._file.name}` of the root cannot be followed ({error.code}): `rexecop secrets doctor`"
            )
            raise RequestRefused(Failure.SECRET_UNREADABLE, words) from error
        short = declared is not None and declared.short
        variable = variable_of(reference)
        if variable in self._environ:
            return Place(source=EnvironmentSecret(name=variable, environ=self._environ), short=short)
        if declared is not None and declared.source is not None:
            return Place(source=declared.source, field=declared.field, short=short)
        if FILE in self._environ:
            return Place(source=FileSecrets(path=self._environ[FILE]), field=reference, short=short)
        words = f"nowhere: set `{variable}`, or say in `{self._file.name}` of the root where it is"
        raise RequestRefused(Failure.SECRET_MISSING, words)

    def declared(self) -> Mapping[str, Declared]:
        """Return what the root says of references; nothing where there is no such file.

        Raises:
            RootUnsafe: others could change the file. SecretSourcesRefused: it is not what it should be.
        """
        try:
            status = os.lstat(self._file)
        except FileNotFoundError:
            return {}
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_uid)
        if stamp != self._stamp:
            require_private(self._file)
            reading = _Reading(self._environ)
            self._declared = reading.all(read_file(self._file), self._file.name)
            self._files, self._stamp = reading.files, stamp
        return self._declared

    def files(self) -> tuple[str, ...]:
        """Return the files and folders that hold secrets: no program of a call may see them."""
        with suppress(RexecopError):  # No call gets a secret then; `secrets doctor` says why.
            self.declared()
        named = (self._environ.get(FILE), self._environ.get(VARIABLE), *self._files)
        return tuple(path for path in named if path)


def variable_of(reference: str) -> str:
    """Return the variable of the environment that comes before every other source of `reference`."""
    return PREFIX + reference.upper().replace("-", "_")


def _said(finding: Finding) -> str:
    """Return the problem without what was found: somebody may have written a secret there."""
    if finding.code == YamlRefused.code:
        return f"{finding.file}:{finding.line}: not strict YAML"
    if finding.found is None or not finding.found.startswith("`"):
        return finding.text()
    return f"{finding.file}:{finding.line}: `{finding.field}` is not {finding.allowed}"


class _Reading:
    """Reads the file's parts; every problem is kept by the nodes, and nothing is used then."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.files: list[str] = []
        self._environ = environ
        self._servers: dict[str, VaultServer] = {}

    def all(self, data: bytes, name: str) -> Mapping[str, Declared]:
        """Return what the file says of references.

        Raises:
            SecretSourcesRefused: something in it is not what it should be.
        """
        problems = Problems(SecretSourcesRefused.code)
        found: dict[str, Declared] = {}
        if (top := problems.parse(data, name)) is not None:
            fields = top.fields("vaults references")
            self._servers = {key: self._server(key, node) for key, node in fields.entries("vaults")}
            found = {key: self._reference(node) for key, node in fields.entries("references")}
        for first in problems.findings[:1]:
            raise SecretSourcesRefused(_said(first), file=name, line=first.line, field=first.field or None)
        return found

    def _server(self, name: str, node: Node) -> VaultServer:
        from rexecop.lanes.secret_sources.vault import VaultServer

        fields = node.fields("address namespace ca_file token approle", "address")
        address = fields.text("address").rstrip("/")
        if address and not is_address(address):
            allowed = "https://HOST[:PORT], and http:// on this machine"
            node.refuse(f"`{node.name}.address` is no address; allowed are {allowed}", allowed=allowed)
        if ("token" in fields.values) == ("approle" in fields.values):
            node.refuse(f"`{node.name}` needs one of `token` and `approle`", allowed="token, approle")
        by_role = "approle" in fields.values
        needed = "role_id secret_id" if by_role else ""
        role = fields.part("approle").fields("role_id secret_id mount", needed)
        known_by = self._simple(role.part("secret_id") if by_role else fields.part("token"), _TOKEN)
        return VaultServer(
            name=name,
            address=address,
            namespace=_matched(fields, "namespace", _PATH, ""),
            ca_file=_matched(fields, "ca_file", _ABSOLUTE, ""),
            known_by=known_by,
            role_id=role.text("role_id"),
            approle=_matched(role, "mount", _PATH, "approle"),
        )

    def _reference(self, node: Node) -> Declared:
        value = node.value if isinstance(node.value, dict) else {}
        if "vault" in value:
            return self._of_vault(node, value)
        fields = node.fields(f"{_SIMPLE} account short")
        source = self._simple(node, _SIMPLE, "account short") if value.keys() - {"short"} else None
        return Declared(source=source, field="", short=fields.boolean("short"))

    def _simple(self, node: Node, kinds: str, more: str = "") -> Source:
        """Return the source that one of the keys `kinds` names; a stand-in after a finding."""
        fields = node.fields(f"{kinds} {more}")
        named = [kind for kind in kinds.split() if kind in fields.values]
        if len(named) != 1:
            words = ", ".join(kinds.split())
            node.refuse(f"`{node.name}` needs one of {words}", allowed=words)
        match named:
            case ["file"]:
                self.files.append(_matched(fields, "file", _ABSOLUTE, ""))
                return FileSecret(path=self.files[-1])
            case ["credential"]:
                return CredentialSecret(
                    directory=self._environ.get(VARIABLE, ""), name=fields.token("credential")
                )
            case ["keyring"]:
                node.fields(f"{kinds} {more}", "account")
                service, account = (_matched(fields, key, _FREE, "") for key in ("keyring", "account"))
                return KeyringSecret(service=service, account=account, environ=self._environ)
        name = _matched(fields, "environment", _VARIABLE, "")
        return EnvironmentSecret(name=name, environ=self._environ)

    def _of_vault(self, node: Node, value: Mapping[str, object]) -> Declared:
        kind = next((kind for kind in _OF_VAULT if kind in value), "kv")
        fields = node.fields(f"vault {kind} field short {_OF_VAULT[kind]}", f"vault {kind} field")
        server = self._servers.get(fields.token("vault"))
        path = _matched(fields, kind, _PATH, "")
        source = None if server is None else _from_server(kind, server, path, fields)
        if server is None:
            known = ", ".join(self._servers) or "none"
            node.refuse(f"`{node.name}.vault` is not under `vaults`; known: {known}", allowed=known)
        return Declared(source=source, field=fields.text("field"), short=fields.boolean("short"))


def _from_server(kind: str, server: VaultServer, path: str, fields: Fields) -> Source:
    from rexecop.lanes.secret_sources.ssh_certificate import SECONDS, SECONDS_MAX, SshCertificate
    from rexecop.lanes.secret_sources.vault import DynamicSecret, KeyValueSecret

    if kind == "dynamic":
        return DynamicSecret(server=server, path=path)
    mount = _matched(fields, "mount", _PATH, "secret" if kind == "kv" else "ssh")
    if kind == "kv":
        version = fields.integer("version", 0, 1, VERSION_MAX)
        return KeyValueSecret(server=server, mount=mount, path=path, version=version)
    principals = fields.tokens("principals", PRINCIPALS_MAX)
    seconds = fields.integer("seconds", SECONDS, 1, SECONDS_MAX)
    return SshCertificate(server=server, mount=mount, role=path, principals=principals, seconds=seconds)


def _matched(fields: Fields, name: str, pattern: re.Pattern[str], default: str) -> str:
    """Return the text at `name`; a finding, without it, where it does not match."""
    text = fields.text(name, default)
    if name in fields.values and not pattern.fullmatch(text):
        fields.node.refuse(f"`{fields.node.name}.{name}` is not as it should be", allowed=pattern.pattern)
    return text
