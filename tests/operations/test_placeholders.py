"""Values enter messages as they are, and never as a place that something else is put into later."""

from __future__ import annotations

import pytest

from rexecop.operations.errors import ParameterRefused, ProfileRefused
from rexecop.operations.placeholders import Values, message_value
from rexecop.proof.canonical import Json
from rexecop.proof.message import secrets_in


def values(given: Json) -> Values:
    return Values(
        known=("given",),
        parameters={"given": given},
        target="web",
        attributes={},
        environment={},
        slots=(),
        secrets={"api": "token"},
    )


@pytest.mark.parametrize(
    "given",
    [
        {"secret": "token"},
        [{"secret": "token"}],
        {"deep": [1, {"down": {"secret": "token"}}]},
        {"slot": "a"},
        {"text": ["Bearer ", {"secret": "token"}]},
        {"text": []},
    ],
)
def test_a_parameter_that_would_be_taken_for_a_place_cannot_be_sent_as_it_is(given: Json) -> None:
    for shape in ("{given}", {"body": ["{given}"]}):
        with pytest.raises(ParameterRefused, match="`given` cannot be sent as it is"):
            message_value(shape, values(given), "here")


@pytest.mark.parametrize(
    "given", [{"secret": "token", "more": 1}, ["secret", "token"], {"secret": 5}, 7, True]
)
def test_a_parameter_that_only_resembles_a_place_is_sent_as_it_is(given: Json) -> None:
    assert message_value({"body": "{given}"}, values(given), "here") == {"body": given}


def test_a_text_with_the_signs_of_a_place_stays_a_text() -> None:
    found = message_value("is {given}", values('{"secret": "token"}'), "here")

    assert found == 'is {"secret": "token"}'
    assert not list(secrets_in(found))


def test_a_profile_names_places_by_placeholders_only() -> None:
    with pytest.raises(ProfileRefused, match="only `secret`"):
        message_value({"secret": "api"}, values(None), "here")
    assert message_value("{secret.api}", values(None), "here") == {"secret": "token"}
