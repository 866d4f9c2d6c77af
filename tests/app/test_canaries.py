"""Canaries planted in every source of secrets are in no file, record, page, error or process afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

import pytest

from rexecop.app.backup import create_backup
from rexecop.app.build import open_instance
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.root import Root
from rexecop.app.secrets_doctor import secrets_doctor
from rexecop.app.support import write_support_bundle
from rexecop.cli.render import as_json
from tests.app.support import made, scratch, settings
from tests.lanes.vault_server import ROOT_TOKEN, Vault, vault_server
from tests.needs import needs

NASTY: Final = 'canary {} it\'s 5$ "now"\\/so \u00e4+'
SOURCES: Final = (
    "variable",
    "own_file",
    "yaml_file",
    "credential",
    "keyring",
    "kv",
    "made",
    "made_user",
    "ssh_key",
)
# What a program can do with a secret that it was given: everything, in every encoding, and end badly.
LEAK: Final = """#!/usr/bin/python3 -I
import base64, json, os, shlex, subprocess, sys, time, urllib.parse as u
values = [value for name, value in sorted(os.environ.items()) if name.startswith("S_")]
for value in [*values, sys.stdin.read()]:
    raw = value.encode()
    for before in (b"", b"a", b"ab"):
        print(base64.b64encode(before + raw).decode())
        print(base64.urlsafe_b64encode(before + raw + b"zz").decode())
    print(base64.encodebytes(raw).decode())
    print(value, raw.hex(), raw.hex().upper(), u.quote(value), u.quote(value, ""), u.quote_plus(value))
    print(u.quote(value, "").replace("%2F", "%2f"), value.replace("\\n", "\\r\\n"))
    print(json.dumps(value), json.dumps(value, ensure_ascii=False), shlex.quote(value))
    subprocess.run(["/bin/ls", value])
    half = len(value) // 2
    for part in (value[:half], value[half:]):
        os.write(1, part.encode())
        time.sleep(0.002)
    print()
for name in ("own-file", "secrets.yaml", "secret-id", "credentials/boot"):
    try:
        with open(os.path.join(os.path.dirname(__file__), "kept", name)) as file:
            print("left of it:", len(file.read()))
    except OSError as error:
        print("left of it: 0")
while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
    time.sleep(0.005)
print("end of the leak", flush=True)
if os.path.basename(__file__) == "fail.py":
    sys.exit("cannot log in with " + " ".join(values))
"""
FILES: Final = {
    "profile.yaml": "profile_contract: {name: leaky, version: '1.0', description: Leaks.}\n",
    "connectors/local.yaml": (
        "connector:\n  name: local\n  description: Leaks.\n  backends: [process]\n"
        "  capabilities: [leak, fail, need]\n  actions:\n"
        + "".join(
            f"    {name}:\n      effect: read\n      command: '@FOLDER@/{name}.py'\n      args: []\n"
            "      output_bytes: 1000000\n      timeout: 20s\n      stdin: '{secret.kv}'\n      env: {"
            + env
            + "}\n"
            for name, env in (
                ("leak", ", ".join(f"S_{name.upper()}: '{{secret.{name}}}'" for name in SOURCES)),
                ("fail", ", ".join(f"S_{name.upper()}: 'x{{secret.{name}}}'" for name in SOURCES)),
                ("need", "S_X: '{secret.variable}', S_Y: '{secret.gone}'"),
            )
        )
    ),
    "normalizers/text.yaml": (
        "normalizer:\n  description: All of it.\n  facts:\n"
        "    content: {text: true, exact: true, max_length: 4096}\n"
    ),
    **{
        path: text
        for name in ("leak", "fail", "need")
        for path, text in (
            (
                f"validation_rules/{name}.yaml",
                f"validation_rule:\n  intent: {name}\n  steps:\n"
                f"    - {{type: require_equals, path: {name}.complete, value: true, rule: {name}.done}}\n",
            ),
            (
                f"intents/{name}.yaml",
                f"intent:\n  workflow: workflows/{name}.yaml\n  title: {name}\n  summary: {name}\n"
                "  risk: low\n  modes: [dry_run, read_only]\n  enforce_declared_modes: true\n",
            ),
            (
                f"workflows/{name}.yaml",
                f"workflow:\n  intent: {name}\n  mode: read_only\n  risk: low\n  steps:\n"
                f"    - {{id: {name}, type: connector, connector: local, action: {name}, normalize: text}}\n"
                "    - {id: produce_receipt, type: evidence, action: produce_receipt}\n",
            ),
        )
    },
}
ENVIRONMENT: Final = (
    "environment:\n  id: here\n  profile: leaky\n  targets:\n    localhost: {type: host, criticality: low}\n"
    "  connectors:\n    local:\n      backend: process\n      secrets:\n"
    + "".join(f"        {name}: {name.replace('_', '-')}\n" for name in (*SOURCES, "gone"))
)
REFERENCES: Final = """
vaults:
  main: {{address: '{address}', approle: {{role_id: the-role-id, secret_id: {{file: '{folder}/secret-id'}}}}}}
