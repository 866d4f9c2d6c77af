"""From an error to its exit code. Loaded only when something went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from rexecop.cli.errors import Interrupted, Usage
from rexecop.cli.exits import Exit
from rexecop.proof.errors import RexecopError

# By the code of an error, or of the nearest one above it in its tree. What is not named is usage or input.
CODE_EXITS: Final[Mapping[str, Exit]] = {
    "interrupted": Exit.INTERRUPTED,
    "extra-missing": Exit.UNAVAILABLE,
    # Roots, ledgers and keys that cannot be used.
    "root-missing": Exit.UNAVAILABLE,
    "root-unsafe": Exit.UNAVAILABLE,
    "root-unwritable": Exit.UNAVAILABLE,
    "identity-refused": Exit.UNAVAILABLE,
    "store-error": Exit.UNAVAILABLE,
    "sink-failed": Exit.UNAVAILABLE,
    "ledger-rewound": Exit.UNAVAILABLE,
    "ledger-forked": Exit.UNAVAILABLE,
    "witness-state-damaged": Exit.UNAVAILABLE,
    "storage-unsupported": Exit.USAGE,
    "clock-stepped-back": Exit.UNAVAILABLE,
    "instance-key-missing": Exit.UNAVAILABLE,
    "instance-key-expired": Exit.UNAVAILABLE,
    "keys-error": Exit.UNAVAILABLE,
    "key-exists": Exit.USAGE,
    "lane-error": Exit.UNAVAILABLE,
    "address-unavailable": Exit.UNAVAILABLE,
    "mode-unsupported": Exit.UNAVAILABLE,
    "isolation-unavailable": Exit.UNAVAILABLE,
    # Somebody or something says no.
    "approval-refused": Exit.DENIED,
    "approval-not-asked": Exit.USAGE,
    "ticket-refused": Exit.DENIED,
    "permit-refused": Exit.DENIED,
    "clearance-refused": Exit.DENIED,
    "approvals-missing": Exit.NEEDS_APPROVAL,
    "terms-stricter": Exit.NEEDS_APPROVAL,
    "lift-refused": Exit.DENIED,
    "catalog-drifted": Exit.DENIED,
    # Not now.
    "not-now": Exit.QUEUED,
    "lock-held": Exit.QUEUED,
    "runner-busy": Exit.QUEUED,
    "too-early": Exit.UNKNOWN,
    "timed-out": Exit.TIMEOUT,
    # Evidence that does not hold, and input that merely looks like it.
    "proof-error": Exit.EVIDENCE,
    "not-verified": Exit.EVIDENCE,
    "backup-refused": Exit.EVIDENCE,
    "not-canonical": Exit.USAGE,
    "public-key-malformed": Exit.USAGE,
    "trust-file-malformed": Exit.USAGE,
    "allowed-signers-malformed": Exit.USAGE,
}

DAMAGE_CODES: Final = ("log-node-missing", "store-damaged")


def exit_of(error: RexecopError | type[RexecopError]) -> Exit:
    """Return the exit code for `error`."""
    kind = error if isinstance(error, type) else type(error)
    if kind is RexecopError:
        return Exit.FAILED
    for ancestor in kind.__mro__:
        found = CODE_EXITS.get(str(ancestor.__dict__.get("code")))
        if found is not None:
            return found
    return Exit.USAGE


def as_known(error: BaseException) -> RexecopError:
    """Return `error` as one with a code: what the parser says, Ctrl-C, and what nobody expected."""
    if isinstance(error, RexecopError):
        if error.code in DAMAGE_CODES and not error.next_steps:
            error.next_steps = ("rexecop recover --full",)
        return error
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt | EOFError):
        return Interrupted(
            "interrupted; `rexecop list` shows what the ledger holds", next_steps=("rexecop list",)
        )
    if isinstance(error, click.ClickException):
        return _usage(error)
    name = type(error).__name__
    return RexecopError(
        f"something nobody expected went wrong ({name}); set `REXECOP_DEBUG=1` to see where",
        next_steps=("rexecop doctor",),
        kind=name,
    )


def _usage(error: click.ClickException) -> Usage:
    message = error.format_message().strip().rstrip(".").replace("'", "`")
    message = message[:1].lower() + message[1:]
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx is not None else "rexecop"
    return Usage(message, next_steps=(f"{path} --help",))
