"""The one place that wires: settings in, an instance out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from rexecop.app.access import Outside
from rexecop.app.approving import Approving
from rexecop.app.authority import RootAuthority
from rexecop.app.catalogs import base_of
from rexecop.app.clock import SystemClock, SystemIds, uuid7_hex
from rexecop.app.contents import PinnedContents
from rexecop.app.cutting import Cutter
from rexecop.app.doctor import Doctor
from rexecop.app.drifting import Drift
from rexecop.app.errors import RootUnwritable
from rexecop.app.evidence import Evidence
from rexecop.app.files import read_file, reason_of, require_private, write_new
from rexecop.app.halting import Halting
from rexecop.app.handlers import InstalledHandlers
from rexecop.app.heads import HeadsKeeper
from rexecop.app.identity import Identity, identify, os_user
from rexecop.app.instance import Instance, Parts
from rexecop.app.instance_key import INSTANCE_PERSON, InstanceKey
from rexecop.app.isolation import Isolations, LazyLanes
from rexecop.app.keyring import Keyring
from rexecop.app.ledger import Place, ledger_of
from rexecop.app.lifecycle import Lifecycle
from rexecop.app.notices import RootNotices
from rexecop.app.observing import Observing
from rexecop.app.planner import Planner
from rexecop.app.profiles import built_in_folder
from rexecop.app.root import Root
from rexecop.app.rootid import Remembering, doubt, mark_of
from rexecop.app.secrets import Locator
from rexecop.app.service_file import ServiceFileReader
from rexecop.app.settings import Settings, project_file_text
from rexecop.app.sinks import UNSEEN, Sinks, sinks_file
from rexecop.app.stamps import Stamps
from rexecop.app.standing import StandingApprovals
from rexecop.app.telling import Telling
from rexecop.app.tracing import telling
from rexecop.app.views import InitView
from rexecop.app.witness import Witnesses
from rexecop.engines.driver import Driver
from rexecop.engines.runner import runner_id
from rexecop.engines.world import World
from rexecop.governance.entities import read_entities
from rexecop.governance.starter import files as starter_files
from rexecop.keys import create_key
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.slots import RootQuota
from rexecop.lanes.targets import NodeAccess
from rexecop.proof.checkpoint import Checkpoint, origin_of, sign
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import Principal
from rexecop.proof.signer import Signer
from rexecop.proof.vocabulary import Role
from rexecop.store.ledger import LedgerStore

DEFAULT_ROOT: Final = ".rexecop"
SCRATCH: Final = "rexecop-hello"  # Beside the root: no program of a call may see into the root itself.
GITIGNORE: Final = (
    b"# A runtime root holds private keys and evidence; it never belongs into a repository.\n*\n"
)

ALONE: Final = (
    "a change is asked for by one person and approved by another, whose key the first did not enrol; "
    "add one, like `'alice': {{groups: [approvers]}}`, to the people in `{}`"
)


async def init_root(
    settings: Settings,
    *,
    others: tuple[str, ...] = (),
    approver: str | None = None,
    sinks: tuple[str, ...] = (),
    hello: bool = True,
) -> InitView:
    """Make a runtime root, or complete one; what is there is never overwritten.

    `others` are further people of the starter pack, `approver` whose key is made
    (the caller's without one), `sinks` where checkpoints go, as `file:PATH` or `git:PATH`.
    Without `hello` nothing is written beside the root.

    Raises:
        RootUnwritable: it cannot be made. RootUnsafe: somebody else could write it.
    """
    root, me = Root(settings.root), os_user()
    place = ledger_of(root, settings.storage, uuid7_hex())
    made: list[str] = []
    kept: list[str] = []
    try:
        for folder in (root.path, root.policy, root.policy / "starter"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RootUnwritable(
            f"`{root.path}` cannot be made: {reason_of(error)}", path=str(root.path)
        ) from error
    require_private(root.path)
    person = approver or me.person
    people = tuple(name for name in (*others, person) if name != me.person)
    named = {root.sinks: sinks_file(sinks)} if sinks else {}
    for path, data in (_initial_files(root, me.person, people, hello=hello) | named).items():
        (made if write_new(path, data) else kept).append(_shown(path, root))
    key, fresh_key = _instance_key(root)
    (made if fresh_key else kept).append(_shown(root.instance_key, root))
    fresh = not root.anchor.exists()
    store = _create(root, key, place) if fresh else _brought_up(root, key, place)
    (made if fresh else kept).append(_shown(root.anchor, root))
    try:
        key.follow(store, store.instance_id)
        signer, approver_key, instance = key.signer(), root.keys / "approver", store.instance_id
        await _enrol(store, root, signer, person, me)
        keys = Keyring(store, SystemClock(), instance).view()
    finally:
        store.close()
    Isolations(root.path / "isolation.json").probes()
    # The first approver's key is the one in the root: its person cannot ask for what it approves.
    holder = next((key.person for key in keys if key.role == Role.APPROVER), person)
    requesters = _requesters(root, {me.person, holder})
    asker = requesters[0] if requesters else "alice"
    return InitView(
        root=str(root.path),
        instance=instance,
        created=tuple(made),
        existing=tuple(kept),
        instance_key=signer.public.fingerprint,
        approver_key=str(approver_key) if approver_key.exists() else None,
        notice=None if requesters else ALONE.format(_shown(root.policy / "starter" / "entities.yaml", root)),
        sinks=None if root.sinks.exists() else UNSEEN,
        next=(
            "rexecop run host_facts --mode read_only",
            "rexecop doctor",
            *(() if root.sinks.exists() else ("rexecop init --sink file:/mnt/elsewhere/checkpoints",)),
            "rexecop demo",
            f"rexecop keys new {asker}.key --person {asker} --role requester",
            f"rexecop plan --identity {asker}.key --intent set_greeting --mode apply -p greeting=hi",
            f"rexecop approve @ --key {_shown(approver_key, root)}",
        ),
    )


def _requesters(root: Root, known: set[str]) -> list[str]:
    """Return who of the starter pack may ask for a change that the approver's key can approve."""
    path = root.policy / "starter" / "entities.yaml"
    try:
        return [name for name in read_entities(read_file(path), source=path.name).people if name not in known]
    except RexecopError:
        return ["alice"]  # `doctor` says what is wrong with the pack.


def _initial_files(root: Root, me: str, others: tuple[str, ...], *, hello: bool) -> dict[Path, bytes]:
    pack = starter_files(me, others)
    files = {
        root.path / ".gitignore": GITIGNORE,
        **{root.policy / "starter" / path: data for path, data in pack.items()},
    }
    if not hello:
        return files
    environment = read_file(built_in_folder().parent / "hello.environment.yaml")
    scratch = (root.path.parent / SCRATCH).resolve()
    home = root.path.parent
    inside = root.environment.relative_to(home) if home == Path.cwd() else root.environment
    defaults = project_file_text({"profile": "hello", "env": str(inside), "target": "localhost"})
    return {
        **files,
        root.environment: environment.replace(b"@SCRATCH_DIRECTORY@", str(scratch).encode()),
        scratch / "greeting.txt": b"hello\n",
        home / "rexecop.toml": defaults.encode(),
    }


def _shown(path: Path, root: Root) -> str:
    return str(path.relative_to(root.path.parent)) if path.is_relative_to(root.path.parent) else str(path)


def _instance_key(root: Root) -> tuple[InstanceKey, bool]:
    fresh = not root.instance_key.exists()
    if fresh:
        root.keys.mkdir(mode=0o700, exist_ok=True)
        create_key(root.instance_key, "rexecop instance")
    return InstanceKey(root), fresh


async def _enrol(store: LedgerStore, root: Root, signer: Signer, person: str, me: Principal) -> None:
    """Enrol the instance key, and make and enrol an approver key, once."""
    keyring = Keyring(store, SystemClock(), store.instance_id)
    known = {view.role for view in keyring.view()}
    if str(Role.INSTANCE) not in known:
        await keyring.enrol(signer.public, INSTANCE_PERSON, Role.INSTANCE, me)
    if str(Role.APPROVER) not in known and not (root.keys / "approver").exists():
        await keyring.create(root.keys / "approver", person, Role.APPROVER, me)


def _create(root: Root, key: InstanceKey, place: Place) -> LedgerStore:
    place.create("in_" + uuid7_hex())
    return open_ledger(root, key, place)


def _brought_up(root: Root, key: InstanceKey, place: Place) -> LedgerStore:
    place.migrate()
    return open_ledger(root, key, place)


def migrate(settings: Settings) -> tuple[int, int] | None:
    """Bring the schema of the ledger up to date; return its number before and after.

    None where there is no root: whoever opens it is told.

    Raises:
        RootUnsafe: somebody else could write the root. StoreUnavailable: see `Place`.
    """
    root = Root(settings.root)
    if not root.anchor.exists():
        return None
    root.require()
    return ledger_of(root, settings.storage).migrate()


def open_ledger(root: Root, key: InstanceKey, place: Place | None = None) -> LedgerStore:
    """Open the ledger of `root`; one that may be another than was last written only takes reads.

    It is where the root remembers it, if `place` does not say where.

    Raises:
        StoreError: it cannot be opened.
    """
    place = place or ledger_of(root)
    with place.open(read_only=True) as ledger:
        instance, epoch, kept = ledger.instance_id, ledger.epoch, ledger.identity
        here = mark_of(root, instance)
        reason = doubt(root, ledger, here)
    signing = Remembering(_checkpoints(instance, epoch, key), root.newest_checkpoint)
    store = place.open(checkpointer=signing, doubt=reason)
    if reason is None and kept != here.text():
        store.mark(here.text())
    return store


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Return `paths` that are some, without those in another: hiding a folder hides what is in it."""
    kept: list[str] = []
    for path in sorted({os.path.realpath(path) for path in paths if path}):
        if not any(path.startswith(f"{other}{os.sep}") for other in kept):
            kept.append(path)
    return tuple(kept)


class _checkpoints:
    """Signs checkpoints of one log with the instance's key in force."""

    def __init__(self, instance: str, epoch: int, key: InstanceKey) -> None:
        self._origin = origin_of(instance, epoch)
        self._key = key

    def __call__(self, size: int, root: bytes) -> bytes:
        return sign(Checkpoint(origin=self._origin, size=size, root=root), self._key.signer())


async def ensure_root(settings: Settings) -> InitView | None:
    """Make the default root where there is none; return what was made, None where one is.

    A root that was named somewhere is never made this way: a slip of the pen must not
    put another policy in force.

    Raises:
        RootMissing: the named root does not exist. RootUnwritable: it cannot be made.
    """
    root = Root(settings.root)
    if root.anchor.exists() or settings.root != Path.cwd() / DEFAULT_ROOT:
        return None
    return await init_root(settings, hello=False)


def _nodes(root: Root, key: InstanceKey) -> NodeAccess:
    return NodeAccess(socket=str(root.nodes), signing=key.signer, nonce=SystemIds().nonce)


def _lanes(
    root: Root,
    key: InstanceKey,
    isolations: Isolations,
    secrets: Secrets,
    private: tuple[str, ...],
    environ: Mapping[str, str],
) -> LazyLanes:
    """Return lanes whose programs see neither the root, nor the agent, nor the files `private`."""
    hidden = _outermost((str(root.path), environ.get("SSH_AUTH_SOCK", ""), *private))
    return LazyLanes(isolations, secrets, hidden, _nodes(root, key))


def _lifecycle(world: World, settings: Settings, drift: Drift) -> Lifecycle:
    margin = timedelta(milliseconds=settings.reconcile_margin_ms)
    return Lifecycle(world, Driver(world), margin, drift)


def open_instance(settings: Settings, environ: Mapping[str, str] = os.environ) -> Instance:
    """Open the root of `settings`; close the instance when done.

    Raises:
        RootMissing, RootUnsafe: there is no usable root. StoreError: the ledger cannot be opened.
    """
    root = Root(settings.root)
    root.require()
    key, place = InstanceKey(root), ledger_of(root, settings.storage, environ=environ)
    store, isolations = open_ledger(root, key, place), Isolations(root.path / "isolation.json")
    secrets = Secrets(locator := Locator(root, environ))
    lanes = _lanes(root, key, isolations, secrets, (*locator.files(), *place.openers()), environ)
    contents, instance = PinnedContents(store), store.instance_id
    key.follow(store, instance)
    notices = RootNotices(root, secrets, SystemClock(), SystemIds(), environ, instance)
    authority = RootAuthority(root, store, instance, contents, notices.tells)
    witnesses = Witnesses(store, authority.enrolments)
    sinks = Sinks(root, store, witnesses, authority.enrolments, environ)
    heads, cutter = HeadsKeeper(store, SystemClock(), instance), Cutter(store, instance, key.signer)

    def who() -> Identity:
        trusted = authority.enrolments() if settings.identity is not None else ()
        return identify(settings.identity, trusted, world.clock.now())

    observing, file = Observing(world=lambda: world, identity=who), ServiceFileReader(root)
    world = World(
        store=telling(store, settings.log),
        lanes=lanes,
        authority=authority,
        contents=contents,
        clock=SystemClock(),
        ids=SystemIds(),
        signing=key.signer,
        runner=runner_id(),
        permit_seconds=settings.permit_seconds,
        sound=sinks.require_agreement,
        quota=RootQuota(root.quota),
        opinions=Outside(root, secrets),
        observe=observing.again,
        notices=notices,
        handlers=InstalledHandlers(lanes, isolations.reached),
        capacity=settings.capacity,
    )
    return Instance(
        Parts(
            settings=settings,
            store=store,
            world=world,
            authority=authority,
            keyring=Keyring(store, world.clock, instance),
            key=key,
            planner=(planner := Planner(world, authority, contents, isolations.reached, secrets)),
            drift=(drift := Drift(planner, contents, store, base_of(settings.root))),
            observing=observing,
            lifecycle=_lifecycle(world, settings, drift),
            approving=Approving(world, authority, environ, lambda: file.read().issuer),
            standing=StandingApprovals(world, authority, environ),
            evidence=Evidence(store, cutter, heads, key.signer, settings.kernel_guard_key),
            stamps=Stamps(store, instance, world.ids),
            heads=heads,
            witnesses=witnesses,
            sinks=sinks,
            doctor=Doctor(root, store, world, authority, isolations.probes, sinks.check, notices.check),
            halting=Halting(world, store),
            telling=Telling(world, notices),
            secrets=secrets,
            ledger=store,
            closing=(lanes, sinks, store),
        )
    )
