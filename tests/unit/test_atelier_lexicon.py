"""The words for values: complete, distinct, and joined without slips of grammar."""

from __future__ import annotations

import pytest
from atelier_truth import NEUTRAL, every_value, names

from procir.catalog.atelier.captions import SURFACE, TOPICS
from procir.catalog.atelier.garments import GROUPS_BY_NAME, PLANS
from procir.catalog.atelier.lexicon import (
    PHRASES,
    SLOT,
    agree,
    articles,
    definite,
    fill_slot,
    join,
    number_words,
    sentence,
)


def test_every_value_has_phrases_and_no_phrase_lacks_a_value():
    assert {(name, value) for name, values in PHRASES.items() for value in values} == every_value()


def test_every_attribute_is_spoken_of_once():
    told = [*SURFACE, *(name for names_ in TOPICS.values() for name in names_)]
    assert sorted(told) == sorted({attribute.name for plan in PLANS.values() for attribute in plan})


@pytest.mark.parametrize("kind", ["full", "compact"])
def test_every_phrase_holds_the_words_of_its_value(kind):
    for attribute, values in PHRASES.items():
        for value, phrases in values.items():
            for phrase in getattr(phrases, kind):
                if value not in NEUTRAL:
                    assert names(phrase, attribute, value), (attribute, value, phrase)


def test_no_phrase_means_two_values():
    for attribute, values in PHRASES.items():
        for kind in ("full", "bare", "compact"):
            said = [phrase for phrases in values.values() for phrase in set(getattr(phrases, kind))]
            assert len(said) == len(set(said)), (attribute, kind)


def test_full_phrases_name_one_attribute_only():
    owners: dict[str, str] = {}
    for attribute, values in PHRASES.items():
        for phrases in values.values():
            for phrase in phrases.full:
                assert owners.setdefault(phrase, attribute) == attribute, phrase


def test_patterns_have_a_slot_for_their_color_and_nothing_else_has():
    for attribute, values in PHRASES.items():
        for value, phrases in values.items():
            for phrase in (*phrases.full, *phrases.bare, *phrases.compact):
                assert (SLOT in phrase) == (attribute == "pattern" and value != "solid")


def test_a_slot_takes_a_color_or_closes():
    assert fill_slot("a {accent} plaid", "olive") == "a olive plaid"
    assert fill_slot("a {accent} plaid", None) == "a plaid"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a olive tee", "an olive tee"),
        ("A orange hood and a A-line shape", "An orange hood and an A-line shape"),
        ("an striped a even hem", "a striped an even hem"),
        ("a one-piece look in a unique cut", "a one-piece look in a unique cut"),
    ],
)
def test_articles_follow_the_next_sound(text, right):
    assert articles(text) == right


def test_lists_and_sentences():
    assert join([]) == ""
    assert join(["a hood"]) == "a hood"
    assert join(["a hood", "a bow", "lacing"], "or") == "a hood, a bow or lacing"
    assert definite("an even hem") == "the even hem"
    assert definite("long sleeves") == "the long sleeves"
    assert sentence("a orange bow ") == "An orange bow."
    assert sentence("is it navy?") == "Is it navy?"


def test_words_follow_the_number_of_the_noun():
    assert number_words(GROUPS_BY_NAME["men-denim"])["this"] == "these"
    assert number_words(GROUPS_BY_NAME["women-dresses"])["this"] == "this"


def test_orders_agree_with_plural_nouns():
    jeans, dress = GROUPS_BY_NAME["men-denim"], GROUPS_BY_NAME["women-dresses"]
    assert agree("Make it navy and give it rips. Is it new?", jeans) == "Make them navy and give them rips. Is it new?"
    assert agree("Make it navy.", dress) == "Make it navy."
