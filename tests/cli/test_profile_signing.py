"""`rexecop profile sign` and `verify`, and what `show` and `lint` say of a signature."""

from __future__ import annotations

from pathlib import Path

import pytest

from rexecop.keys import create_key
from tests.cli.conftest import Rexecop


@pytest.fixture
def site(rexecop: Rexecop, alone: Path) -> str:
    """A profile in the current folder, and beside it a key."""
    assert rexecop("profile", "new", "site").code == 0
    create_key(alone / "key", "ina")
    return "site"


def test_signing_answers_with_what_it_made_and_verifying_with_whose_it_is(
    rexecop: Rexecop, site: str, alone: Path
) -> None:
    unsigned = rexecop("profile", "verify", site, "--json")
    assert (unsigned.code, unsigned.found["state"], unsigned.found["key"]) == (7, "unsigned", None)

    signed = rexecop("profile", "sign", site, "--key", "key", "--json")
    assert (signed.code, signed.found["state"]) == (0, "unknown")
    assert (
        str(signed.found["key"]).startswith("SHA256:") and signed.found["digest"] == unsigned.found["digest"]
    )
    assert rexecop("profile", "sign", site, "--key", "key", "--quiet").out == f"{signed.found['digest']}\n"

    assert rexecop("profile", "verify", site).code == 7
    (alone / "trust").mkdir()
    (alone / "trust" / "publisher-ina.pub").write_bytes((alone / "key.pub").read_bytes())
    known = rexecop("profile", "verify", site, "--trust", "trust", "--json")
    assert (known.code, known.found["state"], known.found["person"]) == (0, "trusted", "ina")
    assert rexecop("profile", "verify", site, "--trust", "trust", "--quiet").out == "trusted\n"


def test_show_and_lint_say_how_a_profile_is_signed(rexecop: Rexecop, site: str, alone: Path) -> None:
    assert "  signed     no\n" in rexecop("profile", "show", site).out
    assert rexecop("profile", "lint", site).out == "site: nothing to say\n  signed     no\n"
    rexecop("profile", "sign", site, "--key", "key")
    for verb in ("show", "lint"):
        said = rexecop("profile", verb, site, "--json").found["signature"]
        assert isinstance(said, dict) and said["state"] == "unknown"
    (alone / "site" / "profile.sig").write_text("no signature\n")
    found = rexecop("profile", "lint", site)
    assert found.code == 0 and "by nobody; in `profile.sig` is no signature of this profile" in found.out
    (alone / "site" / "profile.yaml").write_text("no: profile\n")
    broken = rexecop("profile", "lint", site, "--json")
    assert broken.code == 1 and "signature" not in broken.found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sign", "site"), "--key"),
        (("sign", "site", "--key", "none"), "key file `none`"),
        (("sign", "none", "--key", "key"), "no profile `none`"),
        (("sign", "hello", "--key", "key"), "comes with the program"),
        (("sign", "site", "--key", "key.pub"), "key.pub"),
        (("verify", "none"), "no profile `none`"),
        (("verify", "site", "--trust", "none"), "no folder `none`"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_leaves_nothing(
    rexecop: Rexecop, site: str, alone: Path, words: tuple[str, ...], said: str
) -> None:
    ended = rexecop("profile", *words)

    assert ended.code not in (0, 7) and said in ended.err and "Traceback" not in ended.err
    assert not (alone / "site" / "profile.sig").exists()
