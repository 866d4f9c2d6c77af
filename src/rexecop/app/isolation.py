"""What this machine's isolation reaches: measured once per boot and kept in the root.

The measurement decides what plans ask for. Each call measures again at its start
gate, so a stale note can refuse a call but never weaken one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rexecop.app.files import read_file
from rexecop.engines.runner import boot_id
from rexecop.lanes.port import Lane
from rexecop.lanes.probe import CLASSES, Probe, grades_of, measure_isolation
from rexecop.lanes.seat import Seat
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.table import LANES, LaneSettings
from rexecop.lanes.targets import NodeAccess
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Grade, Isolation

NOTE_BYTES_MAX: Final = 64 * 1024  # Every class with what was measured of each.
_CLASSES: Final = {str(item): item for item in Isolation}
_GRADES: Final = {str(item): item for item in Grade}


class Isolations:
    """The isolation classes of this machine, measured when first asked for."""

    def __init__(self, note: Path) -> None:
        self._note = note
        self._probes: dict[Isolation, Probe] | None = None

    def reached(self) -> dict[Isolation, bool]:
        """Return which classes work here."""
        return {name: probe.reached for name, probe in self.probes().items()}

    def grades(self) -> dict[Isolation, Grade]:
        """Return the reached classes with the best read grade of each."""
        return grades_of(self.probes())

    def probes(self) -> dict[Isolation, Probe]:
        """Return the measurements of this boot."""
        if self._probes is None:
            self._probes = self._kept() or self.measure()
        return self._probes

    def measure(self) -> dict[Isolation, Probe]:
        """Measure now, and keep the result where that is possible."""
        self._probes = measure_isolation()
        kept: dict[str, Json] = {
            str(name): {
                "reached": probe.reached,
                "reason": probe.reason,
                "grade": str(probe.grade),
                "facts": dict(probe.facts),
            }
            for name, probe in self._probes.items()
        }
        try:
            part = self._note.with_name(f"{self._note.name}.{os.getpid()}.part")
            part.touch(mode=0o600)
            part.write_bytes(canonical_bytes({"machine": _machine(), "classes": kept}))
            part.replace(self._note)
        except OSError:
            return self._probes  # A root that cannot be written costs a measurement per run, no more.
        return self._probes

    def _kept(self) -> dict[Isolation, Probe] | None:
        try:
            note = parse_json(read_file(self._note), bytes_max=NOTE_BYTES_MAX)
        except RexecopError:
            return None
        if not isinstance(note, dict) or note.get("machine") != _machine():
            return None
        return _read_classes(note.get("classes"))


def _read_classes(classes: Json) -> dict[Isolation, Probe] | None:
    if not isinstance(classes, dict):
        return None
    found: dict[Isolation, Probe] = {}
    for name, item in classes.items():
        if name not in _CLASSES or not isinstance(item, dict):
            return None
        facts, reason, grade = item.get("facts"), item.get("reason"), item.get("grade")
        found[_CLASSES[name]] = Probe(
            reached=item.get("reached") is True,
            reason=reason if isinstance(reason, str) else "",
            grade=_GRADES.get(str(grade), Grade.SHAPE),
            facts=facts if isinstance(facts, dict) else {},
        )
    return found if len(found) == len(CLASSES) else None


def _machine() -> str:
    """Return what a measurement holds for: this boot, this user, this bubblewrap, this gVisor."""
    found = ":".join(shutil.which(name) or f"no-{name}" for name in ("bwrap", "runsc"))
    return f"{boot_id()}:{os.getuid()}:{found}"


class LazyLanes(Mapping[str, Lane]):
    """The lanes by request kind, each made when the first call needs it."""

    def __init__(
        self, isolations: Isolations, secrets: Secrets, hidden: tuple[str, ...], nodes: NodeAccess
    ) -> None:
        self._nodes = nodes
        self._isolations = isolations
        self._secrets = secrets
        self._hidden = hidden
        self._made: dict[str, Lane] = {}
        self.seat: Seat | None = None  # Taken before the first call of a session, or never.

    def __getitem__(self, kind: str) -> Lane:
        if kind not in self._made:
            settings = LaneSettings(
                isolation=self._isolations.grades(),
                secrets=self._secrets,
                hidden=self._hidden,
                nodes=self._nodes,
                seat=self.seat,
            )
            self._made[kind] = LANES[kind](settings)
        return self._made[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in LANES

    def __iter__(self) -> Iterator[str]:
        return iter(LANES)

    def __len__(self) -> int:
        return len(LANES)

    def close(self) -> None:
        """End the spawner and whatever it still runs."""
        for lane in self._made.values():
            close = getattr(lane, "close", None)
            if close is not None:
                close()
