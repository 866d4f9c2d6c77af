"""Scripted answers: what a connector that cannot do I/O says, per action and per target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.failures import Failure
from rexecop.operations.reading import Fields, Node
from rexecop.proof.call import REPEAT_MAX, ScriptedReply
from rexecop.proof.vocabulary import Ended

REPLIES_MAX: Final = 64  # The last one repeats, so a longer script says nothing new.
OUTPUT_MAX: Final = 64 * 1024  # What a real call may return by default.

REPLY_KEYS: Final = "data stdout repeat success error message error_class ended delay asks"
_ENDS: Final = (Ended.OK, Ended.FAILED, Ended.REFUSED, Ended.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedAction:
    """The answers of one action: of `targets` where the target is named there, else `replies`."""

    mutating: bool | None
    replies: tuple[ScriptedReply, ...]
    targets: Mapping[str, tuple[ScriptedReply, ...]]

    def for_target(self, target: str) -> tuple[ScriptedReply, ...]:
        """Return the answers `target` gives, one per attempt."""
        return self.targets.get(target, self.replies)


def read_scripted_action(node: Node, extra: str = "") -> ScriptedAction:
    """Return the answers at `node`: one reply written directly, a list of `replies`, or per target."""
    fields = node.fields(f"{REPLY_KEYS} mutating replies targets {extra}")
    return ScriptedAction(
        mutating=fields.maybe("mutating", Node.boolean),
        replies=_replies(fields),
        targets={
            name: _replies(entry.fields(f"{REPLY_KEYS} replies")) for name, entry in fields.entries("targets")
        },
    )


def _replies(fields: Fields) -> tuple[ScriptedReply, ...]:
    direct = [key for key in REPLY_KEYS.split() if fields.get(key) is not None]
    if fields.get("replies") is None:
        return (_reply(fields),) if direct else ()
    if direct:
        fields.node.refuse(f"`replies` and `{direct[0]}` exclude each other", found=direct[0])
    return tuple(_reply(item.fields(REPLY_KEYS)) for item in fields.items("replies", REPLIES_MAX))


def _reply(fields: Fields) -> ScriptedReply:
    success = fields.boolean("success", default=True)
    failed = not success or fields.get("error_class") is not None or fields.get("error") is not None
    ended = fields.one_of("ended", _ENDS, Ended.FAILED if failed else Ended.OK)
    default = Failure.UNKNOWN_OUTCOME if ended is Ended.UNKNOWN else Failure.TRANSIENT_CONNECTOR_ERROR
    return ScriptedReply(
        ended=ended,
        error_class=None if ended is Ended.OK else str(fields.one_of("error_class", Failure, default)),
        message=fields.text("message") or fields.text("error") or None,
        data=fields.mapping("data") or None,
        stdout=fields.maybe("stdout", lambda node: node.text(OUTPUT_MAX)),
        delay_ms=fields.maybe("delay", Node.duration) or 0,
        repeat=fields.integer("repeat", 1, 1, REPEAT_MAX),
        asks=fields.text("asks") or None,
    )
