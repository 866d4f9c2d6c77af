"""Evidence handed to callers of the service: recorded first, and what cannot be recorded does not go.

On the machine itself that is otherwise (`app.evidence`): there whoever asks can read the ledger anyway.
"""

from __future__ import annotations

from rexecop.app.accesses import EXPORT, VIEW
from rexecop.app.errors import AccessUnrecorded
from rexecop.app.instance import Instance
from rexecop.proof.canonical import Digest, digest_of


def hand_out(instance: Instance, operation: str, *, with_outputs: bool = False) -> bytes:
    """Return the bundle of an operation for whom `instance` acts as.

    Raises:
        AccessUnrecorded: that it goes out cannot be recorded. NotYet: there is no checkpoint.
    """
    name = instance.resolve(operation)
    data = instance.parts.evidence.bundle(name, with_outputs=with_outputs)
    _record(instance, name, EXPORT, digest_of(data))
    return data


def show(instance: Instance, operation: str) -> None:
    """Return once it is recorded that whom `instance` acts as looks at the evidence of an operation.

    Raises:
        AccessUnrecorded: it cannot be recorded.
    """
    _record(instance, instance.resolve(operation), VIEW, None)


def _record(instance: Instance, name: str, action: str, digest: Digest | None) -> None:
    unrecorded = instance.parts.evidence.given(name, action, digest, instance.parts.world.clock.now())
    if unrecorded is not None:
        raise AccessUnrecorded(f"that evidence goes out cannot be recorded: {unrecorded}", operation=name)
