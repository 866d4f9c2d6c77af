"""`rexecop-verify.pyz`: check a bundle with this one file and Python, offline."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said before anything is imported that is newer
    sys.stderr.write("rexecop-verify: error[python-too-old]: Python 3.11 or newer is needed\n")
    sys.exit(2)

import argparse
import io
import json
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NoReturn

from rexecop.proof.container import CONTAINER_BYTES_MAX
from rexecop.proof.errors import RexecopError
from rexecop.proof.logproof import PROOF_BYTES_MAX
from rexecop.proof.note import NOTE_BYTES_MAX
from rexecop.proof.plaintext import escape
from rexecop.proof.times import parse_time
from rexecop.proof.verify import NO_KEYS, Report, Rung, TrustedKeys, parse_trust, verify
from rexecop.proof.verify.trusted import TRUST_ENDINGS, TRUST_FILE_BYTES_MAX, TRUST_FILES_MAX
from rexecop.proof.verify.words import report_object, report_rows

DONE: Final = 0
UNEXPECTED: Final = 1
USAGE: Final = 2
REFUSED: Final = 7
LINE_BYTES_MAX: Final = 64 * 1024  # Of `--batch`: some paths and options.
ALONE: Final = frozenset({"-", "--batch", "-h", "--help"})  # What ends a batch or takes its standard input.


class Refused(RexecopError):
    """An argument or file that cannot be used; nothing was verified."""

    code = "usage"


class FileMissing(Refused):
    """A file that was named is not there."""

    code = "file-missing"


class FileRefused(Refused):
    """A file is no regular one, too large, or unreadable."""

    code = "file-refused"


class Parser(argparse.ArgumentParser):
    """Raises what it would leave with, so that one line of a batch cannot end the rest."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise Refused(message)


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        prog="rexecop-verify",
        description="Check BUNDLE offline and print how far it can be believed.",
        epilog="Ends with 0 if the required rung is reached and nothing is wrong, else with 7.",
        allow_abbrev=False,
    )
    made.add_argument("bundle", nargs="?", metavar="BUNDLE", help="the bundle; `-` is standard input")
    made.add_argument("--trust", metavar="DIR", help="the keys you trust; without it none are")
    made.add_argument("--checkpoint", metavar="FILE", help="a checkpoint you kept: the log must extend it")
    made.add_argument(
        "--growth", metavar="FILE", help="a proof that the log of that checkpoint continues this one"
    )
    made.add_argument(
        "--require",
        choices=[rung.value for rung in Rung],
        default=Rung.LOGGED.value,
        help="the rung that must be reached (logged)",
    )
    made.add_argument("--now", metavar="TIME", help="the time to judge by, in UTC; else this machine's clock")
    made.add_argument("--json", action="store_true", help="answer with one JSON object")
    made.add_argument(
        "--batch", action="store_true", help="answer each line of standard input, a JSON array of arguments"
    )
    return made


