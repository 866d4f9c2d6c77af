"""What `rexecop trigger` asks for by flags, with the settings' defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rexecop.cli.errors import Usage
from rexecop.cli.operands import parameters
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.triggering import Request, Through


def asked_by_flags(
    session: Session, flags: dict[str, str], param: tuple[str, ...], *, start: bool
) -> tuple[Request, Through | None]:
    """Return the request, and the catalog its names are from where one is given.

    Raises:
        Usage: something is named nowhere, or twice. NotApplicable: a catalog says it is not for that target.
    """
    from rexecop.app.triggering import AutoReact, Request

    reacts = AutoReact(flags.pop("auto_react")) if "auto_react" in flags else None
    usual = {name: getattr(session.settings, name) for name in ("profile", "env", "target", "mode")}
    named = {name: str(value) for name, value in usual.items() if value is not None} | flags
    catalog, through = named.pop("catalog", None), None
    if catalog is not None:
        through = _through(session, catalog, flags, named)
        named |= {"profile": through.profile, "env": through.env, "target": through.target}
    _require(named, "profile", "env", "intent", "target")
    return Request(parameters=parameters(param) or None, start=start, auto_react=reacts, **named), through


def _through(session: Session, catalog: str, flags: dict[str, str], named: dict[str, str]) -> Through:
    from rexecop.app.catalogs import base_of, route

    if "env" in flags:
        raise Usage("`--catalog` names the environment; give it or `--env`")
    _require(named, "intent", "target")
    base = base_of(session.settings.root)
    return route(Path(catalog), named["target"], named["intent"], base, flags.get("profile"))


def _require(named: dict[str, str], *names: str) -> None:
    for name in names:
        if name not in named:
            raise Usage(f"no {name} is named; give `--{name}`, or the request as JSON", missing=name)
