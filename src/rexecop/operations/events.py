"""Events: what happened somewhere, as CloudEvents 1.0 (structured JSON) or in the seeds' form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecop.operations.errors import EventRefused
from rexecop.proof.canonical import Digest
from rexecop.proof.payload import Value

EARLY_MAX: Final = timedelta(seconds=300)  # As far as clocks may differ.
LATE_MAX: Final = timedelta(hours=24)  # What happened before is no reason to act now.
TEXT_MAX: Final = 512
SPEC: Final = "1.0"
_SEED: Final = ("id", "source", "type", "subject", "occurred_at", "payload")
_SEED_MORE: Final = ("dedupe_key", "cooldown_key", "rule_set")
_DATA: Final = ("data", "payload")
_JSON_TYPE: Final = re.compile(r"[a-z0-9.+-]+/([a-z0-9.+-]+\+)?json(;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`type` happened to `subject` at `at`, says `source`. `digest` is of what came.

    Events of one `dedupe_key` are the same; those of one `cooldown_key` wait for each other's cooldown.
    """

    id: str
    source: str
    type: str
    subject: str
    at: datetime
    data: Value
    digest: Digest
    dedupe_key: str
    cooldown_key: str
    rule_set: str | None = None

    def at_path(self, path: str) -> tuple[Value, ...]:
        """Return what stands at `path`, like `subject` or `payload.host.kind`, or nothing."""
        first, *rest = path.removeprefix("event.").split(".")
        if first not in _DATA:
            return (getattr(self, first),) if not rest else ()
        found = self.data
        for key in rest:
            if not isinstance(found, dict) or key not in found:
                return ()
            found = found[key]
        return (found,)

    def require_recent(self, now: datetime) -> None:
        """Return only if the event is one of these hours.

        Raises:
            EventRefused: it happened too long ago, or has not happened yet.
        """
        if not now - LATE_MAX <= self.at <= now + EARLY_MAX:
            window = f"{LATE_MAX.total_seconds():.0f} s before and {EARLY_MAX.total_seconds():.0f} s after"
            raise EventRefused(
                f"the event is of {self.at:%Y-%m-%dT%H:%M:%SZ}; it may be {window} the clock here",
                field="time",
                allowed=window,
            )


def is_event(value: Value) -> bool:
    """Return whether `value` is meant to be a CloudEvent."""
    return isinstance(value, dict) and "specversion" in value


def read_event(value: Value, digest: Digest) -> Event:
    """Return the event that a parsed JSON object is.

    Raises:
        EventRefused: it is none, with the attribute that is wrong.
    """
    if not isinstance(value, dict):
        raise EventRefused("an event is a JSON object", field="event", allowed="CloudEvents 1.0, as JSON")
    return _cloud(value, digest) if is_event(value) else _seed(value, digest)


def _cloud(value: Mapping[str, Value], digest: Digest) -> Event:
    if value["specversion"] != SPEC:
        raise EventRefused(f"`specversion` is not `{SPEC}`", field="specversion", allowed=SPEC)
    media = _text(value, "datacontenttype", "application/json")
    if not _JSON_TYPE.fullmatch(media) or "data_base64" in value:
        raise EventRefused(f"the data are `{media:.60}`, not JSON", field="data", allowed="application/json")
    one = {name: _text(value, name) for name in ("id", "source", "type")}
    subject = _text(value, "subject", "")
    return Event(
        **one,
        subject=subject,
        at=_time(value, "time"),
        data=value.get("data"),
        digest=digest,
        dedupe_key=_text(value, "dedupekey", _same(one, subject)),
        cooldown_key=_text(value, "cooldownkey", subject),
    )


def _seed(value: Mapping[str, Value], digest: Digest) -> Event:
    allowed = ", ".join((*_SEED, *_SEED_MORE))
    for key in value:
        if key not in (*_SEED, *_SEED_MORE):
            raise EventRefused(f"unknown key `{key:.60}`; allowed: {allowed}", field=key, allowed=allowed)
    one = {name: _text(value, name) for name in ("id", "source", "type")}
    subject, payload = _text(value, "subject"), value.get("payload")
    if not isinstance(payload, dict):
        raise EventRefused("`payload` is not an object", field="payload", allowed="an object")
    return Event(
        **one,
        subject=subject,
        at=_time(value, "occurred_at"),
        data=payload,
        digest=digest,
        dedupe_key=_text(value, "dedupe_key", _same(one, subject)),
        cooldown_key=_text(value, "cooldown_key", subject),
        rule_set=_text(value, "rule_set", "") or None,
    )


def _same(one: Mapping[str, str], subject: str) -> str:
    return "\n".join((one["source"], one["id"], one["type"], subject))


def _text(value: Mapping[str, Value], key: str, default: str | None = None) -> str:
    if key not in value and default is not None:
        return default
    found = value.get(key)
    if not isinstance(found, str) or not found.isprintable() or len(found) > TEXT_MAX:
        words = "missing" if key not in value else f"no line of up to {TEXT_MAX} characters"
        raise EventRefused(f"`{key}` is {words}", field=key, allowed="text")
    if not found and default is None:
        raise EventRefused(f"`{key}` is empty", field=key, allowed="text")
    return found


def _time(value: Mapping[str, Value], key: str) -> datetime:
    text = _text(value, key)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        words = f"`{key}` is `{text:.40}`, no time with its zone"
        raise EventRefused(words, field=key, allowed="2026-01-31T09:30:00Z")
    return found.astimezone(UTC)
