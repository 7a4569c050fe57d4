"""Reading lessons: what a view is asked, and what a tower learns from it."""

import json

import numpy as np
import pytest
import torch

from procir.catalog.atelier.garments import GROUPS, GROUPS_BY_NAME, VIEW_NAMES, attributes
from procir.catalog.atelier.sampling import generator, sample
from procir.errors import ConfigError, TrainingError
from procir.model.embedder import EmbedderSettings, ProCIR
from procir.model.pixels import PixelSettings
from procir.recipes.reading import (
    ReadingConfig,
    answers,
    draw_lessons,
    learn_to_read,
    move_views,
    questions,
    teach,
)

SHORT = ReadingConfig(garments=60, steps=40, batch_size=32, warmup_steps=5, seed=3)
PIXELS = PixelSettings(min_pixels=64 * 64, max_pixels=64 * 64)


def silent(done, total, note):
    assert 0 < done <= total
    assert note


@pytest.fixture(scope="module")
def lessons():
    return draw_lessons(SHORT, PIXELS, 1, silent)


@pytest.fixture
def model(tokenizer):
    return ProCIR.from_shape("tiny", tokenizer, EmbedderSettings(pixels=PIXELS), seed=3)


def test_questions_hold_every_value_of_every_group():
    asked = questions()
    for group in GROUPS:
        for attribute in attributes(group):
            assert set(attribute.values) <= set(asked[attribute.name])
    assert asked["group"] == tuple(GROUPS_BY_NAME)
    assert all(len(values) == len(set(values)) for values in asked.values())


def test_a_view_answers_what_it_shows():
    group = GROUPS_BY_NAME["women-skirts"]
    garment = sample(group, generator("skirt", 1))
    values = dict(garment.values) | {"pattern": "solid", "slit": "left", "back": "bow", "side": "lacing"}
    garment = type(garment)(group, values, VIEW_NAMES, 0)
    read = {
        view: {
            name: questions()[name][number]
            for name, number in zip(questions(), answers(garment, view), strict=True)
            if number >= 0
        }
        for view in VIEW_NAMES
    }
    assert all(shown["group"] == "women-skirts" and shown["pattern"] == "solid" for shown in read.values())
    assert all("accent" not in shown and "neckline" not in shown for shown in read.values())
    assert [view for view in VIEW_NAMES if read[view].get("slit") == "left"] == ["front", "full"]
    assert [view for view in VIEW_NAMES if read[view].get("back") == "bow"] == ["back"]
    assert [view for view in VIEW_NAMES if read[view].get("side") == "lacing"] == ["side"]
    assert [view for view in VIEW_NAMES if "hardware" in read[view]] == ["detail"]


def test_lessons_are_the_views_of_unrelated_garments(lessons):
    again = draw_lessons(SHORT, PIXELS, 1, silent)
    np.testing.assert_array_equal(again.pixels, lessons.pixels)
    np.testing.assert_array_equal(again.answers, lessons.answers)
    assert 2 * SHORT.garments <= len(lessons.pixels) <= 5 * SHORT.garments
    assert lessons.pixels.shape[1:] == (64, 64, 3)
    assert lessons.answers.shape == (len(lessons.pixels), len(questions()))
    colors = lessons.answers[:, list(questions()).index("color")]
    assert len(set(colors.tolist())) > 8


def test_views_move_by_whole_pixels_and_keep_their_border():
    views = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    moved = move_views(views, 1, np.random.default_rng(0))
    assert moved.shape == views.shape
    for before, after in zip(views, moved, strict=True):
        wide = np.pad(before, ((1, 1), (1, 1), (0, 0)), mode="edge")
        places = [(y, x) for y in range(3) for x in range(3) if (wide[y : y + 4, x : x + 4] == after).all()]
        assert len(places) == 1
    np.testing.assert_array_equal(move_views(views, 0, np.random.default_rng(0)), views)


def test_a_tower_learns_to_read(model, lessons):
    """The smoothed loss falls, and only the tower has moved."""
    before = {name: weight.clone() for name, weight in model.network.named_parameters()}
    notes = []
    marks = teach(model, lessons, SHORT, lambda done, total, note: notes.append(note))
    losses = [float(note.removeprefix("loss ")) for note in notes]
    assert len(losses) == SHORT.steps
    assert losses[-1] < 0.9 * losses[0]
    assert {"color", "group"} <= set(marks) <= set(questions())
    assert all(0 <= mark <= 1 for mark in marks.values())
    moved = {name for name, weight in model.network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all(name.startswith("model.visual.") for name in moved)


def test_a_tower_that_has_learnt_is_kept(model, tokenizer, tmp_path):
    brief = ReadingConfig(garments=50, steps=2, batch_size=4)
    marks = learn_to_read(model, brief, tmp_path / "reading", 1, resume=False)
    other = ProCIR.from_shape("tiny", tokenizer, EmbedderSettings(pixels=PIXELS), seed=4)
    assert learn_to_read(other, brief, tmp_path / "reading", 1, resume=True) == marks
    for kept, learnt in zip(
        other.network.model.visual.parameters(), model.network.model.visual.parameters(), strict=True
    ):
        assert torch.equal(kept, learnt)
    assert json.loads((tmp_path / "reading" / "marks.json").read_text())["marks"] == marks
    longer = ReadingConfig(garments=50, steps=3, batch_size=4)
    with pytest.raises(TrainingError, match="had other reading lessons: choose another folder"):
        learn_to_read(other, longer, tmp_path / "reading", 1, resume=True)


def test_too_few_garments_are_refused():
    with pytest.raises(ConfigError, match=r"40 garments, .*at least 50 garments"):
        ReadingConfig(garments=40)
