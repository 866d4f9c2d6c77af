"""Runs operations on real systems under governance, and proves what happened.

What is public for Python programs is named here, and loaded when it is first used.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rexecop.api.errors import ApiError as ApiError
    from rexecop.api.errors import ApprovalNeeded as ApprovalNeeded
    from rexecop.api.errors import ArgumentRefused as ArgumentRefused
    from rexecop.api.errors import InstanceClosed as InstanceClosed
    from rexecop.api.errors import NotAllowed as NotAllowed
    from rexecop.api.errors import NotCompleted as NotCompleted
    from rexecop.api.errors import NotRun as NotRun
    from rexecop.api.errors import NotStarted as NotStarted
    from rexecop.api.errors import NotVerified as NotVerified
    from rexecop.api.errors import OtherLoop as OtherLoop
    from rexecop.api.errors import OutcomeUnknown as OutcomeUnknown
    from rexecop.api.errors import ResultRefused as ResultRefused
    from rexecop.api.errors import TimedOut as TimedOut
    from rexecop.api.governed import Governed as Governed
    from rexecop.api.governed import SyncGoverned as SyncGoverned
    from rexecop.api.governed import governed as governed
    from rexecop.api.instance import Instance as Instance
    from rexecop.api.instance import Priority as Priority
    from rexecop.api.opening import open_instance as open_instance
    from rexecop.api.opening import open_instance_sync as open_instance_sync
    from rexecop.api.sync import SyncInstance as SyncInstance
    from rexecop.api.verifying import verify_bundle as verify_bundle
    from rexecop.app.receipts import verify_receipt as verify_receipt
    from rexecop.app.views import AwaitingView as AwaitingView
    from rexecop.app.views import DecisionView as DecisionView
    from rexecop.app.views import ExportView as ExportView
    from rexecop.app.views import OperationLine as OperationLine
    from rexecop.app.views import OperationView as OperationView
    from rexecop.app.views import ProgressView as ProgressView
    from rexecop.app.views import RecordView as RecordView
    from rexecop.app.views import StepView as StepView
    from rexecop.app.views import WaveView as WaveView
    from rexecop.app.views import WhyView as WhyView
    from rexecop.proof.errors import RexecopError as RexecopError
    from rexecop.proof.verify.report import Claims as Claims
    from rexecop.proof.verify.report import Finding as Finding
    from rexecop.proof.verify.report import NotChecked as NotChecked
    from rexecop.proof.verify.report import Report as Report
    from rexecop.proof.verify.report import Rung as Rung
    from rexecop.proof.vocabulary import Mode as Mode
    from rexecop.proof.vocabulary import State as State

__version__: Final = "0.1.0"
_HOMES: Final = {
    "api.errors": "ApiError ApprovalNeeded ArgumentRefused InstanceClosed NotAllowed NotCompleted NotRun"
    " NotStarted NotVerified OtherLoop OutcomeUnknown ResultRefused TimedOut",
    "api.governed": "Governed SyncGoverned governed",
    "api.instance": "Instance Priority",
    "api.opening": "open_instance open_instance_sync",
    "api.sync": "SyncInstance",
    "api.verifying": "verify_bundle",
    "app.receipts": "verify_receipt",
    "app.views": "AwaitingView DecisionView ExportView OperationLine OperationView ProgressView RecordView"
    " StepView WaveView WhyView",
    "proof.errors": "RexecopError",
    "proof.verify.report": "Claims Finding NotChecked Report Rung",
    "proof.vocabulary": "Mode State",
}

__all__ = ["__version__", *" ".join(_HOMES.values()).split()]  # noqa: PLE0604 - all are text, of one table

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return the public `name`, from the module it lives in."""
        from importlib import import_module

        home = next((home for home, names in _HOMES.items() if name in names.split()), None)
        if home is None:
            raise AttributeError(f"module `rexecop` has no attribute `{name}`")
        found = globals()[name] = getattr(import_module(f"rexecop.{home}"), name)
        return found

    def __dir__() -> list[str]:
        """Return the public names."""
        return sorted(__all__)
