"""Supervised fine-tuning: what a lesson is, its loss and gradient, exact resumption, and what is written afterwards."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger
from procir.annotators.pictures import file_picture
from procir.annotators.settings import AnnotatorSettings
from procir.construct.builtin.faults import Faults
from procir.construct.builtin.server import app_of
from procir.construct.builtin.serving import running
from procir.construct.domain import read_domain
from procir.construct.questions import caption_question
from procir.errors import AnswerError, ConfigError, StoppedError, TrainingError
from procir.model.dialogue import Exchange
from procir.model.embedder import ProCIR
from procir.model.generation import generate
from procir.model.language_loss import language_loss, summed_cross_entropy
from procir.recipes.model_captions import ModelAnnotator, read_caption, write_captions
from procir.records import content_hash
from procir.train.contrastive import train
from procir.train.log import read_log
from procir.train.sft import backward, train_sft
from procir.train.sft_config import SftConfig
from procir.train.sft_data import LessonRenderer, batch_indices, gather, total_steps
from procir.types import Caption, ProductKey, Split
from training import fresh_model
from training import settings as contrastive

KEY = ProductKey("noise", "p0")


@pytest.fixture(scope="module")
def told(little_split):
    """The little data set with a caption of each view, and short texts."""
    captions = {
        key: Caption(key, f"Long {i}.", f"Short {i}.", (f"[Image 1] Front {i}.", f"[Image 2] Back {i}."))
        for i, key in enumerate(sorted(little_split.products))
    }
    return replace(little_split, captions=captions)


def settings(**changes):
    return SftConfig(**{"share": 1.0, "batch_size": 4, "max_steps": 4, "learning_rate": 1e-3, "seed": 5} | changes)


def lessons_of(model, split, **changes):
    config = settings(**changes)
    conversations, _ = gather(model, split, config)
    return LessonRenderer(model, config).lessons(conversations)


def test_a_lesson_reads_like_the_chat_template_and_teaches_what_the_assistant_says(random_views):
    model = fresh_model()
    views = random_views(0, (1, 2))
    lesson = model.dialogues.lesson(
        "Be brief.",
        [Exchange(views=views, request=" Say <think>. ", thought="Hm.", answer=" Yes. "), Exchange(request="And now?")],
    )
    text = model.tokenizer.decode(lesson.token_ids)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>Say <think>.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nHm.\n</think>\n\nYes.<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n<|emb_all|><|im_end|>"
    ).replace("<|emb_all|>", model.settings.embedding_token)
    taught = model.tokenizer.decode(lesson.learnt_ids)
    assert taught == (
        f"<think>\nHm.\n</think>\n\nYes.<|im_end|><think>\n\n</think>\n\n{model.settings.embedding_token}<|im_end|>"
    )
    # What a user writes is text, also where it spells a special token.
    assert (lesson.token_ids == model.dialogues.vocabulary.think).sum() == 2


def test_the_loss_is_that_of_transformers(told):
    """Texts alone, so that transformers can be asked with plain labels: -100 for all but the assistant's tokens."""
    model = fresh_model()
    lesson = model.dialogues.lesson("Be brief.", [Exchange(request="What is it?", thought="Hm.", answer="A dress.")])
    ids = torch.from_numpy(lesson.token_ids)[None]
    labels = torch.full_like(ids, -100)
    taught = np.array(lesson.embedding_at) + 1
    labels[0, taught] = ids[0, taught]
    expected = model.network(input_ids=ids, labels=labels).loss
    found = language_loss(model, [lesson]) / len(lesson.embedding_at)
    torch.testing.assert_close(found, expected)


