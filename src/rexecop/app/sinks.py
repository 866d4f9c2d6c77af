"""Checkpoint sinks: copies of checkpoints where whoever holds this root cannot take them back.

Named in `sinks.yaml` of the root. A sink that cannot be reached never holds work up; one
that holds more than the ledger, or another one, ends everything that changes something.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rexecop.app.errors import LedgerForked, LedgerRewound, NotYet, SinkFailed, SinksRefused
from rexecop.app.files import flush_folder, locked, read_file, reason_of, require_private
from rexecop.app.root import Root
from rexecop.app.views import CheckView
from rexecop.app.witness import Witnesses, complaint
from rexecop.execution.strict_yaml import Yaml, load_yaml
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.canonical import canonical_bytes
from rexecop.proof.checkpoint import Checkpoint, require_continued
from rexecop.proof.errors import LogError, LogForked, ProofError, RexecopError
from rexecop.proof.logproof import instance_keys
from rexecop.proof.trust import Enrolment
from rexecop.store.ledger import LedgerStore
from rexecop.store.log import StoredCheckpoint

if TYPE_CHECKING:
    from rexecop.lanes.program import Ran

SINKS_MAX: Final = 16  # Each is waited for whenever something was recorded.
TAIL_BYTES: Final = 256 * 1024  # Where in a file the newest checkpoint is looked for: hundreds of them.
UNSEEN: Final = "none: whoever holds the instance's key could rewind the log, and nobody would see it"
FILES: Final = ("file", "git")
PROGRAMS: Final = ("command", "witness")
# Hooks, signing and the author of a repository are its owner's; a checkpoint needs none of them.
GIT: Final = (
    "git", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false",
    "-c", "user.name=rexecop", "-c", "user.email=rexecop@localhost",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where checkpoints go: a file (or one in a Git working tree), or a program and its arguments."""

    kind: str
    path: Path | None
    argv: tuple[str, ...]

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.kind} {self.path or self.argv[0]}"


def read_sinks(root: Root) -> tuple[Sink, ...]:
    """Return the sinks of a root; none where it names none.

    Raises:
        RootUnsafe: others could change the file. YamlRefused, SinksRefused: it is not what it should be.
    """
    if not root.sinks.exists():
        return ()
    require_private(root.sinks)
    found = load_yaml(read_file(root.sinks), source=root.sinks.name).value
    if not isinstance(found, list) or len(found) > SINKS_MAX:
        raise SinksRefused(f"`{root.sinks}` is not a list of at most {SINKS_MAX} sinks", path=str(root.sinks))
    return tuple(_sink(item) for item in found)


def _sink(item: Yaml) -> Sink:
    kind, value = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else ("", None)
    if kind in FILES and isinstance(value, str) and value.startswith("/"):
        return Sink(kind=kind, path=Path(value), argv=())
    words = [word for word in value if isinstance(word, str) and word] if isinstance(value, list) else []
    if kind in PROGRAMS and words and words == value:
        return Sink(kind=kind, path=None, argv=tuple(words))
    forms = "`file: /PATH`, `git: /PATH`, `command: [WORDS]` and `witness: [WORDS]`"
    raise SinksRefused(f"a sink is one of {forms}", found=kind[:40])


def sinks_file(named: Sequence[str]) -> bytes:
    """Return a file of sinks for `file:PATH` and `git:PATH` as they are typed.

    Raises:
        SinksRefused: one has another form.
    """
    lines = []
    for text in named:
        kind, _, path = text.partition(":")
        if kind not in FILES or not path:
            raise SinksRefused(f"`{text[:80]}` is not like `file:PATH` or `git:PATH`")
        lines.append(f"- {kind}: ".encode() + canonical_bytes(str(Path(path).absolute())) + b"\n")
    return b"# Where checkpoints go whenever something was recorded.\n" + b"".join(lines)


