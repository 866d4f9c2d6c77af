"""The tour: real operations on this machine, each step checked before it is told.

A step that is not what it should be ends the tour as failed; nothing is only said.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rexecop.app.build import init_root, open_instance
from rexecop.app.errors import RootUnwritable
from rexecop.app.evidence import Asked
from rexecop.app.files import reason_of, write_new
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings, load_settings
from rexecop.app.verifying import verify_bundle
from rexecop.app.views import OperationView
from rexecop.engines.caller import Caller
from rexecop.engines.driver import Driver
from rexecop.engines.errors import TooEarly
from rexecop.engines.streaming import Streaming
from rexecop.governance.errors import SelfApproval
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.targets import Seen
from rexecop.operations.next import Make
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.canonical import Digest
from rexecop.proof.permit import Permit
from rexecop.proof.verify import Report, Rung
from rexecop.proof.vocabulary import Effect, Grade, Isolation

ATTEMPT_WAIT_SECONDS: Final = 10.0  # A loaded machine may take this long to start an interpreter.
POLL_SECONDS: Final = 0.02

GREETING: Final = "hello from a governed change"

FORBID: Final = b"""\
@id("production-is-not-for-demos")
@reason("a demonstration never changes a critical target")
forbid (principal, action in Action::"change", resource)
when { resource.criticality == "critical" };
"""

ENVIRONMENT: Final = """\
environment:
  id: {id}
  profile: hello
  values:
    scratch_directory: "{scratch}"
  targets:
    {target}: {{type: host, criticality: low}}
    production: {{type: host, criticality: critical}}
  connectors:
    local: {{backend: process}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStep:
    """One step of the tour: what was done, what was seen, and whether that is what must be."""

    name: str
    title: str
    ok: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The whole tour. `bundle` is gone afterwards unless a folder to keep was named."""

    ok: bool
    verdict: str
    folder: str
    bundle: str
    kept: bool
    steps: tuple[DemoStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _People:
    """Who plays: `asker` asks, `approver` approves; each has a key of their own."""

    asker: str
    approver: str
    keys: Path

    def key(self, person: str) -> Path:
        return self.keys / person


class _EditingCaller(Caller):
    """A runner somebody tampered with: it edits the argument after the permit was given."""

    async def _dispatch(
        self, make: Make, attempt: Digest, permit: Permit, seen: Seen, streaming: Streaming | None
    ) -> LaneResult:
        request = make.call.request
        if make.call.effect is Effect.CHANGE and isinstance(request, ProcessRequest):
            edited = replace(make.call, request=replace(request, stdin="something else entirely\n"))
            make = replace(make, call=edited)
        return await super()._dispatch(make, attempt, permit, seen, streaming)


def run_demo(keep: Path | None, report: Callable[[DemoStep], None]) -> DemoResult:
    """Run the tour in `keep`, or in a folder that is removed; `report` hears of each step.

    Raises:
        RootUnwritable: the folder cannot be used.
    """
    with _folder(keep) as folder:
        steps: list[DemoStep] = []

        def tell(step: DemoStep) -> None:
            steps.append(step)
            report(step)

        bundle = asyncio.run(_Tour(folder, tell).run())
        ok = all(step.ok for step in steps)
        return DemoResult(
            ok=ok,
            verdict="everything above was done, recorded and verified"
            if ok
            else "something was not as it must be",
            folder=str(folder),
            bundle=str(bundle),
            kept=keep is not None,
            steps=tuple(steps),
        )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="rexecop-demo-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise RootUnwritable(f"`{keep}` is not empty; the tour takes an empty folder", path=str(keep))
    except OSError as error:
        raise RootUnwritable(f"`{keep}` cannot be used: {reason_of(error)}", path=str(keep)) from error
    yield keep.resolve()


class _Tour:
    """The steps, in the order they are told."""

    def __init__(self, folder: Path, tell: Callable[[DemoStep], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._scratch = folder / "rexecop-hello"
        # A killed runner leaves its target locked, so the crash has a target and a file of its own.
        self._crash_scratch = folder / "crash"
        names = [name for name in ("alice", "bob", "carol") if name != os_user().person]
        self._people = _People(asker=names[0], approver=names[1], keys=folder / "people")
        self._settings = self._demo_settings()

    def _demo_settings(self) -> Settings:
        flags = {
            "root": str(self._folder / ".rexecop"),
            "identity": str(self._people.key(self._people.asker)),
        }
        plain = load_settings(flags, {}, self._folder, self._folder)
        # Short leave, so that what a killed runner left behind can be settled within the tour.
        return replace(plain, permit_seconds=1, reconcile_margin_ms=50)

    @property
    def _greeting(self) -> str:
        return (self._scratch / "greeting.txt").read_text(encoding="utf-8")

    async def run(self) -> Path:
        """Run every step and return the bundle's path."""
        await self._prepare()
        with open_instance(self._settings, {}) as instance:
            async with self._killed_runner(instance) as lost:
                await self._read(instance)
                change = await self._change(instance)
                await self._forbidden(instance)
                await self._own_approval(instance)
                await self._edited(instance)
                await self._settle(instance, lost)
            return self._prove(instance, change)

    async def _prepare(self) -> None:
        asker, approver = self._people.asker, self._people.approver
        await init_root(self._settings, others=(asker, approver))
        root = self._settings.root
        write_new(root / "policy" / "starter" / "demo.cedar", FORBID)
        write_new(self._crash_scratch / "greeting.txt", b"hello\n")
        for target, scratch in (("laptop", self._scratch), ("workbench", self._crash_scratch)):
            text = ENVIRONMENT.format(id=target, target=target, scratch=scratch)
            write_new(self._folder / f"{target}.yaml", text.encode())
        self._people.keys.mkdir(mode=0o700)
        with open_instance(replace(self._settings, identity=None), {}) as instance:
            for person in (asker, approver):
                await instance.key_new(person, "approver", self._people.key(person))

    def _ask(self, intent: str, target: str, mode: str, greeting: str | None = None) -> PlanInput:
        place = "workbench" if target == "workbench" else "laptop"
        return PlanInput(
            profile="hello",
            env=str(self._folder / f"{place}.yaml"),
            intent=intent,
            target=target,
            mode=mode,
            parameters={"greeting": greeting} if greeting is not None else None,
            reason="the tour",
            channel="demo",
            # One observed change is enough to see; the others plan without a look.
            observe=None if greeting == GREETING else False,
        )

    async def _approve(self, instance: Instance, operation: str, person: str) -> OperationView:
        return await instance.approve(operation, key=self._people.key(person), reason="read the preview")

    # --- a read ---

    async def _read(self, instance: Instance) -> None:
        view = await instance.plan(self._ask("host_facts", "laptop", "read_only"))
        view = await instance.start(view.operation_id)
        facts = next((step.facts for step in reversed(view.steps) if step.facts), {}) or {}
        steps = [step for step in view.steps if step.isolation is not None]
        self._tell(
            DemoStep(
                name="a",
                title="reads facts of this very machine",
                ok=view.state == "completed" and view.validation == "passed",
                lines=(
                    f"allowed: {_reason(view)}",
                    f"{len(steps)} programs ran under `{steps[0].isolation}`, reads are `{steps[0].grade}`",
                    f"host {facts.get('hostname')}, {facts.get('kernel')}",
                    f"{view.state}, {view.records} records",
                ),
            )
        )

    # --- a change, approved by a second person, and its undo ---

    async def _change(self, instance: Instance) -> str:
        before = self._greeting
        view = await instance.plan(self._ask("set_greeting", "laptop", "apply", GREETING))
        waited = view.state == "waiting_for_approval"
        why = instance.why(view.operation_id).lines[0]
        view = await self._approve(instance, view.operation_id, self._people.approver)
        view = await instance.start(view.operation_id)
        after = self._greeting
        validated = instance.validate(view.operation_id).verdict
        undone = await instance.rollback(view.operation_id, "the tour shows the way back")
        self._tell(
            DemoStep(
                name="b",
                title=f"changes a file after {self._people.approver} approved, and takes it back",
                ok=waited
                and view.state == "completed"
                and after == f"{GREETING}\n"
                and undone.state == "undone"
                and self._greeting == before,
                lines=(
                    why,
                    f"signed by {', '.join(view.approved_by)} with their own key; asked by {view.requester}",
                    f"ran: the file says {after.strip()!r}; validation {validated}",
                    f"rolled back: the file says {self._greeting.strip()!r} again; {undone.state}",
                ),
            )
        )
        return view.operation_id

    # --- refusals ---

    async def _forbidden(self, instance: Instance) -> None:
        view = await instance.plan(self._ask("set_greeting", "production", "apply", "oops"))
        self._tell(
            DemoStep(
                name="c",
                title="refuses what policy forbids, and records the refusal",
                ok=view.state == "blocked" and view.receipt is not None,
                lines=(_reason(view), f"{view.state}, with a signed receipt of the refusal"),
            )
        )

    async def _own_approval(self, instance: Instance) -> None:
        view = await instance.plan(self._ask("set_greeting", "laptop", "apply", "approved by myself"))
        try:
            await self._approve(instance, view.operation_id, self._people.asker)
            refused = "the approval was accepted"
        except SelfApproval as error:
            refused = f"{error.message} [{error.code}]"
        after = instance.status(view.operation_id)
        noted = any(record.kind == "note/1" for record in instance.history(view.operation_id))
        self._tell(
            DemoStep(
                name="d",
                title="refuses the requester's own approval",
                ok="[self-approval]" in refused and after.state == "waiting_for_approval" and noted,
                lines=(refused, "the try itself is on record; the operation still waits"),
            )
        )

    async def _edited(self, instance: Instance) -> None:
        before = self._greeting
        view = await instance.plan(self._ask("set_greeting", "laptop", "apply", "what was approved"))
        await self._approve(instance, view.operation_id, self._people.approver)
        tampered = instance.driven_by(lambda world: Driver(world, _EditingCaller))
        view = await tampered.start(view.operation_id)
        step = next(item for item in view.steps if item.effect == "change")
        self._tell(
            DemoStep(
                name="e",
                title="refuses at the lane an argument that was edited after approval",
                ok=step.ended == "refused"
                and step.error_class == "permit_mismatch"
                and self._greeting == before,
                lines=(
                    f"{step.message}",
                    f"step `{step.id}` {step.ended}; the file still says {before.strip()!r}",
                ),
            )
        )

    # --- a killed runner ---

    @asynccontextmanager
    async def _killed_runner(self, instance: Instance) -> AsyncIterator[str]:
        """Kill a real runner process between its attempt and the outcome; yield the operation."""
        view = await instance.plan(self._ask("set_greeting", "workbench", "apply", "after the crash"))
        await self._approve(instance, view.operation_id, self._people.approver)
        with _held(self._crash_scratch / "greeting.lock"):
            await self._start_and_kill(instance, view.operation_id)
        yield view.operation_id

    async def _start_and_kill(self, instance: Instance, operation: str) -> None:
        """Start `rexecop start` as a process of its own and end it once its attempt is durable."""
        argv = (
            *(sys.executable, "-m", "rexecop", "--root", str(self._settings.root)),
            *("--identity", str(self._settings.identity), "start", operation),
        )
        env = {"REXECOP_PERMIT_SECONDS": str(self._settings.permit_seconds)}
        call = Call(
            target="laptop",
            connector="demo",
            action="runner",
            effect=Effect.CHANGE,
            request=ProcessRequest(argv=argv, env=env, cwd=str(self._folder)),
        )
        lane = ProcessLane(isolation={Isolation.NONE: Grade.SHAPE}, secrets=NO_SECRETS, hidden=())
        limits = Limits(timeout_ms=int(ATTEMPT_WAIT_SECONDS * 1000), output_bytes=65_536, grace_ms=0)
        running = asyncio.create_task(_drain(lane, call, limits))
        try:
            async with asyncio.timeout(ATTEMPT_WAIT_SECONDS):
                while not running.done() and not _change_is_open(instance.status(operation)):
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return  # The step that follows sees that nothing was lost, and says so.
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            lane.close()

    async def _settle(self, instance: Instance, operation: str) -> None:
        lost = instance.status(operation)
        early = "its permit had run out by then"  # On a machine that is slow.
        try:
            settled = await instance.reconcile(operation, probe=True)
        except TooEarly as error:
            early = error.message
            settled = await self._reconciled(instance, operation)
        resumed = await instance.resume(operation, "the probe says it did not happen")
        self._tell(
            DemoStep(
                name="f",
                title="survives a runner killed between attempt and outcome",
                ok=lost.state == "indeterminate"
                and settled.state == "paused"
                and resumed.state == "completed"
                and (self._crash_scratch / "greeting.txt").read_bytes() == b"after the crash\n",
                lines=(
                    f"after the kill: {lost.state}; nothing is retried on a guess",
                    early,
                    f"{settled.reason}",
                    f"resumed under the same ticket: {resumed.state}",
                ),
            )
        )

    async def _reconciled(self, instance: Instance, operation: str) -> OperationView:
        async with asyncio.timeout(ATTEMPT_WAIT_SECONDS):
            while True:
                try:
                    return await instance.reconcile(operation, probe=True)
                except TooEarly:
                    await asyncio.sleep(POLL_SECONDS)

    # --- proof ---

    def _prove(self, instance: Instance, operation: str) -> Path:
        path = self._folder / "change.rxb"
        view = instance.export(operation, Asked(path=path))
        trust = self._folder / "trust"
        trust.mkdir()
        for key in instance.trusted_keys():
            (trust / f"{key.role}-{key.person}.pub").write_text(key.public, encoding="ascii")
        whole = verify_bundle(path, trust_dir=trust, checkpoint=None, root=None)
        data = bytearray(path.read_bytes())
        middle = data.index(b'"what') if b'"what' in data else len(data) // 2
        data[middle] ^= 1
        flipped = self._folder / "tampered.rxb"
        flipped.write_bytes(bytes(data))
        broken = verify_bundle(flipped, trust_dir=trust, checkpoint=None, root=None)
        self._tell(
            DemoStep(
                name="g",
                title="exports evidence that a stranger verifies offline, and one flipped bit breaks",
                ok=whole.holds(Rung.LOGGED) and not broken.holds(Rung.LOGGED) and bool(broken.findings),
                lines=(
                    f"{view.records} records in {view.bytes} bytes: {whole.answer(Rung.LOGGED)}",
                    *_claims(whole),
                    f"one bit flipped: {_first_finding(broken)}",
                ),
            )
        )
        return path


def _reason(view: OperationView) -> str:
    return view.decision.reason if view.decision is not None else ""


def _claims(report: Report) -> Sequence[str]:
    claims = report.claims
    return (
        f"approvals signed by keys the verifier trusts: {claims.approvals_own} of {claims.approvals}",
        f"requester and approver are two persons: proved by {claims.duties}",
    )


def _first_finding(report: Report) -> str:
    return (
        f"{report.findings[0].code} {report.findings[0].message}" if report.findings else "nothing was found"
    )


def _change_is_open(view: OperationView) -> bool:
    return any(step.effect == "change" and step.state == "running" for step in view.steps)


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold the lock that the write of the greeting takes, so that it cannot end by itself."""
    with lock.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def _drain(lane: ProcessLane, call: Call, limits: Limits) -> None:
    async for _ in lane.open(call, limits, Isolation.NONE, 1, lambda: None):
        continue