def test_chunks_of_the_vocabulary_change_nothing():
    torch.manual_seed(0)
    head, states = torch.nn.Linear(8, 50, bias=False), torch.randn(13, 8, requires_grad=True)
    targets = torch.randint(50, (13,))
    whole = F.cross_entropy(head(states), targets, reduction="sum")
    expected = torch.autograd.grad(whole, [states, head.weight])
    parts = summed_cross_entropy(head, states, targets, chunk=4)
    torch.testing.assert_close(parts, whole)
    for found, gradient in zip(torch.autograd.grad(parts, [states, head.weight]), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def gradients(split, *, packed, max_tokens):
    model = fresh_model()
    model = ProCIR(model.network.train(), model.tokenizer, model.settings, packed=packed)
    loss = backward(model, lessons_of(model, split)[:6], max_tokens)
    return loss, {name: weight.grad for name, weight in model.network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("packed", "max_tokens"), [(False, 4096), (False, 300), (True, 4096), (True, 300)])
def test_end_to_end_padded_and_one_by_one_give_the_same_gradients(told, packed, max_tokens):
    expected_loss, expected = gradients(told, packed=False, max_tokens=1)
    loss, found = gradients(told, packed=packed, max_tokens=max_tokens)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name


def test_both_tasks_are_drawn_and_what_does_not_fit_is_counted(told):
    model = fresh_model()
    conversations, report = gather(model, told, settings())
    assert (report.captions, report.triplets, dict(report.skipped)) == (9, 8, {})
    assert [len(conversation.turns) for conversation in conversations] == [1] * 9 + [3] * 8
    some, _ = gather(model, told, settings(share=0.4))
    names = [conversation.name for conversation in conversations]
    assert 0 < len(some) < 17
    assert [conversation.name for conversation in some] == [n for n in names if n in {c.name for c in some}]
    lengths = sorted(len(lesson) for lesson in lessons_of(model, told))
    few, short = gather(model, told, settings(max_tokens=lengths[8]))
    assert len(few) == sum(length <= lengths[8] for length in lengths)
    assert sum(short.skipped.values()) == 17 - len(few)
    with pytest.raises(TrainingError, match=r"no conversation to learn from.*17 conversations longer than 5 tokens"):
        gather(model, told, settings(max_tokens=5))


def test_every_conversation_has_its_turn_in_a_pass():
    config = settings(max_steps=None)
    assert total_steps(17, config) == 5
    order = [index for step in range(5) for index in batch_indices(step, 17, config)]
    assert sorted(order) == list(range(17))
    assert order != [index for step in range(5, 10) for index in batch_indices(step, 17, config)]
    assert [len(batch_indices(step, 17, config)) for step in range(5)] == [4, 4, 4, 4, 1]


def tuned(split, out, **changes):
    model = fresh_model()
    more = {name: changes.pop(name) for name in ("report", "resume") if name in changes}
    config = settings(**changes)
    conversations, _ = gather(model, split, config)
    train_sft(model, conversations, config, out, data_hash="x", **more)
    return model


def test_a_resumed_run_equals_an_uninterrupted_one(told, tmp_path):
    whole = tuned(told, tmp_path / "whole", save_every=2)

    def stop(step):
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(told, tmp_path / "cut", save_every=2, report=stop)
    again = tuned(told, tmp_path / "cut", save_every=2, resume=True)
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, again.network.state_dict()[name]), name
    with pytest.raises(TrainingError, match=r"learning_rate was 0.001 and is now 0.1"):
        tuned(told, tmp_path / "cut", save_every=2, learning_rate=0.1, resume=True)


def test_sigterm_saves_and_stops(told, tmp_path):
    import os
    import signal

    def stop(step):
        if step.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="after step 2 of 4, which is saved in"):
        tuned(told, tmp_path, report=stop)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000002"]


def test_the_tower_may_be_frozen(told, tmp_path):
    before = fresh_model().network.state_dict()
    after = tuned(told, tmp_path, freeze_vision=True).network.state_dict()
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed
    assert not any("visual" in name for name in changed)


