"""The exact token ids of every dialogue layout, with Qwen3.5's real tokenizer.

Checked by hand against the published prompt: chat template, no system message, an empty think block before
the embedding token of every assistant turn. 248045/248046 open and end a turn, 846 198 is "user\\n", 74455 198
"assistant\\n", 248053/248054 frame a view of 248056s, 248068 271 248069 271 is the empty think block ("\\n\\n"
is 271), and 248077 is <emb_all>.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.errors import ContextOverflowError, DataError, MissingTokenError
from procir.model.dialogue import DialogueBuilder
from procir.model.pixels import ViewPixels
from procir.model.tokenizers import CHAT_TEMPLATE, SPECIAL_TOKENS, qwen_tokenizer

USER, ASSISTANT, END = [248045, 846, 198], [248045, 74455, 198], [248046, 198]
ONE_TOKEN_VIEW, TWO_TOKEN_VIEW = [248053, 248056, 248054], [248053, 248056, 248056, 248054]
EMPTY_THINK, EMBEDDING = [248068, 271, 248069, 271], [248077]
MAKE_IT_NAVY, A_RED_DRESS = [7825, 424, 43285, 13], [32, 2438, 8250, 13]
THOUGHT = [248068, 198, *A_RED_DRESS, 198, 248069, 271]

VIEWS_TURN = [*USER, *ONE_TOKEN_VIEW, *TWO_TOKEN_VIEW, *END, *ASSISTANT]
TEXT_TURN = [*END, *USER, *MAKE_IT_NAVY, *END, *ASSISTANT, *EMPTY_THINK, *EMBEDDING]


@pytest.fixture(scope="module")
def views():
    return tuple(ViewPixels(np.zeros((32, 32 * width, 3), np.uint8), (1, width)) for width in (1, 2))


@pytest.fixture(scope="module")
def builders():
    return {turns: DialogueBuilder(qwen_tokenizer(), two_turns=turns == 2, max_length=500) for turns in (1, 2)}


def test_document(builders, views):
    dialogue = builders[2].document(views)
    assert dialogue.token_ids.tolist() == [*VIEWS_TURN, *EMPTY_THINK, *EMBEDDING]
    assert dialogue.embedding_at == (19,)
    assert dialogue.views == views


def test_document_with_thought(builders, views):
    dialogue = builders[2].document(views, builders[2].text_ids("A red dress."))
    assert dialogue.token_ids.tolist() == [*VIEWS_TURN, *THOUGHT, *EMBEDDING]


def test_query_of_two_turns(builders, views):
    dialogue = builders[2].query(views, "Make it navy.")
    assert dialogue.token_ids.tolist() == [*VIEWS_TURN, *EMPTY_THINK, *EMBEDDING, *TEXT_TURN]
    assert dialogue.embedding_at == (19, 38)


def test_query_of_two_turns_with_thought_in_the_first_only(builders, views):
    dialogue = builders[2].query(views, "Make it navy.", builders[2].text_ids("A red dress."))
    assert dialogue.token_ids.tolist() == [*VIEWS_TURN, *THOUGHT, *EMBEDDING, *TEXT_TURN]


@pytest.mark.parametrize("thought", [None, A_RED_DRESS])
def test_query_of_a_single_turn_never_thinks(builders, views, thought):
    dialogue = builders[1].query(views, "Make it navy.", thought)
    views_and_text = [*USER, *ONE_TOKEN_VIEW, *TWO_TOKEN_VIEW, *MAKE_IT_NAVY, *END]
    assert dialogue.token_ids.tolist() == [*views_and_text, *ASSISTANT, *EMPTY_THINK, *EMBEDDING]
    assert dialogue.embedding_at == (23,)


def test_caption(builders):
    dialogue = builders[2].caption("  A red dress. ")
    assert dialogue.token_ids.tolist() == [*USER, *A_RED_DRESS, *END, *ASSISTANT, *EMPTY_THINK, *EMBEDDING]


def test_positions_advance_by_the_longer_side_of_a_view(builders, views):
    positions = builders[2].document(views).position_ids
    assert positions[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, *range(9, 20)]
    assert positions[1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, *range(9, 20)]
    assert positions[2].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, *range(9, 20)]


def test_positions_of_a_grid(builders):
    view = ViewPixels(np.zeros((96, 64, 3), np.uint8), (3, 2))
    positions = builders[2].document([view]).position_ids[:, 4:11]
    assert positions.tolist() == [[4] * 6 + [7], [4, 4, 5, 5, 6, 6, 7], [4, 5, 4, 5, 4, 5, 7]]


# The template's trim also removes the separators U+001C to U+001F, which str.strip removes too.
_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(lambda text: text.strip())


@settings(derandomize=True, deadline=None, max_examples=60)
@given(_TEXT.filter(lambda text: not any(token in text for token in SPECIAL_TOKENS)))
def test_ids_are_those_of_the_chat_template(text):
    """Pieces tokenised one by one join to what the template's whole string gives, in any script."""
    tokenizer = qwen_tokenizer()
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
        {"role": "assistant", "content": "<emb_all>"},
    ]
    rendered = tokenizer.apply_chat_template(messages, chat_template=CHAT_TEMPLATE, tokenize=False)
    whole = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    view = ViewPixels(np.zeros((32, 32, 3), np.uint8), (1, 1))
    dialogue = DialogueBuilder(tokenizer, two_turns=False, max_length=500).query([view], text)
    assert [*dialogue.token_ids.tolist(), *END] == whole


def test_special_tokens_in_a_text_stay_characters(builders):
    dialogue = builders[2].caption("<|im_end|> <emb_all> <think>")
    ids = dialogue.token_ids.tolist()
    assert ids.count(248046) == 1
    assert ids.count(248077) == 1
    assert ids.count(248068) == 1


def test_empty_text_is_refused(builders, views):
    with pytest.raises(DataError, match="text is empty"):
        builders[2].query(views, " \n ")


def test_room_is_what_the_longest_dialogue_takes(builders, views):
    """Two views of 1 and 2 tokens take 7 with their frames; the thought's frame is counted though it is empty."""
    length = len(builders[2].query(views, "Make it navy.", [32]))
    tight = DialogueBuilder(qwen_tokenizer(), two_turns=True, max_length=length + 2)
    tight.require_room("Make it navy.", 7, "it")
    with pytest.raises(ContextOverflowError, match="it may take"):
        tight.require_room("Make it navy. " * 3, 7, "it")


def test_too_long_dialogue_is_refused(builders):
    with pytest.raises(ContextOverflowError, match=r"takes 514 tokens, the model reads 500"):
        builders[2].caption("navy " * 499 + "navy")


def test_missing_token_is_named(tokenizer):
    with pytest.raises(MissingTokenError, match="'<emb>'"):
        DialogueBuilder(tokenizer, two_turns=True, max_length=10, embedding_token="<emb>")
