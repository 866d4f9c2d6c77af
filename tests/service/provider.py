"""A local identity provider over TLS: discovery, keys that rotate, and whatever tokens a test wants."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from rexecop.app.clock import SystemClock
from tests.lanes.web import Web, authority, issue, json_reply, server_context, serving

Private: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA: Final = rsa.generate_private_key(65537, 2048)  # One for all: making it is what costs.
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


def made(algorithm: str) -> Private:
    if algorithm == "RS256":
        return RSA
    return (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else ed25519.Ed25519PrivateKey.generate()
    )


def jwk(kid: str, private: Private) -> dict[str, str]:
    common = {"kid": kid, "use": "sig"}
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.public_key().public_numbers()
        return {**common, "kty": "RSA", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
    if isinstance(private, ec.EllipticCurvePrivateKey):
        point = private.public_key().public_numbers()
        return {**common, "kty": "EC", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)}
    return {**common, "kty": "OKP", "crv": "Ed25519", "x": b64(private.public_key().public_bytes_raw())}


def sign(private: Private, data: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(private, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)
    return private.sign(data)


def algorithm_of(private: Private) -> str:
    if isinstance(private, rsa.RSAPrivateKey):
        return "RS256"
    return "ES256" if isinstance(private, ec.EllipticCurvePrivateKey) else "EdDSA"


@dataclass
class LocalProvider:
    """The provider at `issuer`; `ca` is the file of who vouches for its certificate."""

    web: Web
    issuer: str
    ca: Path
    keys: dict[str, Private] = field(default_factory=dict)

    def publish(self, **more: object) -> None:
        said = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}{KEYS}", **more}
        self.web.routes[DISCOVERY] = json_reply(json.dumps(said))
        listed = [jwk(kid, private) for kid, private in self.keys.items()]
        self.web.routes[KEYS] = json_reply(json.dumps({"keys": listed}))

    def rotate(self, kid: str, algorithm: str = "ES256") -> None:
        """Sign with a new key alone from now on."""
        self.keys = {kid: made(algorithm)}
        self.publish()

    @property
    def asked(self) -> int:
        """How often the keys were asked for."""
        return sum(one.target == KEYS for one in self.web.asked)

    def claims(self, **more: object) -> dict[str, object]:
        now = int(SystemClock().now().timestamp())
        said = {
            "iss": self.issuer, "aud": "rexecop", "sub": "u-1", "name": "alice", "groups": ["sre"],
            "iat": now, "exp": now + 300, **more,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}

    def token(self, header: Mapping[str, object] | None = None, /, **more: object) -> str:
        """A token of `more` claims (None leaves one out), signed by the newest key."""
        kid = list(self.keys)[-1]
        private = self.keys[kid]
        head = {"alg": algorithm_of(private), "kid": kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, self.claims(**more)))
        return f"{signed}.{b64(sign(private, signed.encode()))}"


@contextmanager
def local_provider(folder: Path) -> Iterator[LocalProvider]:
    ca = authority("provider CA")
    path = folder / "provider-ca.pem"
    path.write_text(ca.pem)
    with serving(server_context(folder, issue(ca, "127.0.0.1"))) as web:
        found = LocalProvider(web, f"https://127.0.0.1:{web.port}", path)
        found.rotate("first", "RS256")
        yield found


def configure(root: Path, provider: LocalProvider, scopes: str = "", **changed: str) -> None:
    """Let the root take the tokens of `provider`."""
    said = {"issuer": provider.issuer, "audience": "rexecop", "ca_file": str(provider.ca), "name": "name"}
    lines = [f"  {name}: {json.dumps(value)}" for name, value in {**said, **changed}.items()]
    roles = "  roles: {claim: groups, values: {sre: [operator, approver], audit: [auditor], bots: [agent]}}"
    path = root / "service.yaml"
    path.write_text("\n".join(["oidc:", *lines, roles, scopes, ""]))
    path.chmod(0o600)