@pytest.mark.parametrize(
    "changes", [{"share": 0.0}, {"share": 1.1}, {"batch_size": 0}, {"max_steps": 0}, {"weight_decay": -1.0}]
)
def test_settings_that_make_no_sense(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        settings(**changes)


@pytest.fixture(scope="module")
def scholar(told, tmp_path_factory):
    """A model that has learnt the captions of two products by heart, and those products."""
    keys = sorted(told.products)[:2]
    small = Split("train", {key: told.products[key] for key in keys}, {key: told.captions[key] for key in keys}, ())
    out = tmp_path_factory.mktemp("scholar")
    model = tuned(small, out, batch_size=2, max_steps=90, learning_rate=3e-3, warmup_steps=5)
    rows = [row["loss"] for row in read_log(out) if row["kind"] == "train"]
    assert rows[-1] < 0.02 < 3 < rows[0]
    return model, small


def test_a_fine_tuned_model_writes_the_captions_it_has_learnt(scholar):
    model, small = scholar
    written = write_captions(model, list(small.products.values()), max_new=200)
    assert {found.key: found.caption for found in written} == dict(small.captions)
    # Cut off, and so no captions: the reason is told, and the text is kept.
    cut = write_captions(model, list(small.products.values()), max_new=5)
    assert [(found.caption, found.reason) for found in cut] == [(None, "the thought does not end")] * 2
    assert cut[0].text.startswith("\n[")


def test_side_by_side_is_as_one_by_one(scholar, random_views):
    model, _ = scholar
    openings = [model.dialogues.opening("Be brief.", random_views(i, *[(1, 1 + i)] * (i + 1))) for i in range(3)]
    both = generate(model, openings, max_new=12)
    assert both == [generate(model, [opening], max_new=12)[0] for opening in openings]
    drawn = [generate(model, openings, max_new=12, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert generate(model, [], max_new=3) == []
    with pytest.raises(ConfigError, match="at least 1 token"):
        generate(model, openings, max_new=0)


GOOD = '[Image 1] One.\n[Image 2] Two.\n</think>\n\n{"long_caption": "Long.", "short_caption": "Short."}'


def test_reading_captions():
    found = read_caption(KEY, f"\n{GOOD}", 2)
    assert found == Caption(KEY, "Long.", "Short.", ("[Image 1] One.", "[Image 2] Two."))


@pytest.mark.parametrize(
    ("text", "views", "reason"),
    [
        (GOOD.replace("</think>", ""), 2, "the thought does not end"),
        (GOOD, 3, "2 captions of views, in whatever order, for 3 views"),
        (GOOD.replace("[Image 2]", "[Image 3]"), 2, "in whatever order"),
        (GOOD.replace("}", ""), 2, "the answer is no JSON"),
        (GOOD.replace('"Long."', '" "'), 2, "lacks long_caption or short_caption"),
        (GOOD.partition("{")[0] + "[1]", 2, "lacks long_caption or short_caption"),
    ],
)
def test_what_is_no_caption_is_refused(text, views, reason):
    with pytest.raises(AnswerError, match=reason):
        read_caption(KEY, text, views)


def test_a_fine_tuned_model_answers_stage_1_over_http(scholar, told, tmp_path, monkeypatch):
    """The real client asks; a product it knows is answered, one it does not know is judged like any annotator's."""
    monkeypatch.setenv("SCHOLAR_KEY", "k")
    model, small = scholar
    key = sorted(small.products)[0]
    photos = [file_picture(view.path, content_hash(view.path), 512) for view in told.products[key].views]
    question = caption_question(key, photos, read_domain("fashion"))

    async def ask(url):
        chosen = AnnotatorSettings(
            provider="openai", model="scholar", base_url=url, key_variable="SCHOLAR_KEY", max_tokens=500
        )
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            async with HttpAnnotator(chosen, ledger) as annotator:
                return await annotator.answer(question)

    with running(app_of(ModelAnnotator(model, max_new=200), Faults())) as url:
        answer = asyncio.run(ask(url))
    caption = told.captions[key]
    assert answer.belongs
    assert (answer.image_captions, answer.long_caption, answer.short_caption) == (
        caption.images, caption.long, caption.short,
    )  # fmt: skip


def test_contrastive_training_starts_from_a_fine_tuned_checkpoint(scholar, told, tmp_path):
    model, _ = scholar
    model.save_pretrained(tmp_path / "model")
    begun = ProCIR.from_backbone(tmp_path / "model")
    assert torch.equal(begun.network.lm_head.weight, model.network.lm_head.weight)
    train(begun, told, contrastive(batch_size=4, max_steps=2), tmp_path / "run", data_hash="x")
    assert [row["step"] for row in read_log(tmp_path / "run") if row["kind"] == "train"] == [1, 2]
