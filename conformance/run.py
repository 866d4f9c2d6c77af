"""Hold a verifier to the conformance cases: `python conformance/run.py --entrypoint "CMD"`.

Standard library only. PROTOCOL.md says what CMD is given and what it must answer. Ends with 0 if
every case was answered as it should be, with 1 if one was not, with 2 if nothing could be asked.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

HERE: Final = Path(__file__).resolve().parent
JOBS: Final = 2
SECONDS_MAX: Final = 120  # For one answer; the largest case takes a verifier in plain Python well under one.
SHOWN_MAX: Final = 300  # Of what a verifier wrote that should have been an answer.

BESIDE: Final = ("trust", "checkpoint", "growth")  # What may lie beside a bundle, each an option of its name.

Object: TypeAlias = dict[str, object]


class CannotAsk(Exception):
    """Nothing can be asked: the cases or the entry point are not usable."""


@dataclass(frozen=True)
class Case:
    """One case, read and checked: the arguments a verifier is given, and what it must answer."""

    name: str
    arguments: tuple[str, ...]
    expected: Object


@dataclass(frozen=True)
class Said:
    """What a verifier answered: an exit code and one object, or why there is none."""

    exit: int | None
    answer: Object | None
    problem: str = ""


def read_cases(folder: Path, wanted: str, *, cedar: bool) -> list[Case]:
    """Return the cases in `folder` whose names match `wanted`.

    Raises:
        CannotAsk: there are none, or one cannot be read.
    """
    if not folder.is_dir():
        raise CannotAsk(f"no folder `{folder}`")
    names = sorted(item.name for item in folder.iterdir() if (item / "case.json").is_file())
    found = [read_case(folder / name, cedar=cedar) for name in names if fnmatchcase(name, wanted)]
    if not found:
        raise CannotAsk(f"none of the {len(names)} cases in `{folder}` matches `{wanted}`")
    return found


def read_case(folder: Path, *, cedar: bool) -> Case:
    """Return the case in `folder`; without a Cedar evaluator another answer may be expected.

    Raises:
        CannotAsk: it cannot be read.
    """
    try:
        about = json.loads((folder / "case.json").read_bytes())
        expected = about["expected"] if cedar else about.get("without_cedar", about["expected"])
        beside = [(f"--{key}", str(folder / about[key])) for key in BESIDE if key in about]
        rest = [("--require", about["require"]), ("--now", about["now"]), ("--json",)]
        arguments = [str(folder / about["bundle"]), *(word for words in (*beside, *rest) for word in words)]
        answerable = {"exit", "verdict", "rungs", "codes"} <= expected.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotAsk(f"`{folder}/case.json` cannot be read: {error!r}") from error
    if not answerable:
        raise CannotAsk(f"`{folder}/case.json` does not say what is expected")
    return Case(name=folder.name, arguments=tuple(arguments), expected=expected)


def ask(command: Sequence[str], case: Case) -> Said:
    """Return what `command` says to `case`, in a process of its own."""
    try:
        ended = subprocess.run(
            [*command, *case.arguments], capture_output=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return Said(None, None, f"no answer within {SECONDS_MAX} seconds")
    said = read_answer(ended.stdout, ended.returncode)
    if said.answer is None:
        return Said(ended.returncode, None, f"{said.problem}; on stderr: {shown(ended.stderr)}")
    return said


def read_answer(data: bytes, code: int | None) -> Said:
    """Return the answer that `data` is; without `code` the exit code stands in it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return Said(code, None, f"not one JSON object: {shown(data)}")
    if not isinstance(found, dict):
        return Said(code, None, f"not a JSON object: {shown(data)}")
    inner = found.get("exit") if code is None else code
    return Said(inner if isinstance(inner, int) else None, found)


def shown(data: bytes) -> str:
    """Return what a verifier wrote, in one line."""
    text = ascii(data.decode("utf-8", "replace").strip())
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."


def ask_all(command: Sequence[str], cases: Sequence[Case]) -> Iterator[tuple[Case, Said]]:
    """Yield every case with its answer, two processes at a time."""
    with ThreadPoolExecutor(JOBS) as pool:
        yield from zip(cases, pool.map(lambda case: ask(command, case), cases), strict=True)


