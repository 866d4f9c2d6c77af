"""A root for agents: they may read, changes need a person, destroying is nobody's, a read shows a secret."""

import asyncio
import os
from pathlib import Path
from typing import Final

from rexecop.app.build import init_root, open_instance
from rexecop.app.identity import os_user
from rexecop.app.settings import Settings, load_settings

CANARY: Final = "canary-3f9a2b7c-must-not-be-seen"
AGENT: Final = "bot"  # Of alice, with a key of its own.

PROFILE: Final = {
    "profile.yaml": "profile_contract: {name: yard, version: '1', description: A yard for tests.}\n",
    "normalizers/thing.yaml": "normalizer: {facts: {content: {text: true, exact: true, max_length: 200}}}\n",
    "connectors/here.yaml": """\
connector:
  name: here
  capabilities: [look, leak, linger, put, unput, wipe]
  actions:
    look: {effect: read, command: cat, args: ["--", "{env.folder}/thing"], isolation: rlimits}
    leak: {effect: read, command: printenv, args: [KEY], env: {KEY: "{secret.key}"}, isolation: rlimits}
    # It ends when somebody writes into the pipe.
    linger: {effect: read, command: cat, args: ["--", "{env.folder}/go"], timeout: 120s, isolation: rlimits}
    put:
      effect: change
      idempotent: true
      command: tee
      args: ["--", "{env.folder}/thing"]
      stdin: "{text}"
      writable: ["{env.folder}"]
      isolation: rlimits
      undo: unput
    unput:
      effect: change
      idempotent: true
      command: rm
      args: ["-f", "--", "{env.folder}/thing"]
      writable: ["{env.folder}"]
      isolation: rlimits
    wipe:
      effect: destroy
      command: rm
      args: ["-rf", "--", "{env.folder}/thing"]
      writable: ["{env.folder}"]
      isolation: rlimits
""",
}
INTENTS: Final = {
    "look": "title: Look at the thing\n  summary: Reads the thing.\n",
    "leak": "title: Show the key\n  summary: Says what the key is.\n",
    "linger": "title: Wait for the go\n  summary: Reads until there is a go.\n",
    "put": """title: Put the thing
  summary: Writes the thing.
  parameters:
    type: object
    required: [text]
    properties:
      text: {type: string, minLength: 1, maxLength: 80}
      target: {type: string, description: Not the target of the operation.}
""",
    "wipe": "title: Wipe the thing\n  summary: Destroys the thing.\n",
}
ENVIRONMENT: Final = """\
environment:
  id: yard
  profile: yard
  values: {folder: "FOLDER"}
  targets:
    near: {type: host, criticality: low}
    far: {type: host, criticality: high}
  connectors:
    here: {backend: process, secrets: {key: yard-key}}
"""
PACK: Final = {
    "pack.yaml": 'id: agents\nversion: "1"\ndescription: what agents may\n',
    "entities.yaml": """\
groups: [approvers]
people:
  ME: {groups: [approvers]}
  alice: {groups: [approvers]}
  bob: {groups: [approvers]}
agents:
  bot: {sponsor: alice}
  mine: {sponsor: ME}
  other: {sponsor: bob}
""",
    "rules.cedar": """\
@id("agents-may-read")
permit (principal is Agent, action in Action::"read", resource);

@id("agents-may-change")
permit (principal is Agent, action in Action::"change", resource);
""",
}


def yard(folder: Path) -> Settings:
    """Make the root in `folder` and return its settings.

    Bob approves with the key at `.rexecop/keys/approver`, alice with `alice`; the agent asks with `bot`.
    """
    found = load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)
    asyncio.run(init_root(found, others=("bob",), approver="bob", hello=False))
    written = dict(PROFILE)
    for name, text in INTENTS.items():
        written[f"intents/{name}.yaml"] = f"intent:\n  workflow: workflows/{name}.yaml\n  risk: low\n  {text}"
        written[f"workflows/{name}.yaml"] = (
            f"workflow:\n  intent: {name}\n  risk: low\n  steps:\n"
            f"    - {{id: {name}, type: connector, connector: here, action: {name}, normalize: thing}}\n"
        )
        written[f"validation_rules/{name}.yaml"] = (
            f"validation_rule:\n  intent: {name}\n  steps:\n"
            f"    - {{type: require_equals, path: {name}.complete, value: true, rule: {name}.done}}\n"
        )
    _write(folder / "yard", written)
    _write(found.root / "policy" / "agents", {k: v.replace("ME", os_user().person) for k, v in PACK.items()})
    (folder / "things").mkdir()
    os.mkfifo(folder / "things" / "go")
    (folder / "things" / "thing").write_text("a thing\n")
    (folder / "yard.yaml").write_text(ENVIRONMENT.replace("FOLDER", str(folder / "things")))
    asyncio.run(_keys(found, folder))
    return settings_of(folder)


def settings_of(folder: Path) -> Settings:
    """Return the settings of the root that `yard` made in `folder`."""
    flags = {
        "root": str(folder / ".rexecop"),
        "identity": str(folder / "bot"),
        "profile": str(folder / "yard"),
        "env": str(folder / "yard.yaml"),
    }
    return load_settings(dict(flags), {}, folder, folder)


async def _keys(settings: Settings, folder: Path) -> None:
    with open_instance(settings) as instance:
        await instance.key_new(AGENT, "requester", folder / "bot")
        await instance.key_new("alice", "approver", folder / "alice")
        await instance.key_new(AGENT, "approver", folder / "bot-approves")


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
