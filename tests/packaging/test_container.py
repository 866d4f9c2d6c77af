"""What container, compose file and chart name is there, and they give no right too many.

Neither a builder nor a cluster is needed for that. The commands and probes are run here against a real root.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.settings import SETTINGS
from rexecop.cli.reference import settings_page
from tests.docs.test_docs_truth import _refusal
from tests.forked import Forked, rexecop
from tests.house.source import ROOT
from tests.needs import needs
from tests.packaging.manifests import (
    CHART,
    COMPOSE,
    Tree,
    holes,
    image_variables,
    instructions,
    items,
    leaves,
    listed,
    read,
    rendered,
    the_words,
    under,
    values,
)
from tests.service.running import Running

# Of Python, of the shell, of libpq, and of the image of PostgreSQL.
OTHERS: Final = {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PGPASSFILE", "TMPDIR"}
OF_POSTGRES: Final = {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD_FILE"}
SECONDS: Final = 60
IMAGE: Final = re.compile(r"[a-z0-9.-]+(?:/[a-z0-9._-]+)+:(?P<tag>[0-9][A-Za-z0-9._-]*)")
SECRET: Final = re.compile(r"REXECOP_SECRET_[A-Z0-9_]+")


def services() -> dict[str, Tree]:
    return {name: under(read(COMPOSE.read_text()), "services", name) for name in _compose("services")}


def _compose(part: str) -> Tree:
    return under(read(COMPOSE.read_text(encoding="utf-8")), part)


def runners() -> dict[str, Tree]:
    return {name: one for name, one in services().items() if name != "ledger"}


def pod() -> Tree:
    return under(rendered()["pod.yaml"], "spec", "template", "spec")


def containers() -> list[Tree]:
    return [*listed(pod(), "initContainers"), *listed(pod(), "containers")]


def texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(one) for one in value]


def known() -> set[str]:
    written = set(re.findall(r"`([A-Z][A-Z_]+)`", settings_page()))
    return {setting.env for setting in SETTINGS if setting.env} | written | OTHERS


# --- what is named exists ---


def test_every_command_and_option_that_is_run_exists() -> None:
    lines = [
        the_words("CMD"),
        *(texts(one["command"]) for one in runners().values()),
        *(texts(one["args"]) for one in containers()),
    ]
    healths = [
        texts(under(one, "healthcheck")["test"])[1:] for one in runners().values() if "healthcheck" in one
    ]
    probes = [texts(command) for probe in items(pod(), "exec") for command in items(probe, "command")]
    programs = [words for words in (*healths, *probes) if words[0] == "rexecop"]

    assert the_words("ENTRYPOINT") == ["rexecop"] and len(programs) == 2
    said = [*(["rexecop", *words] for words in lines), *programs]
    assert [why for words in said if (why := _refusal(shlex.join(words))) is not None] == []


def test_every_variable_is_one_that_is_read() -> None:
    named = {*image_variables()}
    for name, one in services().items():
        named |= {*under(one, "environment")} - (OF_POSTGRES if name == "ledger" else set())
    named |= {str(one["name"]) for box in containers() for one in listed(box, "env")}

    assert {name for name in named - known() if not SECRET.fullmatch(name)} == set()
    assert "REXECOP_STORAGE" in named and "REXECOP_NONSENSE" not in known()


def test_every_image_is_named_by_a_version() -> None:
    stages = {words.split(" AS ")[1] for word, words in instructions() if word == "FROM" and " AS " in words}
    froms = [words.split(" AS ")[0] for word, words in instructions() if word == "FROM"]
    copied = re.findall(r"--from=(\S+)", " ".join(words for word, words in instructions() if word == "COPY"))
    images = [*froms, *(str(one["image"]) for one in services().values())]
    images += [str(one["image"]) for one in containers()]

    assert set(copied) <= stages
    assert [image for image in images if not IMAGE.fullmatch(image)] == []
    # The same Python builds and runs, so that what was compiled for it fits.
    assert len({*froms}) == 1


def test_every_value_of_the_chart_is_used_and_every_used_one_is_there() -> None:
    chart = read((CHART / "Chart.yaml").read_text())
    version = re.search(r'__version__.*"(.+)"', (ROOT / "src/rexecop/__init__.py").read_text())

    assert {*leaves(values())} == holes()
    assert version and (chart["appVersion"], chart["apiVersion"]) == (version[1], "v2")
    claims = {str(one["claimName"]) for one in items(pod(), "persistentVolumeClaim") if isinstance(one, dict)}
    assert claims == {str(under(rendered()["volume.yaml"], "metadata")["name"])}
    mounted = {str(one["name"]) for box in containers() for one in listed(box, "volumeMounts")}
    assert mounted == {str(one["name"]) for one in listed(pod(), "volumes")}


def test_what_the_chart_selects_is_what_it_makes() -> None:
    labels = under(rendered()["pod.yaml"], "spec", "template", "metadata", "labels")
    ports = [str(one["name"]) for box in containers() for one in listed(box, "ports")]

    assert under(rendered()["pod.yaml"], "spec", "selector", "matchLabels") == labels
    assert under(rendered()["service.yaml"], "spec", "selector") == labels
    assert [one["targetPort"] for one in listed(under(rendered()["service.yaml"], "spec"), "ports")] == ports
    assert {str(one["port"]) for one in items(pod(), "httpGet") if isinstance(one, dict)} == {*ports}


# --- no right too many ---


def test_nothing_of_ours_runs_as_root_or_may_become_it() -> None:
    users = [words for word, words in instructions() if word == "USER"]
    last = max(n for n, (word, _) in enumerate(instructions()) if word == "USER")
    assert users == ["10001:10001"]
    assert "RUN" not in {word for word, _ in instructions()[last:]}

    for name, one in services().items():
        assert (one["cap_drop"], one["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert not {*one} & {"privileged", "network_mode", "pid", "ipc", "devices"}, name
    assert {one["user"] for one in runners().values()} == {"10001:10001"}
    assert all(one["read_only"] is True for one in runners().values())

    outer = under(pod(), "securityContext")
    assert (outer["runAsNonRoot"], outer["runAsUser"], outer["fsGroup"]) == (True, 10001, 10001)
    assert outer["fsGroupChangePolicy"] == "OnRootMismatch"  # Else the group could write keys.
    assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    for box in containers():
        assert box["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, box["name"]


def test_everything_that_runs_has_limits() -> None:
    assert [
        name for name, one in services().items() if not {"mem_limit", "cpus", "pids_limit"} <= {*one}
    ] == []
    for box in containers():
        assert {*under(box, "resources", "limits")} == {"cpu", "memory"}, box["name"]


def test_the_service_is_published_on_loopback_only_and_the_ledger_nowhere() -> None:
    published = {name: texts(one.get("ports", [])) for name, one in services().items()}

    assert [port for ports in published.values() for port in ports] == ["127.0.0.1:5000:5000"]
    assert texts(services()["ledger"]["networks"]) == ["inside"]
    assert under(rendered()["service.yaml"], "spec")["type"] == "ClusterIP"


def test_no_secret_stands_in_a_variable_that_everybody_sees() -> None:
    for one in services().values():
        assert not [name for name in under(one, "environment") if re.search("PASSWORD$|SECRET_KEY", name)]
    for box in containers():
        for one in listed(box, "env"):
            assert "valueFrom" in one or not re.search("PASSWORD|SECRET|KEY", str(one["name"]))


# --- and it works ---


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The command of the image over a root that its `init` made, on loopback instead of every address."""
    home = tmp_path_factory.mktemp("container")
    root = home / "root"
    variables = {
        **image_variables(),
        "HOME": str(home),
        "REXECOP_ROOT": str(root),
        "PATH": os.environ["PATH"],
    }
    governed = {"OPENEXEC_MODE": "clawshield", "CLAWSHIELD_TENANT_ID": "t", "CLAWSHIELD_SECRET_KEY": "k" * 32}
    before = os.getcwd()
    os.chdir(home)
    try:
        init = Forked(rexecop, tuple(texts(services()["init"]["command"])), **variables)
        assert init.ended()[0] == 0
        words = [{"0.0.0.0": "127.0.0.1", "5000": "0"}.get(word, word) for word in the_words("CMD")]
        process = Forked(rexecop, tuple(words), **variables, **governed)
    finally:
        os.chdir(before)
    try:
        line = process.stderr.readline()
        assert " on http://" in line, line + process.stderr.read()
        yield Running(process, int(line.split("http://")[1].split()[0].rpartition(":")[2]), root)
    finally:
        process.close()


