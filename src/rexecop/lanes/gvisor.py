"""gVisor: a program under a kernel of its own, behind a first process that shows where it is and waits.

This is the keeper's side, and the text of that first process. They talk through a folder that both see,
gone once the program runs: what was found inside, the word to go, and that it was heard.
"""

from __future__ import annotations

import os
import time
from typing import Final

GVISOR: Final = "gvisor"
GATE: Final = "/dev/rexecop"  # Inside, where gVisor has a file system of its own to make it in.
SHARED: Final = "/dev/shm"  # What a call is started with holds its secrets, and is written to no disk.
HEARD_SECONDS: Final = 5.0  # From the word to go until it is heard; takes two milliseconds.
PLACE: Final = b"@gate@"  # Stands in a configuration for the folder outside,
NOTHING: Final = "@gate@.nothing"  # and this for an empty file.

# Arguments: umask, program, argv. No other kernel says in its log that it is gVisor.
WAITER: Final = f"""
import ctypes, os, resource, sys, time
gate, log = "{GATE}/", ctypes.create_string_buffer(1 << 16)
length = ctypes.CDLL(None).klogctl(3, log, len(log))
found = {{"gvisor": str(b"gVisor" in log.raw[:max(0, length)]).lower(), "kernel": os.uname().release}}
found["root_read_only"] = str(not os.access("/", os.W_OK)).lower()
with open("/proc/net/dev") as file:
    found["interfaces"] = " ".join(sorted(line.split(":")[0].strip() for line in file if ":" in line))
with open("/proc/self/status") as file:
    found |= dict(line.split() for line in file if line.startswith(("CapEff:", "CapBnd:")))
names = dict(cpu_seconds="CPU", open_files="NOFILE", memory_bytes="AS", file_bytes="FSIZE")
for name, word in (*names.items(), ("user_processes", "NPROC")):
    limit = resource.getrlimit(getattr(resource, "RLIMIT_" + word))[0]
    if 0 <= limit < 1 << 62:
        found[name] = str(limit)
failed = os.open(gate + "failed", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
with open(gate + "new", "w") as file:
    file.writelines(f"{{name.rstrip(':')}}={{value}}\\n" for name, value in found.items())
os.rename(gate + "new", gate + "report")
while not os.path.exists(gate + "go"):
    time.sleep(0.002)
os.unlink(gate + "go")
os.umask(int(sys.argv[1]))
try:
    os.execv(sys.argv[2], sys.argv[3:])
except OSError as error:
    os.write(failed, b"%d" % error.errno)
os._exit(127)
"""


class Box:
    """The folder of one sandbox: its configuration, the state of gVisor, and the gate."""

    def __init__(self, config: bytes) -> None:
        """Write `config`.

        Raises:
            OSError: there is no room for it.
        """
        import tempfile

        self._folder = tempfile.mkdtemp(prefix="rexecop-", dir=SHARED)
        self._gate = os.path.join(self._folder, "gate")
        self._failed = -1
        os.mkdir(self._gate, 0o700)
        with open(f"{self._gate}.nothing", "wb"):
            pass
        with open(os.path.join(self._folder, "config.json"), "wb") as file:
            file.write(config.replace(PLACE, self._gate.encode()))

    def argv(self, program: str) -> list[bytes]:
        """Return the command line that makes the sandbox with gVisor's `program`."""
        state = f"--root={self._folder}/state"
        words = [program, state, "--network=none", "--ignore-cgroups", "run", "--bundle", self._folder]
        return [os.fsencode(word) for word in (*words, os.path.basename(self._folder))]

    def report(self) -> dict[str, str] | None:
        """Return what the first process inside found, None while it has not said."""
        try:
            with open(os.path.join(self._gate, "report"), encoding="utf-8") as file:
                found = dict(line.split("=", 1) for line in file.read(1 << 14).splitlines())
        except FileNotFoundError:
            return None
        self._failed = os.open(os.path.join(self._gate, "failed"), os.O_RDONLY | os.O_CLOEXEC)
        return found

    def let_go(self) -> None:
        """Let the program start, and take the gate away, where a program could else write."""
        word = os.path.join(self._gate, "go")
        with open(word, "wb"):
            pass
        until = time.monotonic() + HEARD_SECONDS
        while os.path.exists(word) and time.monotonic() < until:
            time.sleep(0.001)
        _remove(self._gate)

    def failed(self) -> int:
        """Return the error by which the program was not executed, 0 for none."""
        return int(os.read(self._failed, 16) or 0) if self._failed >= 0 else 0

    def remove(self) -> None:
        """Remove the folder; nothing may run in the sandbox any more."""
        if self._failed >= 0:
            os.close(self._failed)
            self._failed = -1
        _remove(self._folder)


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
