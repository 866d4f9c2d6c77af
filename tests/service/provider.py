"""A local identity provider over TLS: discovery, keys that rotate, tokens a test wants, a way to sign in."""

from __future__ import annotations

import base64
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from rexecop.app.clock import SystemClock
from rexecop.proof.canonical import hash_bytes
from tests.lanes.web import Asked, Web, authority, issue, json_reply, reply, server_context, serving

Private: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA: Final = rsa.generate_private_key(65537, 2048)  # One for all: making it is what costs.
CLIENT: Final = "rexecop-console"
SECRET: Final = "the-secret-of-the-console"
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"
AUTHORIZE: Final = "/authorize"
TOKEN: Final = "/token"


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
    codes: dict[str, dict[str, str]] = field(default_factory=dict)  # What each was asked for with.
    wrong: dict[str, object] = field(default_factory=dict)  # What is said of whom a token is given for next.

    def publish(self, **more: object) -> None:
        ends = {"authorization_endpoint": AUTHORIZE, "token_endpoint": TOKEN, "jwks_uri": KEYS}
        said = {"issuer": self.issuer, **{name: self.issuer + path for name, path in ends.items()}, **more}
        # Routes are told apart by how many arguments their code takes, which counts `self` of a method.
        self.web.routes[AUTHORIZE] = lambda asked: self.authorized(asked)  # noqa: PLW0108
        self.web.routes[TOKEN] = lambda asked: self.given(asked)  # noqa: PLW0108
        self.web.routes[DISCOVERY] = json_reply(json.dumps(said))
        listed = [jwk(kid, private) for kid, private in self.keys.items()]
        self.web.routes[KEYS] = json_reply(json.dumps({"keys": listed}))

    def rotate(self, kid: str, algorithm: str = "ES256") -> None:
        """Sign with a new key alone from now on."""
        self.keys = {kid: made(algorithm)}
        self.publish()

    def authorized(self, asked: Asked) -> bytes:
        """Send back who comes, whom everybody here knows, with a code."""
        form = dict(parse_qsl(asked.target.partition("?")[2], strict_parsing=True))
        assert form["response_type"] == "code" and form["code_challenge_method"] == "S256", form
        code = f"code-{len(self.codes)}"
        self.codes[code] = form
        back = {"code": code, "state": form["state"], "iss": self.issuer}
        return reply(status=302, Location=f"{form['redirect_uri']}?{urlencode(back)}")

    def given(self, asked: Asked) -> bytes:
        """Give a token for a code, once, to who asked for it."""
        form = dict(parse_qsl(asked.body.decode(), strict_parsing=True))
        told = self.codes.pop(form["code"], {})
        challenge = b64(hash_bytes("sha256", form["code_verifier"].encode()))
        secret = b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        known = asked.headers.get("authorization") == f"Basic {secret}"
        same = all(form[name] == told.get(name) for name in ("client_id", "redirect_uri"))
        if not (known and same and challenge == told["code_challenge"]):
            return json_reply('{"error": "invalid_grant"}', 400)
        token = self.token(None, **{"aud": CLIENT, "nonce": told["nonce"], **self.wrong})
        return json_reply(json.dumps({"access_token": "x", "token_type": "Bearer", "id_token": token}))

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
