"""Runs operations on real systems under governance, and proves what happened.

What is public for Python programs is named here, and loaded when it is first used.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rexecop.api.errors import (
        ApiError,
        ArgumentRefused,
        InstanceClosed,
        NotVerified,
        OtherLoop,
        TimedOut,
    )
    from rexecop.api.instance import Instance, Priority
    from rexecop.api.opening import open_instance, open_instance_sync
    from rexecop.api.sync import SyncInstance
    from rexecop.api.verifying import verify_bundle
    from rexecop.app.receipts import verify_receipt
    from rexecop.app.views import (
        AwaitingView,
        DecisionView,
        ExportView,
        OperationLine,
        OperationView,
        ProgressView,
        RecordView,
        StepView,
        WaveView,
        WhyView,
    )
    from rexecop.proof.errors import RexecopError
    from rexecop.proof.verify.report import Claims, Finding, NotChecked, Report, Rung
    from rexecop.proof.vocabulary import Mode, State

__version__: Final = "0.1.0"
__all__ = [
    "ApiError",
    "ArgumentRefused",
    "AwaitingView",
    "Claims",
    "DecisionView",
    "ExportView",
    "Finding",
    "Instance",
    "InstanceClosed",
    "Mode",
    "NotChecked",
    "NotVerified",
    "OperationLine",
    "OperationView",
    "OtherLoop",
    "Priority",
    "ProgressView",
    "RecordView",
    "Report",
    "RexecopError",
    "Rung",
    "State",
    "StepView",
    "SyncInstance",
    "TimedOut",
    "WaveView",
    "WhyView",
    "__version__",
    "open_instance",
    "open_instance_sync",
    "verify_bundle",
    "verify_receipt",
]

_HOMES: Final = {
    "api.errors": "ApiError ArgumentRefused InstanceClosed NotVerified OtherLoop TimedOut",
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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return the public `name`, from the module it lives in."""
        home = next((home for home, names in _HOMES.items() if name in names.split()), None)
        if home is None:
            raise AttributeError(f"module `rexecop` has no attribute `{name}`")
        from importlib import import_module

        found = globals()[name] = getattr(import_module(f"rexecop.{home}"), name)
        return found

    def __dir__() -> list[str]:
        """Return the public names."""
        return sorted(__all__)
