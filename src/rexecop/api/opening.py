"""Opening a root from Python, by the same settings as the command line."""

from __future__ import annotations

import os
from pathlib import Path

from rexecop.api import arguments as take
from rexecop.api.arguments import StrPath
from rexecop.api.instance import Instance
from rexecop.api.sync import SyncInstance
from rexecop.app import build
from rexecop.app.settings import Settings, load_settings


def open_instance(
    root: StrPath | None = None,
    *,
    identity: StrPath | None = None,
    profile: str | None = None,
    env: StrPath | None = None,
    target: str | None = None,
    mode: str | None = None,
    storage: str | None = None,
) -> Instance:
    """Open a runtime root; use it as `async with open_instance(…) as rexecop:`, or close it.

    `identity` is the private key that establishes who asks; without one it is the user of the system.
    `profile`, `env`, `target` and `mode` are what `plan` takes where it is told nothing else. What is not
    given is as for commands: from `REXECOP_…`, `rexecop.toml` here, or the user's own file.

    Raises:
        RootMissing, RootUnsafe: there is no usable root; `rexecop init` makes one.
        SettingsError: a setting is not usable. StoreError: the ledger cannot be opened.
    """
    return Instance(build.open_instance(_settings(root, identity, profile, env, target, mode, storage)))


def open_instance_sync(
    root: StrPath | None = None,
    *,
    identity: StrPath | None = None,
    profile: str | None = None,
    env: StrPath | None = None,
    target: str | None = None,
    mode: str | None = None,
    storage: str | None = None,
) -> SyncInstance:
    """Open a runtime root for a program without an event loop: `with open_instance_sync(…) as rexecop:`.

    Arguments and errors are those of `open_instance`.
    """
    settings = _settings(root, identity, profile, env, target, mode, storage)
    return SyncInstance(Instance(build.open_instance(settings)))


def _settings(
    root: object,
    identity: object,
    profile: object,
    env: object,
    target: object,
    mode: object,
    storage: object,
) -> Settings:
    paths = {"root": root, "identity": identity, "env": env}
    words = {"profile": profile, "target": target, "mode": mode, "storage": storage}
    given = {name: str(take.path(name, value)) for name, value in paths.items() if value is not None}
    given |= {name: take.text(name, value) for name, value in words.items() if value is not None}
    return load_settings(dict(given), os.environ, Path.cwd(), Path(os.path.expanduser("~")))
