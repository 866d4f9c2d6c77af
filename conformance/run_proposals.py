"""Hold a reader of proposals to the vectors: `python conformance/run_proposals.py --entrypoint "CMD"`.

Standard library only. PROTOCOL.md says what CMD is given and what it must answer. Ends with 0 if every
proposal was answered as it should be, with 1 if one was not, with 2 if nothing could be asked.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
JOBS: Final = 2
SECONDS_MAX: Final = 60  # For one answer about 16 KiB.


def difference(command: Sequence[str], folder: Path, name: str, wanted: dict[str, str]) -> str:
    """Return in words how the answer to the proposal `name` is another than `wanted`, or nothing."""
    words = [*command, "--profile", str(folder / "profile"), "--proposal", str(folder / name)]
    if "about" in wanted:
        words += ["--observation", str(folder / wanted["about"])]
    try:
        ended = subprocess.run([*words, "--json"], capture_output=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS_MAX} seconds"
    said = ended.stderr if ended.returncode else ended.stdout
    try:
        answer = json.loads(said)
        found: list[object] = [ended.returncode]
        if "code" in wanted:
            found.append(answer["facts"]["why"])
        else:
            found += [answer["proposal_digest"], answer["may_execute"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        shown = said[:200].decode("utf-8", "replace")
        return f"exit {ended.returncode}, and no answer ({error!r}): {shown!a}"
    expected = [2, wanted["code"]] if "code" in wanted else [0, wanted["digest"], False]
    return "" if found == expected else f"{found}, expected {expected}"


def main(argv: Sequence[str]) -> int:
    """Ask about every proposal and say what came of it."""
    parser = argparse.ArgumentParser(prog="run_proposals.py", allow_abbrev=False)
    parser.add_argument("--entrypoint", required=True, metavar="CMD", help="the reader, as in a shell")
    parser.add_argument("--cases", default="*", metavar="GLOB", help="only proposals whose name matches")
    parser.add_argument("--folder", type=Path, default=HERE / "proposals", help="where they are")
    words = parser.parse_args(argv)
    command, folder = shlex.split(words.entrypoint), words.folder.resolve()
    try:
        listed = json.loads((folder / "index.json").read_bytes())["proposals"]
        wanted = {name: one for name, one in sorted(listed.items()) if fnmatchcase(name, words.cases)}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        print(f"run_proposals.py: `{folder}/index.json` cannot be read: {error!r}", file=sys.stderr)
        return 2
    if not wanted or not command or shutil.which(command[0]) is None:
        print("run_proposals.py: no proposal matches, or the entry point is no program", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(JOBS) as pool:
        said = list(pool.map(lambda item: difference(command, folder, *item), wanted.items()))
    failed = {name: text for name, text in zip(wanted, said, strict=True) if text}
    for name, text in failed.items():
        print(f"FAILED {name}\n       {text}")
    print(f"{len(wanted) - len(failed)} of {len(wanted)} proposals answered as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
