"""Errors of the Python API itself; all others come from the layers below.

RexecopError
└── ApiError
    ├── ArgumentRefused    an argument is not of the kind that the call takes
    ├── TimedOut           the time given passed first; it is a TimeoutError, too
    ├── InstanceClosed     the instance was closed
    ├── OtherLoop          the instance is used from another event loop than before
    ├── NotVerified        evidence is not what the caller required it to be
    ├── ResultRefused      what a governed function returned is nothing that evidence can hold
    └── NotRun             a governed function has no answer; `operation` says where it stands
        ├── ApprovalNeeded   it was not called: somebody has to approve first
        ├── NotAllowed       it was not called: policy, or a person, said no
        ├── NotStarted       it was not called yet: its target is in use, its window closed, or it is paused
        ├── NotCompleted     it was called or declined, and its operation did not complete
        └── OutcomeUnknown   it may have been called, and nobody knows what came of it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rexecop.proof.errors import RexecopError

if TYPE_CHECKING:
    from rexecop.app.views import OperationView
    from rexecop.proof.verify.report import Report


class ApiError(RexecopError):
    """A call of the Python API was not carried out as asked."""

    code = "api-error"


class ArgumentRefused(ApiError):
    """An argument is not of the kind that the call takes, or one that it needs is missing."""

    code = "argument-refused"


class TimedOut(ApiError, TimeoutError):
    """The time given passed first; `operation` is where the operation stood then."""

    code = "timed-out"

    def __init__(self, seconds: float, operation: OperationView) -> None:
        name = operation.operation_id
        super().__init__(
            f"{seconds:g} s passed; operation #{operation.number} is `{operation.state}`",
            operation_id=name,
            state=operation.state,
            next_steps=(f"rexecop status {name}", f"rexecop why {name}"),
        )
        self.operation = operation


class InstanceClosed(ApiError):
    """The instance was closed; open it again."""

    code = "instance-closed"


class OtherLoop(ApiError):
    """The instance is used from another event loop than before; each opens its own."""

    code = "other-loop"


class NotVerified(ApiError):
    """Evidence does not reach the rung that was required, or something in it is wrong; see `report`."""

    code = "not-verified"

    def __init__(self, report: Report, answer: str) -> None:
        super().__init__(answer, operation_id=report.operation or None)
        self.report = report


class ResultRefused(ApiError):
    """What a governed function returned is nothing that evidence can hold; it ran, and its call failed."""

    code = "result-refused"


class NotRun(ApiError):
    """A call of a governed function has no answer; `operation` is where it stood then."""

    code = "not-run"

    def __init__(self, words: str, operation: OperationView, *steps: str) -> None:
        name = operation.operation_id
        super().__init__(
            f"`{operation.intent}` {words}; operation #{operation.number} is `{operation.state}`",
            operation_id=name,
            state=operation.state,
            next_steps=steps or (f"rexecop why {name}",),
        )
        self.operation = operation

    @property
    def operation_id(self) -> str:
        """The operation, by the name it keeps."""
        return self.operation.operation_id


class ApprovalNeeded(NotRun):
    """The function was not called: somebody has to approve first."""

    code = "approval-needed"


class NotAllowed(NotRun):
    """The function was not called: policy, or a person, said no."""

    code = "not-allowed"


class NotStarted(NotRun):
    """The function was not called yet: its target is in use, its window is closed, or it is paused."""

    code = "not-started"


class NotCompleted(NotRun):
    """The function was called or declined, now or earlier, and its operation did not complete."""

    code = "not-completed"


class OutcomeUnknown(NotRun):
    """The function may have been called, and nobody knows what came of it; it is not called again."""

    code = "outcome-unknown"
