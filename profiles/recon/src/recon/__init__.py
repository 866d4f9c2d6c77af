"""The profile for authorised security checks: one bounded probe at a time, inside an agreed scope."""

from pathlib import Path
from typing import Final

from recon.action import Action, parse_action, read_action
from recon.compiler import Compiled, DryRun, compile_action, dry_run
from recon.endpoint import Endpoint, parse_url
from recon.errors import ReconRefused
from recon.gateway import Verdict, evaluate
from recon.pack import policy_pack
from recon.records import Analysis, Confirmation, Signal, analyse, confirm, read_signal
from recon.scope import Scope, parse_scope
from recon.tools import RECIPES, TOOLS, Loss, Recipe, Response, Tool

__version__: Final = "0.1.0"
__all__ = [
    "RECIPES",
    "TOOLS",
    "Action",
    "Analysis",
    "Compiled",
    "Confirmation",
    "DryRun",
    "Endpoint",
    "Loss",
    "Recipe",
    "ReconRefused",
    "Response",
    "Scope",
    "Signal",
    "Tool",
    "Verdict",
    "analyse",
    "compile_action",
    "confirm",
    "dry_run",
    "evaluate",
    "parse_action",
    "parse_scope",
    "parse_url",
    "policy_pack",
    "profile_root",
    "read_action",
    "read_signal",
]


def profile_root() -> Path:
    """The folder that holds `profile.yaml`; the runner finds it by the entry point `rexecop.profiles`."""
    return Path(__file__).parent / "profile"
