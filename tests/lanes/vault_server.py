"""A server that speaks the part of Vault's HTTP API we use, written from its public API documentation.

It keeps KV v2 secrets with versions, makes credentials with leases, knows AppRoles and
namespaces, and signs SSH keys with the real `ssh-keygen`. What it is told to do wrong it does.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, Final
from urllib.parse import parse_qs, urlsplit

ROOT_TOKEN: Final = "hvs.root-token-for-tests"


@dataclass
class Version:
    """One version of a KV secret; `deletion` is a time or empty."""

    data: Mapping[str, object]
    deletion: str = ""
    destroyed: bool = False


@dataclass
class Vault:
    """What the server holds, and what it was asked."""

    kv: dict[str, list[Version]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {ROOT_TOKEN})
    leases: dict[str, str] = field(default_factory=dict)  # lease → token it was given to
    made: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    namespace: str = ""
    approle: tuple[str, str] = ("", "")
    sealed: bool = False
    ca: Path | None = None
    ssh_seconds: int | None = None
    answers: dict[str, tuple[int, bytes, Mapping[str, str]]] = field(default_factory=dict)
    address: str = ""
    count: int = 0

    def put(self, path: str, *versions: Mapping[str, object] | Version) -> None:
        self.kv[path] = [item if isinstance(item, Version) else Version(item) for item in versions]


class Handler(BaseHTTPRequestHandler):
    vault: ClassVar[Vault]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, method: str) -> None:
        vault, url = self.vault, urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        vault.asked.append(f"{method} {self.path}")
        path = url.path.removeprefix("/v1/")
        if path in vault.answers:
            self._send(*vault.answers[path])
            return
        if path == "sys/health":
            self._json(503 if vault.sealed else 200, {"sealed": vault.sealed, "initialized": True})
            return
        if vault.sealed:
            self._json(503, {"errors": ["Vault is sealed"]})
            return
        body = json.loads(data) if data else {}
        if (
            self.headers.get("X-Vault-Namespace", "") != vault.namespace
            or self.headers["X-Vault-Request"] != "true"
        ):
            self._json(404, {"errors": ["no handler for route"]})
        elif path == "auth/approle/login":
            self._login(body)
        elif (token := self.headers.get("X-Vault-Token", "")) not in vault.tokens:
            self._json(403, {"errors": ["permission denied"]})
        else:
            self._known(method, path, parse_qs(url.query), body, token)

    def _known(
        self, method: str, path: str, query: Mapping[str, list[str]], body: Mapping[str, str], token: str
    ) -> None:
        vault = self.vault
        match method, path.split("/"):
            case "POST", ["auth", "token", "revoke-self"]:
                vault.tokens.discard(token)
                vault.leases = {lease: owner for lease, owner in vault.leases.items() if owner != token}
                self._send(204, b"", {})
            case "POST", ["sys", "leases", "revoke"]:
                found = vault.leases.pop(body["lease_id"], None)
                self._send(204, b"", {}) if found else self._json(400, {"errors": ["invalid lease"]})
            case "GET", ["database", "creds", role]:
                vault.count += 1
                lease = f"database/creds/{role}/{vault.count:024d}"
                vault.leases[lease] = token
                password = f"A1a-made-password-{vault.count:06d}"
                vault.made.append(password)
                pair = {"username": f"v-token-{role}-{vault.count:06d}", "password": password}
                self._json(200, _reply(pair, lease_id=lease, lease_duration=3600, renewable=True))
            case "POST", ["ssh", "sign", _]:
                self._sign(body)
            case "GET", [mount, "data", *rest]:
                self._kv("/".join([mount, *rest]), int(query.get("version", ["0"])[0]))
            case _:
                self._json(404, {"errors": ["no handler for route"]})

    def _login(self, body: Mapping[str, str]) -> None:
        if (body.get("role_id"), body.get("secret_id")) != self.vault.approle:
            self._json(400, {"errors": ["invalid role or secret ID"]})
            return
        self.vault.count += 1
        token = f"hvs.login-token-{self.vault.count:06d}"
        self.vault.tokens.add(token)
        auth = {"client_token": token, "lease_duration": 1200, "renewable": True, "token_type": "service"}
        self._json(200, {**_reply(None), "auth": auth})

    def _kv(self, path: str, number: int) -> None:
        versions = self.vault.kv.get(path, [])
        if not versions or number > len(versions):
            self._json(404, {"errors": []})
            return
        number = number or len(versions)
        found = versions[number - 1]
        gone = bool(found.deletion) or found.destroyed
        about = {
            "created_time": "2026-01-31T12:00:00Z",
            "custom_metadata": None,
            "deletion_time": found.deletion,
            "destroyed": found.destroyed,
            "version": number,
        }
        data = {"data": None if gone else dict(found.data), "metadata": about}
        self._json(404 if gone else 200, _reply(data))

    def _sign(self, body: Mapping[str, str]) -> None:
        assert self.vault.ca is not None and body["cert_type"] == "user"
        public = self.vault.ca.with_name("to-sign.pub")
        public.write_text(body["public_key"])
        seconds = self.vault.ssh_seconds or int(body["ttl"].removesuffix("s"))
        principals = ["-n", body["valid_principals"]] if body["valid_principals"] else []
        subprocess.run(
            [
                "ssh-keygen",
                "-q",
                "-s",
                self.vault.ca,
                "-I",
                "vault",
                *principals,
                "-V",
                f"-30s:+{seconds}s",
                public,
            ],
            check=True,
        )
        signed = public.with_name("to-sign-cert.pub").read_text()
        self._json(200, _reply({"serial_number": "c73f26d2340276aa", "signed_key": signed}))

    def _json(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _reply(data: object, **more: object) -> dict[str, object]:
    return {
        "request_id": "0f8d9a3e",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
        **more,
    }


@contextmanager
def vault_server(tls: Path | None = None) -> Iterator[Vault]:
    """Run a server on a free port of this machine; over TLS with the key and certificate in file `tls`."""
    vault = Vault()
    handler = type("OneVault", (Handler,), {"vault": vault})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        vault.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield vault
        finally:
            server.shutdown()
            thread.join()
