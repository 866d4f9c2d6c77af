"""Commands that are never what they seem: guarded before they become part of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rexecop.operations.errors import CommandGuarded
from rexecop.proof.call import Text
from rexecop.proof.vocabulary import Effect

PRIVILEGED: Final = frozenset({"sudo", "su", "doas", "pkexec", "runuser"})
SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "csh", "tcsh", "busybox"})
TAKES_TEXT: Final = SHELLS | {"flock"}  # Programs whose `-c` is a line for a shell.
WRAPPERS: Final = frozenset(
    {
        *("env", "nohup", "nice", "ionice", "timeout", "setsid", "stdbuf", "xargs", "chroot", "unshare"),
        *("nsenter", "flock"),
    }
)
# Tools that look and act under one name: the verbs that act.
ACTING: Final = {
    "systemctl": frozenset(
        {
            *("start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "enable", "disable"),
            *("mask", "unmask", "kill", "isolate", "reboot", "poweroff", "halt", "suspend", "hibernate"),
            *("daemon-reload", "daemon-reexec", "edit", "set-property", "revert", "preset", "link"),
            "reset-failed",
        }
    ),
    "service": frozenset({"start", "stop", "restart", "reload", "force-reload", "try-restart"}),
}
CONTAINER_VERBS: Final = frozenset(
    {
        *("run", "start", "stop", "restart", "rm", "rmi", "kill", "exec", "create", "pull", "push", "build"),
        *("update", "pause", "unpause", "commit", "cp", "rename", "prune", "up", "down"),
    }
)
CONTAINER_ENDINGS: Final = ("ocker", "odman", "erdctl")  # The usual container tools share these endings.


def check_command(argv: Sequence[Text], effect: Effect, where: str) -> None:
    """Return only if `argv` may be a call of `effect`.

    Raises:
        CommandGuarded: text handed to a shell; or, for a read, privileges, a wrapper around
            one of these, or a verb that acts.
    """
    words = [part if isinstance(part, str) else "" for part in argv]
    if not words or not words[0]:
        raise CommandGuarded(f"{where}: the command is a fixed name, never a value", field=where)
    tools = [words[0]] if _base(words[0]) not in WRAPPERS else words
    for at, tool in enumerate(tools):
        base = _base(tool)
        if base in TAKES_TEXT and any(_hands_text(word) for word in words[at + 1 :]):
            raise CommandGuarded(
                f"{where}: `{base} -c` hands text to a shell; write the command itself", found=base
            )
        if effect is not Effect.READ:
            continue
        if base in PRIVILEGED:
            raise CommandGuarded(f"{where}: a read does not use `{base}`", found=base)
        verb = next((word for word in words[at + 1 :] if word in _verbs(base)), None)
        if verb is not None:
            raise CommandGuarded(
                f"{where}: `{base} {verb}` acts; declare it a change", found=f"{base} {verb}"
            )


def _base(word: str) -> str:
    return word.rsplit("/", 1)[-1].lower()


def _hands_text(word: str) -> bool:
    return word.startswith("-") and not word.startswith("--") and "c" in word


def _verbs(base: str) -> frozenset[str]:
    if base.removesuffix("-compose").endswith(CONTAINER_ENDINGS):
        return CONTAINER_VERBS
    return ACTING.get(base, frozenset())
