"""Values for `{{ inputs.NAME }}` in the tasks of a workflow."""

import pytest

from cf_workers.errors import InputError
from tests.support.stack import step, user_text

pytestmark = pytest.mark.integration


@pytest.fixture
def client(stack, project):
    project.workflow(
        "translate",
        step("only", task="Translate {{ inputs.text }} into {{inputs.language}}"),
        inputs={"language": "French", "text": None},
    )
    return stack.client(project)


def test_inputs_are_filled_in_and_have_defaults(stack, client):
    client.start_workflow("translate", inputs={"text": "{{ inputs.language }}"}).result(timeout=60)

    (call,) = stack.calls()
    assert "Translate {{ inputs.language }} into French" in user_text(call)


@pytest.mark.parametrize(
    ("inputs", "complaint"), [({}, "needs the input 'text'"), ({"text": "a", "txt": "b"}, "no input 'txt'")]
)
def test_a_missing_or_an_unknown_input_is_refused_before_anything_is_asked(stack, client, inputs, complaint):
    with pytest.raises(InputError, match=complaint):
        client.start_workflow("translate", inputs=inputs)

    assert stack.calls() == []
