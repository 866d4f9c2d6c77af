"""An instance that works and remembers nothing on disk: plan, approve, start, and what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rexecop.app.evidence import Asked
from rexecop.app.views import (
    BlobLine,
    CheckView,
    DecisionView,
    DoctorView,
    EvidenceLine,
    EvidenceView,
    ExportView,
    KeyView,
    OperationLine,
    OperationView,
    OutputView,
    ReceiptView,
    RecordEvidence,
    RecordView,
    RuleView,
    SignatureLine,
    StepView,
    ValidationView,
    WhyView,
)
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.outcome import BlobRef

NOON: Final = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
ZERO: Final = "sha256:" + "0" * 64


class NoSuchOperation(RexecopError):
    """The fake has no such operation."""

    code = "operation-unknown"


class NotByTheRequester(RexecopError):
    """The fake was asked to approve with the requester's own key."""

    code = "self-approval"


def operation_id(number: int) -> str:
    return f"op_01984f2a-0000-7000-8000-{number:012d}"


def a_view(number: int, state: str, **changes: object) -> OperationView:
    """An operation in `state`, with one step."""
    step = StepView(id="greet", target="this-host", effect="read", state="planned", attempts=0)
    decision = DecisionView(
        verdict="approval_required" if state == "waiting_for_approval" else "allowed",
        reason="changes need one approval by someone else",
        rules=("starter/changes",),
        packs=("starter",),
        approvals_required=("1 of approvers",),
        approvals_missing=("1 of approvers",) if state == "waiting_for_approval" else (),
        obligations={},
    )
    view = OperationView(
        operation_id=operation_id(number),
        number=number,
        state=state,
        profile="hello",
        environment="local",
        intent="greet",
        target="this-host",
        mode="apply",
        requester="alice",
        established="os-user",
        created=NOON,
        updated=NOON + timedelta(seconds=number),
        records=3,
        decision=decision,
        steps=(step,),
        next=(f"rexecop show {number}",),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


class FakeInstance:
    """Operations by number; `@` is the last. `calls` is what was asked of it, in order."""

    def __init__(self, *views: OperationView) -> None:
        self.views = {view.number: view for view in views}
        self.calls: list[tuple[str, object]] = []
        self.reached = "completed"

    def resolve(self, name: str) -> str:
        for view in reversed(self.views.values()):
            if name in {"@", str(view.number)} or view.operation_id.startswith(name):
                return view.operation_id
        raise NoSuchOperation(f"no operation is named `{name}`", next_steps=("rexecop list",), name=name)

    def status(self, name: str) -> OperationView:
        found = self.resolve(name)
        return next(view for view in self.views.values() if view.operation_id == found)

    def _put(self, view: OperationView) -> OperationView:
        self.views[view.number] = view
        return view

    async def plan(self, asks: object) -> OperationView:
        self.calls.append(("plan", asks))
        number = len(self.views) + 1
        target = str(getattr(asks, "target", ""))
        state = {"needs-yes": "waiting_for_approval", "forbidden": "blocked"}.get(target, "approved")
        return self._put(a_view(number, state, target=target, mode=str(getattr(asks, "mode", ""))))

    async def start(self, name: str, *, timeout: float | None = None, **_: object) -> OperationView:
        self.calls.append(("start", timeout))
        view = self.status(name)
        if view.state != "approved":
            return view
        if self.reached == "running":
            raise TimeoutError
        done = replace(
            view.steps[0], state="done", ended="ok", attempts=1, duration_ms=12, facts={"name": "this-host"}
        )
        return self._put(replace(view, state=self.reached, steps=(done,), receipt=ZERO, validation="passed"))

    async def approve(
        self,
        name: str,
        *,
        key: Path | None,
        agent: bool = False,
        approves: bool = True,
        withdraws: bool = False,
        step: str | None = None,
        behalf: str | None = None,
        reason: str | None = None,
    ) -> OperationView:
        await self.may_approve(name, key=key, agent=agent)
        self.calls.append(("approve" if approves else "deny", reason))
        return self._put(replace(self.status(name), state="approved" if approves else "blocked"))

    async def may_approve(
        self,
        name: str,
        *,
        key: Path | None,
        agent: bool = False,
        approves: bool = True,
        withdraws: bool = False,
        step: str | None = None,
        behalf: str | None = None,
    ) -> None:
        if key == Path("own.key"):
            raise NotByTheRequester("`alice` asked for this and cannot approve it")

    def asked_in_words(self, name: str) -> str:
        return "terms: approval by 1 of `approvers`"

    async def reconcile(
        self, name: str, *, probe: bool, happened: bool | None, reason: str | None, step: str | None
    ) -> OperationView:
        self.calls.append(("reconcile", (probe, happened, reason, step)))
        return self._put(replace(self.status(name), state="completed"))

    async def _to(self, name: str, state: str, reason: str | None) -> OperationView:
        self.calls.append((state, reason))
        return self._put(replace(self.status(name), state=state))

    async def pause(self, name: str, reason: str | None = None) -> OperationView:
        return await self._to(name, "paused", reason)

    async def cancel(self, name: str, reason: str | None = None) -> OperationView:
        return await self._to(name, "cancelled", reason)

    async def escalate(self, name: str, reason: str | None = None) -> OperationView:
        return await self._to(name, "escalated", reason)

    async def resume(self, name: str, reason: str | None = None, waits: object = None) -> OperationView:
        return await self._to(name, "completed", reason)

    async def retry(self, name: str, reason: str | None = None, waits: object = None) -> OperationView:
        return await self._to(name, "failed", reason)

    async def rollback(self, name: str, reason: str | None = None, waits: object = None) -> OperationView:
        return await self._to(name, "undone", reason)

    def validate(self, name: str) -> ValidationView:
        view = self.status(name)
        rule = RuleView(rule="equals", verdict="failed", path="name", expected="that-host", found="this-host")
        return ValidationView(
            operation_id=view.operation_id, state=view.state, verdict="failed", rules=(rule,)
        )

    def preview(self, name: str) -> str:
        return f"operation {self.resolve(name)}\ncall 1 on this-host: uname -n\n"

    def history(self, name: str, seen: int = 0) -> tuple[RecordView, ...]:
        self.resolve(name)
        said = (("intent", "greet on this-host"), ("plan", "1 step"))
        return tuple(
            RecordView(
                n=n, kind=kind, at=NOON, by="alice (os-user)", digest=ZERO, summary=says, body={"n": n}
            )
            for n, (kind, says) in enumerate(said[seen:], seen)
        )

    def outputs(self, name: str, step: str | None = None, after: int = -1) -> tuple[OutputView, ...]:
        self.resolve(name)
        first = OutputView(
            n=4,
            step="greet",
            phase="do",
            target="this-host",
            stream="stdout",
            ref=BlobRef(commitment=Digest(ZERO), raw_bytes=9000, kept_bytes=20, truncated=True, redactions=2),
            text="good\tday\n\x1b[2Jcleared\u202e\n",
        )
        gone = replace(
            first, stream="stderr", ref=replace(first.ref, truncated=False, redactions=0), text=None
        )
        return (first, gone)

    def list(
        self,
        state: str | None = None,
        after: int = 0,
        limit: int = 100,
        where: Mapping[str, str] | None = None,
        since: datetime | None = None,
    ) -> tuple[OperationLine, ...]:
        found = [
            OperationLine(
                operation_id=v.operation_id,
                number=v.number,
                state=v.state,
                intent=v.intent,
                target=v.target,
                mode=v.mode,
                requester=v.requester,
                updated=v.updated,
                waiting="1 of approvers" if v.state == "waiting_for_approval" else "",
            )
            for v in reversed(self.views.values())
            if (after == 0 or v.number < after) and state in {None, v.state}
        ]
        return tuple(found[:limit])

    def why(self, name: str) -> WhyView:
        view = self.status(name)
        return WhyView(
            operation_id=view.operation_id,
            state=view.state,
            lines=("rule `starter/changes` asks for an approval",),
            next=("rexecop approve 1 --key FILE",),
        )

    def why_before(self, asks: object) -> WhyView:
        return WhyView(operation_id=None, state=None, lines=("policy would say: allowed",))

    def export(self, name: str, asked: Asked) -> ExportView:
        self.calls.append(("export", asked.path))
        found = self.resolve(name)
        page = asked.form == "report"
        return ExportView(
            operation_id=found,
            target=None,
            path=str(asked.path or f"{found}.{'html' if page else 'rxb'}"),
            format=asked.form,
            beside=(f"{found}.html.rxb",) if page else (),
            unrecorded="the disk is full" if page else None,
            bytes=4096,
            records=10,
            digest=ZERO,
            checkpoint_size=10,
        )

    def receipt(self, name: str) -> ReceiptView:
        receipt: dict[str, Json] = {
            "at": "2026-08-01T12:00:00.000Z",
            "attempts": 2,
            "head": ZERO,
            "obligations": [
                {"name": "receipt", "met": True, "how": "this receipt"},
                {"name": "no_network", "met": False, "how": "measured host"},
            ],
            "outcomes": {"ok": 1, "failed": 1},
            "reason": "step `greet` ended failed",
            "state": "failed",
        }
        return ReceiptView(
            operation_id=self.resolve(name),
            number=1,
            state="failed",
            digest=ZERO,
            receipt=receipt,
            envelope={"payload": "", "payloadType": "", "signatures": []},
            signatures=(SignatureLine(form="dsse", by="SHA256:instance", verdict="holds"),),
        )

    def evidence(self, name: str, step: str | None = None) -> EvidenceView:
        lines = [
            EvidenceLine(record=record, rests_on=(0,) if record.n else (), depth=record.n, leaf=7 + record.n)
            for record in self.history(name)
        ]
        access: dict[str, Json] = {"at": "2026-08-01T12:00:00.000Z", "by": {"person": "alice"}}
        return EvidenceView(
            operation_id=self.resolve(name),
            number=1,
            verdict="verified: logged, in a log of 57 records, by this instance's own keys",
            records=tuple(lines) if step in (None, "greet") else (),
            damaged=("record 2: its bytes are not those that were logged",),
            accesses=({**access, "action": "export", "digest": ZERO},),
        )

    def evidence_record(self, name: str, which: str) -> RecordEvidence:
        first = self.outputs(name)[0]
        return RecordEvidence(
            operation_id=self.resolve(name),
            line=self.evidence(name).records[int(which)],
            included="holds: leaf 7 of a log of 57 records",
            signatures=(SignatureLine(form="sshsig", by="SHA256:alice", verdict="WRONG: \x1b[2J"),),
            blobs=(BlobLine(name="stdout", ref=first.ref, state="erased by mara under keep-30-days"),),
        )

    def trusted_keys(self) -> tuple[KeyView, ...]:
        return (
            KeyView(
                person="bob",
                role="approver",
                fingerprint="SHA256:abc",
                public="ssh-ed25519 AAAA bob",
                since=NOON,
                enrolled_by="init",
                revoked=False,
            ),
        )

    def allowed_signers(self) -> str:
        return 'bob namespaces="approval@rexecop" ssh-ed25519 AAAA\n'

    def log_checkpoint(self) -> str:
        return "rexecop/test/1\n10\nAAAA\n\n— rexecop/test AAAA\n"

    def log_verify(self, *, trust: object, held: object) -> Mapping[str, Json]:
        return {"size": 10, "verdict": "consistent", "bad": None}

    def log_publish(self) -> tuple[CheckView, ...]:
        return (CheckView(name="file /mnt/kept", status="ok", message="checkpoint of 10 records"),)

    def witness_request(self, since: int | None) -> str:
        return f"old {since or 0}\n\nrexecop/test/1\n10\nAAAA\n\n— rexecop/test AAAA\n"

    def log_prove(self, name: str, n: int) -> Mapping[str, Json]:
        return {"operation_id": self.resolve(name), "n": n, "path": []}

    def log_consistency(self, old: int, new: int | None) -> Mapping[str, Json]:
        return {"old": old, "new": new, "path": []}

    def check(self, fix: bool = False, catalog: Path | None = None) -> DoctorView:
        checks = (CheckView(name="store", status="ok", message="10 records"),)
        return DoctorView(status="failed" if not fix else "ok", root=".rexecop", checks=checks)
