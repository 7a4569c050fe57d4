"""The same embedding, however it is computed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from procir.model.embedder import ProCIR
from procir.model.layout import beginnings
from procir.model.packed import worthwhile
from procir.model.packing import length_groups, patches, stack_pixels, token_groups
from procir.model.pixels import PixelSettings, ViewPixels, resize
from procir.model.reader import EmbedderSettings, Reader
from procir.model.transfer import pinned, to_device
from procir.model.vision import lay_out_views, picture_features, view_features
from training import InFloat64


@pytest.fixture
def dialogues(tiny, random_views):
    build = tiny.dialogues
    return [
        build.document(random_views(0, (2, 2), (2, 3))),
        build.query(random_views(1, (3, 2)), "Make it red"),
        build.caption("A red cotton dress with short sleeves"),
        build.query(random_views(2, (2, 2), (2, 2), (1, 2)), "A zipper at the back and a much longer sentence here"),
        build.document(random_views(3, (2, 2))),
    ]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("budget", [60, 2048])
def test_padded_equals_packed_equals_single(tiny, dialogues, packed, budget):
    reader = Reader(tiny.network, tiny.tokenizer, tiny.settings, packed=packed, max_batch_tokens=budget)
    with torch.inference_mode():
        together = reader.embed(dialogues)
        alone = torch.cat([tiny.embed([dialogue]) for dialogue in dialogues])
    assert together.shape == (7, tiny.dim)
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


def test_packing_is_for_gpus_with_the_kernels(tiny):
    assert not tiny.packed
    assert not worthwhile(torch.device("cpu"))


def test_document_equals_source_embedding_of_turn_one(tiny, random_views):
    views = random_views(4, (2, 3), (2, 2))
    with torch.inference_mode():
        document = tiny.embed([tiny.dialogues.document(views)])
        source, query = tiny.embed([tiny.dialogues.query(views, "Make it navy")])
    torch.testing.assert_close(document[0], source, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(source, query, atol=1e-2)


def test_embedding_equals_transformers_own_forward(tiny, random_views, tokenizer):
    """transformers' full path: its image processor's layout, its rope index, its per-image vision loop."""
    views = random_views(5, (2, 3), (2, 2))
    dialogue = tiny.dialogues.query(views, "Make it navy with a zipper")
    values = [_with_frames(patches(stack_pixels([view]), PixelSettings(), torch.float32)) for view in views]
    ids = torch.from_numpy(dialogue.token_ids)[None]
    with torch.inference_mode():
        states = tiny.network.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=torch.cat(values),
            image_grid_thw=torch.tensor([[1, 4, 6], [1, 4, 4]]),
            mm_token_type_ids=(ids == tiny.dialogues.vocabulary.image).int(),
        ).last_hidden_state[0]
        ours = tiny.embed([dialogue])
    torch.testing.assert_close(ours, states[list(dialogue.embedding_at)], atol=2e-5, rtol=1e-4)


def test_views_are_prepared_as_by_qwens_image_processor():
    rng = np.random.default_rng(0)
    settings = PixelSettings(min_pixels=64 * 64, max_pixels=128 * 128)
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels},
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    for height, width in ((50, 70), (300, 90), (128, 128), (7, 9), (33, 400)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        theirs = processor(images=[image], return_tensors="pt")
        view = resize(image, settings)
        ours = _with_frames(patches(stack_pixels([view]), settings, torch.float32))
        assert theirs["image_grid_thw"].tolist() == [[1, view.token_grid[0] * 2, view.token_grid[1] * 2]]
        torch.testing.assert_close(ours, theirs["pixel_values"], atol=1e-6, rtol=0)


def test_vision_features_equal_the_towers_own(tiny, random_views):
    views = [random_views(seed, (2, 3))[0] for seed in range(3)]
    tower = tiny.network.model.visual
    values = patches(stack_pixels(views), PixelSettings(), torch.float32)
    with torch.inference_mode():
        together = view_features(tower, values, (2, 3))
        theirs = tower(_with_frames(values), grid_thw=torch.tensor([[1, 4, 6]] * 3)).pooler_output
    torch.testing.assert_close(together.flatten(0, 1), theirs, atol=2e-5, rtol=1e-4)


def test_views_end_to_end_equal_views_of_equal_grids(tokenizer, random_views):
    """In float64: features and gradients of views of three grids, in passes of any size."""
    model = ProCIR.from_shape("tiny", tokenizer, EmbedderSettings(), seed=2)
    tower = model.network.model.visual.double()
    views = [view for seed in range(3) for view in random_views(seed, (2, 3), (1, 2), (2, 2))]
    found = {}
    for packed, chunk in ((False, 1 << 20), (True, 1 << 20), (True, 40)):
        with InFloat64():
            passes, rows = lay_out_views(tower, views, packed=packed, chunk=chunk)
            assert len(passes) == {(False, 1 << 20): 3, (True, 1 << 20): 1, (True, 40): 6}[packed, chunk]
            features = torch.cat([picture_features(tower, each, model.settings.pixels) for each in passes])
        ordered = torch.cat([features[rows[view.digest].start : rows[view.digest].stop] for view in views])
        weighed = (ordered * torch.arange(len(ordered))[:, None].sin()).square().sum()
        found[packed, chunk] = ordered, torch.autograd.grad(weighed, list(tower.parameters()))
    (expected, gradients), *others = found.values()
    assert len(expected) == 3 * (6 + 2 + 4)
    for features, own in others:
        torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)
        for one, other in zip(own, gradients, strict=True):
            assert (one - other).norm() <= 1e-10 * other.norm()


def test_a_layout_is_read_any_number_of_times(tiny, dialogues):
    """Laid out in another thread, on the host, in passes of the size that was asked for."""
    reader = Reader(tiny.network, tiny.tokenizer, tiny.settings, max_batch_tokens=60, packed=True)
    with ThreadPoolExecutor(1) as pool:
        layout = pool.submit(reader.lay_out, [dialogues[1], dialogues[0], dialogues[1]]).result()
    assert [batch.borders.at for batch in layout.batches] == [(0, len(dialogues[1])), (0, len(dialogues[0]))]
    assert layout.wanted.tolist() == [0, 1, 2, 0, 1]
    assert sum(len(stack) for each in layout.pictures for stack in each.stacks) == 3
    with torch.inference_mode():
        first, second = reader.states(layout), reader.states(layout)
        expected = torch.cat([tiny.embed([dialogues[index]]) for index in (1, 0, 1)])
    assert torch.equal(first, second)
    torch.testing.assert_close(first, expected, atol=2e-5, rtol=1e-4)


def test_parts_move_with_all_their_tensors(tiny, dialogues):
    """To a device without memory, so that a tensor that stayed behind would be seen."""
    reader = Reader(tiny.network, tiny.tokenizer, tiny.settings, packed=True)
    layout = to_device(reader.lay_out(dialogues), torch.device("meta"))
    tensors = [layout.wanted, *(batch.borders.tensor for batch in layout.batches)]
    tensors += [tensor for batch in layout.batches for tensor in (batch.token_ids, batch.position_ids, batch.image_at)]
    tensors += [stack for each in layout.pictures for stack in each.stacks]
    tensors += [each.borders.tensor for each in layout.pictures]
    tensors += [at.taps for each in layout.pictures for at in each.places]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert pinned(layout, torch.device("cpu")) is layout


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_of_a_batch_equal_single_ones(tiny, dialogues, packed):
    weights = dict(tiny.network.model.named_parameters())
    reader = Reader(tiny.network, tiny.tokenizer, tiny.settings, packed=packed)

    def gradients(embedder, groups):
        states = torch.cat([embedder.embed(group) for group in groups])
        return torch.autograd.grad((states * torch.arange(1, 8)[:, None]).square().mean(), weights.values())

    together, alone = gradients(reader, [dialogues]), gradients(tiny, [[dialogue] for dialogue in dialogues])
    for name, one, other in zip(weights, together, alone, strict=True):
        scale = other.abs().max()
        torch.testing.assert_close(one, other, atol=1e-4 * float(scale) + 1e-7, rtol=1e-3, msg=name)


def test_a_dialogue_that_another_begins_with_is_read_within_it(tiny, random_views):
    """A document is the first turn of every query on its product, and of none on another, nor with another thought."""
    views, others, build = random_views(8, (2, 2)), random_views(9, (2, 2)), tiny.dialogues
    again = tuple(ViewPixels(view.pixels.copy(), view.token_grid) for view in views)  # equal pictures of another file
    short, long = build.query(again, "Red"), build.query(views, "Red", [5, 6])
    document, other, thoughtful = build.document(views), build.document(others), build.document(views, [5, 6])
    caption = build.caption("Red")
    everything = [document, other, short, caption, long, thoughtful]
    assert beginnings(everything) == {id(document): short, id(thoughtful): long}
    assert beginnings([document, other, caption]) == {}
    weights = dict(tiny.network.model.named_parameters())

    def gradients(groups):
        states = torch.cat([tiny.embed(group) for group in groups])
        weighed = (states * torch.arange(1, 9)[:, None]).square().mean()
        return states, torch.autograd.grad(weighed, weights.values())

    (states, found), (single, expected) = gradients([everything]), gradients([[one] for one in everything])
    torch.testing.assert_close(states, single, atol=2e-5, rtol=1e-4)
    for name, one, other_gradient in zip(weights, found, expected, strict=True):
        scale = float(other_gradient.abs().max())
        torch.testing.assert_close(one, other_gradient, atol=1e-4 * scale + 1e-7, rtol=1e-3, msg=name)


def test_a_dialogue_shown_twice_gives_its_embeddings_twice(tiny, random_views):
    one = tiny.dialogues.query(random_views(8, (2, 2)), "Make it red")
    two = tiny.dialogues.document(random_views(9, (2, 2)))
    with torch.inference_mode():
        found = tiny.embed([one, two, one])
    assert found.shape == (5, tiny.dim)
    assert torch.equal(found[:2], found[3:])
    assert not torch.equal(found[0], found[2])


def test_length_groups_bound_waste_and_tokens():
    lengths = [10, 100, 95, 90, 81, 79, 50, 100]
    groups = length_groups(lengths, max_tokens=300)
    assert sorted(index for group in groups for index in group) == list(range(8))
    assert groups == [[1, 7, 2], [3, 4, 5], [6], [0]]
    assert length_groups([500], max_tokens=300) == [[0]]


def test_token_groups_are_full_and_in_order():
    assert token_groups([100, 150, 60, 400, 300, 1], max_tokens=300) == [[0, 1], [2], [3], [4], [5]]
    assert token_groups([], max_tokens=300) == []


@pytest.mark.parametrize("grid", [(1, 1), (1, 5)])
def test_smallest_views_encode(tiny, grid):
    view = ViewPixels(np.zeros((grid[0] * 32, grid[1] * 32, 3), np.uint8), grid)
    with torch.inference_mode():
        assert torch.isfinite(tiny.embed([tiny.dialogues.document([view])])).all()


def _with_frames(values):
    """Two equal frames a patch, as transformers lays them out."""
    flat = values.reshape(-1, 3, 1, 16 * 16)
    return flat.expand(-1, 3, 2, 16 * 16).reshape(len(flat), -1)
