"""`doctor`: is this root sound, and what does this machine reach? Every line was measured just now."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

from rexecop.app.access import described
from rexecop.app.authority import RootAuthority
from rexecop.app.backends import backends_check
from rexecop.app.catalogs import catalog_check
from rexecop.app.doors import callers_in_words
from rexecop.app.files import require_private
from rexecop.app.root import Root
from rexecop.app.unattended import check_unattended
from rexecop.app.views import CheckView, DoctorView
from rexecop.engines.world import World
from rexecop.governance.lint import lint
from rexecop.lanes.probe import Probe
from rexecop.operations.fold import fold
from rexecop.operations.index import row_of
from rexecop.operations.ports import Journal, Row
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.halts import words
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Isolation, Role
from rexecop.store.ledger import LedgerStore

DISK_FREE_MIN = 64 * 1024 * 1024  # Below it a day of records may not fit.
EXPIRY_NOTICE = timedelta(days=30)  # Long enough to hand out a new key and have it compared.
REMEDIES = {
    "identity": "rexecop recover --new-epoch --reason TEXT",
    "log": "rexecop recover --full",
    "index": "rexecop doctor --fix",
}
LOCKS_SHOWN_MAX = 20  # Enough to see what is stuck; a busy site holds more.


class Doctor:
    """Looks at one root."""

    def __init__(
        self,
        root: Root,
        store: LedgerStore,
        world: World,
        authority: RootAuthority,
        probes: Callable[[], Mapping[Isolation, Probe]],
        sinks: Callable[[], CheckView],
        notices: Callable[[], CheckView],
    ) -> None:
        self._root = root
        self._store = store
        self._world = world
        self._authority = authority
        self._probes = probes
        self._sinks = sinks
        self._notices = notices

    def check(self, *, fix: bool, catalog: Path | None = None) -> DoctorView:
        """Return every check, of `catalog` too if given; with `fix` the index is rebuilt from the records."""
        checks = [
            self._guard("root", self._private),
            self._guard("identity", self._identity),
            self._guard("storage", self._storage),
            self._guard("log", self._log),
            self._guard("sinks", self._sinks),
            self._guard("index", lambda: self._index(fix)),
            self._guard("locks", self._locks),
            self._guard("keys", self._keys),
            self._guard("policy", self._policy),
            self._guard("halts", self._halts),
            *([self._guard("authzen", self._access)] if self._root.authzen.exists() else []),
            *(
                [self._guard("service", self._callers)]
                if self._root.service.exists() or self._root.tokens.exists()
                else []
            ),
            *([self._guard("notify", self._notices)] if self._root.notify.exists() else []),
            *([self._guard("catalog", lambda: catalog_check(catalog))] if catalog is not None else []),
            *(
                self._guard(path.stem, partial(check_unattended, self._root, path))
                for path in (self._root.schedules, self._root.webhooks)
                if path.exists()
            ),
            *backends_check(),
            self._guard("clock", self._clock),
            self._guard("disk", self._disk),
            *self._isolation(),
        ]
        statuses = {item.status for item in checks}
        status = next((name for name in ("failed", "warning") if name in statuses), "ok")
        wrong = {item.name for item in checks if item.status == "failed"}
        return DoctorView(
            status=status,
            root=str(self._root.path),
            checks=tuple(checks),
            next=tuple(command for name, command in REMEDIES.items() if name in wrong),
        )

    @staticmethod
    def _guard(name: str, look: Callable[[], CheckView]) -> CheckView:
        """Run one check; what it cannot find out counts as failed, and the others go on."""
        try:
            return look()
        except RexecopError as error:
            return CheckView(name=name, status="failed", message=error.message, facts={"code": error.code})
        except OSError as error:
            return CheckView(name=name, status="failed", message=str(error).lower())

    def _private(self) -> CheckView:
        for path in (self._root.path, self._root.anchor, self._root.instance_key, self._root.policy):
            require_private(path)
        return CheckView(name="root", status="ok", message="only its owner can write it")

    def _identity(self) -> CheckView:
        self._store.require_sure()
        return CheckView(
            name="identity", status="ok", message=f"last written here, epoch {self._store.epoch}"
        )

    def _access(self) -> CheckView:
        return CheckView(name="authzen", status="ok", message=described(self._root))

    def _callers(self) -> CheckView:
        said, ending = callers_in_words(self._root, self._world.clock.now())
        return CheckView(name="service", status="warning" if ending else "ok", message=said)

    def _storage(self) -> CheckView:
        found = self._store.condition()
        if found.faults:
            return CheckView(name="storage", status="failed", message=found.faults[0])
        return CheckView(
            name="storage",
            status="warning" if found.doubts else "ok",
            message="; ".join((found.words, *found.doubts)),
            facts={"records": self._store.size(), "epoch": self._store.epoch},
        )

    def _log(self) -> CheckView:
        report = self._store.verify_log()
        if report.bad is not None:
            message = f"record {report.bad.n} of {report.bad.operation_id}: {report.bad.reason}"
            return CheckView(name="log", status="failed", message=message)
        if report.quarantined:
            shown = ", ".join(f"record {item.n} of {item.operation_id}" for item in report.quarantined[:3])
            message = f"{len(report.quarantined)} quarantined ({shown}), all else recomputed"
            return CheckView(name="log", status="warning", message=message)
        return CheckView(
            name="log", status="ok", message=f"{report.size} records recomputed, chains and log agree"
        )

    def _index(self, fix: bool) -> CheckView:
        differences = self._store.rebuild_index(fold_row) if fix else self._store.compare_index(fold_row)
        if not differences:
            return CheckView(name="index", status="ok", message="equals what the records say")
        word = "rebuilt" if fix else "differ from the records"
        return CheckView(
            name="index",
            status="ok" if fix else "failed",
            message=f"{len(differences)} rows {word}",
        )

    def _locks(self) -> CheckView:
        held = [f"{lock.target} by #{lock.number}" for lock in self._store.locks()]
        more = f" and {len(held) - LOCKS_SHOWN_MAX} more" if len(held) > LOCKS_SHOWN_MAX else ""
        return CheckView(
            name="locks", status="ok", message=", ".join(held[:LOCKS_SHOWN_MAX]) + more or "none held"
        )

    def _keys(self) -> CheckView:
        now = self._world.clock.now()
        trusted = [item for item in self._authority.enrolments() if item.revoked is None]
        mine = self._world.signer.public.fingerprint
        own = [item for item in trusted if item.role is Role.INSTANCE and item.fingerprint == mine]
        if not own or not any(item.valid_at(now) for item in own):
            text = "has expired: `rexecop keys rotate`" if own else "is not enrolled in its ledger"
            return CheckView(name="keys", status="failed", message=f"the instance key {text}")
        approvers = sorted({item.person for item in trusted if item.role is Role.APPROVER})
        alone = len(approvers) < 2
        ending = [
            f"{item.role} key of {item.person} expires {format_time(item.expires)[:10]}"
            for item in trusted
            if item.role in (Role.INSTANCE, Role.APPROVER) and item.expires is not None
            if item.expires <= now + EXPIRY_NOTICE
        ]
        parts = (
            f"approvers: {', '.join(approvers) or 'none'}",
            *(("nobody approves their own operation, so enrol a second person",) if alone else ()),
            *ending,
        )
        status = "warning" if alone or ending else "ok"
        return CheckView(name="keys", status=status, message="; ".join(parts))

    def _policy(self) -> CheckView:
        policy = self._authority.policy()
        problem = policy.problem_at(self._world.clock.now())
        if problem is not None:
            return CheckView(name="policy", status="failed", message=f"everything is denied: {problem}")
        names = ", ".join(f"{pack.id} {pack.version}" for pack in policy.packs)
        found = [one for pack in self._authority.packs() for one in lint(pack) if one.severity == "error"]
        said = f"; `rexecop policy check` finds {len(found)} errors in what they say" if found else ""
        return CheckView(
            name="policy", status="warning" if found else "ok", message=f"in force: {names}{said}"
        )

    def _halts(self) -> CheckView:
        halts = "; ".join(map(words, self._authority.halts()))
        return CheckView(
            name="halts", status="warning" if halts else "ok", message=halts or "nothing is halted"
        )

    def _clock(self) -> CheckView:
        now = self._world.clock.now()
        newest = max((row.updated for _, row in self._store.rows(limit=1)), default=now)
        ahead = (newest - now).total_seconds()
        status = "ok" if ahead <= 5 else "failed"
        return CheckView(
            name="clock",
            status=status,
            message=f"newest record {max(0.0, -ahead):.0f} s ago"
            if ahead <= 5
            else f"{ahead:.0f} s before the newest record",
        )

    def _disk(self) -> CheckView:
        free = shutil.disk_usage(self._root.path).free
        return CheckView(
            name="disk",
            status="ok" if free >= DISK_FREE_MIN else "warning",
            message=f"{free // 1_000_000} MB free",
        )

    def _isolation(self) -> list[CheckView]:
        probes = self._probes()
        best = any(
            item.reached
            for name, item in probes.items()
            if name in (Isolation.BUBBLEWRAP, Isolation.LANDLOCK_SECCOMP)
        )
        checks = []
        for name, probe in probes.items():
            facts: dict[str, Json] = {"platform": sys.platform, **probe.facts}
            status = "ok" if probe.reached else ("ok" if best else "warning")
            message = (
                f"reached, reads are `{probe.grade}`" if probe.reached else f"not reached: {probe.reason}"
            )
            checks.append(CheckView(name=f"isolation {name}", status=status, message=message, facts=facts))
        return checks


def fold_row(journal: Journal) -> Row:
    """Return the index row that a journal's records make."""
    return row_of(fold(journal.records))