def ask_in_batches(command: Sequence[str], cases: Sequence[Case]) -> Iterator[tuple[Case, Said]]:
    """Yield every case with its answer from a process that takes many."""
    with ThreadPoolExecutor(JOBS) as pool:
        parts = [cases[start::JOBS] for start in range(JOBS)]
        for part, answers in zip(parts, pool.map(lambda part: _batch(command, part), parts), strict=True):
            yield from zip(part, answers, strict=True)


def _batch(command: Sequence[str], cases: Sequence[Case]) -> list[Said]:
    lines = "".join(json.dumps(case.arguments) + "\n" for case in cases).encode()
    seconds = SECONDS_MAX + len(cases)
    try:
        ended = subprocess.run(
            [*command, "--batch"], input=lines, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return [Said(None, None, f"no answers within {seconds} seconds")] * len(cases)
    found = [read_answer(line, None) for line in ended.stdout.splitlines()[: len(cases)]]
    missing = f"the batch ended with {ended.returncode} before it; on stderr: {shown(ended.stderr)}"
    return found + [Said(None, None, missing)] * (len(cases) - len(found))


def differences(case: Case, said: Said) -> list[str]:
    """Return in words where the answer is not the one expected."""
    if said.answer is None:
        return [said.problem]
    answer, expected = said.answer, case.expected
    found: Object = {"exit": said.exit, "verdict": answer.get("verdict"), "rungs": answer.get("rungs")}
    found["codes"] = codes_of(answer.get("findings"))
    claims, wanted = answer.get("claims"), expected.get("claims")
    if isinstance(wanted, dict):
        found["claims"] = {key: claims.get(key) for key in wanted} if isinstance(claims, dict) else claims
    return [
        f"{key}: {json.dumps(found[key])}, expected {json.dumps(expected[key])}"
        for key in found
        if found[key] != expected[key] or type(found[key]) is not type(expected[key])
    ]


def codes_of(findings: object) -> object:
    """Return the codes in `findings`, each once and sorted, or what stands there instead."""
    if not isinstance(findings, list) or not all(isinstance(item, dict) for item in findings):
        return findings
    return sorted({str(item.get("code")) for item in findings})


class Parser(argparse.ArgumentParser):
    """Says in one line what was wrong, and what to type."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        print(f"run.py: {message}\n  try: {self.prog} --entrypoint 'rexecop verify' --cedar", file=sys.stderr)
        sys.exit(2)


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(prog="run.py", description="Hold a verifier to the conformance cases.", allow_abbrev=False)
    made.add_argument("--entrypoint", required=True, metavar="CMD", help="the verifier, as in a shell")
    made.add_argument("--cases", default="*", metavar="GLOB", help="only cases whose folder's name matches")
    made.add_argument("--folder", type=Path, default=HERE / "cases", help="where the cases are")
    made.add_argument("--cedar", action="store_true", help="the verifier has a Cedar evaluator")
    made.add_argument("--batch", action="store_true", help="ask many cases of one process")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def main(argv: Sequence[str]) -> int:
    """Ask every case and say what came of it."""
    words = parser().parse_args(argv)
    try:
        command = shlex.split(words.entrypoint)
        if not command or shutil.which(command[0]) is None:
            raise CannotAsk(f"the entry point `{words.entrypoint}` is no program that can be run")
        cases = read_cases(words.folder.resolve(), words.cases, cedar=words.cedar)
    except (CannotAsk, ValueError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    asked = (ask_in_batches if words.batch else ask_all)(command, cases)
    failed = {case.name: found for case, said in asked if (found := differences(case, said))}
    if words.json:
        print(
            json.dumps({"cases": len(cases), "passed": len(cases) - len(failed), "failed": failed}, indent=2)
        )
    else:
        for name in sorted(failed):
            print(f"FAILED {name}", *(f"       {line}" for line in failed[name]), sep="\n")
        print(f"{len(cases) - len(failed)} of {len(cases)} cases answered as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
