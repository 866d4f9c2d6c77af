"""Errors of the profile.

ReconRefused
├── ActionRefused    not an action, or a kind of action that is not offered
├── ToolRefused      no such tool, or it cannot do what is asked
├── OptionRefused    an argument that would do more, or something else, than the one probe
├── UrlRefused       an address this profile does not open
├── ScopeRefused     a scope that cannot be held to
├── OutOfScope       what is asked is not in the scope, or not now
└── RecordRefused    facts that are none of a probe, or records that do not belong together
"""

from __future__ import annotations


class ReconRefused(Exception):
    """Nothing was sent. `field` is the place of the fault, `allowed` what may stand there."""

    code = "recon-refused"

    def __init__(self, message: str, *, field: str | None = None, allowed: str | None = None) -> None:
        super().__init__(message if allowed is None else f"{message}; allowed: {allowed}")
        self.field = field
        self.allowed = allowed

    @property
    def message(self) -> str:
        """The fault in one line."""
        return str(self)


class ActionRefused(ReconRefused):
    """Not an action, or a kind of action that is not offered."""

    code = "action-refused"


class ToolRefused(ReconRefused):
    """No such tool, or it cannot do what is asked."""

    code = "tool-refused"


class OptionRefused(ReconRefused):
    """An argument that would do more, or something else, than the one probe."""

    code = "option-refused"


class UrlRefused(ReconRefused):
    """An address this profile does not open."""

    code = "url-refused"


class ScopeRefused(ReconRefused):
    """A scope that cannot be held to."""

    code = "scope-refused"


class OutOfScope(ReconRefused):
    """What is asked is not in the scope, or not now."""

    code = "out-of-scope"


class RecordRefused(ReconRefused):
    """Facts that are none of a probe, or records that do not belong together."""

    code = "record-refused"
