"""Errors of the ledger's database, under the tree that `operations.errors` draws.

StoreError
├── StoreUnavailable
│   ├── StoreMissing  StoreExists  StoreForeign  StoreNewer  StoreDamaged
│   ├── StoreOutdated  StoreOtherRoot  StoreLocks
│   ├── StoreBusy  StoreReadOnly  LogBehind
│   └── RootIdentityDoubtful  EpochOver
├── BatchRefused  ClockSteppedBack
└── StorageRefused
    └── ExtraMissing  StoragePassword
"""

from __future__ import annotations

from rexecop.operations.errors import StoreError, StoreUnavailable


class StoreMissing(StoreUnavailable):
    """There is no ledger there."""

    code = "store-missing"


class StoreExists(StoreUnavailable):
    """There is something there already."""

    code = "store-exists"


class StoreForeign(StoreUnavailable):
    """What is there is not a ledger of this program."""

    code = "store-foreign"


class StoreNewer(StoreUnavailable):
    """The ledger has a schema that this version does not know."""

    code = "store-newer"


class StoreOutdated(StoreUnavailable):
    """The ledger has an older schema, which is brought up to date only when somebody says so."""

    code = "store-outdated"


class StoreOtherRoot(StoreUnavailable):
    """The database holds the ledger of another root."""

    code = "store-other-root"


class StoreLocks(StoreUnavailable):
    """The file system under the ledger does not keep those who write apart."""

    code = "store-locks"


class StoreDamaged(StoreUnavailable):
    """Bytes of the ledger are not what was written to it."""

    code = "store-damaged"


class StoreBusy(StoreUnavailable):
    """Another process has held the ledger for longer than any of ours does."""

    code = "store-busy"


class StoreReadOnly(StoreUnavailable):
    """The ledger can be read here, not written."""

    code = "store-read-only"


class LogBehind(StoreUnavailable):
    """Records have waited too long for their place in the log: nothing changing is appended."""

    code = "log-behind"


class RootIdentityDoubtful(StoreUnavailable):
    """This ledger may be a copy of the one that was last written: nothing changing is appended."""

    code = "root-identity-doubtful"


class EpochOver(StoreUnavailable):
    """Another process began a new epoch of the log: this one signs and writes nothing more."""

    code = "epoch-over"


class BatchRefused(StoreError):
    """A batch contradicts itself or breaks a limit; nothing of it was stored."""

    code = "batch-refused"


class ClockSteppedBack(StoreError):
    """A record is dated more than the tolerance before the record it rests on."""

    code = "clock-stepped-back"


class StorageRefused(StoreError):
    """The value of `--storage` is not one of those allowed."""

    code = "storage-unsupported"


class ExtraMissing(StorageRefused):
    """The storage asked for comes with an extra that is not installed."""

    code = "extra-missing"


class StoragePassword(StorageRefused):
    """The storage URL carries a password, which would end up in process lists and logs."""

    code = "storage-password"