def read(path: str, most: int, *, whole: bool = True) -> bytes:
    """Return the bytes of a regular file of at most `most`; without `whole`, one more of a larger one.

    Raises:
        FileMissing, FileRefused: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileRefused(f"`{path}` is not a regular file")
            data = file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileMissing(f"no file `{path}`") from error
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise FileRefused(f"`{path}` cannot be read: {reason.lower()}") from error
    if len(data) > most and whole:
        raise FileRefused(f"`{path}` holds more than {most} bytes")
    return data


def trusted(folder: str | None) -> TrustedKeys:
    """Return the keys in `folder`, which are all that is trusted.

    Raises:
        FileMissing, FileRefused, TrustFileMalformed: it does not hold what it should.
    """
    if folder is None:
        return NO_KEYS
    if not os.path.isdir(folder):
        raise FileMissing(f"no folder `{folder}`")
    found: dict[str, bytes] = {}
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if name.endswith(TRUST_ENDINGS)):
            if len(found) > TRUST_FILES_MAX:
                break
            path = os.path.join(at, name)
            # What is too much for a key is left to the reader of keys to refuse.
            found[os.path.relpath(path, folder)] = read(path, TRUST_FILE_BYTES_MAX, whole=False)
    return parse_trust({name.replace(os.sep, "/"): data for name, data in found.items()})


def judge(words: argparse.Namespace) -> tuple[Report, Rung]:
    """Return the verdict on what `words` name.

    Raises:
        RexecopError: an argument or a file cannot be used.
    """
    if words.bundle is None:
        raise Refused("name a bundle, or `-` for standard input")
    trust = trusted(words.trust)
    earlier = None if words.checkpoint is None else read(words.checkpoint, NOTE_BYTES_MAX)
    growth = None if words.growth is None else read(words.growth, PROOF_BYTES_MAX)
    try:
        now = datetime.now(UTC) if words.now is None else parse_time(words.now)
    except RexecopError as error:
        raise Refused(f"`--now`: {error.message}") from error
    # A larger file is left to the verifier to refuse, by its code.
    if words.bundle == "-":
        data = sys.stdin.buffer.read(CONTAINER_BYTES_MAX + 1)
    else:
        data = read(words.bundle, CONTAINER_BYTES_MAX, whole=False)
    return verify(data, trust, checkpoint=earlier, growth=growth, now=now), Rung(words.require)


def text(report: Report, required: Rung) -> str:
    """Return the verdict for people."""
    rows = "".join(
        f"  {label:<10} {escape(said)}".rstrip() + "\n" for label, said, _ in report_rows(report, required)
    )
    return escape(report.answer(required)) + "\n" + rows


def batch(reader: Parser) -> Iterator[dict[str, object]]:
    """Yield one answer for each line of standard input, a JSON array of arguments."""
    while line := sys.stdin.buffer.readline(LINE_BYTES_MAX):
        try:
            words = json.loads(line)
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise Refused("a line is not a JSON array of arguments")
            if ALONE.intersection(words):
                raise Refused(f"a line of a batch takes none of {', '.join(sorted(ALONE))}")
            report, required = judge(reader.parse_args(words))
            yield {**report_object(report, required), "exit": ending(report, required)}
        except RexecopError as error:
            yield {**refusal(error), "exit": USAGE}
        except (ValueError, RecursionError) as error:
            yield {**refusal(Refused(f"a line is not JSON: {error}")), "exit": USAGE}


def ending(report: Report, required: Rung) -> int:
    """Return the exit code for a verdict."""
    return DONE if report.holds(required) else REFUSED


def refusal(error: RexecopError) -> dict[str, object]:
    """Return why nothing was verified."""
    message = escape(" ".join(error.message.split()))
    return {"code": error.code, "message": message, "facts": error.facts, "next": []}


def answer(argv: list[str]) -> int:
    """Answer one command line and return its exit code.

    Raises:
        RexecopError: nothing was verified.
    """
    reader = parser()
    words = reader.parse_args(argv)
    if words.batch:
        for found in batch(reader):
            print(json.dumps(found), flush=True)
        return DONE
    report, required = judge(words)
    shown = (
        json.dumps(report_object(report, required), indent=2) + "\n" if words.json else text(report, required)
    )
    sys.stdout.write(shown)
    sys.stdout.flush()
    return ending(report, required)


def main(argv: list[str]) -> int:
    """Answer one command line and return its exit code; no traceback is printed."""
    try:
        return answer(argv)
    except RexecopError as error:
        known, code = error, USAGE
    except BrokenPipeError:  # The reader went away; Python must not try to write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED
    except (Exception, KeyboardInterrupt) as error:
        known, code = (
            RexecopError(f"something nobody expected went wrong ({type(error).__name__})"),
            UNEXPECTED,
        )
    found = refusal(known)
    line = (
        json.dumps(found) if "--json" in argv else f"rexecop-verify: error[{known.code}]: {found['message']}"
    )
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # A name that the terminal's encoding lacks is shown escaped.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