class Sinks:
    """The sinks of one opened root. `failures` says what was not kept when it was closed."""

    def __init__(
        self,
        root: Root,
        store: LedgerStore,
        witnesses: Witnesses,
        enrolments: Callable[[], tuple[Enrolment, ...]],
        environ: Mapping[str, str],
    ) -> None:
        self._root = root
        self._store = store
        self._witnesses = witnesses
        self._enrolments = enrolments
        self._environ = environ
        self._size = store.size()
        self.failures: tuple[str, ...] = ()

    def close(self) -> None:
        """Publish if something was recorded since this was made; never raises."""
        try:
            views = self.publish() if self._store.size() > self._size else ()
            self.failures = tuple(f"{view.name}: {view.message}" for view in views if view.status != "ok")
        except RexecopError as error:
            self.failures = (error.message,)

    def publish(self) -> tuple[CheckView, ...]:
        """Give the newest checkpoint to every sink, and say what became of it at each.

        Raises:
            RootUnsafe, YamlRefused, SinksRefused: see `read_sinks`.
        """
        views = []
        for sink in read_sinks(self._root):
            try:
                status, message = "ok", self._publish(sink)
            except (RexecopError, OSError) as error:
                status, message = "failed", reason_of(error)
            views.append(CheckView(name=sink.name, status=status, message=message))
        return tuple(views)

    def require_agreement(self) -> None:
        """Return only if no sink that can be read holds more than this ledger, or another one.

        Raises:
            LedgerRewound, LedgerForked: one does. RootUnsafe, YamlRefused, SinksRefused: see `read_sinks`.
        """
        for sink in read_sinks(self._root):
            if sink.path is not None:
                try:
                    held = self._newest(sink.path)
                except OSError:
                    continue  # Out of reach: said when the next checkpoint cannot be written there either.
                self._require_continued(held, sink)

    def check(self) -> CheckView:
        """Return for `doctor` whether every sink takes the newest checkpoint and none disagrees."""
        self.require_agreement()
        views = self.publish()
        failed = "; ".join(f"{view.name}: {view.message}" for view in views if view.status != "ok")
        sound = f"{len(views)} took the newest checkpoint" if views else UNSEEN
        status = "warning" if failed or not views else "ok"
        return CheckView(name="sinks", status=status, message=failed or sound)

    def behind(self) -> tuple[tuple[str, int], ...]:
        """Return for each sink that can be read how many records its newest checkpoint misses.

        Raises:
            RootUnsafe, YamlRefused, SinksRefused: see `read_sinks`.
        """
        return tuple((sink.name, self._behind(sink.path)) for sink in read_sinks(self._root) if sink.path)

    def _behind(self, path: Path) -> int:
        size = self._store.size()
        try:
            held = self._newest(path)
        except (OSError, NotYet):
            return size
        return size - (0 if held is None else min(held.size, size))

    def _publish(self, sink: Sink) -> str:
        stored, found = self._current()
        if sink.path is not None:
            with locked(sink.path):
                self._append(sink, sink.path, stored, found)
            return f"checkpoint of {found.size} records"
        if sink.kind == "witness":
            seen = self._witnesses.ask(lambda request: self._run(sink.argv, request))
        else:
            ran = self._run(sink.argv, stored.note)
            if ran.returncode:
                raise SinkFailed(complaint(ran.returncode, ran.stderr))
            if not ran.stdout.startswith(notes.LINE_START.encode()):
                return f"checkpoint of {found.size} records"
            self._store.give_checkpoint(stored)
            seen = self._witnesses.add(ran.stdout)
        return f"checkpoint of {seen.size} records, cosigned by {', '.join(seen.witnesses)}"

    def _append(self, sink: Sink, path: Path, stored: StoredCheckpoint, found: Checkpoint) -> None:
        """Add the checkpoint to the file unless it ends with it, and commit it in a working tree."""
        held = self._newest(path)
        self._require_continued(held, sink)
        if held is None or held.size < found.size:
            # What was cut off in the middle, if anything, must not run into what follows.
            torn = _tail(path)[-2:] not in (b"", b"\n\n")
            with path.open("ab") as file:
                file.write(b"\n\n" * torn + notes.join([stored.note]))
                file.flush()
                os.fsync(file.fileno())
            flush_folder(path.parent)
        if sink.kind == "git" and self._git(path, "status", "--porcelain", "--", path.name).stdout:
            self._git(path, "add", "--", path.name)
            message = f"Checkpoint of {found.size} records of {found.origin}"
            self._git(path, "commit", "--quiet", "-m", message, "--", path.name)

    def _git(self, path: Path, *words: str) -> Ran:
        ran = self._run((*GIT, "-C", str(path.parent), *words), b"")
        if ran.returncode:
            raise SinkFailed(f"git: {complaint(ran.returncode, ran.stderr)}")
        return ran

    def _run(self, argv: Sequence[str], stdin: bytes) -> Ran:
        from rexecop.lanes.program import run  # Commands that publish nothing need no lane's machinery.

        return run(argv, stdin=stdin, environ=self._environ)

    def _current(self) -> tuple[StoredCheckpoint, Checkpoint]:
        stored = self._store.checkpoint()
        if stored is None:
            raise NotYet("the ledger is empty")
        return stored, checkpoints.parse(notes.parse(stored.note).text)

    def _newest(self, path: Path) -> Checkpoint | None:
        """Return the last checkpoint of this log, in its present epoch, that its own key signed in a file.

        Raises:
            OSError: the file cannot be read.
        """
        from rexecop.proof.verify.trusted import trust_of

        origin, log_keys = self._current()[1].origin, instance_keys(trust_of(self._enrolments()))
        for item in reversed(notes.split(_tail(path))):
            try:
                found = checkpoints.verify(item, log_keys).checkpoint
            except ProofError:
                continue  # Somebody else's, or cut off: it says nothing about this log.
            if found.origin == origin:
                return found
        return None

    def _require_continued(self, held: Checkpoint | None, sink: Sink) -> None:
        try:
            if held is not None:
                require_continued(held, self._store.size(), self._store.root)
        except LogError as error:
            kind = LedgerForked if isinstance(error, LogForked) else LedgerRewound
            words = f"{sink.name} disagrees with this ledger: {error.message}"
            raise kind(words, next_steps=("rexecop log verify --checkpoint FILE",)) from error


def _tail(path: Path) -> bytes:
    """Return the end of a file; whatever else it is cannot be read."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return file.read(TAIL_BYTES)
