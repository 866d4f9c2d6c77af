"""The profile of the campaign: every change adds one line to one file, which can be counted afterwards.

A line says `TOKEN ACTION TARGET do` or `... undo`; the token is the operation's own. Of what acts, the
actions named `probed…` can be looked for, `again` may be made again, and of `blind` only a person
can say what became of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

ACTING: Final = ("probed", "probed2", "again", "blind")
TARGETS: Final = tuple(f"t{n}" for n in range(1, 25))
GROUP: Final = "wide"
MEMBERS: Final = ("w1", "w2", "w3")
CHANGES: Final = ("chain", "beside", "waves", "asked")  # The intents that change something.

# look, do or undo: PACE MARK FILE OPERATION. A change fails where FILE.OPERATION lies there.
_SCRIPT: Final = """#!/bin/sh
sleep "$2"
case $1 in
look) awk -v m="$3" '$0==m" do" {n++} $0==m" undo" {n--} END {print (n>0) ? "yes" : "no"}' "$4"; exit ;;
do) test ! -e "$4.$5" || exit 1 ;;
esac
echo "$3 $1" >> "$4"
sleep "$2"
"""


def _action(name: str, effect: str, verb: str, mark: str, more: str = "") -> str:
    said = f'{verb}, "{{pace}}", "{{mark}} {mark} {{target}}", "{{env.effects}}", "{{mark}}"'
    head = f"    {name}:\n      effect: {effect}\n      isolation: none\n      grace: 100ms\n"
    return f"{head}      command: SCRIPT\n      args: [{said}]\n{more}"


def _actions() -> str:
    parts = [_action("look", "read", "look", "nothing")]
    for name in ACTING:
        more = f"      undo: un{name}\n"
        if name == "again":
            more += "      idempotent: true\n"
        if name.startswith("probed"):
            looks = f'{{action: look_{name}, normalize: mark, fact: stands, equals: "yes"}}'
            more += f"      probe: {looks}\n"
            parts.append(_action(f"look_{name}", "read", "look", name))
        parts += [_action(name, "change", "do", name, more), _action(f"un{name}", "change", "undo", name)]
    return "".join(parts)


def _names() -> str:
    looks = [f"look_{name}" for name in ACTING if name.startswith("probed")]
    return ", ".join(["look", *looks, *ACTING, *(f"un{name}" for name in ACTING)])


def _step(name: str, more: str = "") -> str:
    return f"    - {{id: {name}, type: connector, connector: marker, action: {name}, timeout: 700ms{more}}}\n"


_READS: Final = ", normalize: mark"
_WORKFLOWS: Final = {
    "look": ("", _step("look", _READS)),
    "chain": ("", _step("look", _READS) + _step("probed") + _step("again") + _step("blind")),
    "beside": (
        "  parallel: 3\n",
        _step("look", _READS)
        + _step("probed", ", needs: [look]")
        + _step("again", ", needs: [look]")
        + _step("probed2", ", needs: [probed, again]"),
    ),
    "waves": (
        "  waves: {canary: 1, size: 2, max_parallel: 2, stop_after: 1, check: look, on_stop: undo}\n",
        _step("probed") + _step("again") + _step("look", _READS),
    ),
    "asked": ("", _step("probed") + _step("probed2", ', approvals: ["1 of approvers"]')),
}


_RULES: Final = """validation_rule:
  intent: {}
  steps:
    - {{type: require_truthy_path, path: parameters.mark, rule: marked}}
"""


def _intent(name: str, mode: str) -> str:
    return f"""intent:
  workflow: workflows/{name}.yaml
  title: {name}
  summary: Marks for the campaign.
  risk: low
  modes: [dry_run, {mode}]
  enforce_declared_modes: true
  parameters:
    type: object
    required: [mark, pace]
    properties:
      mark: {{type: string, pattern: '^[a-z0-9]+$'}}
      pace: {{type: string, pattern: '^0\\.[0-9]+$'}}
"""


def write(folder: Path, effects: Path) -> None:
    """Write the profile below `folder`, and beside it the environment whose changes go to `effects`."""
    files = {
        "profile.yaml": 'profile_contract:\n  name: soak\n  version: "1.0"\n  description: Marks.\n',
        "connectors/marker.yaml": "connector:\n  name: marker\n  description: Adds lines to a file.\n"
        f"  backends: [process]\n  capabilities: [{_names()}]\n  actions:\n{_actions()}",
        "normalizers/mark.yaml": "normalizer:\n  facts:\n    stands: {regex: '^(?P<value>yes|no)$'}\n",
    }
    for name, (head, steps) in _WORKFLOWS.items():
        mode = "apply" if name in CHANGES else "read_only"
        last = "    - {id: produce_receipt, type: evidence, action: produce_receipt}\n"
        files[f"workflows/{name}.yaml"] = (
            f"workflow:\n  intent: {name}\n  mode: {mode}\n  risk: low\n{head}  steps:\n{steps}{last}"
        )
        files[f"intents/{name}.yaml"] = _intent(name, mode)
        files[f"validation_rules/{name}.yaml"] = _RULES.format(name)
    script = folder / "mark"
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    for path, text in files.items():
        (folder / "soak" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "soak" / path).write_text(text.replace("SCRIPT", str(script)))
    hosts = "".join(f"    {name}: {{type: host, criticality: low}}\n" for name in (*TARGETS, *MEMBERS))
    group = f"    {GROUP}: {{type: group, members: [{', '.join(MEMBERS)}]}}\n"
    (folder / "soak.environment.yaml").write_text(
        f'environment:\n  id: here\n  profile: soak\n  values: {{effects: "{effects}"}}\n'
        f"  targets:\n{hosts}{group}  connectors:\n    marker: {{backend: process}}\n"
    )
