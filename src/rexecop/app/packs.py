"""Policy packs as folders that are not in force: made, checked, tested, signed. No root is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rexecop.app.errors import FileRefused
from rexecop.app.files import read_file, read_folder, reason_of, replace_file, write_folder
from rexecop.app.profiles import find_profile
from rexecop.app.root import Root
from rexecop.execution.strict_yaml import load_yaml
from rexecop.governance.errors import CasesFailed, ImportRefused, LintFailed
from rexecop.governance.golden import Result, read_cases, run_cases
from rexecop.governance.importing import convert
from rexecop.governance.lint import Finding, lint
from rexecop.governance.pack import POLICY_NAMESPACE, SIGNATURE, Pack
from rexecop.governance.starter import commented_files
from rexecop.keys import load_ssh_signer
from rexecop.operations.environment import calls_of, load_environment
from rexecop.operations.planning import check_profile_of
from rexecop.operations.profile import load_profile
from rexecop.proof import sshsig
from rexecop.proof.errors import RexecopError


@dataclass(frozen=True, slots=True, kw_only=True)
class PackView:
    """A pack and what is in it; of one that cannot be read only `source` and `findings` are known.

    `people` has each person's groups, `signature` says by which key the pack is signed, whoever that is.
    """

    source: str
    findings: tuple[Finding, ...]
    id: str | None = None
    version: str | None = None
    digest: str | None = None
    valid: str | None = None
    signature: str | None = None
    rules: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    people: Mapping[str, tuple[str, ...]] | None = None
    cases: int = 0


def pack_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders of the packs in a root.

    Raises:
        RootMissing, RootUnsafe: there is no usable root.
    """
    Root(root).require()
    return tuple(sorted(path for path in Root(root).policy.iterdir() if path.is_dir()))


def check_pack(folder: Path) -> PackView:
    """Return what is in the pack `folder` and everything that is wrong or doubtful in it."""
    try:
        files = read_folder(folder)
        pack = Pack.parse(files)
        cases = read_cases(files, pack)
    except RexecopError as error:
        line, source = error.facts.get("line", 1), str(error.facts.get("source", folder))
        message = error.message.removeprefix(f"{source}:{line}: ").removeprefix(f"{source}: ")
        found = Finding(severity="error", code=error.code, file=source, line=int(line), message=message)
        return PackView(source=str(folder), findings=(found,))
    bounds = (("from", pack.not_before), ("until", pack.not_after))
    return PackView(
        source=str(folder),
        findings=lint(pack),
        id=pack.ref.id,
        version=pack.ref.version,
        digest=str(pack.ref.digest),
        valid=" ".join(f"{word} {moment:%Y-%m-%dT%H:%M:%SZ}" for word, moment in bounds if moment) or None,
        signature=None if pack.signature is None else _signature(pack),
        rules=tuple(rule.id for rule in pack.rules),
        requirements=tuple(rule.id for rule in pack.requirements),
        people={person: tuple(sorted(groups)) for person, groups in sorted(pack.entities.people.items())},
        cases=len(cases),
    )


def _signature(pack: Pack) -> str:
    try:
        armored = (pack.signature or b"").decode("ascii", "replace")
        signed = sshsig.verify(armored, pack.ref.digest.encode(), POLICY_NAMESPACE)
    except RexecopError:
        return "does not fit"
    return f"by key {signed.public.fingerprint}"


def test_pack(folder: Path) -> tuple[Result, ...]:
    """Run the golden cases of the pack in `folder`.

    Raises:
        PackRefused, YamlRefused: the pack or a case cannot be read. FileMissing, FileRefused.
    """
    files = read_folder(folder)
    pack = Pack.parse(files)
    return run_cases(read_cases(files, pack), pack)


def checked(files: Mapping[str, bytes]) -> Pack:
    """Return the pack made of `files`, which lint finds no error in and which passes its own cases.

    Raises:
        PackRefused, YamlRefused: it does not, with the place.
    """
    pack = Pack.parse(files)
    for finding in lint(pack):
        if finding.severity == "error":
            raise LintFailed(finding.message, source=finding.file, line=finding.line)
    for result in run_cases(read_cases(files, pack), pack):
        if result.differences:
            what = f"case `{result.name}` fails: {result.differences[0]}"
            step = "rexecop policy test DIR"
            raise CasesFailed(what, source=result.file, line=result.line, step=step)
    return pack


def new_pack(folder: Path, person: str) -> Pack:
    """Write a commented pack to begin with into a new or empty `folder`.

    Raises:
        FileRefused: the folder holds something. PackManifestWrong: its name cannot name a pack.
    """
    return _written(folder, commented_files(folder.resolve().name, person))


def import_pack(source: Path, folder: Path, approvers: str, profile: str | None = None) -> Pack:
    """Write the pack that means what the pack of GovEngine in the file `source` says.

    Rules about single calls are about those of `profile`, else of the one that the environment names.

    Raises:
        ImportRefused, YamlRefused: it says what cannot be said here, with the place. FileRefused.
        EnvironmentRefused, ProfileUnknown: what the calls are looked up in cannot be read.
    """
    data = read_file(source)
    said = load_yaml(data, source=source.name).value
    if not isinstance(said, dict) or "environment" not in said:
        if profile is not None:
            words = "this is no environment, and without one nobody knows which calls there are"
            raise ImportRefused(f"{words}; leave `--profile` out", source=source.name)
        return _written(folder, convert(data, source=source.name, approvers=approvers))
    environment = load_environment({source.name: data})
    if profile is None and environment.profile is None:
        words = f"environment `{environment.id}` names no `profile` whose calls its rules are about"
        raise ImportRefused(f"{words}; give `--profile`", source=source.name)
    found = load_profile(find_profile(profile or environment.profile or "").files)
    check_profile_of(environment, found)
    files = convert(
        data,
        source=source.name,
        approvers=approvers,
        profile=found.name,
        calls=calls_of(environment, found),
    )
    return _written(folder, files)


def _written(folder: Path, files: Mapping[str, bytes]) -> Pack:
    pack = Pack.parse(files)
    write_folder(folder, files)
    return pack


def sign_pack(folder: Path, key: Path) -> Pack:
    """Write `pack.sig`: a signature over the digest of the pack in `folder`, which passes every check.

    Raises:
        PackRefused: the pack does not. KeyRefused: the key cannot be used. FileRefused: it cannot be written.
    """
    pack = checked(read_folder(folder))
    armored = sshsig.sign(load_ssh_signer(key), POLICY_NAMESPACE, pack.ref.digest.encode())
    try:
        replace_file(folder / SIGNATURE, armored.encode(), mode=0o644)
    except OSError as error:
        path = str(folder / SIGNATURE)
        raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=path) from error
    return Pack.parse(read_folder(folder))
