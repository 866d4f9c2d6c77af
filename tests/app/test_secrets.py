"""Where references resolve is the operator's word, and `secrets doctor` says where, never what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import _outermost
from rexecop.app.errors import RootUnsafe, SecretSourcesRefused
from rexecop.app.root import Root
from rexecop.app.secrets import Locator, variable_of
from rexecop.app.secrets_doctor import SecretsView, secrets_doctor
from rexecop.cli.main import run
from rexecop.cli.render import as_json
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secret_sources.environment import EnvironmentSecret
from rexecop.lanes.secret_sources.file import FileSecret, FileSecrets
from rexecop.lanes.secret_sources.vault import DynamicSecret, KeyValueSecret
from rexecop.lanes.secrets import Secrets
from tests.lanes.vault_server import ROOT_TOKEN, vault_server

CANARY: Final = "canary-5b1d-correct-horse"
WHOLE: Final = """
vaults:
  main:
    address: https://vault.example:8200/
    namespace: team/ops
    ca_file: /etc/vault-ca.pem
    token: {file: /run/vault-token}
  other:
    address: http://127.0.0.1:8200
    approle: {role_id: 4c1f, secret_id: {credential: vault-secret-id}}
references:
  a-file: {file: /etc/rexecop/pw}
  a-pin: {environment: PIN, short: true}
  an-entry: {keyring: mail.example, account: ops}
  a-credential: {credential: boot-token}
  db-password: {vault: main, kv: app/db, field: password, version: 3}
  db-user: {vault: other, dynamic: database/creds/app, field: username}
  ssh-key: {vault: other, ssh: ops, mount: ssh-client, field: key, principals: [deploy], seconds: 60}
  only-short: {short: true}
