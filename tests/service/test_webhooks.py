"""Signed events over HTTP: what is answered, and refused before anybody looks into the body."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.clock import SystemClock
from rexecop.app.settings import Settings
from rexecop.engines.senders import signed
from tests.service.running import Reply, Running, running

SECRET: Final = b"a secret of the scanner, long enough"
TYPE: Final = "application/cloudevents+json"


@pytest.fixture(scope="module")
def hooked(settings: Settings) -> Iterator[Running]:
    root: Path = settings.root
    hook = "{secret: [hook], profile: hello, env: hello.environment.yaml}"
    files = {
        "webhooks.yaml": f"webhooks:\n  scan: {hook}\n",
        "secrets.yaml": f"references:\n  hook: {{file: {root / 'hook'}}}\n",
        "hook": SECRET.decode(),
    }
    for name, text in files.items():
        (root / name).write_text(text)
        (root / name).chmod(0o600)
    with running(root) as found:
        yield found


def event(**more: object) -> bytes:
    now = SystemClock().now().isoformat()
    one = {"specversion": "1.0", "id": "e1", "source": "/t", "type": "a.b", "time": now}
    return json.dumps({**one, **more}).encode()


def post(hooked: Running, body: bytes, headers: Mapping[str, str], *, media: str = TYPE) -> Reply:
    return hooked.call("POST", "/webhooks/scan", body, **{"content-type": media, **headers})


def test_a_signed_event_is_taken_and_every_refusal_says_why_with_its_status(hooked: Running) -> None:
    body, now = event(), SystemClock().now()
    good = signed("msg_1", now, body, SECRET)

    taken = post(hooked, body, good)
    assert (taken.status, taken.json["outcome"], taken.json["rule"]) == (202, "ignored", None)
    again = post(hooked, body, good)
    assert (again.status, again.json["code"]) == (409, "webhook-refused")
    late = signed("msg_2", now - timedelta(minutes=6), body, SECRET)
    forged = signed("msg_3", now, body, b"another secret, as long as that one")
    for headers, says in ((late, "off the clock"), (forged, "no signature"), ({}, "are needed")):
        refused = post(hooked, body, headers)
        assert refused.status == 401 and says in str(refused.json["detail"])
        assert refused.headers["content-type"] == "application/problem+json"
    old = event(id="e2", time="2020-01-01T00:00:00Z")
    assert post(hooked, old, signed("msg_4", now, old, SECRET)).status == 422
    assert post(hooked, b"[", signed("msg_5", now, b"[", SECRET)).status == 422
    assert post(hooked, body, good, media="text/plain").status == 415
    assert post(hooked, b" " * 70_000, good).status == 413
    assert hooked.call("POST", "/webhooks/other", body, **{"content-type": TYPE, **good}).status == 404
    assert hooked.call("POST", "/webhooks/scan", body, Host="evil.example", **good).status == 421
    assert hooked.call("GET", "/webhooks/scan").status == 405


def test_without_its_secret_a_webhook_takes_nothing_and_may_be_tried_again(hooked: Running) -> None:
    body = event(id="e3")
    headers = signed("msg_6", SystemClock().now(), body, SECRET)
    (hooked.root / "hook").unlink()

    refused = post(hooked, body, headers)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    (hooked.root / "hook").write_text(SECRET.decode())
    (hooked.root / "hook").chmod(0o600)
    assert post(hooked, body, headers).status == 202
