"""What an operation is asked with: the same options for `plan`, `run` and `why`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import parameters
from rexecop.cli.session import Session
from rexecop.proof.vocabulary import Mode

if TYPE_CHECKING:
    from rexecop.app.planner import PlanInput

F = TypeVar("F", bound=Callable[..., int | None])


class Asked(TypedDict):
    """The words of a request, as typed."""

    profile: str | None
    env: str | None
    catalog: str | None
    mode: str | None
    param: tuple[str, ...]
    idempotency_key: str | None
    observe: bool | None
    break_glass: str | None
    override_window: str | None


_OPTIONS: Final = (
    click.option("--profile", help="The profile: a name, or a path to its `profile.yaml`."),
    click.option("--env", help="The environment: a name, or a path to its file."),
    click.option("--catalog", help="A catalog of targets: it names profile and environment of `--target`."),
    click.option("--mode", type=click.Choice([m.value for m in Mode]), help="How far it may go: dry_run."),
    click.option("--param", "-p", multiple=True, metavar="K=V", help="`name=text`, or `name:=json`."),
    click.option("--idempotency-key", help="The same key and request give the same operation."),
    click.option("--break-glass", metavar="REASON", help="Why this emergency cannot wait; is reviewed."),
    click.option("--override-window", metavar="REASON", help="Ask to be held to no window and no freeze."),
    click.option("--observe/--no-observe", default=None, help="Look at the target before planning a change."),
)


def takes_request(function: F) -> F:
    """Give a command everything an operation is asked with but intent, target and reason."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def request(
    session: Session, intent: str | None, target: str | None, reason: str | None, asked: Asked
) -> PlanInput:
    """Return the request, with the settings' defaults where nothing was typed.

    Raises:
        Usage: profile, environment, intent or target is named nowhere.
        ParameterBad: see `operands.parameters`. NotApplicable: a catalog says it is not for that target.
    """
    from rexecop.app.planner import PlanInput

    settings, emergency = session.settings, asked["break_glass"]
    if emergency is not None and not emergency.strip():
        raise Usage("`--break-glass` needs a reason: why can it not wait", missing="break-glass")
    wanted, target = named("intent", intent), named("target", target or settings.target)
    profile, env, through = asked["profile"] or settings.profile, asked["env"] or settings.env, None
    if asked["catalog"] is not None:
        from rexecop.app.catalogs import base_of, route

        if asked["env"] is not None:
            raise Usage("`--catalog` names the environment; give it or `--env`")
        base = base_of(settings.root)
        through = route(Path(asked["catalog"]), target, wanted, base, asked["profile"])
        profile, env, target = through.profile, through.env, through.target
    return PlanInput(
        profile=named("profile", profile),
        env=named("env", env),
        intent=wanted,
        target=target,
        mode=asked["mode"] or settings.mode or Mode.DRY_RUN.value,
        parameters=parameters(asked["param"]),
        reason=reason,
        idempotency_key=asked["idempotency_key"],
        channel="cli",
        observe=asked["observe"],
        break_glass=emergency,
        override_window=asked["override_window"],
        catalog=through,
    )


def named(what: str, value: str | None) -> str:
    """Return `value`, what the option `what` or its setting says.

    Raises:
        Usage: neither says anything.
    """
    if value:
        return value
    where = "" if what == "intent" else f", set `{what}` in `rexecop.toml`, or `REXECOP_{what.upper()}`"
    nexts = {
        "intent": ("rexecop profile list", "rexecop profile show NAME"),
        "profile": ("rexecop init", "rexecop profile list"),
    }.get(what, ("rexecop init",))
    raise Usage(f"no {what} is named; give `--{what}`{where}", next_steps=nexts, missing=what)
