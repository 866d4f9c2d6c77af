"""API tokens: made once, kept as digests, good for what they are for, and over when they are over."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.door import Act, Matter, ServiceRole, ServiceScope
from rexecop.app.doors import FAILURES_MAX, FAILURES_SECONDS, PEERS_MAX, RootDoor, Throttle
from rexecop.app.errors import CallerThrottled, CallerUnknown, Forbidden, TokenRefused
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.root import Root
from rexecop.app.serving import Serving
from rexecop.app.settings import Settings
from rexecop.app.tokens import TokenAsked, TokenBook, Tokens, TokenView, read_tokens
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.instance import Note
from rexecop.proof.vocabulary import Established
from tests.app.support import records
from tests.service.conftest import fresh_root
from tests.sim.clock import SimClock

PEER: Final = "192.0.2.7"
LEGACY: Final = "a-token-of-some-length"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    settings = fresh_root(tmp_path_factory.mktemp("tokens"))
    path = settings.root / "authzen.yaml"
    path.write_text(f"callers: {{gate: '{digest_of(LEGACY.encode())}'}}\n")
    path.chmod(0o600)
    with Serving(open_instance(settings)) as found:
        yield found
