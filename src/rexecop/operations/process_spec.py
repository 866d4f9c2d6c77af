"""What an action says of the process it starts, beside its command: terminal, user, limits, hosts, script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.placeholders import Values, literal
from rexecop.operations.reading import Fields, Node
from rexecop.proof.call import ResourceLimits, Script, Terminal
from rexecop.proof.canonical import Digest, digest_of, is_digest
from rexecop.proof.egress import split

PROCESS_KEYS: Final = "tty umask user rlimits egress script"
SCRIPTS: Final = "scripts/"
HOSTS_MAX: Final = 32  # As the lane takes.
SIDE_MAX: Final = 1_000  # Likewise, rows and columns of a terminal.
FILES_MAX: Final = 16  # Likewise, argument files of a script.
LIMIT_MAX: Final = 1 << 50  # Past any machine; what is meant to be free is left out.
_LIMITS: Final = "open_files file_bytes cpu_seconds address_bytes user_processes"
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

Observed = Callable[[str], Digest | None]
"""Returns the digest of the file at a path of this machine, None where it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSpec:
    """A script of the profile; `text` is what the file of `path` holds."""

    interpreter: str
    path: str
    digest: Digest
    args: tuple[str, ...]
    files: Mapping[str, str]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """Everything None that the action leaves to the lane. `egress` may hold placeholders."""

    tty: Terminal | None = None
    umask: str | None = None
    user: str | None = None
    rlimits: ResourceLimits | None = None
    egress: tuple[str, ...] | None = None
    script: ScriptSpec | None = None


PLAIN: Final = ProcessSpec()


def read_process(fields: Fields) -> ProcessSpec:
    """Return what an action says of its process."""
    return ProcessSpec(
        tty=fields.maybe("tty", _terminal),
        umask=fields.maybe("umask", _umask),
        user=fields.maybe("user", Node.token),
        rlimits=fields.maybe("rlimits", _rlimits),
        egress=fields.maybe("egress", _egress),
        script=fields.maybe("script", _script),
    )


def _terminal(node: Node) -> Terminal:
    fields = node.fields("rows columns attended")
    return Terminal(
        rows=fields.integer("rows", Terminal().rows, 1, SIDE_MAX),
        columns=fields.integer("columns", Terminal().columns, 1, SIDE_MAX),
        attended=fields.boolean("attended"),
    )


def _umask(node: Node) -> str:
    found = node.text()
    if not isinstance(node.value, str) or re.fullmatch("0[0-7]{3}", found) is None:
        node.refuse(f'`umask` is `{found:.20}`, not four octal digits like "0027"', found=found)
    return found


def _egress(node: Node) -> tuple[str, ...]:
    found = [(item, item.text()) for item in node.items(HOSTS_MAX)]
    for item, text in found:
        if not re.search(r":[0-9]+$", text):
            item.refuse(f"`{text:.60}` has no port written out", found=text, allowed="like db.example:443")
    return tuple(text for _, text in found)


def _rlimits(node: Node) -> ResourceLimits:
    fields = node.fields(_LIMITS)
    read = {name: fields.maybe(name, lambda item: item.integer(1, LIMIT_MAX)) for name in _LIMITS.split()}
    return ResourceLimits(**read)


def _script(node: Node) -> ScriptSpec:
    fields = node.fields("interpreter file digest args files actions", "interpreter file digest")
    interpreter, digest = fields.text("interpreter"), fields.text("digest")
    if not interpreter.startswith("/"):
        node.refuse(f"interpreter `{interpreter:.60}` is not an absolute path", found=interpreter)
    if not is_digest(digest):
        node.refuse("`digest` is not `sha256:` and 64 hex digits", found=digest)
    path = fields.text("file")
    if not path.startswith(SCRIPTS):
        node.refuse(f"script `{path:.60}` does not lie in `{SCRIPTS}`", found=path, allowed=SCRIPTS)
    files = {name: item.text() for name, item in fields.entries("files", _FILE)}
    if len(files) > FILES_MAX:
        node.refuse(f"{len(files)} argument files, at most {FILES_MAX}", allowed=str(FILES_MAX))
    return ScriptSpec(
        interpreter=interpreter,
        path=path,
        digest=Digest(digest),
        args=fields.texts("args", 256),
        files=files,
        actions=fields.tokens("actions", 64),
    )


def pinned_script(
    spec: ScriptSpec, scripts: Mapping[str, str], values: Values, observed: Observed, where: str
) -> Script:
    """Return the script of `spec` with its text, and its interpreter as it is now.

    Raises:
        ConnectorRefused: the text is not in `scripts` or is another, or there is no interpreter.
        ProfileRefused, ParameterRefused: a placeholder in a file names nothing.
    """
    text = scripts.get(spec.path)
    if text is None or digest_of(text.encode()) != spec.digest:
        found = "is no file of the profile" if text is None else f"is `{digest_of(text.encode())}`"
        raise ConnectorRefused(
            f"`{where}`: script `{spec.path}` {found}, not `{spec.digest}`", field=where, found=spec.path
        )
    interpreter = observed(spec.interpreter)
    if interpreter is None:
        raise ConnectorRefused(
            f"`{where}`: interpreter `{spec.interpreter:.60}` cannot be read here",
            field=where,
            found=spec.interpreter,
        )
    files = {name: literal(content, values, where) for name, content in spec.files.items()}
    return Script(
        interpreter=interpreter, digest=spec.digest, text=text, files=files or None, actions=spec.actions
    )


def hosts(egress: tuple[str, ...] | None, values: Values, where: str) -> tuple[str, ...] | None:
    """Return the hosts a call may reach, each once and in order.

    Raises:
        ConnectorRefused: one is not `host:port`.
    """
    if egress is None:
        return None
    found = sorted({literal(entry, values, where).lower() for entry in egress})
    for entry in found:
        try:
            split(entry)
        except ValueError as error:
            raise ConnectorRefused(
                f"`{where}`: {error}", field=where, found=entry, allowed="like db.example:443"
            ) from None
    return tuple(found)
