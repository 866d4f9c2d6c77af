"""Errors of the command line itself.

CliError
├── Usage               a flag, argument or combination that a command does not take
├── VerbUnknown         no such command
├── OperationNameBad    a text that cannot name an operation
├── ParameterBad        a `--param` that is not `name=text` or `name:=json`
├── FileUnreadable      a file named on the command line cannot be read
├── FileUnwritable      a file named on the command line cannot be written
├── ConfirmationNeeded  a question, and nobody at a terminal to answer it
├── Declined            somebody answered no
├── FolderMissing       the current folder is gone
└── Interrupted         Ctrl-C
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class CliError(RexecopError):
    """The command line cannot do what was typed."""

    code = "command-line-error"


class Usage(CliError):
    """A flag, an argument or a combination is not what the command takes."""

    code = "usage"


class VerbUnknown(CliError):
    """There is no such command."""

    code = "verb-unknown"


class OperationNameBad(CliError):
    """The text cannot name an operation: an id, the start of one, a short number, or `@`."""

    code = "operation-name-bad"


class ParameterBad(CliError):
    """A parameter is not `name=text` or `name:=json`, or is given twice."""

    code = "parameter-bad"


class FileUnreadable(CliError):
    """A file named on the command line cannot be read."""

    code = "file-unreadable"


class FileUnwritable(CliError):
    """A file named on the command line cannot be written."""

    code = "file-unwritable"


class ConfirmationNeeded(CliError):
    """The command asks before it acts, and there is no terminal to ask on."""

    code = "confirmation-needed"


class Declined(CliError):
    """The answer to the question was no; nothing was done."""

    code = "declined"


class FolderMissing(CliError):
    """The current folder does not exist any more."""

    code = "folder-missing"


class Interrupted(CliError):
    """The command was interrupted; what the ledger holds stays true."""

    code = "interrupted"
