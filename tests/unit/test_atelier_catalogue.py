"""Whole catalogues: their truth, their files, and what happens when drawing fails."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from procir.catalog.atelier import catalogue
from procir.catalog.atelier.catalogue import AtelierConfig, design, draw_catalogue, read_garments
from procir.catalog.atelier.comparison import compare
from procir.catalog.atelier.garments import GROUPS
from procir.catalog.released import read_split
from procir.errors import ConfigError, DataError, MissingDataError, RecordError

CONFIG = AtelierConfig(train_products=2, val_products=12, size=32, seed=11)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "atelier"
    steps = []
    splits = draw_catalogue(root, CONFIG, progress=lambda done, total: steps.append((done, total)))
    return root, splits, steps


def test_a_design_depends_on_its_config_alone():
    assert design(CONFIG) == design(CONFIG)
    other = AtelierConfig(train_products=2, val_products=12, size=32, seed=12)
    assert design(other)["val"].garments != design(CONFIG)["val"].garments


def test_splits_share_neither_ids_nor_designs():
    splits = design(AtelierConfig(train_products=76, val_products=57, seed=2))
    train, val = splits["train"].garments, splits["val"].garments
    assert len(train) == 76
    assert len(val) == 57
    assert not set(train) & set(val)
    for garment in val.values():
        for other in train.values():
            assert garment.group != other.group or compare(garment, other) or compare(other, garment)


def test_all_groups_are_there_in_equal_number():
    garments = design(AtelierConfig(train_products=1, val_products=57))["val"].garments
    assert {group.name: 3 for group in GROUPS} == {
        group.name: sum(garment.group == group for garment in garments.values()) for group in GROUPS
    }
    for key, garment in garments.items():
        assert key.dataset == "atelier"
        assert key.product_id.rsplit("-", 1)[0] == garment.group.name


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (-1, 5)])
def test_empty_splits_are_refused(sizes):
    with pytest.raises(ConfigError, match="at least one"):
        AtelierConfig(train_products=sizes[0], val_products=sizes[1])


def test_files_hold_the_design(drawn):
    root, splits, steps = drawn
    assert steps == [(done, 14) for done in range(1, 15)]
    designed = design(CONFIG)
    for name, split in splits.items():
        assert dict(split.captions) == dict(sorted(designed[name].captions.items()))
        assert split.triplets == designed[name].triplets
        for key, product in split.products.items():
            garment = designed[name].garments[key]
            assert tuple(view.name for view in product.views) == garment.views
            assert (product.category, product.gender) == (garment.group.category, garment.group.gender)
            for view in product.views:
                with Image.open(view.path) as image:
                    assert (image.format, image.size) == ("JPEG", (32, 32))
    assert read_garments(root) == {**designed["train"].garments, **designed["val"].garments}
    assert sorted(path.name for path in root.parent.iterdir()) == ["atelier"]


def test_the_same_config_is_reused_and_gives_the_same(drawn, monkeypatch):
    root, splits, _ = drawn
    monkeypatch.setattr(catalogue, "design", None)
    assert draw_catalogue(root, CONFIG) == splits


def test_workers_draw_the_same_pictures(drawn, tmp_path):
    root, splits, _ = drawn
    draw_catalogue(tmp_path / "other", CONFIG, workers=2)
    for split in splits.values():
        for product in split.products.values():
            for view in product.views:
                assert (tmp_path / "other" / view.path.relative_to(root)).read_bytes() == view.path.read_bytes()


def test_another_config_is_refused_and_nothing_touched(drawn):
    root, _, _ = drawn
    before = (root / "atelier.json").read_bytes()
    with pytest.raises(DataError, match="choose an empty folder"):
        draw_catalogue(root, AtelierConfig(train_products=2, val_products=12, size=32, seed=12))
    assert (root / "atelier.json").read_bytes() == before


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="holds other files"):
        draw_catalogue(tmp_path, CONFIG)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    with pytest.raises(DataError, match="is a file"):
        draw_catalogue(tmp_path / "thesis.txt", CONFIG)


def test_an_empty_folder_is_filled(tmp_path):
    root = tmp_path / "empty"
    root.mkdir()
    draw_catalogue(root, AtelierConfig(train_products=1, val_products=2, size=32))
    assert len(read_split(root, "val")[0].products) == 2


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch, fault):
    done = []

    def draw(garment, view, size):
        done.append(view)
        if len(done) > 10:
            raise fault
        return Image.new("RGB", (size, size))

    monkeypatch.setattr(catalogue, "draw", draw)
    with pytest.raises(type(fault)):
        draw_catalogue(tmp_path / "new", CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_impossible_sizes_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ConfigError):
        draw_catalogue(tmp_path / "new", AtelierConfig(train_products=1, val_products=1, size=5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "women-hats"}, "no group is called 'women-hats'"),
        ({"views": ["front", "top"]}, "views"),
        ({"views": []}, "views"),
        ({"seed": "7"}, "seed '7'"),
        ({"seed": True}, "seed True"),
        ({"values": None}, "'values'"),
        ({"values": {"color": "puce"}}, "color is 'puce'"),
    ],
)
def test_sheets_that_no_garment_could_have_are_refused(drawn, tmp_path, change, message):
    root, _, _ = drawn
    lines = (root / "garments.jsonl").read_text().splitlines()
    bad = json.dumps(json.loads(lines[1]) | change)
    (tmp_path / "garments.jsonl").write_text("\n".join([lines[0], bad]))
    with pytest.raises(RecordError, match=message) as caught:
        read_garments(tmp_path)
    assert "garments.jsonl:2" in str(caught.value)


def test_second_and_missing_sheets_are_refused(drawn, tmp_path):
    root, _, _ = drawn
    line = (root / "garments.jsonl").read_text().splitlines()[0]
    with pytest.raises(MissingDataError):
        read_garments(tmp_path)
    (tmp_path / "garments.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(RecordError, match="second sheet"):
        read_garments(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_from_the_caller_leaves_nothing(tmp_path, workers):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_catalogue(tmp_path / "new", CONFIG, workers=workers, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_smaller_families_vary_the_training_split_alone():
    large = design(AtelierConfig(train_products=300, val_products=40, seed=5))
    small = design(AtelierConfig(train_products=300, val_products=40, seed=5, family=3))
    assert large["val"].garments == small["val"].garments

    def designs(split):
        return len({(g.group.name, g["fabric"], g["pattern"], g.values.get("hem")) for g in split.garments.values()})

    assert designs(small["train"]) > 3 * designs(large["train"])
    with pytest.raises(ConfigError, match="a design family of 0 garments"):
        AtelierConfig(family=0)
