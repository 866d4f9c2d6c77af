"""From an action of a profile and a connector of an environment to one exact call template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rexecop.lanes.messages.http import PROTOCOL as HTTP
from rexecop.lanes.messages.http import READ_METHODS
from rexecop.lanes.messages.jsonrpc import JsonRpcMessage
from rexecop.lanes.messages.ssh import PUT
from rexecop.operations.binding import Bound, Making
from rexecop.operations.environment import READONLY_BACKENDS, Backend
from rexecop.operations.errors import ConnectorRefused, ParameterRefused
from rexecop.operations.guards import check_command
from rexecop.operations.placeholders import expand, expand_words, is_spread, literal, names_in
from rexecop.operations.planning_exchanges import EXCHANGES
from rexecop.operations.planning_ssh import ssh_request
from rexecop.operations.process_spec import ScriptSpec, hosts, pinned_script
from rexecop.operations.profile_model import ActionSpec, CommandShape, Profile
from rexecop.operations.reading import unknown
from rexecop.operations.scripted import ScriptedAction
from rexecop.proof.call import Call, ExchangeRequest, ProcessRequest, Request, Script, ScriptedRequest, Text
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Grade, strongest

# Names that mean a change where neither profile nor environment says what an action does.
CHANGING: Final = frozenset(
    {
        *("apply", "start", "stop", "restart", "reload", "reboot", "shutdown", "create", "update", "set"),
        *("write", "install", "upgrade", "enable", "disable", "configure", "migrate", "restore", "rollback"),
        *("patch", "put", "post", "send", "trigger", "execute", "run", "reset", "resume", "pause", "add"),
    }
)
DESTROYING: Final = frozenset(
    {"delete", "destroy", "remove", "purge", "drop", "wipe", "format", "kill", "erase"}
)


def effect_of(action: ActionSpec, bound: Bound, profile: Profile) -> Effect:
    """Return the effect class of an action: as declared, never weaker than its shape says.

    Raises:
        ConnectorRefused: nothing says what it does, or its backend only reads.
    """
    config = bound.config
    where = f"{bound.spec.name}.{action.name}"
    found = [item for item in (action.effect, _shaped_effect(action, bound, profile)) if item is not None]
    if not found:
        raise ConnectorRefused(
            f"`{where}` does not say what it does; declare its `effect`",
            field=where,
            allowed="read, change, destroy",
        )
    effect = strongest(found)
    if config.declared in READONLY_BACKENDS and effect is not Effect.READ:
        raise ConnectorRefused(
            f"`{where}` is a {effect}, and backend `{config.declared}` only reads", found=config.declared
        )
    return effect


def _shaped_effect(action: ActionSpec, bound: Bound, profile: Profile) -> Effect | None:
    """Return what flags, method, backend or name say, or None if nothing does."""
    config = bound.config
    scripted = _scripted(action.name, bound, profile)
    if action.transfer is not None and action.transfer.get("operation") == PUT:
        return Effect.CHANGE
    flags = [action.mutating, config.mutating.get(action.name), scripted.mutating if scripted else None]
    if True in flags or False in flags:
        return Effect.CHANGE if True in flags else Effect.READ
    shape = action.http or config.shapes.get(action.name)
    method = shape.get("method") if shape is not None else None
    if isinstance(method, str):
        return Effect.READ if method.upper() in READ_METHODS else Effect.CHANGE
    if config.declared in READONLY_BACKENDS:
        return Effect.READ
    # A name is a guess, and only where nobody said anything.
    if config.backend is not Backend.SCRIPTED or action.effect is not None:
        return None
    words = set(action.name.lower().replace("-", "_").split("_"))
    if words & DESTROYING:
        return Effect.DESTROY
    return Effect.CHANGE if words & CHANGING else Effect.READ


def build_call(making: Making) -> Call:
    """Return the exact call that `making` describes.

    Raises:
        ConnectorRefused, CommandGuarded, ProfileRefused, ParameterRefused: it cannot be written down.
    """
    request: Request
    bound = making.bound
    if bound.config.backend is Backend.SCRIPTED:
        request = _scripted_request(making)
    elif bound.config.backend is Backend.PROCESS:
        request = process_request(making)
    elif bound.config.backend is Backend.SSH:
        request = ssh_request(making, None if making.action.transfer else process_request(making))
    else:
        request = EXCHANGES[bound.config.backend](making)
    return Call(
        target=making.values.target,
        connector=bound.spec.name,
        action=making.action.name,
        effect=making.effect,
        request=request,
    )


def runs_program(request: Request) -> bool:
    """Return whether `request` starts a program on this machine, which isolation can hold."""
    if isinstance(request, ExchangeRequest):
        return request.protocol == JsonRpcMessage.protocol and "program" in request.message
    return isinstance(request, ProcessRequest)


def grade_of_exchange(request: Request) -> Grade:
    """Return the grade of a read that is no process: `method` where its protocol has reading methods."""
    if isinstance(request, ExchangeRequest) and request.protocol == HTTP:
        return Grade.METHOD if request.message.get("method") in READ_METHODS else Grade.SHAPE
    return Grade.SHAPE


def _scripted(action: str, bound: Bound, profile: Profile) -> ScriptedAction | None:
    config = bound.config
    found = config.scripted.get(action)
    if found is not None and (found.replies or found.targets):
        return found
    fixture = profile.fixtures.get(config.fixture) if config.fixture is not None else None
    return (fixture.get(action) if fixture is not None else None) or found


def _scripted_request(making: Making) -> ScriptedRequest:
    action, bound, profile, values = making.action, making.bound, making.profile, making.values
    fixture = bound.config.fixture
    if fixture is not None and fixture not in profile.fixtures:
        message = (
            f"connector `{bound.spec.name}` names the fixture `{fixture}`, which the profile does not have"
        )
        raise unknown(ConnectorRefused, message, fixture, profile.fixtures)
    scripted = _scripted(action.name, bound, profile)
    replies = scripted.for_target(values.target) if scripted is not None else ()
    if not replies:
        raise ConnectorRefused(
            f"connector `{bound.spec.name}` has no scripted reply for `{action.name}` on `{values.target}`",
            field=f"{bound.spec.name}.{action.name}",
        )
    arguments: dict[str, Json] = {}
    if values.parameters:
        arguments["parameters"] = dict(values.parameters)
    if action.command is not None:
        arguments["command"] = [action.command.command, *action.command.args]
    return ScriptedRequest(arguments=arguments, replies=replies)


def process_request(making: Making) -> ProcessRequest:
    """Return the program that `making` describes, wherever it is to run.

    Raises:
        ConnectorRefused, CommandGuarded, ProfileRefused, ParameterRefused: it cannot be written down.
    """
    action, bound, effect, values = making.action, making.bound, making.effect, making.values
    where = making.where
    shape = _command(action, bound, where)
    if any(space == "secret" for arg in shape.args for space, _ in names_in(arg)):
        what = f"`{where}` has a secret in `args`, which every user of the machine can read"
        raise ConnectorRefused(what, field=where, allowed="{secret.NAME} in `env` and `stdin`")
    program = expand_words((shape.command,), values, where) if is_spread(shape.command) else (shape.command,)
    argv: tuple[Text, ...] = (*program, *expand_words(shape.args, values, where))
    _check_options(shape, argv[len(program) :], where)
    if bound.config.declared in READONLY_BACKENDS and shape.command.rsplit("/", 1)[-1].lower() == "curl":
        argv = argv if argv[1:2] == ("-q",) else (argv[0], "-q", *argv[1:])
    check_command(argv, effect, where)
    if action.writable and effect is Effect.READ:
        raise ConnectorRefused(f"`{where}` is a read and names `writable` folders", field=where)
    script = action.process.script
    return ProcessRequest(
        argv=argv,
        stdin=None if action.stdin is None else expand(action.stdin, values, where),
        env=None
        if not action.env
        else {key: expand(text, values, where) for key, text in action.env.items()},
        cwd=literal(action.cwd, values, where) or None,
        writable=tuple(_folder(literal(text, values, where), where) for text in action.writable),
        tty=action.process.tty,
        umask=action.process.umask,
        user=action.process.user,
        rlimits=action.process.rlimits,
        egress=hosts(action.process.egress, values, where),
        script=None if script is None else _pinned(making, script),
    )


def _pinned(making: Making, spec: ScriptSpec) -> Script:
    """Return the pinned script; what it says it does is no more than its action may do."""
    where = f"{making.bound.spec.name}.{spec.path}"
    for name in spec.actions:
        declared = effect_of(making.bound.action(name), making.bound, making.profile)
        if strongest([making.effect, declared]) is not making.effect:
            does = f"`{where}` says it does `{name}`, which is a {declared}"
            raise ConnectorRefused(f"{does}, and its action is a {making.effect}", field=where, found=name)
    return pinned_script(spec, making.profile.scripts, making.values, making.observed, where)


def _command(action: ActionSpec, bound: Bound, where: str) -> CommandShape:
    """Return the one shape profile and environment agree on."""
    pinned, shapes = action.command, bound.config.allowlist.get(action.name, ())
    if len(shapes) > 1:
        raise ConnectorRefused(f"`{where}` has {len(shapes)} allowlist entries, not one", field=where)
    shape = shapes[0] if shapes else pinned
    if shape is None:
        raise ConnectorRefused(
            f"`{where}` has no command, neither in the profile nor in the environment's allowlist",
            field=where,
        )
    if not shapes and bound.config.declared in READONLY_BACKENDS:
        raise ConnectorRefused(
            f"`{where}` is not in the allowlist that backend `{bound.config.declared}` needs", field=where
        )
    if pinned is not None and shape != pinned:
        found, allowed = (" ".join((item.command, *item.args))[:200] for item in (shape, pinned))
        raise ConnectorRefused(
            f"the allowlist entry of `{where}` is not the command the profile declares",
            field=where,
            found=found,
            allowed=allowed,
        )
    return shape


def _check_options(shape: CommandShape, words: Sequence[Text], where: str) -> None:
    """Refuse a value that a command would read as an option; a list brings its own options with it."""
    for raw, text in zip(shape.args, words, strict=False):
        if raw == "--" or is_spread(raw):
            return
        if raw.startswith("{") and isinstance(text, str) and text.startswith("-"):
            raise ParameterRefused(
                f"`{where}`: value `{text:.60}` would be read as an option; a value may not start with `-`",
                found=text[:60],
            )


def _folder(path: str, where: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or len([part for part in parts if part]) < 2:
        raise ConnectorRefused(
            f"`{where}`: writable folder `{path:.60}` is not an absolute path at least two deep",
            found=path[:60],
            allowed="like /srv/app",
        )
    return path