references:
  own-file: {{file: '{folder}/own-file'}}
  credential: {{credential: boot}}
  keyring: {{keyring: mail.example, account: ops}}
  kv: {{vault: main, kv: app/db, field: password}}
  made: {{vault: main, dynamic: database/creds/app, field: password}}
  made-user: {{vault: main, dynamic: database/creds/app, field: username}}
  ssh-key: {{vault: main, ssh: ops, field: key}}
"""


@dataclass
class World:
    """A root, what was planted, and what was seen of other processes while the calls ran."""

    folder: Path
    environ: dict[str, str]
    vault: Vault
    planted: dict[str, str]
    seen: list[bytes] = field(default_factory=list)
    looks: int = 0

    def canaries(self) -> dict[str, str]:
        """Everything secret that was there: planted, made by the server, and the keys to get at it."""
        more = {f"made {number}": password for number, password in enumerate(self.vault.made)}
        ids = range(1, self.vault.count + 1)
        return {
            **self.planted,
            **more,
            "secret id": "canary-the-secret-id",
            "login": "hvs.login-token-",
            "user": "v-token-app-",
            "root token": ROOT_TOKEN,
            **{f"token {number}": f"hvs.login-token-{number:06d}" for number in ids},
        }


def private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


@contextmanager
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Make a root and plant a canary in every source."""
    with scratch() as folder, vault_server() as vault, ExitStack():
        asyncio.run(made(folder))
        canaries = {
            name: NASTY.format(name)
            for name in ("variable", "own-file", "yaml-file", "credential", "keyring", "kv")
        }
        kept = folder / "kept"
        private(kept / "own-file", canaries["own-file"] + "\n")
        private(kept / "secrets.yaml", "secrets:\n  yaml-file: " + json.dumps(canaries["yaml-file"]) + "\n")
        private(kept / "secret-id", "canary-the-secret-id\n")
        private(kept / "credentials" / "boot", canaries["credential"])
        vault.put("secret/app/db", {"password": canaries["kv"]})
        vault.approle = ("the-role-id", "canary-the-secret-id")
        vault.ca = folder / "ca"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", vault.ca], check=True)
        private(Root(folder / "root").secrets, REFERENCES.format(address=vault.address, folder=kept))
        environ = {
            "REXECOP_SECRET_VARIABLE": canaries["variable"],
            "REXECOP_SECRETS_FILE": str(kept / "secrets.yaml"),
            "CREDENTIALS_DIRECTORY": str(kept / "credentials"),
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
            "XDG_DATA_HOME": str(kept),
            "PATH": os.environ["PATH"],
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        subprocess.run(
            [sys.executable, "-m", "keyring", "set", "mail.example", "ops"],
            input=canaries["keyring"].encode(),
            check=True,
        )
        for path, text in FILES.items():
            private(folder / "leaky" / path, text.replace("@FOLDER@", str(folder)))
        private(folder / "environment.yaml", ENVIRONMENT)
        for name in ("leak", "fail", "need"):
            (folder / f"{name}.py").write_text(LEAK)
            (folder / f"{name}.py").chmod(0o755)
        yield World(folder, environ, vault, canaries)


@dataclass(frozen=True)
class Shown:
    """What the process list shows of one process to its user."""

    parent: int
    argv: bytes
    environ: bytes


def processes() -> Iterator[tuple[int, Shown]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                shown = Shown(parent, (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes())
            except OSError:
                continue
            yield int(entry.name), shown


def watch(world: World, stop: threading.Event) -> None:
    """While a call runs, keep what the process list shows of everybody else; then let the call go on."""
    while not stop.is_set():
        shown = dict(processes())
        # The program and what wraps it have the environment that the call gives them, and nobody else has it.
        given = {pid for pid, item in shown.items() if str(world.folder).encode() in item.argv}
        ours = set(given)
        for _ in shown:
            ours |= {pid for pid, item in shown.items() if item.parent in ours}
        if given and world.vault.leases:
            world.seen += [shown[pid].argv for pid in given]
            world.seen += [item.argv + item.environ for pid, item in shown.items() if pid not in ours]
            world.looks += 1
            (world.folder / "go").touch()
        time.sleep(0.01)


async def operate(world: World, instance: Instance) -> list[str]:
    """Run the three operations; return everything that was said of them."""
    said: list[str] = []
    for intent in ("leak", "fail", "need"):
        (world.folder / "go").unlink(missing_ok=True)
        for mode in ("dry_run", "read_only"):
            asked = PlanInput(
                profile=str(world.folder / "leaky"),
                env=str(world.folder / "environment.yaml"),
                intent=intent,
                target="localhost",
                mode=mode,
                parameters=None,
            )
            view = await instance.plan(asked)
            said.append(as_json(view))
            operation = view.operation_id
            said.append(as_json(await instance.start(operation)))
            said += [as_json(instance.why(operation)), as_json(instance.history(operation))]
            said += [as_json([output.text for output in instance.outputs(operation)])]
            for form, outputs in (("bundle", False), ("bundle", True), ("report", False)):
                path = world.folder / f"{intent}-{mode}-{outputs}.{form}"
                instance.export(operation, Asked(path=path, form=form, with_outputs=outputs))
    return said


def encodings(value: str) -> Iterator[bytes]:
    """Yield what would betray `value`, worked out without the code that takes it out."""
    raw = value.encode()
    for before in range(3):
        yield base64.b64encode(b"x" * before + raw)[4:-4]
        yield base64.urlsafe_b64encode(b"x" * before + raw)[4:-4]
    yield from (raw, raw.hex().encode(), raw.hex().upper().encode())
    yield from (text.encode() for text in (quote(value), quote(value, ""), quote_plus(value)))
    yield from (json.dumps(value)[1:-1].encode(), json.dumps(value, ensure_ascii=False)[1:-1].encode())
    yield shlex.quote(value).strip("'").encode()


@needs("bwrap")
@needs("ssh-keygen")
def test_no_canary_is_anywhere_after_calls_that_put_out_every_one_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with planted(monkeypatch) as world:
        stop = threading.Event()
        watcher = threading.Thread(target=watch, args=(world, stop), daemon=True)
        watcher.start()
        try:
            with open_instance(settings(world.folder, world.folder / "alice"), world.environ) as instance:
                said = asyncio.run(operate(world, instance))
                write_support_bundle(instance, world.folder / "support.zip", redacted=True)
            create_backup(settings(world.folder), world.folder / "root.backup", with_keys=False)
        finally:
            stop.set()
            watcher.join()
        doctor = asyncio.run(
            secrets_doctor(Root(world.folder / "root"), world.folder / "environment.yaml", world.environ)
        )
        said += [as_json(doctor), *capfd.readouterr()]
        files = gathered(world.folder, said)

        outputs = b"".join(text for name, text in files.items() if name.startswith("said"))
        assert outputs.count(b"end of the leak") >= 2 and outputs.count(b"[redacted]") > 300
        assert b"cannot log in with x[redacted]" in outputs and b"secret_missing" in outputs
        assert b"secrets_revoked" in outputs and b"secrets_not_revoked" not in outputs
        assert outputs.count(b"left of it: 0") == outputs.count(b"left of it: ") >= 8
        assert "root.backup/root/secrets.yaml" in files
        for kept in ("root/", "root.backup/", "leak-read_only-True.bundle/"):
            assert any(b"end of the leak" in text for name, text in files.items() if name.startswith(kept)), (
                kept
            )
        assert world.looks >= 2 and world.seen
        assert (world.vault.leases, world.vault.tokens) == ({}, {ROOT_TOKEN})
        places = {**files, "the process list": b"\n".join(world.seen)}
        found = {
            (name, place)
            for name, canary in world.canaries().items()
            for form in encodings(canary)
            for place, text in places.items()
            if form in text
        }
        assert found == set()
        assert not [place for place, text in places.items() if b"OPENSSH PRIVATE KEY" in text]


def gathered(folder: Path, said: list[str]) -> dict[str, bytes]:
    """Everything that is left, unpacked: the root, exports, the backup, and what was said."""
    found = {f"said {number}": text.encode() for number, text in enumerate(said)}
    for path in (folder / "root").rglob("*"):
        # Keys of persons and of the instance are private keys, and no canaries.
        if path.is_file() and "keys" not in path.parts:
            found[str(path.relative_to(folder))] = path.read_bytes()
    for path in folder.iterdir():
        if path.suffix in (".backup", ".bundle", ".report", ".rxb", ".zip"):
            found[path.name] = path.read_bytes()
            if path.suffix == ".backup":
                with tarfile.open(path) as backup:
                    members = [(item.name, backup.extractfile(item)) for item in backup.getmembers()]
                    found |= {
                        f"{path.name}/{name}": file.read() for name, file in members if file is not None
                    }
            elif zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    found |= {f"{path.name}/{name}": archive.read(name) for name in archive.namelist()}
    return found
