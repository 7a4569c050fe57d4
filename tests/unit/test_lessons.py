"""Lessons of a tiny model: what is asked, and what the tower and the embeddings learn from it."""

import json
import math
from random import Random

import numpy as np
import pytest
import torch

from procir.catalog.atelier.comparison import compare
from procir.catalog.atelier.garments import GROUPS, GROUPS_BY_NAME, VIEW_NAMES, attributes, visible
from procir.catalog.atelier.sampling import contrasts, generator, sample
from procir.errors import ConfigError, TrainingError
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings
from procir.recipes import questions
from procir.recipes.curriculum import Curriculum, attend
from procir.recipes.describing import teach_to_describe, vary
from procir.recipes.lessons import Lessons, draw_lessons, move_views
from procir.recipes.reading import answers, teach_to_read
from procir.recipes.study import StudyConfig

STUDY = StudyConfig(steps=40, batch_size=32, learning_rate=4e-3, warmup_steps=5, seed=3)
BRIEF = StudyConfig(steps=2, batch_size=4, learning_rate=1e-3, warmup_steps=1)
PIXELS = PixelSettings(min_pixels=64 * 64, max_pixels=64 * 64)
GARMENTS = 60


def silent(done, total, note):
    assert 0 < done <= total
    assert note


@pytest.fixture(scope="module")
def lessons():
    return draw_lessons(GARMENTS, PIXELS, 1, silent, seed=3)


@pytest.fixture
def model(tokenizer):
    return ProCIR.from_shape("tiny", tokenizer, EmbedderSettings(pixels=PIXELS), seed=3)


def test_questions_hold_every_value_of_every_group():
    asked = questions.questions()
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
            name: questions.questions()[name][number]
            for name, number in zip(questions.questions(), answers(garment, view), strict=True)
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
    again = draw_lessons(GARMENTS, PIXELS, 1, silent, seed=3)
    np.testing.assert_array_equal(again.pixels, lessons.pixels)
    assert again.garments == lessons.garments
    assert len(lessons.garments) == GARMENTS
    assert lessons.pixels.shape[1:] == (64, 64, 3)
    assert [len(lessons.views(number)) for number in range(GARMENTS)] == [len(g.views) for g in lessons.garments]
    assert len({garment["color"] for garment in lessons.garments}) > 8


def test_what_is_held_out_is_not_taught(lessons):
    """Of 4 garments with 30, 28, 30 and 12 views two views are held out: those of the last, which is not taught."""
    few = Lessons(lessons.garments[:4], np.zeros((100, 1, 1, 3), np.uint8), np.array([0, 30, 58, 88, 100]))
    assert few.taught_views == 98
    assert few.taught_garments == 3
    assert 0 < lessons.taught_garments < GARMENTS
    assert lessons.first[lessons.taught_garments] <= lessons.taught_views


def test_views_move_by_whole_pixels_and_keep_their_border():
    views = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    moved = move_views(views, 1, np.random.default_rng(0))
    assert moved.shape == views.shape
    for before, after in zip(views, moved, strict=True):
        wide = np.pad(before, ((1, 1), (1, 1), (0, 0)), mode="edge")
        places = [(y, x) for y in range(3) for x in range(3) if (wide[y : y + 4, x : x + 4] == after).all()]
        assert len(places) == 1
    np.testing.assert_array_equal(move_views(views, 0, np.random.default_rng(0)), views)


def learnt(teach, model, lessons):
    """The weights that moved; the smoothed loss falls by a tenth, and marks are shares of right answers."""
    before = {name: weight.clone() for name, weight in model.network.named_parameters()}
    notes = []
    marks = teach(model, lessons, STUDY, lambda done, total, note: notes.append(note))
    losses = [float(note.removeprefix("loss ")) for note in notes]
    assert len(losses) == STUDY.steps
    assert losses[-1] < 0.9 * losses[0]
    assert {"color", "group"} <= set(marks) <= set(questions.questions())
    assert all(0 <= mark <= 1 for mark in marks.values())
    assert not model.network.training
    return {name for name, weight in model.network.named_parameters() if not torch.equal(weight, before[name])}


def test_a_tower_learns_to_read(model, lessons):
    moved = learnt(teach_to_read, model, lessons)
    assert moved
    assert all(name.startswith("model.visual.") for name in moved)


def test_embeddings_learn_to_describe(model, lessons):
    """A frozen tower stays as it was."""
    model.network.model.visual.requires_grad_(False)
    moved = learnt(teach_to_describe, model, lessons)
    assert any("layers.3" in name for name in moved)
    assert not any(name.startswith("model.visual.") for name in moved)


def test_a_wish_is_for_two_or_three_things_that_show():
    rng = Random(5)
    for number in range(200):
        garment = sample(GROUPS[number % len(GROUPS)], generator("wish", number))
        wish = vary(garment, rng)
        assert wish.views == garment.views
        changed = {name for name in wish.values if wish[name] != garment[name]} - {"accent"}
        assert len(changed) in (2, 3)
        assert changed <= set(visible(garment))
        assert changed & {change.attribute for change in compare(garment, wish)}
        assert contrasts(wish["color"], wish["accent"])


def test_cross_entropy_and_marks_by_hand():
    """Uniform scores cost the logarithm of the number of values; what does not show costs nothing."""
    color, leg = (len(questions.questions()[name]) for name in ("color", "leg"))
    asked = np.array(
        [questions.numbered({"color": "navy", "leg": "flared"}), questions.numbered({"color": "navy"})], np.int16
    )
    scores = torch.zeros(2, questions.width())
    cost = questions.cross_entropy(scores, asked)
    assert cost.item() == pytest.approx((2 * math.log(color) + math.log(leg)) / 2)
    right = questions.given(scores)
    assert not right.any()
    assert questions.marks(np.where(asked < 0, 0, asked), asked) == {"color": 1.0, "leg": 1.0}
    wrong = asked + 1
    wrong[0] = asked[0]
    assert questions.marks(wrong, asked) == {"color": 0.5, "leg": 1.0}


def test_what_was_learnt_is_kept(model, tokenizer, tmp_path):
    brief = Curriculum(garments=50, reading=BRIEF, describing=BRIEF)
    records = attend(model, brief, tmp_path / "lessons", 1, resume=False)
    assert set(records) == {"reading", "describing"}
    other = ProCIR.from_shape("tiny", tokenizer, EmbedderSettings(pixels=PIXELS), seed=4)
    assert attend(other, brief, tmp_path / "lessons", 1, resume=True) == records
    for kept, taught in zip(other.network.parameters(), model.network.parameters(), strict=True):
        assert torch.equal(kept, taught)
    assert not any(weight.requires_grad for weight in other.network.model.visual.parameters())
    for name, record in records.items():
        assert record["seconds"] > 0
        kept = json.loads((tmp_path / "lessons" / name / "record.json").read_text())
        assert {key: kept[key] for key in ("marks", "seconds")} == record
    more = Curriculum(garments=51, reading=BRIEF, describing=BRIEF)
    with pytest.raises(TrainingError, match="reading holds what other lessons left: choose another folder"):
        attend(other, more, tmp_path / "lessons", 1, resume=True)


def test_lessons_that_cannot_be_held_are_refused():
    with pytest.raises(ConfigError, match="40 garments: at least 50 are needed"):
        draw_lessons(40, PIXELS, 1, silent)
    with pytest.raises(ConfigError, match="0 steps of 4: at least one step"):
        StudyConfig(steps=0, batch_size=4, learning_rate=1e-3, warmup_steps=1)
