"""When changes may run: what `rexecop windows` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Final

from rexecop.app.views import HaltView, WindowLine, WindowsView
from rexecop.governance.windows import Entry, Schedule, opening, readings, state_at, tzdata_version, zone
from rexecop.operations.environment import Environment
from rexecop.operations.targets import resolve_targets
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.vocabulary import Effect, Gate, Mode

HALF_HOURS: Final = 48
SIGNS: Final = {"open": "#", "closed": ".", "frozen": "x"}


def windows_view(
    schedules: Sequence[Schedule],
    environment: Environment | None,
    target: str | None,
    now: datetime,
    halts: tuple[HaltView, ...],
) -> WindowsView:
    """Return when a change of `target`, or of all targets of `environment`, may run by `schedules`.

    Raises:
        TargetUnknown: the environment has no such target.
    """
    request = _change(environment, target, now)
    found = opening(schedules, request)
    about = [
        *(
            ("window", one, entry)
            for one in schedules
            for group in one.windows_of(request)
            for entry in group
        ),
        *(("freeze", one, entry) for one in schedules for entry in one.freezes_of(request)),
    ]
    lines = tuple(_line(kind, schedule, entry, now) for kind, schedule, entry in dict.fromkeys(about))
    place = lines[0].zone if lines else "UTC"
    today = now.astimezone(zone(place)).date()
    return WindowsView(
        environment=environment.id if environment is not None else None,
        targets=tuple(item.id for item in request.targets) if target else (),
        now=now,
        tzdata=tzdata_version(),
        state=state_at(schedules, request),
        opens=found.start if found is not None else None,
        closes=found.end if found is not None else None,
        zone=place,
        entries=lines,
        override=tuple(sorted({group for one in schedules for group in one.override})),
        halts=halts,
        week={
            f"{day:%a %d %b}": "".join(
                SIGNS[state_at(schedules, replace(request, now=moment))]
                for part in range(HALF_HOURS)
                for moment in [_moment(datetime.combine(day, time()) + part * timedelta(minutes=30), place)]
            )
            for day in (today + timedelta(days=ahead) for ahead in range(7))
        },
    )


def _moment(local: datetime, place: str) -> datetime:
    return readings(local, zone(place))[0]


def _change(environment: Environment | None, target: str | None, now: datetime) -> PolicyRequest:
    """Return the request of a change that nothing but the time is asked about."""
    names = [] if environment is None else [target] if target else list(environment.targets)
    found = {one.id: one for name in names if environment for one in resolve_targets(environment, name)}
    targets = tuple(
        RequestTarget(id=one.id, type=one.type, criticality=one.criticality, groups=one.groups)
        for one in found.values()
    )
    return PolicyRequest(
        gate=Gate.PLAN,
        principal=ENGINE,
        profile="",
        intent="",
        effect=Effect.CHANGE,
        mode=Mode.APPLY,
        risk="",
        environment=environment.id if environment is not None else "",
        targets=targets or (RequestTarget(id=target or "", type="", criticality=""),),
        simulated=False,
        pinned=False,
        origin="",
        now=now,
    )


def _line(kind: str, schedule: Schedule, entry: Entry, now: datetime) -> WindowLine:
    stretches = entry.stretches(now, wide=kind == "freeze", started=False)
    start, end = next(((start, end) for start, end in stretches if end > max(start, now)), (None, None))
    place, local = zone(entry.zone), ""
    if start is not None and end is not None:
        local = f"{start.astimezone(place):%a %d %b %H:%M} to {end.astimezone(place):%a %d %b %H:%M}"
    return WindowLine(
        kind=kind,
        name=entry.name,
        source=schedule.source,
        zone=entry.zone,
        now=start is not None and start <= now,
        start=start,
        end=end,
        local=local,
        let_finish_minutes=int(entry.finish.total_seconds()) // 60,
        recovery=entry.recovery,
    )
