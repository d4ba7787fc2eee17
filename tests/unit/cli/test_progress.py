"""Who presses Ctrl-C is told what becomes of the run, as it then is."""

import pytest

from cf_workers.cli.output import InterruptedByUserError
from cf_workers.cli.progress import interruptible


class ScriptedWorkforce:
    """A worker of the command's own, or none, and how the run stands once that worker has stopped."""

    def __init__(self, *, own, ended=None):
        self.is_own = own
        self._ended = ended
        self.closed = False

    def close(self):
        self.closed = True

    def ended_as(self, run):
        assert self.closed, "asked before the worker has had its time"
        return self._ended


@pytest.mark.parametrize(
    ("workforce", "said", "hint"),
    [
        (None, "run r1 goes on", "runs watch r1"),
        (ScriptedWorkforce(own=False), "run r1 goes on", "runs watch r1"),
        (ScriptedWorkforce(own=True), "run r1 is kept and waits for a worker", "runs cancel r1"),
        (ScriptedWorkforce(own=True, ended="succeeded"), "has ended meanwhile: succeeded", "runs show r1"),
    ],
)
def test_an_interruption_says_what_becomes_of_the_run(workforce, said, hint):
    with pytest.raises(InterruptedByUserError) as caught, interruptible("r1", workforce):
        raise KeyboardInterrupt

    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.details["run_id"] == "r1"
