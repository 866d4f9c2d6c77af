"""What the service offers: by name, never by a path that a caller gives, and without what is broken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.build import open_instance
from rexecop.app.errors import NotOffered
from rexecop.app.offers import Offers
from rexecop.app.profiles import built_in_folder
from rexecop.proof.errors import RexecopError
from tests.app.support import made, settings


def test_what_is_offered_goes_by_names_and_what_is_broken_is_left_out(tmp_path: Path) -> None:
    asyncio.run(made(tmp_path))
    root = tmp_path / "root"
    text = (root / "hello.environment.yaml").read_text()
    (root / "other.environment.yaml").write_text(text.replace("id: here", "id: there"))
    (root / "broken.environment.yaml").write_text("environment: [")
    own = str(root / "hello.environment.yaml")
    chosen = replace(settings(tmp_path), profile=str(built_in_folder()), env=own)
    with open_instance(chosen) as instance:
        offers = Offers(instance)

        assert [found.id for _, found in offers.environments()] == ["here", "there"]
        assert [(one.environment, one.target) for one in offers.targets()] == [
            ("here", "localhost"), ("there", "localhost")
        ]  # fmt: skip
        names = [f"{one.profile}/{one.intent}" for one in offers.intents()]
        assert names == sorted(set(names)) and {"hello/host_facts", "adhoc/look"} <= set(names)
        assert offers.profile(None)[0] == offers.profile("hello")[0] == str(built_in_folder())
        assert offers.profile("adhoc")[0] == "adhoc"
        assert offers.environment(None)[0] == offers.environment("here")[0] == own
        for path in (str(built_in_folder("adhoc")), "../hello", "", "nothing"):
            with pytest.raises(NotOffered):
                offers.profile(path or "/")
            with pytest.raises(NotOffered):
                offers.environment(path or own)

    with open_instance(replace(chosen, env=str(root / "broken.environment.yaml"))) as instance:
        with pytest.raises(RexecopError) as refused:
            Offers(instance).environment(None)
        assert refused.value.code != "not-offered"
        assert Offers(instance).environment("here")[1].id == "here"
