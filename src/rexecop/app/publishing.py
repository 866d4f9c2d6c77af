"""Signed profiles as folders: `profile.sig` written and read, and whose key it is by. No root is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rexecop.app.clock import SystemClock
from rexecop.app.errors import FileRefused
from rexecop.app.files import read_folder, reason_of, replace_file
from rexecop.app.offline import ProfileView, lint_profile, show_profile
from rexecop.app.profiles import BUILT_IN, find_profile
from rexecop.app.root import Root
from rexecop.app.verifying import enrolled_in
from rexecop.app.views import SignatureView
from rexecop.keys import load_ssh_signer
from rexecop.operations.errors import ProfileRefused
from rexecop.operations.pinned_files import SIGNATURE, profile_snapshot, read_signature
from rexecop.operations.reading import Finding
from rexecop.proof import sshsig
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.publishing import PROFILE_NAMESPACE, publisher, standing
from rexecop.proof.verify import TrustedKeys, parse_trust
from rexecop.proof.vocabulary import Role


def sign_profile(name: str, key: Path) -> None:
    """Write `profile.sig` beside the profile `name`, or at that path: a signature over its digest.

    Raises:
        ProfileUnknown, ProfileRefused: there is none, or lint finds an error in it.
        KeysError: the key cannot be used. FileRefused: it cannot be written.
    """
    if name in BUILT_IN:
        raise FileRefused(f"`{name}` comes with the program and is not published", path=name)
    found = find_profile(name)
    for finding in lint_profile(name):
        if finding.severity == "error":
            step = (f"rexecop profile lint {name}",)
            raise ProfileRefused(f"{finding.file}:{finding.line}: {finding.message}", next_steps=step)
    digest, path = digest_of(profile_snapshot(found.files)), found.folder / SIGNATURE
    armored = sshsig.sign(load_ssh_signer(key), PROFILE_NAMESPACE, digest.encode())
    try:
        replace_file(path, armored.encode(), mode=0o644)
    except OSError as error:
        raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error


def show_signed(name: str, root: Path) -> ProfileView:
    """Return what the profile `name`, or at that path, offers, and how it is signed."""
    return replace(show_profile(name), signature=signature_of(name, None, root))


def lint_signed(name: str, root: Path) -> tuple[tuple[Finding, ...], SignatureView | None]:
    """Return every finding of that profile, and where none is an error, how it is signed."""
    findings = lint_profile(name)
    broken = any(finding.severity == "error" for finding in findings)
    return findings, None if broken else signature_of(name, None, root)


def signature_of(name: str, trust: Path | None, root: Path) -> SignatureView:
    """Return how the profile `name`, or at that path, is signed: by keys in `trust`, else those of `root`.

    Raises:
        ProfileUnknown, ProfileRefused: there is none.
        FileMissing, FileRefused, TrustFileMalformed: `trust` is not what it should be.
    """
    own = None if trust is None else parse_trust(read_folder(trust))
    found = find_profile(name)
    files = found.files
    digest = digest_of(profile_snapshot(files))
    read = read_signature(files, digest)
    state, says, person, since = "unsigned", "no", None, None
    if read.problem is not None:
        state, says = "wrong", f"by nobody; in `{SIGNATURE}` is {read.problem}"
    elif read.key is not None:
        state, words, person, since = _judged(read.key, own, root)
        says = f"by {person}, with key {read.key}" if person else f"by key {read.key}"
        says = f"{says}, {words}"
    signing, trusting = f"profile sign {name} --key FILE", "keys trust FILE --person NAME --role publisher"
    steps = {"unsigned": signing, "wrong": signing, "untrusted": trusting, "unknown": trusting}
    return SignatureView(
        source=found.source,
        digest=digest,
        state=state,
        says=says,
        key=read.key,
        person=person,
        since=since,
        next=(f"rexecop {steps[state]}",) if state in steps else (),
    )


def _judged(key: str, own: TrustedKeys | None, root: Path) -> tuple[str, str, str | None, datetime | None]:
    """Return where the key stands now: state and words, whose it is, and since when it is enrolled."""
    now = SystemClock().now()
    if own is not None:
        mine = (one for one in own.of(Role.PUBLISHER) if one.public.fingerprint == key)
        known = next((one.name for one in mine if one.counts(PROFILE_NAMESPACE, now)), None)
        words = "which is no publisher's that you trust" if known is None else "whom you trust"
        return "untrusted" if known is None else "trusted", words, known, None
    try:
        enrolled = enrolled_in(Root(root)) if root.is_dir() else None
    except RexecopError as error:
        return "unknown", f"and whose that is cannot be read: {error.message}", None, None
    if enrolled is None:
        return "unknown", "and there is no root here that says whose that is", None, None
    person = publisher(enrolled, key, now)
    if person is None:
        return "untrusted", f"which {standing(enrolled, key, now)}", None, None
    wanted = (Role.PUBLISHER, key)
    since = next(one.since for one in enrolled if (one.role, one.fingerprint) == wanted and one.valid_at(now))
    return "trusted", "who publishes profiles here", person, since
