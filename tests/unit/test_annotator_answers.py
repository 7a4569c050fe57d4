"""From texts of models to checked answers, and what questions cost before they are asked."""

import pytest
from pydantic import BaseModel, ConfigDict

from procir.annotators.answers import read_answer
from procir.annotators.budget import Budget, Estimate, estimate
from procir.annotators.request import Picture, Request
from procir.annotators.settings import AnnotatorSettings
from procir.errors import AnswerError, ConfigError, ExhaustedError


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    views: tuple[int, ...] = ()


def refuse(answer):
    if answer.name == "wrong":
        raise AnswerError("name must not be 'wrong'")


def request(*parts, system=""):
    return Request(stage="caption", item="p", system=system, parts=parts, schema=Answer, check=refuse)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "views": [1, 2]}',
        '\n {"name": "a", "views": [1, 2]} \n',
        'Here it is:\n```json\n{"name": "a", "views": [1, 2]}\n```\nAnything else?',
        '```\n{"name": "a", "views": [1, 2]}\n```',
        'First try ```json\n{"name": "b"}\n``` no, rather\n```JSON\n{"name": "a", "views": [1, 2]}\n```',
        'I see two views. {"name": "a", "views": [1, 2]} is all.',
        '{"name": "a", "views": [1, 2,],}',
        "{'name': 'a', 'views': [1, 2]}",
        '{"name": "a", "views": [1, 2]',
        'Sure! {name: "a", views: [1, 2]}',
    ],
)
def test_answers_in_all_kinds_of_text(text):
    assert read_answer(text, request()) == Answer(name="a", views=(1, 2))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I would rather not.", "the answer holds no JSON object"),
        ("[1, 2]", "the answer holds no JSON object"),
        ("{}", "the JSON does not fit the schema: name: Field required"),
        ('{"name": 1, "views": ["x"], "more": 2}', "name: Input should be a valid string; views.0: .*; more: Extra"),
        ('{"name": "a", "views": ["1x", "x", "x", "x", "x", "x", "x"]}', "views.4: .*; and 2 more$"),
        ('{"name": "wrong"}', "name must not be 'wrong'"),
    ],
)
def test_reasons_that_a_model_can_act_on(text, reason):
    with pytest.raises(AnswerError, match=reason):
        read_answer(text, request())


def settings(**changes):
    values = {"provider": "openai", "model": "m", "key_variable": "K", "max_tokens": 1000, "picture_side": 56}
    return AnnotatorSettings(**(values | changes))


def test_estimates_count_letters_and_squares_of_pictures():
    """The schema text counts as well; 4 letters a token, one token for each 28 x 28 pixels begun."""
    schema = len(
        '{"additionalProperties": false, "properties": {"name": {"title": "Name", "type": "string"}, "views": '
        '{"default": [], "items": {"type": "integer"}, "title": "Views", "type": "array"}}, "required": ["name"], '
        '"title": "Answer", "type": "object"}'
    )
    sized = Picture(digest="d", load=lambda: pytest.fail("opened"), size=lambda: (29, 28))
    unsized = Picture(digest="d", load=lambda: pytest.fail("opened"))
    asked = [request("x" * 7, sized, system="s" * 10), request(unsized)]
    tokens = -(-(schema + 17) // 4) + 2 + -(-schema // 4) + 4
    free = estimate(asked, settings())
    assert free == Estimate(requests=2, input_tokens=tokens, output_tokens=2000, dollars=None)
    priced = estimate(iter(asked), settings(input_price=1.0, output_price=500.0))
    assert priced.dollars == pytest.approx(tokens / 1e6 + 1.0)
    assert estimate([], settings(input_price=1.0, output_price=1.0)).dollars == 0


def test_a_budget_is_never_passed():
    budget = Budget(1.0)
    budget.reserve(0.6)
    with pytest.raises(ExhaustedError, match=r"of 1 dollars: 0.0000 are spent, 0.6000 reserved .* may cost 0.5000"):
        budget.reserve(0.5)
    budget.settle(0.6, 0.1)
    budget.reserve(0.9)
    assert (budget.spent, budget.reserved) == (0.1, 0.9)
    with pytest.raises(ExhaustedError, match="raise the budget and run again"):
        budget.reserve(0.01)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_budget_is_above_zero(limit):
    with pytest.raises(ConfigError, match="it must be above 0"):
        Budget(limit)
