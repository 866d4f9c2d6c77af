"""What runs on the other side of an SSH connection besides the call itself: POSIX shell, no files left there.

`command_line` starts a call so that its tree can be found and ends in time even when nobody is
connected any more. `killer_line` ends that tree over a connection that is still there. Both
find what left its process group by a mark in the environment, where `/proc` shows it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.messages.ssh import Command
from rexecop.proof.call import Limits

MARK: Final = "REXECOP_CALL"
HELLO_BYTES_MAX: Final = 16 * 1024  # What start files of a login shell may say before the call begins.
_HELLO: Final = re.compile(rb"\x01rexecop ([0-9a-f]{32}) (\d{1,10}) ([a-z]+)\r?\n")
ROUND_MS: Final = 60  # A look for processes and a nap in between.

# Sets `l` to the processes that carry the mark `m`; a zombie has no environment any more.
_FIND: Final = (
    f'f() {{ l=; for e in $(grep -ls "{MARK}=$m" /proc/[0-9]*/environ 2>/dev/null); '
    'do e=${e%/environ}; l="$l ${e#/proc/}"; done; }; '
)

# Arguments: seconds until the watch ends the tree, mark, folder, argv.
# The watch sleeps in the process group of the call and without its mark; a signal to the group at the
# end takes it away together with what the call left running. `exec` never runs a builtin. Where the
# word is spoken, signals already do to the call what they would do to the program.
_WRAPPER: Final = (
    "t=$1 m=$2 d=$3 g=0 k=none q=0; shift 3; "
    "read -r _ _ _ _ q _ 2>/dev/null </proc/$$/stat || q=$(ps -o pgid= -p $$ 2>/dev/null); "
    '[ "$((q))" = $$ ] && g=1 k=group; [ -r /proc/$$/environ ] && k=marked; '
    + _FIND
    + '( trap "" HUP INT QUIT; exec </dev/null >/dev/null 2>&1; sleep $t || exit 0; i=0; '
    'while f; [ -n "$l" ] && [ $i -lt 50 ]; do kill -KILL $l; i=$((i+1)); done; '
    "[ $g = 1 ] && kill -KILL 0 ) & w=$!; "
    "trap : HUP INT QUIT TERM; "
    f"export {MARK}=$m; "
    '[ -z "$d" ] || cd -- "$d" 2>/dev/null || k=cwd; '
    r'h() { printf "\001rexecop %s %s %s\n" $m $((g*$$)) $k >&2; }; '
    'if [ $k = cwd ]; then h; s=1; else (h; exec "$@"); s=$?; fi; '
    'if [ $g = 1 ]; then trap "" TERM; kill -TERM 0; else kill $w 2>/dev/null; fi; exit $s'
)

# Arguments: mark, process group (0 for none), rounds of grace. Says how much is left. It goes on
# when its own connection breaks. A group is asked for only where marks cannot be seen: its
# zombies would count for as long as nobody collects them.
_KILLER: Final = (
    'm=$1 p=$2 n=$3; trap "" HUP INT QUIT PIPE TERM; ' + _FIND + "v=1; [ -r /proc/$$/environ ] || v=0; "
    'a() { f; [ -n "$l" ] || { [ $v = 0 ] && [ $p != 0 ] && kill -0 -- -$p 2>/dev/null; }; }; '
    's() { [ -z "$l" ] || kill -$1 $l 2>/dev/null; [ $p = 0 ] || kill -$1 -- -$p 2>/dev/null; }; '
    "f; s TERM; "
    "while [ $n -gt 0 ] && a; do sleep 0.05 2>/dev/null || { sleep 1; n=$((n-16)); }; n=$((n-1)); done; "
    "i=0; while f; s KILL; a && [ $i -lt 50 ]; do i=$((i+1)); [ $i -lt 3 ] || sleep 0.02 || sleep 1; done; "
    '[ -n "$l" ] || ! a || l=1; set -- $l; echo $#'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What the wrapper said before it started the call; `group` is 0 where it could not lead one.

    `tree` says what is found when the call is ended: `marked` (all that carries its mark), `group`, `none`.
    """

    group: int
    tree: str


def command_line(command: Command, mark: str, limits: Limits) -> str:
    """Return the line for the login shell of the other side; everything in it is one quoted word."""
    if not command.wrapped:
        return shlex.join(command.argv)
    # The lane ends the call first; the watch is for when the lane cannot.
    seconds = -(-(limits.timeout_ms + limits.grace_ms) // 1000) + 1
    # The shell keeps variables of its own, so those of the call are set by a program.
    env = [f"{name}={value}" for name, value in sorted((command.env or {}).items())]
    words = ("env", *env, *command.argv) if env else command.argv
    return _line(_WRAPPER, str(seconds), mark, command.cwd, *words)


def killer_line(mark: str, hello: Hello | None, limits: Limits) -> str:
    """Return the line that ends the tree of a call."""
    return _line(_KILLER, mark, str(hello.group if hello else 0), str(-(-limits.grace_ms // ROUND_MS)))


def find_hello(data: bytes, mark: str) -> tuple[Hello, bytes] | None:
    """Return what the wrapper said in `data`, and `data` without it; None if it has not spoken."""
    for found in _HELLO.finditer(data):
        if found[1] == mark.encode():
            hello = Hello(group=int(found[2]), tree=found[3].decode())
            return hello, data[: found.start()] + data[found.end() :]
    return None


def _line(script: str, *arguments: str) -> str:
    return "exec " + shlex.join(("/bin/sh", "-c", script, "rexecop", *arguments))
