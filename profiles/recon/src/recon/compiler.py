"""Compilation: from a proposed action to the exact arguments of one probe, and what was lost on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recon.action import Action
from recon.endpoint import Address, Endpoint, checked_address, parse_url
from recon.errors import OptionRefused
from recon.tools import RESPONSES, TOOLS, Loss, Recipe, Response, Tool, recipe_for

ORDER: Final = tuple(Loss)  # From nothing lost to everything.
_VALUE: Final = re.compile(r"(?<!%)\{([a-z]+)\}")  # `%{x}` is the tool's own.


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One probe: where it goes, how, and how far that is from the words of the action.

    `lost` names what was changed, in words.
    """

    action: Action
    recipe: Recipe
    endpoint: Endpoint
    loss: Loss
    lost: tuple[str, ...]

    @property
    def response(self) -> Response:
        """What the loss calls for."""
        return RESPONSES[self.loss]

    def parameters(self, address: Address) -> Mapping[str, str | int]:
        """Return the parameters of the runner's intent for a probe of the endpoint at `address`."""
        at = self.endpoint
        return {
            "scheme": at.scheme, "host": at.host, "port": at.port, "path": at.path, "address": str(address)
        }  # fmt: skip

    def argv(self, address: Address) -> tuple[str, ...]:
        """Return the argument list that reaches the endpoint at `address`, and nothing else."""
        values = self.parameters(address)
        return tuple(_filled(part, values) for part in self.recipe.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What would be run. Nothing was: there is no status and no output to report."""

    argv: tuple[str, ...]
    reason: str = "dry_run_requested"


def compile_action(action: Action) -> Compiled:
    """Return the probe that `action` asks for; whether its loss is acceptable is the gateway's question.

    Raises:
        ToolRefused: no such tool or capability. UrlRefused: it goes nowhere this profile opens.
        OptionRefused: an argument is no address and not one of the few options that may stand there.
    """
    recipe = recipe_for(action.capability, action.tool)
    tool, rest, urls = TOOLS[recipe.tool], list(action.args), list[str]()
    losses: dict[str, Loss] = {}
    while rest:
        item = rest.pop(0)
        if not item.startswith("-"):
            urls.append(item)
        elif item in tool.limits:
            losses |= _lowered(item, rest.pop(0) if rest else "", tool.limits[item])
        elif item in tool.degrading:
            losses[f"`{item}` is left out: the answer's head and body are not kept"] = Loss.DEGRADED_SEMANTICS
        elif item not in tool.flags:
            raise _refused(item, tool)
    if len(urls) != 1:
        raise OptionRefused(f"a single probe has one address, not {len(urls)}", field="args")
    endpoint = parse_url(urls[0])
    spelled = f"{endpoint.scheme}://{endpoint.host}:{endpoint.port}{endpoint.path}"
    if spelled != urls[0]:
        losses[f"`{urls[0]:.80}` is spelled out as `{spelled:.80}`"] = Loss.HARMLESS_NORMALIZATION
    worst = max(losses.values(), key=ORDER.index, default=Loss.NONE)
    return Compiled(action=action, recipe=recipe, endpoint=endpoint, loss=worst, lost=tuple(losses))


def dry_run(compiled: Compiled, address: str) -> DryRun:
    """Return what would be run to reach `compiled` at `address`; nothing leaves this process.

    Raises:
        UrlRefused: `address` is no IP address.
    """
    return DryRun(argv=compiled.argv(checked_address(address)))


def _lowered(option: str, value: str, most: int) -> Mapping[str, Loss]:
    """Return what is lost by running for at most `most` seconds where `value` were asked for."""
    if not (value.isascii() and value.isdigit() and int(value[:9]) >= most):
        message = f"`{option}`: a probe takes up to {most} seconds, and less cannot be asked for"
        raise OptionRefused(message, field=option, allowed=f"{most} or more")
    if int(value[:9]) == most:
        return {}
    return {f"`{option} {value[:9]}` is `{most}` here": Loss.BOUNDED_LOWERING}


def _refused(option: str, tool: Tool) -> OptionRefused:
    """Refuse what the one argument list does not do: leaving it out would be another check."""
    name = option.partition("=")[0]
    follows = name in ("-L", "--location", "--location-trusted")
    why = "redirects are never followed" if follows else "nothing here does that"
    allowed = ", ".join(sorted({*tool.flags, *tool.limits, *tool.degrading}))
    return OptionRefused(f"option `{name:.40}`: {why}", field=name, allowed=allowed)


def _filled(part: str, values: Mapping[str, str | int]) -> str:
    return _VALUE.sub(lambda found: str(values[found[1]]), part)