def healthy(port: int) -> int:
    program, *words = the_words("HEALTHCHECK")
    assert program == "python"
    words = [word.replace(":5000", f":{port}") for word in words]
    return subprocess.run(
        [sys.executable, *words], capture_output=True, timeout=SECONDS, check=False
    ).returncode


def test_every_probe_finds_a_service_that_is_well_and_a_dead_one_is_noticed(served: Running) -> None:
    paths = {str(one["path"]) for one in items(pod(), "httpGet") if isinstance(one, dict)}
    assert paths and {path: served.get(path).status for path in paths} == dict.fromkeys(paths, 200)
    assert healthy(served.port) == 0

    status = Forked(rexecop, ("--root", str(served.root), "runtime", "status"))
    assert status.ended()[0] == 0
    assert served.stop() == 0
    assert healthy(served.port) != 0


def contained(home: Path, *words: str) -> list[str]:
    """The command line that runs `words` as the image does: another user, no rights, nothing to write."""
    to_write = str(image_variables()["HOME"])
    variables = {**image_variables(), "PATH": os.environ["PATH"], "OPENEXEC_MODE": "clawshield"}
    variables |= {"CLAWSHIELD_TENANT_ID": "t", "CLAWSHIELD_SECRET_KEY": "k" * 32}
    seen = [
        part for path in (ROOT, sys.prefix, sys.base_prefix) for part in ("--ro-bind", str(path), str(path))
    ]
    return [
        *("bwrap", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", *seen, "--tmpfs", str(Path(to_write).parent), "--bind", str(home), to_write),
        *("--unshare-user", "--uid", "10001", "--gid", "10001", "--cap-drop", "ALL", "--chdir", to_write),
        *("--clearenv", *(part for name, value in variables.items() for part in ("--setenv", name, value))),
        *(sys.executable, "-m", *the_words("ENTRYPOINT"), *words),
    ]


@needs("bwrap")
def test_as_another_user_on_a_file_system_that_cannot_be_written_it_makes_a_root_and_serves(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o2775)  # As a volume is that a cluster gives to a group.
    for words in (texts(services()["init"]["command"]), ["doctor"], ["runtime", "status"]):
        ran = subprocess.run(
            contained(tmp_path, *words), capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "root" / "ledger.sqlite").is_file()

    words = [{"0.0.0.0": "127.0.0.1", "5000": "0"}.get(word, word) for word in the_words("CMD")]
    with subprocess.Popen(contained(tmp_path, *words), stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        try:
            line = served.stderr.readline()
            assert " on http://" in line, line + served.stderr.read()
            assert healthy(int(line.split("http://")[1].split()[0].rpartition(":")[2])) == 0
        finally:
            served.terminate()


def test_the_address_that_others_reach_is_refused_in_demo_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = ("--root", str(tmp_path / "root"))
    assert Forked(rexecop, (*root, "init", "--quiet"), HOME=str(tmp_path)).ended()[0] == 0
    code, said = Forked(rexecop, (*root, *the_words("CMD")), HOME=str(tmp_path)).ended()

    assert code == 2 and "error[demo-exposed]" in said
