"""The tools there are, and the recipes that say how a capability is carried out with one.

The argument list here is the one in `profile/connectors/curl.yaml`; a test compares them.
What a caller writes never becomes part of it, except for the five values in braces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from recon.errors import ToolRefused


class Loss(StrEnum):
    """How far what is run differs from what was written, from nothing to something else entirely."""

    NONE = "none"
    HARMLESS_NORMALIZATION = "harmless_normalization"
    BOUNDED_LOWERING = "bounded_lowering"
    DEGRADED_SEMANTICS = "degraded_semantics"
    UNACCEPTABLE_FLATTENING = "unacceptable_flattening"


class Response(StrEnum):
    """What a loss calls for."""

    PROCEED = "proceed"
    PROCEED_MARK_DEGRADED = "proceed_mark_degraded"
    REVIEW_AGAIN = "review_again"
    REPLAN = "replan"


RESPONSES: Final[Mapping[Loss, Response]] = {
    Loss.NONE: Response.PROCEED,
    Loss.HARMLESS_NORMALIZATION: Response.PROCEED,
    Loss.BOUNDED_LOWERING: Response.PROCEED_MARK_DEGRADED,
    Loss.DEGRADED_SEMANTICS: Response.REVIEW_AGAIN,
    Loss.UNACCEPTABLE_FLATTENING: Response.REPLAN,
}
CARRIED_OUT: Final = frozenset({Response.PROCEED, Response.PROCEED_MARK_DEGRADED})

SECONDS_MAX: Final = 10  # The probe's own limit; the runner ends it a little later whatever it does.


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program, and which of its options may stand in an action.

    `flags` are in every argument list already; `degrading` ask for answers that are not kept;
    `limits` are numbers of seconds that are lowered.
    """

    name: str
    capabilities: frozenset[str]
    flags: frozenset[str]
    degrading: frozenset[str]
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How `capability` is carried out: intent, tool, and all its arguments with the values in braces."""

    capability: str
    tool: str
    intent: str
    argv: tuple[str, ...]


TOOLS: Final[Mapping[str, Tool]] = {
    "curl": Tool(
        name="curl",
        capabilities=frozenset({"http_probe"}),
        flags=frozenset({"-q", "--disable", "-s", "--silent", "-S", "--show-error", "-g", "--globoff"}),
        degrading=frozenset({"-i", "--include", "-I", "--head", "-v", "--verbose"}),
        limits={"-m": SECONDS_MAX, "--max-time": SECONDS_MAX},
    )
}
RECIPES: Final[Mapping[str, Recipe]] = {
    "http_probe": Recipe(
        capability="http_probe",
        tool="curl",
        intent="single_probe",
        argv=(
            "curl",
            "-q",  # No file of the user's may add options; it counts as the first argument only.
            "--silent",
            "--show-error",
            "--globoff",
            "--path-as-is",
            "--noproxy",
            "*",
            "--proto",
            "={scheme}",
            "--max-redirs",
            "0",
            "--max-time",
            str(SECONDS_MAX),
            # The address that was checked is the one that is reached: no name is looked up.
            "--connect-to",
            "::[{address}]:{port}",
            "--output",
            "/dev/null",
            "--write-out",
            r"http_code=%{http_code}\nremote_ip=%{remote_ip}\nremote_port=%{remote_port}\n"
            r"size_download=%{size_download}\nnum_redirects=%{num_redirects}\n"
            r"content_type=%{content_type}\nredirect_url=%{redirect_url}\n",
            "--url",
            "{scheme}://{host}:{port}{path}",
        ),
    )
}


def recipe_for(capability: str, tool: str) -> Recipe:
    """Return how `capability` is carried out with `tool`.

    Raises:
        ToolRefused: there is no such capability or tool, or they do not go together.
    """
    found = TOOLS.get(tool)
    if found is None:
        raise ToolRefused(f"no tool `{tool:.40}`", field="tool", allowed=", ".join(sorted(TOOLS)))
    recipe = RECIPES.get(capability)
    if recipe is None or capability not in found.capabilities or recipe.tool != tool:
        message = f"`{tool}` has no capability `{capability:.40}`"
        raise ToolRefused(message, field="capability", allowed=", ".join(sorted(found.capabilities)))
    return recipe
