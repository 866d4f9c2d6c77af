"""A keeper: starts the process of one call at a time, enforces its time, ends its whole tree.

A keeper is a fork of the spawner and a subreaper: whatever the program starts, however
it detaches, stays below the keeper and ends with the call. The call's socket to the lane
is its lifeline: when that closes (the call was cancelled, the runner was killed) the tree
ends. A keeper that could not end a tree does not serve again.

There are two kinds. A plain one starts programs as they are or lets a fork confine
itself; a confined one has closed for itself what bubblewrap leaves open, so that
bubblewrap starts without a fork of Python.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Final, NoReturn

from rexecop.lanes import kernel, proctree, seccomp, wire
from rexecop.lanes.cgroup import Group
from rexecop.lanes.child import (
    BUBBLEWRAP,
    DEFAULT_SIGNALS,
    become,
    limit,
    limits_in_force,
    places,
)
from rexecop.lanes.gvisor import GVISOR, Box
from rexecop.lanes.handover import IDLE, drain, receive
from rexecop.lanes.scout import scout
from rexecop.lanes.wire import Launch

SETUP_MS_MAX: Final = 15_000  # Under heavy load bubblewrap took 120 ms; past this something hangs.
CLEARANCE_MS_MAX: Final = 60_000  # The lane answers at once or its permit has expired.
FIRST_COUNT_MS: Final = 20
COUNT_MS: Final = 50  # How often processes are counted; between two counts a tree may exceed its limit.
MEASURE_PAUSE_SECONDS: Final = 0.0003
RECEIVE_BYTES: Final = 1 << 16
_CHILD_PID: Final = re.compile(rb'"child-pid"\s*:\s*(\d+)')
_EXIT_CODE: Final = re.compile(rb'"exit-code"\s*:\s*(\d+)')


class Lost(Exception):
    """The lane closed its socket: the call is over."""


class Unstarted(Exception):
    """The program was not executed; holds the frame that says why."""

    def __init__(self, fields: list[bytes]) -> None:
        super().__init__()
        self.fields = fields


def serve(link: socket.socket, *, confined: bool) -> NoReturn:
    """Keep calls handed over through `link` until it closes, then exit."""
    try:
        keeper = Keeper(confined=confined)
        while received := receive(link):
            _, opened = received
            with socket.socket(fileno=opened[0]) as control:
                clean = keeper.keep(control, (opened[1], opened[2], opened[3]), opened[4:])
            if not clean:
                break
            link.send(IDLE)
    finally:
        os._exit(0)


class Keeper:
    """Keeps one call after another."""

    def __init__(self, *, confined: bool) -> None:
        self._wake, write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        kernel.become_subreaper()
        if confined:
            kernel.no_new_privileges()
            kernel.install_filter(seccomp.contain_filter(kernel.machine()))
        self._status = proctree.status_of(os.getpid())

    def keep(self, control: socket.socket, stdio: tuple[int, int, int], given: list[int]) -> bool:
        """Keep one call from launch to end; return whether nothing of it is left."""
        call = _Kept(control, self._wake, self._status, given)
        try:
            call.run(stdio)
        except Unstarted as unstarted:
            call.end()
            call.say(unstarted.fields)
        except (Lost, OSError, ValueError):
            pass  # The lane is gone or talks nonsense: there is nobody to tell.
        return call.end()


class _Kept:
    """State of one call."""

    def __init__(self, control: socket.socket, wake: int, status: dict[str, str], given: list[int]) -> None:
        self._control = control
        self._wake = wake
        self._status = status
        self._given = given
        self._link = -1
        self._group: Group | None = None
        self._box: Box | None = None
        self._buffer = bytearray()
        self._ended: dict[int, int] = {}
        self._main = 0
        self._interrupts = 0
        self._opened: set[int] = set()

    def run(self, stdio: tuple[int, int, int]) -> None:
        """Launch, measure, wait for the word, watch, end.

        Raises:
            Unstarted: the program was not executed. Lost: the lane is gone.
            OSError, ValueError: it sent nonsense or a pipe broke.
        """
        self._opened.update(stdio, self._given)
        launch = Launch.from_fields(self._frame(SETUP_MS_MAX))
        if launch.listed:
            self._link = self._given.pop()
        asks = launch.tty or launch.uid >= 0 or bool(launch.cpu_seconds or launch.open_files)
        asks = asks or bool(launch.address_bytes or launch.file_bytes or launch.user_processes)
        if launch.isolation.startswith(BUBBLEWRAP):
            self._run_bubblewrap(launch, stdio)
        elif launch.isolation == GVISOR:
            self._run_gvisor(launch, stdio)
        elif launch.isolation == "none" and not asks:
            self._run_plain(launch, stdio)
        else:
            self._run_confined(launch, stdio)

    def end(self) -> bool:
        """End what is left of the call and give its descriptors back; return whether nothing is left."""
        empty = proctree.kill_below(os.getpid(), self._ended)
        if self._group is not None:
            self._group.end()
        if self._box is not None and empty:
            self._box.remove()
        self._close(*self._opened)
        os.chdir("/")
        return empty

    def say(self, fields: list[bytes]) -> None:
        """Send one frame; a lane that is gone is not waited for."""
        with suppress(OSError):
            self._control.sendall(wire.pack(fields))

    def _run_plain(self, launch: Launch, stdio: tuple[int, int, int]) -> None:
        """Start the program at the word; it is as free as this keeper, which is what is reported."""
        self._ask(self._status)
        try:
            os.chdir(launch.cwd)
        except OSError as error:
            raise Unstarted(wire.refusal("cwd", error.errno or 0, os.strerror(error.errno or 0))) from error
        self._spawn(launch, launch.argv, stdio)
        self._watch_to_end(launch)

    def _run_confined(self, launch: Launch, stdio: tuple[int, int, int]) -> None:
        """Fork a child that confines itself, shows what it sees and waits for the word."""
        report_read, report_write = self._pipe()
        go_read, go_write = self._pipe()
        self._main = os.fork()
        if self._main == 0:
            become(launch, launch.argv, stdio, self._given, report_write, go_read)
        self._close(*stdio, *self._given, report_write, go_read)
        fields = self._read_report(report_read)
        if fields is None:
            raise Unstarted(wire.refusal("isolation", 0, "the child ended before it was ready"))
        if fields[0] != wire.READY:
            raise Unstarted(fields)
        until = self._ask(wire.from_pairs(fields[1:]) | self._status_of(launch, self._main))
        os.write(go_write, struct.pack(">q", until))
        self._close(go_write)
        if (fields := self._read_report(report_read)) is not None:
            raise Unstarted(fields)
        self._watch_to_end(launch)

    def _run_bubblewrap(self, launch: Launch, stdio: tuple[int, int, int]) -> None:
        """Start bubblewrap, measure the process inside while it waits, and let it go at the word."""
        go_read, go_write = self._pipe()
        status_read, status_write = self._pipe()
        report_read, report_write = self._pipe()
        for opened in (go_read, status_write):
            os.set_inheritable(opened, True)
        pipes = [b"--block-fd", b"%d" % go_read, b"--json-status-fd", b"%d" % status_write]
        argv = [launch.argv[0], *pipes, *launch.argv[1:]]
        if launch.cgroups:
            self._group = self._made(launch)
        if launch.uid < 0:
            self._spawn(launch, argv, stdio, report_write)
        else:
            self._main = os.fork()
            if self._main == 0:
                become(launch, argv, stdio, self._given, report_write, go_read)
        self._close(*stdio, *self._given, go_read, status_write, report_write)
        pid = self._sandboxed(status_read)
        facts = self._measure(launch, pid)
        if launch.uid < 0:
            limit(launch, pid)
        if self._group is not None:
            self._group.take([self._main, pid])
            facts |= self._group.measured(pid)
        if launch.listed:
            facts |= self._scout(launch, pid)
        self._ask(facts | limits_in_force(pid))
        os.write(go_write, b"1")
        self._close(go_write)
        self._watch_to_end(launch, status_read, report_read)

    def _run_gvisor(self, launch: Launch, stdio: tuple[int, int, int]) -> None:
        """Make the sandbox, take what its first process found inside, and let it go at the word."""
        box = self._box = Box(launch.argv[0])
        self._spawn(launch, box.argv(launch.program), stdio)
        deadline = time.monotonic() + SETUP_MS_MAX / 1000
        while (found := box.report()) is None:
            if time.monotonic() > deadline or self._main in self._reap():
                raise Unstarted(wire.refusal("isolation", 0, "gVisor did not make the sandbox"))
            time.sleep(MEASURE_PAUSE_SECONDS)
        self._ask(found)
        box.let_go()
        self._watch_to_end(launch)

    def _made(self, launch: Launch) -> Group:
        try:
            return Group(launch.cgroups, launch.memory_bytes, launch.processes + launch.skip)
        except OSError as error:
            raise Unstarted(
                wire.refusal("cgroup", error.errno or 0, os.strerror(error.errno or 0))
            ) from error

    def _scout(self, launch: Launch, pid: int) -> dict[str, str]:
        """Return what the network of `pid` lets through, as seen from within."""
        report_read, report_write = self._pipe()
        if os.fork() == 0:
            scout(pid, launch.listed, launch.unlisted, self._link, report_write)
        self._close(report_write, self._link)
        fields = self._read_report(report_read)
        if fields is None or fields[0] != wire.READY:
            raise Unstarted(fields or wire.refusal("egress", 0, "the scout ended without a word"))
        return wire.from_pairs(fields[1:])

    def _ask(self, facts: dict[str, str]) -> int:
        """Show `facts` to the lane; return until when, on the boot clock, the program may start.

        Raises:
            Unstarted: the word came too late to be acted on. Lost: the lane says no.
        """
        self.say([wire.READY, *wire.pairs(facts)])
        fields = self._frame(CLEARANCE_MS_MAX)
        if fields[0] != wire.GO:
            raise Lost
        until = int(fields[1])
        if kernel.boot_ms() > until:
            raise Unstarted(wire.refusal("late", 0, "the word to start came too late"))
        return until

    def _spawn(
        self, launch: Launch, argv: list[bytes], stdio: tuple[int, int, int], report_write: int = -1
    ) -> None:
        moves = places(launch, stdio, self._given, report_write)
        before = os.umask(launch.umask)
        try:
            self._main = os.posix_spawn(
                launch.program,
                argv,
                launch.env,
                file_actions=[(os.POSIX_SPAWN_DUP2, opened, number) for number, opened in moves],
                setsid=True,
                setsigmask=(),
                setsigdef=DEFAULT_SIGNALS,
            )
        except OSError as error:
            raise Unstarted(wire.refusal("exec", error.errno or 0, os.strerror(error.errno or 0))) from error
        finally:
            os.umask(before)
        self._close(*stdio, *self._given)

    def _status_of(self, launch: Launch, pid: int) -> dict[str, str]:
        """Return what the kernel says of the privileges of `pid`, and of the user where one was asked for."""
        return proctree.status_of(pid, also=("Uid", "Gid") if launch.uid >= 0 else ())

    def _measure(self, launch: Launch, pid: int) -> dict[str, str]:
        """Return what the process inside bubblewrap shows once it has dropped everything and waits."""
        deadline = time.monotonic() + SETUP_MS_MAX / 1000
        while time.monotonic() < deadline and self._main not in self._reap():
            status = self._status_of(launch, pid)
            # Dropping capabilities is its last step before it waits; until then mounts may be missing.
            if status.get("CapEff", "f").strip("0") == "" and status.get("CapBnd", "f").strip("0") == "":
                facts = status | {f"ns_{name}": inode for name, inode in proctree.namespaces_of(pid).items()}
                return facts | {"root_read_only": str(proctree.root_is_read_only(pid)).lower()}
            time.sleep(MEASURE_PAUSE_SECONDS)
        raise Unstarted(wire.refusal("isolation", 0, "bubblewrap did not make the sandbox"))

    def _sandboxed(self, status_read: int) -> int:
        """Return the pid, seen from here, of the first process inside."""
        seen = b""
        while (found := _CHILD_PID.search(seen)) is None or b"}" not in seen:
            ready = select.select([status_read], [], [], SETUP_MS_MAX / 1000)[0]
            data = os.read(status_read, 4096) if ready else b""
            if not data:
                raise Unstarted(wire.refusal("isolation", 0, "bubblewrap ended before it made the sandbox"))
            seen += data
        return int(found.group(1))

    def _watch(self, launch: Launch) -> str:
        """Return why the call is over: `exit`, `timeout`, `cancelled`, `processes` or what the lane said.

        A call that is out of time or cancelled is asked to end and given its grace.
        """
        deadline = kernel.boot_ms() + launch.timeout_ms
        count_at = kernel.boot_ms() + FIRST_COUNT_MS
        reason, interrupted = "exit", False
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while self._main not in self._reap():
            now = kernel.boot_ms()
            if now >= deadline:
                if reason != "exit":
                    return reason
                reason, deadline = "timeout", self._ask_to_end(launch)
            if now >= count_at:
                count_at = now + COUNT_MS
                if len(self._below(launch)) > launch.processes:
                    return "processes"
            if interrupted and proctree.interrupt(self._below(launch)):
                interrupted, self._interrupts = False, self._interrupts + 1
            # A word may have come together with the one before it.
            waits = 0 if self._buffer else max(1, min(deadline, count_at) - now)
            ready = [opened for opened, _ in poll.poll(waits)]
            if self._wake in ready:
                drain(self._wake)
            if not (self._buffer or self._control.fileno() in ready):
                continue
            try:
                fields = self._frame(0)
                if fields[0] != wire.INTERRUPT:
                    return fields[1].decode() if fields[0] == wire.STOP else "cancelled"
                interrupted = True
            except Lost:
                self._buffer.clear()
                poll.unregister(self._control)
                reason, deadline = "cancelled", self._ask_to_end(launch)
        return reason

    def _ask_to_end(self, launch: Launch) -> int:
        """Ask the program politely; return until when, on the boot clock, it has time to tidy up."""
        proctree.signal_all(self._below(launch), signal.SIGTERM)
        return kernel.boot_ms() + launch.grace_ms

    @staticmethod
    def _below(launch: Launch) -> list[int]:
        """Return the processes of the program, without its wrappers."""
        return proctree.descendants(os.getpid(), deeper_than=launch.skip)

    def _watch_to_end(self, launch: Launch, status_read: int = -1, report_read: int = -1) -> None:
        reason = self._watch(launch)
        # A sandbox is still ending then; its first process takes everything with it.
        bare = status_read < 0 and self._box is None
        left = len(proctree.descendants(os.getpid())) if bare else 0
        empty = proctree.kill_below(os.getpid(), self._ended)
        facts = {"reason": reason, "left": str(left), "tree_empty": str(empty).lower()}
        if self._interrupts:
            facts["interrupts"] = str(self._interrupts)
        if self._group is not None:
            facts |= self._group.end()
            self._group = None
        status = self._ended.get(self._main)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            facts["signal" if code < 0 else "status"] = str(abs(code))
        if self._box is not None and (number := self._box.failed()):
            self.say(wire.refusal("exec", number, os.strerror(number)))
            return
        if status_read >= 0:
            # Bubblewrap says how the program ended only if the program was executed.
            facts["executed"] = str(reason != "exit" or bool(_EXIT_CODE.search(_now(status_read)))).lower()
            if launch.tty and (told := _now(report_read)):
                self.say(wire.refusal("exec", int(told), os.strerror(int(told))))
                return
        self.say([wire.ENDED, *wire.pairs(facts)])

    def _pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        self._opened |= {read, write}
        return read, write

    def _close(self, *numbers: int) -> None:
        for opened in self._opened.intersection(numbers):
            self._opened.remove(opened)
            os.close(opened)

    def _reap(self) -> dict[int, int]:
        self._ended |= proctree.reap()
        return self._ended

    def _read_report(self, report_read: int) -> list[bytes] | None:
        """Return what the child says next, or None when its end closed: it was executed, or died."""
        buffer = bytearray()
        while (fields := wire.take_frame(buffer)) is None:
            if not select.select([report_read], [], [], SETUP_MS_MAX / 1000)[0]:
                return [wire.REFUSED, b"isolation", b"0", b"the child did not get ready in time"]
            if not (data := os.read(report_read, RECEIVE_BYTES)):
                return None
            buffer += data
        return fields

    def _frame(self, wait_ms: int) -> list[bytes]:
        """Return the lane's next frame; 0 waits for the rest of one that has begun.

        Raises:
            Lost: the lane closed its end, or did not speak in time.
        """
        self._control.settimeout(wait_ms / 1000 if wait_ms else SETUP_MS_MAX / 1000)
        try:
            while (fields := wire.take_frame(self._buffer)) is None:
                if not (data := self._control.recv(RECEIVE_BYTES)):
                    raise Lost
                self._buffer += data
        except TimeoutError as error:
            raise Lost from error
        finally:
            self._control.settimeout(None)
        return fields


def _now(pipe: int) -> bytes:
    """Return what is in the pipe, without waiting for more."""
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return b""
