"""What the root's own files ask for, or let in, while nobody is at a keyboard: schedules and webhooks.

    webhooks:
      monitoring:
        secret: [monitoring-hook]      # references; several while one is exchanged for another
        profile: tecrax                # whose trigger rules decide
        env: site.environment.yaml     # paths are from the root; or `catalog`, for rules that name entries
        start: true                    # what a rule plans is started when it may
      inventory:
        caller: gateway                # of `authzen.yaml`, instead of a secret: tells events by its token
        profile: tecrax
        catalog: targets.yaml

Both are the operator's, and are read from the root only, where nobody else can write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from rexecop.app.errors import SchedulesRefused, WebhooksRefused
from rexecop.app.files import read_file, require_private
from rexecop.app.root import Root
from rexecop.app.views import CheckView
from rexecop.operations.reading import Node, Problems
from rexecop.operations.scheduling import Scheduled, read_schedules

WEBHOOKS_MAX: Final = 100
SECRETS_MAX: Final = 4  # The new one, the old one, and those of two more senders.

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One sender of events: who proves himself by secrets or as a caller, and what judges his events."""

    name: str
    secrets: tuple[str, ...]
    caller: str | None
    profile: str
    env: str | None
    catalog: str | None
    start: bool


def from_root(root: Path, path: str) -> str:
    """Return a path as one that a file of the root means."""
    return str(root / path)


def profile_from_root(root: Path, name: str) -> str:
    """Return the name of a profile, or the path to one, as a file of the root means it."""
    return from_root(root, name) if "/" in name else name


def judged_by(root: Path, hook: Webhook) -> tuple[str, str | None, str | None]:
    """Return profile, environment and catalog by which events of `hook` are judged, as paths."""
    env, catalog = (None if path is None else from_root(root, path) for path in (hook.env, hook.catalog))
    return profile_from_root(root, hook.profile), env, catalog


def root_schedules(root: Root) -> dict[str, Scheduled]:
    """Return the schedules of a root by name.

    Raises:
        RootUnsafe: others could change the file. SchedulesRefused: it is not what it should be.
    """
    return _read(root.schedules, SchedulesRefused, read_schedules)


def root_webhooks(root: Root) -> dict[str, Webhook]:
    """Return the webhooks of a root by name, none where there is no file.

    Raises:
        RootUnsafe: others could change the file. WebhooksRefused: it is not what it should be.
    """
    return _read(root.webhooks, WebhooksRefused, _webhooks) if root.webhooks.exists() else {}


def check_unattended(root: Root, path: Path) -> CheckView:
    """Return for `doctor` whether the file at `path` can be followed. Raises as the above."""
    found = root_schedules(root) if path == root.schedules else root_webhooks(root)
    return CheckView(name=path.stem, status="ok", message=f"{len(found)} {path.stem}")


def _read(
    path: Path,
    kind: type[SchedulesRefused | WebhooksRefused],
    read: Callable[[bytes, str, Problems], T],
) -> T:
    require_private(path)
    problems = Problems(kind.code)
    found = read(read_file(path), path.name, problems)
    for first in problems.findings[:1]:
        raise kind(first.text(), file=first.file, line=first.line, field=first.field, allowed=first.allowed)
    return found


def _webhooks(data: bytes, file: str, problems: Problems) -> dict[str, Webhook]:
    root = problems.parse(data, file)
    if root is None:
        return {}
    found = {name: _webhook(name, node) for name, node in root.section("webhooks").entries()}
    callers = [hook.caller for hook in found.values() if hook.caller]
    for caller in {caller for caller in callers if callers.count(caller) > 1}:
        root.refuse(f"two webhooks are of the caller `{caller:.60}`", found=caller[:60])
    if len(found) > WEBHOOKS_MAX:
        root.refuse(f"{len(found)} webhooks, at most {WEBHOOKS_MAX} are read", allowed=str(WEBHOOKS_MAX))
    return found


def _webhook(name: str, node: Node) -> Webhook:
    fields = node.fields("secret caller profile env catalog start", "profile")
    secrets, caller = fields.tokens("secret", SECRETS_MAX), fields.text("caller") or None
    if bool(secrets) == bool(caller):
        words = f"`{node.name}` says one of `secret` and `caller`: who proves himself how"
        node.refuse(words, allowed="secret: [REFERENCE, …], or caller: NAME")
    env, catalog = (fields.text(key) or None for key in ("env", "catalog"))
    if env is None and catalog is None:
        node.refuse(f"`{node.name}` says neither `env` nor `catalog`", allowed="a path from the root")
    return Webhook(
        name=name,
        secrets=secrets,
        caller=caller,
        profile=fields.text("profile"),
        env=env,
        catalog=catalog,
        start=fields.boolean("start"),
    )
