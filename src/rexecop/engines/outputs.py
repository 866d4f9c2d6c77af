"""What the steps of a drive put out lately; the rest is read back from the blobs kept of it."""

from __future__ import annotations

from typing import Final

from rexecop.operations.step_output import StepOutput

OUTPUTS_MAX: Final = 256  # Of 64 calls under way, with what they wait for.


class Outputs(dict[str, StepOutput]):
    """The newest outputs, by step: with one more, the one goes that was set first."""

    def __setitem__(self, step: str, output: StepOutput) -> None:
        """Hold `output`."""
        self.pop(step, None)
        super().__setitem__(step, output)
        if len(self) > OUTPUTS_MAX:
            del self[next(iter(self))]
