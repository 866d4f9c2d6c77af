"""Opening a root from Python, by the same settings as the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict, Unpack

from rexecop.api import arguments as take
from rexecop.api.arguments import StrPath
from rexecop.api.instance import Instance
from rexecop.api.sync import SyncInstance
from rexecop.app import build
from rexecop.app.settings import Settings, load_settings


class Chosen(TypedDict, total=False):
    """Settings that are chosen; others are as for commands: `REXECOP_…`, `rexecop.toml`, the user's file.

    `identity` is the private key that establishes who asks; without one it is the user of the system.
    `profile`, `env`, `target` and `mode` are what `plan` takes where it is told nothing else.
    """

    identity: StrPath | None
    profile: str | None
    env: StrPath | None
    target: str | None
    mode: str | None
    storage: str | None


def open_instance(root: StrPath | None = None, **chosen: Unpack[Chosen]) -> Instance:
    """Open a runtime root; use it as `async with open_instance() as instance:`, or close it.

    Raises:
        RootMissing, RootUnsafe: there is no usable root; `rexecop init` makes one.
        SettingsError: a setting is not usable. StoreError: the ledger cannot be opened.
    """
    return Instance(build.open_instance(_settings(root, **chosen)))


def open_instance_sync(root: StrPath | None = None, **chosen: Unpack[Chosen]) -> SyncInstance:
    """Do as `open_instance` for a program without an event loop: `with open_instance_sync() as instance:`."""
    return SyncInstance(open_instance(root, **chosen))


def _settings(
    root: StrPath | None,
    *,
    identity: StrPath | None = None,
    profile: str | None = None,
    env: StrPath | None = None,
    target: str | None = None,
    mode: str | None = None,
    storage: str | None = None,
) -> Settings:
    paths = {"root": root, "identity": identity, "env": env}
    words = {"profile": profile, "target": target, "mode": mode, "storage": storage}
    given = {name: str(take.path(name, value)) for name, value in paths.items() if value is not None}
    given |= {name: take.text(name, value) for name, value in words.items() if value is not None}
    return load_settings(dict(given), os.environ, Path.cwd(), Path(os.path.expanduser("~")))
