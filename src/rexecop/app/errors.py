"""Errors of wiring: roots, files and plug-ins.

RexecopError
└── AppError
    ├── RootMissing        no runtime root there
    ├── RootUnsafe         somebody else could write what carries authority
    ├── RootUnwritable     the root cannot be made or written
    ├── FileMissing        a file named by the caller is not there
    ├── FileRefused        a file is too large, a symlink, or unreadable
    ├── IdentityRefused    the key does not establish anybody here
    ├── AgentRefused       no agent of that name, or somebody else answers for it
    ├── InstanceKeyMissing no file of the root holds the key its ledger names
    ├── ExpiryRefused      a time at which a key is to expire that is none, or is over
    ├── StampRefused       a time stamp of something else, or for another request
    ├── SecretSourcesRefused  the file that says where secrets are is not what its format says
    ├── GuardKeyRefused    the kernel guard's key is too short
    ├── NotYet             what is asked for does not exist yet
    ├── RecordUnknown      no one record of an operation is meant
    ├── SizeRefused        sizes of the log that are not in order, or beyond it
    ├── SinksRefused       the file of checkpoint sinks is not what its format says
    ├── AccessRefused      the file of who may ask and whom we ask is not what its format says
    ├── AccessUnrecorded   evidence is asked for from afar, and that it goes out cannot be recorded
    ├── NotifyRefused      the file of who is told how is not what its format says
    ├── CallerUnknown      who asks over HTTP holds no token that counts
    │   └── CallerThrottled  too many came from there with tokens that do not count
    ├── TokenRefused       a token of the service that cannot be, or a file of them that cannot be read
    ├── ServiceRefused     the file of whom the service lets in is not what its format says
    ├── Forbidden          a caller may not do that at the service
    ├── NotOffered         a profile or environment that the service does not offer
    ├── SinkFailed         a checkpoint sink did not take a checkpoint
    ├── LedgerRewound      a sink holds more of this ledger than there is
    ├── LedgerForked       a sink holds another ledger of the same name
    ├── WitnessStateDamaged  what a witness remembers cannot be read
    ├── FormatRefused      a form that is not of an operation, or not of a window
    ├── BackupRefused      a backup is not whole, or not what it says
    ├── RestoreRefused     a backup cannot be restored there, or not without a key
    ├── ErasureRefused     outputs that may still be needed are not erased
    ├── ReviewRefused      a review by who asked, or by somebody policy does not know
    ├── DrillRefused       no such drill, or none for that key to answer
    ├── GrantRefused       an attach grant that cannot be made, or is not there
    ├── GroupEmpty         the packs in force put nobody in that group
    ├── SupportUnredacted  a support bundle is only made redacted
    ├── LineRefused        a line of a session that is no command
    ├── SessionUnknown     no terminal with a person at it
    ├── TriggerRefused     what came is no request for a plan
    ├── DeadLetterUnknown  no one dead letter has that name
    ├── ProposalDecided    a person decided otherwise about a proposal
    ├── ReplayImpossible   an operation whose inputs or outputs are not all kept is not driven again
    ├── ActionsRefused     the file of what `/execute` runs is not what its format says
    ├── ModeUnsupported    the environment asks for a mode of `/execute` that is not served
    ├── RequestConflict    an idempotency key stands for another request
    └── ExtraMissing       a verb needs an extra that is not installed
"""

from __future__ import annotations

from typing import Final

from rexecop.proof.errors import RexecopError


class AppError(RexecopError):
    """The application cannot be put together."""

    code = "app-error"


class RootMissing(AppError):
    """There is no runtime root at the path."""

    code = "root-missing"


class RootUnsafe(AppError):
    """Something that carries authority can be written by others."""

    code = "root-unsafe"


class RootUnwritable(AppError):
    """The runtime root cannot be made or written."""

    code = "root-unwritable"


class FileMissing(AppError):
    """A file named by the caller does not exist."""

    code = "file-missing"


class FileRefused(AppError):
    """A file is too large, not regular, or cannot be read."""

    code = "file-refused"


class IdentityRefused(AppError):
    """The identity key is not enrolled here for a person, or cannot be used."""

    code = "identity-refused"


class AgentRefused(AppError):
    """No pack in force names the agent, or whoever starts it does not answer for it."""

    code = "agent-refused"


class InstanceKeyMissing(AppError):
    """No file of the root holds the key that the ledger names for this instance."""

    code = "instance-key-missing"


class ExpiryRefused(AppError):
    """A time at which a key is to expire is none, or is over."""

    code = "expiry-refused"


class StampRefused(AppError):
    """A time stamp is of something else than a checkpoint of this log, or answers another request."""

    code = "stamp-refused"


class SecretSourcesRefused(AppError):
    """The file that says where secrets are is not what its format says; what stands there is not repeated."""

    code = "secret-sources-refused"


class GuardKeyRefused(AppError):
    """The key of the kernel guard is too short to guard anything."""

    code = "guard-key-refused"


class NotYet(AppError):
    """What is asked for does not exist yet."""

    code = "not-yet"


class RecordUnknown(AppError):
    """No one record of an operation is meant, or it cannot be read."""

    code = "record-unknown"


class SizeRefused(AppError):
    """Sizes of the log that are not in order, or beyond it."""

    code = "size-refused"