"""


def written(folder: Path, text: str) -> Root:
    root = Root(folder)
    root.secrets.write_text(text)
    root.secrets.chmod(0o600)
    return root


def locator(folder: Path, text: str = WHOLE, **environ: str) -> Locator:
    return Locator(written(folder, text), environ)


def diagnosed(root: Root, environment: Path | None = None, **environ: str) -> SecretsView:
    return asyncio.run(secrets_doctor(root, environment, environ))


def test_every_kind_of_source_is_read_as_it_is_written(tmp_path: Path) -> None:
    locate = locator(tmp_path, PIN="1234")

    assert {name: locate(name).source.where for name in locate.declared() if name != "only-short"} == {
        "a-file": "file `/etc/rexecop/pw`",
        "a-pin": "environment variable `PIN`",
        "an-entry": "keyring entry `mail.example` of `ops`",
        "a-credential": "systemd credential `boot-token`",
        "db-password": "vault `main`, `secret/app/db`, version 3",
        "db-user": "vault `other`, `database/creds/app`, made for each call",
        "ssh-key": "vault `other`, SSH certificate of `ssh-client/ops`, made for each call",
    }
    source = locate("db-password").source
    assert isinstance(source, KeyValueSecret)
    assert source.server.address == "https://vault.example:8200"
    assert source.server.namespace == "team/ops"
    assert (locate("a-pin").short, locate("a-file").short) == (True, False)
    made = locate("db-user").source
    assert isinstance(made, DynamicSecret)
    assert (made.server.role_id, made.server.known_by.where) == (
        "4c1f",
        "systemd credential `vault-secret-id`",
    )


def test_a_variable_comes_first_then_the_root_then_the_secrets_file(tmp_path: Path) -> None:
    environ = {"REXECOP_SECRETS_FILE": "/s.yaml"}
    assert isinstance(locator(tmp_path, **environ)("a-file").source, FileSecret)
    assert locator(tmp_path, **environ)("unheard-of").source == FileSecrets(path="/s.yaml")
    assert locator(tmp_path, **environ)("unheard-of").field == "unheard-of"
    assert locator(tmp_path, **environ)("only-short").short

    environ[variable_of("a-file")] = CANARY
    assert isinstance(locator(tmp_path, **environ)("a-file").source, EnvironmentSecret)

    with pytest.raises(RequestRefused, match="REXECOP_SECRET_UNHEARD_OF") as refused:
        locator(tmp_path)("unheard-of")
    assert refused.value.failure is Failure.SECRET_MISSING


def test_what_the_chosen_source_does_not_have_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"secrets: {{a-file: {CANARY}}}")
    (tmp_path / "s.yaml").chmod(0o600)
    secrets = Secrets(locator(tmp_path, REXECOP_SECRETS_FILE=str(tmp_path / "s.yaml")))

    with pytest.raises(RequestRefused, match="no file `/etc/rexecop/pw`"):
        asyncio.run(secrets.lease(["a-file"]).begin())


def test_a_change_of_the_file_counts_from_the_next_call_on(tmp_path: Path) -> None:
    locate = locator(tmp_path, "references: {x: {file: /a}}")
    assert locate("x").source == FileSecret(path="/a")

    written(tmp_path, "references: {x: {file: /other}}")
    assert locate("x").source == FileSecret(path="/other")
    Root(tmp_path).secrets.chmod(0o620)
    with pytest.raises(RequestRefused, match="root-unsafe"):
        locate("x")
    with pytest.raises(RootUnsafe):
        locate.declared()


@pytest.mark.parametrize(
    "text",
    [
        f"references: {{x: {CANARY}}}",
        f"references: {{x: {{file: {CANARY}}}}}",
        f"references: {{x: {{file: [{CANARY}]}}}}",
        f"references: {{x: {{credential: '{CANARY}/..'}}}}",
        f"references: {{x: {{environment: '{CANARY}'}}}}",
        f"references: {{x: {{short: {CANARY}}}}}",
        "references: {x: {file: /a, environment: B}}",
        "references: {x: {keyring: a}}",
        "references: {x: {account: a}}",
        "references: {x: {vault: nowhere, kv: a, field: b}}",
        "references: {x: {file: /a, mode: '0600'}}",
        f"secrets: {{x: {CANARY}}}",
        f"references: &a {{x: *{CANARY}}}",
        f"- {CANARY}",
        "vaults: {v: {address: 'https://v'}}",
        "vaults: {v: {address: 'https://v', token: {file: /t}, approle: {role_id: a, secret_id: {file: s}}}}",
        f"vaults: {{v: {{address: 'http://v.example', token: {{file: /t}}, namespace: '{CANARY}'}}}}",
        f"vaults: {{v: {{address: 'https://v', token: {CANARY}}}}}",
        "vaults: {v: {address: 'https://v', token: {keyring: a, account: b}}}",
        *(
            "vaults: {v: {address: 'https://v', token: {file: /t}}}\nreferences: {x: {vault: v, "
            + rest
            + "}}"
            for rest in (
                "field: a",
                "kv: app",
                "kv: ../sys/raw, field: a",
                "kv: a/../b, field: a",
                "kv: 'a?version=1', field: a",
                "kv: a, field: a, version: 0",
                "kv: a, dynamic: b, field: a",
                "dynamic: a, field: a, mount: b",
                "ssh: a, field: key, seconds: 601",
                "ssh: a, field: key, principals: root",
            )
        ),
    ],
)
def test_a_file_that_is_not_in_its_form_resolves_nothing_and_what_it_holds_is_not_repeated(
    tmp_path: Path, text: str
) -> None:
    locate = locator(tmp_path, text)

    with pytest.raises(SecretSourcesRefused) as refused:
        locate.declared()
    with pytest.raises(RequestRefused) as of_the_call:
        locate("x")

    assert "secrets.yaml:" in refused.value.message
    assert CANARY not in f"{refused.value.message} {refused.value.facts} {of_the_call.value.message}"
    assert of_the_call.value.failure is Failure.SECRET_UNREADABLE
    assert CANARY not in as_json(diagnosed(Root(tmp_path)))


def test_the_files_that_hold_secrets_are_hidden_from_programs(tmp_path: Path) -> None:
    environ = {"REXECOP_SECRETS_FILE": "/s.yaml", "CREDENTIALS_DIRECTORY": "/run/credentials/x.service"}

    assert set(locator(tmp_path, **environ).files()) == {
        *environ.values(),
        "/etc/rexecop/pw",
        "/run/vault-token",
    }


class TestDoctor:
    def environment(self, folder: Path) -> Path:
        path = folder / "env.yaml"
        path.write_text(
            "environment:\n  id: staging\n  connectors:\n"
            "    db: {backend: process, secrets: {password: db-password, pin: the-pin}}\n"
            "    api: {backend: http, base_url_secret_ref: api-url, auth: {secret_ref: gone}}\n"
            "  targets:\n    web: {connection: {identity_file_secret_ref: ssh-key}}\n"
        )
        return path

    def test_it_says_where_each_reference_resolves_and_what_is_in_the_way(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.write_text(CANARY)
        private.chmod(0o600)
        loose = tmp_path / "loose"
        loose.write_text(CANARY)
        loose.chmod(0o644)
        root = written(
            tmp_path,
            f"references:\n  db-password: {{file: {private}}}\n  ssh-key: {{file: {loose}}}\n"
            "  unused: {file: /nowhere/at/all}\n",
        )

        view = diagnosed(
            root, self.environment(tmp_path), REXECOP_SECRET_THE_PIN=CANARY, REXECOP_SECRET_API_URL=CANARY
        )

        found = {item.reference: item for item in view.references}
        assert view.status == "failed"
        assert found["db-password"].where == f"file `{private}`" and found["db-password"].problem is None
        assert found["db-password"].used_by == ("connector db",)
        assert found["the-pin"].where == "environment variable `REXECOP_SECRET_THE_PIN`"
        assert "mode 0644" in str(found["ssh-key"].problem) and found["ssh-key"].used_by == ("target web",)
        assert found["api-url"].used_by == ("connector api",)
        assert found["gone"].where is None and "REXECOP_SECRET_GONE" in str(found["gone"].problem)
        assert "no file" in str(found["unused"].problem) and found["unused"].used_by == ()
        assert CANARY not in as_json(view)

    def test_it_asks_a_server_whether_it_is_there_and_for_nothing_else(self, tmp_path: Path) -> None:
        with vault_server() as vault:
            vault.put("secret/app", {"password": CANARY})
            root = written(
                tmp_path,
                f"vaults:\n  main: {{address: '{vault.address}', token: {{environment: TOKEN}}}}\n"
                "references:\n  pw: {vault: main, kv: app, field: password}\n",
            )

            assert diagnosed(root, TOKEN=ROOT_TOKEN).status == "ok"
            assert diagnosed(root).references[0].problem == "environment variable `TOKEN`: not set"
            vault.sealed = True
            assert "sealed" in str(diagnosed(root, TOKEN=ROOT_TOKEN).references[0].problem)
            assert {line.split("?")[0] for line in vault.asked} == {"GET /v1/sys/health"}

    def test_two_references_with_one_variable_are_named(self, tmp_path: Path) -> None:
        root = written(tmp_path, "references: {a-b: {short: true}, a_b: {short: true}}")

        assert diagnosed(root, REXECOP_SECRET_A_B=CANARY).problems == (
            "`REXECOP_SECRET_A_B` is the variable of `a-b` and `a_b`",
        )

    def test_the_token_for_a_decision_point_outside_is_a_reference_too(self, tmp_path: Path) -> None:
        (tmp_path / "authzen.yaml").write_text("pdp: {url: 'https://pdp.example', token_secret: pdp}")
        (tmp_path / "authzen.yaml").chmod(0o600)

        assert diagnosed(Root(tmp_path)).references[0].used_by == ("authzen.yaml",)

    def test_a_root_that_says_nothing_is_in_order(self, tmp_path: Path) -> None:
        found: Mapping[str, object] = json.loads(as_json(diagnosed(Root(tmp_path))))

        assert found == {"status": "ok", "references": [], "problems": []}

    def test_the_command_answers_in_json_and_ends_with_1_where_something_is_in_the_way(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = written(tmp_path, "references: {pw: {environment: PW_FOR_A_TEST}}")
        line = ("secrets", "doctor", "--root", str(root.path), "--json")

        monkeypatch.setenv("PW_FOR_A_TEST", CANARY)
        assert run(line) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["references"] == [
            {
                "reference": "pw",
                "where": "environment variable `PW_FOR_A_TEST`",
                "problem": None,
                "used_by": [],
            }
        ]
        monkeypatch.delenv("PW_FOR_A_TEST")
        assert run(line) == 1


def test_what_lies_in_a_hidden_folder_is_not_hidden_once_more(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    inside, beside = tmp_path / "link" / "secrets.yaml", tmp_path / "root-secrets.yaml"

    # Hiding both would mean to allow what lies beside the one inside.
    assert _outermost([str(inside), "", str(tmp_path / "root"), str(beside)]) == (
        str(tmp_path / "root"),
        str(beside),
    )
