"""Errors of the Python API itself; all others come from the layers below.

RexecopError
└── ApiError
    ├── ArgumentRefused    an argument is not of the kind that the call takes
    ├── TimedOut           the time given passed first; it is a TimeoutError, too
    ├── InstanceClosed     the instance was closed
    ├── OtherLoop          the instance is used from another event loop than before
    └── NotVerified        evidence is not what the caller required it to be
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
