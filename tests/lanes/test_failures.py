import pytest

from rexecop.lanes.failures import Failure, describe, retryable


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_line_for_operators_and_a_retryability(failure: Failure) -> None:
    text = describe(failure)

    assert text and text == text.strip().rstrip(".") and text[0].islower()
    assert retryable(failure) in (True, False)


@pytest.mark.parametrize(
    "failure",
    [
        Failure.UNKNOWN_OUTCOME,
        Failure.FENCE_LOST,
        Failure.PERMIT_MISMATCH,
        Failure.TEMPLATE_MISMATCH,
        Failure.HOST_KEY_MISMATCH,
        Failure.ISOLATION_UNAVAILABLE,
        Failure.AUTH_FAILED,
        Failure.POLICY_DENIED,
    ],
)
def test_what_trying_again_cannot_heal_is_not_retryable(failure: Failure) -> None:
    assert not retryable(failure)
