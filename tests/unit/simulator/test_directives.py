"""What does the text of a request itself command?"""

import pytest

from cf_workers.simulator.ask import Ask
from cf_workers.simulator.directives import Directive, DirectiveCounts, directive_in, without_directives
from cf_workers.simulator.faults import Fault
from cf_workers.simulator.problem import ApiProblem


def test_text_without_directives_commands_nothing():
    assert directive_in("see [[wiki links]] and sim cards") == Directive()


def test_directives_are_read_wherever_they_stand_and_add_up():
    assert directive_in("[[sim latency=0.5]] go [[sim ttft=0.1 tokens=20]]") == Directive(0.5, 0.1, 20)


def test_a_directive_names_a_fault_and_how_often_it_strikes():
    directive = directive_in("[[sim fail=429 times=2 retry_after=3]]")

    assert directive.fail == Fault(status=429, retry_after=3.0)
    assert directive.times == 2


@pytest.mark.parametrize("text", ["[[sim latencey=1]]", "[[sim latency=fast]]", "[[sim fail=nothing]]"])
def test_a_misspelt_directive_is_refused(text):
    with pytest.raises(ApiProblem) as caught:
        directive_in(text)

    assert "[[sim ...]]" in caught.value.text


def test_equal_requests_fail_as_often_as_they_say_and_others_on_their_own():
    counts = DirectiveCounts()
    directive = Directive(fail=Fault(), times=2)
    one, other = Ask({"model": "a"}), Ask({"model": "b"})

    assert [bool(counts.fault(one, directive)) for _ in range(4)] == [True, True, False, False]
    assert counts.fault(other, directive)


def test_a_fault_without_times_strikes_always():
    counts = DirectiveCounts()

    assert all(counts.fault(Ask({}), Directive(fail=Fault())) for _ in range(10))


def test_a_text_is_quoted_without_its_directives():
    assert without_directives("[[sim latency=1]] do it [[sim fail=529]]") == "do it"