class SinksRefused(AppError):
    """The file that names checkpoint sinks is not what its format says."""

    code = "sinks-refused"


class AccessRefused(AppError):
    """The file that names who may ask for decisions, and whom we ask, is not what its format says."""

    code = "access-refused"


class AccessUnrecorded(AppError):
    """That evidence goes to a caller of the service cannot be recorded, so it does not go."""

    code = "access-unrecorded"


NEEDED: Final = "a bearer token that counts here is needed"  # The same words, whatever is wrong with one.


class CallerUnknown(AppError):
    """Who asks over HTTP holds no token that counts here."""

    code = "caller-unknown"


class CallerThrottled(CallerUnknown):
    """Too many tokens that do not count came from one address; `seconds` until another is looked at."""

    code = "caller-throttled"


class TokenRefused(AppError):
    """There can be no such token of the service, or their file cannot be read."""

    code = "token-refused"


class ServiceRefused(AppError):
    """`service.yaml` of the root does not say whom the service lets in."""

    code = "service-refused"


class Forbidden(AppError):
    """A caller of the service may not do that; `hidden`: nor know that there is such a thing."""

    code = "forbidden"


class NotOffered(AppError):
    """The service offers no profile or environment of that name."""

    code = "not-offered"


class SinkFailed(AppError):
    """A checkpoint sink did not take a checkpoint."""

    code = "sink-failed"


class LedgerRewound(AppError):
    """A checkpoint sink holds records that this ledger lost; nothing changing begins."""

    code = "ledger-rewound"


class LedgerForked(AppError):
    """A checkpoint sink holds another ledger of the same size; nothing changing begins."""

    code = "ledger-forked"


class WitnessStateDamaged(AppError):
    """The file in which a witness remembers what it saw cannot be read; it signs nothing."""

    code = "witness-state-damaged"


class FormatRefused(AppError):
    """What is asked for does not go into that form."""

    code = "format-refused"


class BackupRefused(AppError):
    """A backup is not whole, or not what it says it is."""

    code = "backup-refused"


class RestoreRefused(AppError):
    """A backup cannot be restored to that place, or not without the instance's key."""

    code = "restore-refused"


class ErasureRefused(AppError):
    """The outputs may still be needed, or there are none."""

    code = "erasure-refused"


class ReviewRefused(AppError):
    """A review is made by a person whom policy knows and who did not ask for the operation."""

    code = "review-refused"


class HaltRefused(AppError):
    """A halt or lift names no scope that can be meant, or gives no reason."""

    code = "halt-refused"


class LiftRefused(AppError):
    """This person may not lift a halt."""

    code = "lift-refused"


class DrillRefused(AppError):
    """A drill cannot be asked like that, or none is to be answered with that key."""

    code = "drill-refused"


class GrantRefused(AppError):
    """An attach grant cannot be made, is not there, or the file of grants is not one."""

    code = "grant-refused"


class NotifyRefused(AppError):
    """`notify.yaml` of the root does not say who is told how."""

    code = "notify-refused"


class GroupEmpty(AppError):
    """The policy packs in force put nobody in that group."""

    code = "group-empty"


class CalendarRefused(AppError):
    """A calendar cannot be read, or has an event that windows cannot express."""

    code = "calendar-refused"


class SupportUnredacted(AppError):
    """A support bundle leaves the house, so it is only made redacted."""

    code = "support-unredacted"


class LineRefused(AppError):
    """A line of a session is no command, or asks for what only a shell does."""

    code = "line-refused"


class SessionUnknown(AppError):
    """The operation has no terminal with a person at it, or none that runs."""

    code = "session-unknown"


class TriggerRefused(AppError):
    """What came is no request for a plan."""

    code = "trigger-refused"


class EventEscalated(AppError):
    """A rule of the profile hands the event to people."""

    code = "event-escalated"


class SchedulesRefused(AppError):
    """`schedules.yaml` of the root does not say what is planned when."""

    code = "schedules-refused"


class ScheduleUnknown(AppError):
    """The root has no schedule of that name."""

    code = "schedule-unknown"


class FormatUnknown(AppError):
    """No format of that name has a schema."""

    code = "format-unknown"


class ActionsRefused(AppError):
    """`execute.yaml` of the root does not say which intents are run under which names."""

    code = "actions-refused"


class WebhooksRefused(AppError):
    """`webhooks.yaml` of the root does not say who may send events."""

    code = "webhooks-refused"


class WebhookRefused(AppError):
    """What came to a webhook is not signed, late, or was here before."""

    code = "webhook-refused"


class DeadLetterUnknown(AppError):
    """No one dead letter has that name."""

    code = "dead-letter-unknown"


class ProposalDecided(AppError):
    """A person decided otherwise about a proposal."""

    code = "proposal-decided"


class ModeUnsupported(AppError):
    """The environment asks for a mode or limit of `/execute` that is not served here."""

    code = "mode-unsupported"


class RequestConflict(AppError):
    """The idempotency key was used for another request."""

    code = "request-conflict"


class ExtraMissing(AppError):
    """The verb needs an optional extra that is not installed."""

    code = "extra-missing"


class ReplayImpossible(AppError):
    """Something that the operation was driven by is erased, missing or damaged, so it cannot be again."""

    code = "replay-impossible"
