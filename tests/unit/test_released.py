"""The published layout: what is read, in which order, what is refused, and what is left out and counted."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from procir.catalog.released import check_images, read_split, write_split
from procir.catalog.views import order_views, view_name
from procir.errors import DataError, ImageError, MissingDataError, ProcirError, RecordError
from procir.types import Caption, LoadReport, Product, ProductKey, Split, Triplet, View

DRESS, SKIRT = "WOMEN/Dresses/id_00004544/02", "WOMEN/Skirts/id_00000001/01"


def picture(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


def place(root: Path, dataset: str, product_id: str, *names: str) -> Path:
    folder = root / "images" / dataset / product_id
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(PICTURE)
    return folder


def lines(path: Path, *rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def caption(product_id: str | int, dataset: str = "f200k", **extra: object) -> dict:
    texts = {"long_caption": f"long {product_id}", "short_caption": f"short {product_id}"}
    return {"product_id": product_id, "dataset": dataset} | texts | extra


def triplet(source: str | int, target: str | int, dataset: str = "f200k", **extra: object) -> dict:
    row = {"source_id": source, "target_id": target, "dataset": dataset, "modification_text_short": "make it red"}
    return row | extra


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Products a, b, c of f200k, and two of deepfashion; c has a caption only."""
    for product_id in "abc":
        place(tmp_path, "f200k", product_id, f"{product_id}_0.jpeg", f"{product_id}_1.jpeg")
    place(tmp_path, "deepfashion", DRESS, "02_1_front.jpg", "02_4_full.jpg", "02_7_additional.jpg")
    place(tmp_path, "deepfashion", SKIRT, "01_2_side.jpg", "01_3_back.jpg")
    lines(tmp_path / "val_captions.jsonl", caption("a"), caption("c"), caption(DRESS, "deepfashion"))
    lines(tmp_path / "val_triplets.jsonl", triplet("a", "b"), triplet(DRESS, SKIRT, "deepfashion"))
    return tmp_path


def test_reads_every_product_that_is_named(root: Path) -> None:
    split, report = read_split(root, "val")
    a, b, c = (ProductKey("f200k", name) for name in "abc")
    dress, skirt = ProductKey("deepfashion", DRESS), ProductKey("deepfashion", SKIRT)
    assert split.name == "val"
    assert list(split.products) == [dress, skirt, a, b, c]
    assert split.products[dress].views == tuple(
        View(root / "images" / "deepfashion" / DRESS / name, shown)
        for name, shown in [("02_1_front.jpg", "front"), ("02_4_full.jpg", "full"), ("02_7_additional.jpg", "detail")]
    )
    assert split.captions[a] == Caption(a, "long a", "short a")
    assert set(split.captions) == {a, c, dress}
    assert split.triplets == (Triplet(a, b, "make it red"), Triplet(dress, skirt, "make it red"))
    assert report == LoadReport(products=5, views=11, captions=3, triplets=2)


def test_optional_fields_are_kept_and_unknown_ones_ignored(root: Path) -> None:
    extra = {"image_captions": ["one", "two"], "category": "tees", "gender": "women", "confidence": 0.5}
    lines(root / "val_captions.jsonl", caption("a", **extra), caption("b", image_captions=None, category=""))
    more = {"modification_text_long": "all red", "views_involved": ["back"], "satisfying_ids": ["b", "c"], "rank": 1}
    lines(root / "val_triplets.jsonl", triplet("a", "b", **more), triplet("a", "b", modification_text_long=None))
    split, _ = read_split(root, "val")
    a, b, c = (ProductKey("f200k", name) for name in "abc")
    assert (split.products[a].category, split.products[a].gender) == ("tees", "women")
    assert (split.products[b].category, split.products[b].gender) == (None, None)
    assert split.captions[a].images == ("one", "two")
    assert split.triplets == (
        Triplet(a, b, "make it red", "all red", ("back",), (b, c)),
        Triplet(a, b, "make it red"),
    )


def test_numeric_ids_are_read_as_their_digits(root: Path) -> None:
    place(root, "fashiongen_val", "121", "7.png")
    place(root, "fashiongen_val", "122", "8.png")
    lines(root / "val_captions.jsonl", caption(121, "fashiongen_val"))
    lines(root / "val_triplets.jsonl", triplet(121, "122", "fashiongen_val"))
    split, _ = read_split(root, "val")
    assert list(split.products) == [ProductKey("fashiongen_val", "121"), ProductKey("fashiongen_val", "122")]


def test_equal_ids_of_two_datasets_stay_apart(root: Path) -> None:
    place(root, "other", "a", "x.png")
    place(root, "other", "b", "y.png")
    lines(root / "val_captions.jsonl", caption("a"), caption("a", "other", long_caption="another"))
    lines(root / "val_triplets.jsonl", triplet("a", "b"), triplet("a", "b", "other"))
    split, report = read_split(root, "val")
    assert (report.products, report.captions, report.triplets) == (4, 2, 2)
    assert split.captions[ProductKey("other", "a")].long == "another"
    assert split.products[ProductKey("other", "a")].views[0].path == root / "images" / "other" / "a" / "x.png"


def test_views_are_the_first_five_in_the_order_asked_for(root: Path) -> None:
    place(root, "f200k", "many", *(f"many_{number}.jpeg" for number in range(12)))
    place(root, "f200k", "many", ".hidden.jpeg", "notes.txt", "scan.gif", "upper.JPG")
    (root / "images" / "f200k" / "many" / "folder.jpg").mkdir()
    lines(root / "val_captions.jsonl", caption("many", image_captions=[str(n) for n in range(13)]))
    lines(root / "val_triplets.jsonl", triplet("a", "many"))
    key = ProductKey("f200k", "many")
    split, report = read_split(root, "val")
    names = [view.path.stem.removeprefix("many_") for view in split.products[key].views]
    assert names == ["0", "1", "10", "11", "2"]
    assert split.captions[key].images == ("0", "1", "2", "3", "4")
    assert report.skipped == {"views beyond the first 5": 8}
    assert report.examples == {"views beyond the first 5": ("f200k/many",)}
    natural, _ = read_split(root, "val", order="natural")
    names = [view.path.stem.removeprefix("many_") for view in natural.products[key].views]
    assert names == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["only one"], "image captions that do not fit the photos"),
        ({"0": "x"}, "image captions that are no list of texts"),
        (["x", 3], "image captions that are no list of texts"),
        (["x", " "], "image captions that are no list of texts"),
    ],
)
def test_image_captions_without_their_photos_are_set_aside_and_counted(root: Path, value: object, reason: str) -> None:
    lines(root / "val_captions.jsonl", caption("a", image_captions=value))
    split, report = read_split(root, "val")
    assert split.captions[ProductKey("f200k", "a")].images == ()
    assert report.skipped == {reason: 1}


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("1_front", "front"),
        ("01_7_additional", "detail"),
        ("02_4_full", "full"),
        ("x_BACK", "back"),
        ("Side2", "side"),
        ("detail", "detail"),
        ("back_pack_3_front", "front"),
        ("91422080_0", None),
        ("backpack", None),
        ("04_6_flat", None),
        ("", None),
    ],
)
def test_view_names(stem: str, name: str | None) -> None:
    assert view_name(stem) == name


@given(st.lists(st.integers(0, 10**30), unique=True, max_size=12))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_orders_agree_with_text_and_number(numbers: list[int]) -> None:
    paths = [Path(f"folder/{number}.jpg") for number in numbers]
    assert [int(path.stem) for path in order_views(paths, "natural")] == sorted(numbers)[:5]
    assert [path.name for path in order_views(paths, "released")] == sorted(path.name for path in paths)[:5]


def test_natural_order_has_an_answer_for_every_name() -> None:
    paths = [Path(name) for name in ("b.jpg", "A.jpg", "2.jpg", "a.jpg", "a2b.jpg")]
    names = [path.name for path in order_views(paths, "natural")]
    assert names == ["2.jpg", "a2b.jpg", "A.jpg", "a.jpg", "b.jpg"]
    assert names == [path.name for path in order_views(reversed(paths), "natural")]


def test_missing_train_captions_are_fine_only_when_not_required(root: Path) -> None:
    (root / "val_captions.jsonl").unlink()
    with pytest.raises(MissingDataError, match=r"val_captions\.jsonl: cannot be opened"):
        read_split(root, "val")
    with pytest.raises(MissingDataError, match=r"val_captions\.jsonl"):
        read_split(root, "val", allow_missing=True)
    split, report = read_split(root, "val", captions_required=False)
    assert split.captions == {}
    assert report.products == 4


def test_missing_folders_and_files_are_named(root: Path) -> None:
    with pytest.raises(MissingDataError, match="nowhere: no such folder"):
        read_split(root / "nowhere", "val")
    with pytest.raises(MissingDataError, match="elsewhere: no such folder"):
        read_split(root, "val", images=root / "elsewhere")
    with pytest.raises(MissingDataError, match=r"test_captions\.jsonl"):
        read_split(root, "test")
    with pytest.raises(MissingDataError, match=r"test_triplets\.jsonl"):
        read_split(root, "test", captions_required=False)


def test_images_may_lie_elsewhere(root: Path) -> None:
    (root / "images").rename(root / "photos")
    split, _ = read_split(root, "val", images=root / "photos")
    assert len(split.products) == 5


def test_missing_products_are_named_with_count_and_place_and_remedy(root: Path) -> None:
    lines(root / "val_triplets.jsonl", *(triplet("a", f"gone{number}") for number in range(7)))
    with pytest.raises(MissingDataError) as caught:
        read_split(root, "val")
    message = str(caught.value)
    assert f"{root}/val_triplets.jsonl:1 (f200k/gone0)" in message
    assert "gone4" in message
    assert "gone5" not in message
    assert "and 2 more: 7 products without a readable folder" in message
    assert "allow missing data" in message


def test_all_that_is_missing_is_told_at_once(root: Path) -> None:
    place(root, "f200k", "hollow", "readme.txt", ".front.png")
    lines(root / "val_captions.jsonl", caption("hollow"), caption("a", long_caption=" "), caption("x", "absent"))
    lines(root / "val_triplets.jsonl", triplet("a", "gone"), triplet("a", "b", modification_text_short=""))
    with pytest.raises(MissingDataError) as caught:
        read_split(root, "val")
    for reason in (
        "1 products without an image in their folder",
        "1 captions with a blank text",
        "1 products of a dataset without a folder",
        "1 products without a readable folder",
        "1 triplets with a blank modification text",
    ):
        assert reason in str(caught.value)


def test_allowed_gaps_are_left_out_and_counted(root: Path) -> None:
    place(root, "f200k", "hollow")
    (root / "images" / "f200k" / "flat").write_bytes(b"a file, no folder")
    lines(root / "val_captions.jsonl", caption("hollow"), caption("a"), caption("x", "absent"), caption("b" * 300))
    lines(
        root / "val_triplets.jsonl",
        triplet("a", "b", satisfying_ids=["b", "gone", "c"]),
        triplet("a", "gone"),
        triplet("flat", "a"),
        triplet("a", "c", modification_text_short=" "),
    )
    split, report = read_split(root, "val", allow_missing=True)
    a, b, c = (ProductKey("f200k", name) for name in "abc")
    assert list(split.products) == [a, b, c]
    assert list(split.captions) == [a]
    assert split.triplets == (Triplet(a, b, "make it red", satisfying=(b, c)),)
    assert report.skipped == {
        "triplets with a blank modification text": 1,
        "products of a dataset without a folder": 1,
        "products without a readable folder": 3,
        "products without an image in their folder": 1,
        "captions of products left out": 3,
        "satisfying products left out": 1,
        "triplets of products left out": 2,
    }
    assert report.examples["triplets of products left out"] == ("f200k/a -> f200k/gone", "f200k/flat -> f200k/a")
    assert (report.products, report.views, report.captions, report.triplets) == (3, 6, 1, 1)


def test_nothing_left_is_an_error_even_when_gaps_are_allowed(root: Path) -> None:
    lines(root / "val_captions.jsonl")
    lines(root / "val_triplets.jsonl", triplet("gone", "lost"))
    with pytest.raises(MissingDataError, match="no product at all"):
        read_split(root, "val", allow_missing=True)
    lines(root / "val_triplets.jsonl")
    with pytest.raises(MissingDataError, match="no product at all"):
        read_split(root, "val")


@pytest.mark.parametrize("allow_missing", [False, True])
@pytest.mark.parametrize(
    ("file", "row", "said"),
    [
        ("captions", caption("a"), "second captions of a product"),
        ("captions", {"product_id": "b", "dataset": "f200k", "short_caption": "x"}, "'long_caption' is missing"),
        ("captions", caption("b", dataset=None), "'dataset' is missing"),
        ("captions", caption("b", long_caption=3), "'long_caption' is a number"),
        ("captions", caption("../a"), "ids that would leave their folder"),
        ("triplets", {"source_id": "a", "target_id": "b", "dataset": "f200k"}, "'modification_text_short' is missing"),
        ("triplets", triplet("a", "../../../etc"), "ids that would leave their folder"),
        ("triplets", triplet("/etc", "a"), "ids that would leave their folder"),
        ("triplets", triplet("a", "b/.."), "ids that would leave their folder"),
        ("triplets", triplet("a", "./b"), "ids that would leave their folder"),
        ("triplets", triplet("a", "b//"), "ids that would leave their folder"),
        ("triplets", triplet("a", "..\\b"), "ids that would leave their folder"),
        ("triplets", triplet("a", "b\0"), "ids that would leave their folder"),
        ("triplets", triplet("a", "b", ".."), "ids that would leave their folder"),
        ("triplets", triplet("a", "b", "f200k/a"), "ids that would leave their folder"),
        ("triplets", triplet("a", "b", satisfying_ids=["b", "../b"]), "ids that would leave their folder"),
        ("triplets", triplet("a", "b", satisfying_ids=["c"]), "satisfying_ids without the target"),
        ("triplets", triplet("a", "b", satisfying_ids="b"), "not a list"),
        ("triplets", triplet("a", None), "'target_id' is missing"),
    ],
)
def test_wrong_lines_are_errors_always(root: Path, allow_missing: bool, file: str, row: dict, said: str) -> None:
    path = root / f"val_{file}.jsonl"
    with path.open("a", encoding="utf-8") as out:
        out.write("\n" + json.dumps(row) + "\n")
    number = len(path.read_text(encoding="utf-8").splitlines())
    with pytest.raises(RecordError) as caught:
        read_split(root, "val", allow_missing=allow_missing)
    assert str(caught.value).startswith(f"{path}:{number}")
    assert said in str(caught.value)


def test_wrong_lines_are_collected(root: Path) -> None:
    lines(root / "val_captions.jsonl", *[caption("a")] * 9)
    with pytest.raises(RecordError, match=r"val_captions\.jsonl:6 \(f200k/a, .*:5\) and 3 more: 8 second captions"):
        read_split(root, "val")


def test_a_malformed_line_is_an_error_with_its_place(root: Path) -> None:
    with (root / "val_triplets.jsonl").open("a") as out:
        out.write('{"source_id": "a", ')
    with pytest.raises(RecordError, match=r"val_triplets\.jsonl:3: not a JSON object"):
        read_split(root, "val", allow_missing=True)


@pytest.mark.parametrize("link", ["f200k/a", "f200k/a/z.jpg", "deepfashion/WOMEN"])
def test_links_that_lead_outside_are_refused(root: Path, tmp_path_factory: pytest.TempPathFactory, link: str) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.jpg").write_bytes(PICTURE)
    place_of_link = root / "images" / link
    if place_of_link.is_dir():
        place_of_link.rename(outside / "folder")
        place_of_link.symlink_to(outside / "folder")
    else:
        place_of_link.symlink_to(outside / "secret.jpg")
    with pytest.raises(DataError, match=r"links that lead outside the images; replace") as caught:
        read_split(root, "val", allow_missing=True)
    assert str(place_of_link) in str(caught.value)


def test_a_link_to_itself_is_a_view_that_cannot_be_read(root: Path) -> None:
    loop = root / "images" / "f200k" / "a" / "loop.jpg"
    loop.symlink_to(loop)
    split, _ = read_split(root, "val")
    assert split.products[ProductKey("f200k", "a")].views[-1].path == loop
    with pytest.raises(ImageError, match=r"loop\.jpg: cannot be read"):
        check_images(split)


def test_links_inside_and_linked_dataset_folders_are_followed(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    disk = tmp_path_factory.mktemp("disk") / "f200k"
    (root / "images" / "f200k").rename(disk)
    (root / "images" / "f200k").symlink_to(disk)
    (disk / "b" / "b_0.jpeg").unlink()
    (disk / "b" / "b_0.jpeg").symlink_to("../a/a_0.jpeg")
    (disk / "c").rename(disk / "moved")
    (disk / "c").symlink_to("moved")
    (disk / "a" / "z.png").symlink_to(root / "images" / "deepfashion" / SKIRT / "01_2_side.jpg")
    alias = root.parent / f"{root.name}-link"
    alias.symlink_to(root / "images")
    for images in (root / "images", alias):
        split, report = read_split(root, "val", images=images)
        assert report == LoadReport(products=5, views=12, captions=3, triplets=2)
        assert split.products[ProductKey("f200k", "c")].views[0].path == images / "f200k" / "c" / "c_0.jpeg"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
KEYS = [ProductKey(dataset, product_id) for dataset in ("d", "e") for product_id in ("1", "x/y", "2")]


IMAGE_TEXTS = st.sampled_from([(), ("f", "b")])
CAPTIONS = st.lists(st.tuples(WORDS, WORDS, IMAGE_TEXTS), min_size=len(KEYS), max_size=len(KEYS))
FACTS = st.lists(st.tuples(st.none() | WORDS, st.none() | WORDS), min_size=len(KEYS), max_size=len(KEYS))
INDEX = st.integers(0, 2)
TRIPLETS = st.lists(
    st.tuples(
        st.sampled_from("de"), INDEX, INDEX, WORDS, st.none() | WORDS, st.lists(WORDS, max_size=2), st.sets(INDEX)
    ),
    max_size=4,
)


def make_triplet(
    dataset: str, source: int, target: int, short: str, long: str | None, views: list[str], others: set[int]
) -> Triplet:
    keys = [key for key in KEYS if key.dataset == dataset]
    satisfying = tuple(keys[index] for index in sorted(others | {target})) if others else ()
    return Triplet(keys[source], keys[target], short, long, tuple(views), satisfying)


@given(CAPTIONS, FACTS, TRIPLETS)
@settings(derandomize=True, deadline=None, max_examples=25)
def test_what_is_written_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, captions: list, facts: list, triplets: list
) -> None:
    root = tmp_path_factory.mktemp("written")
    products = {}
    for key, (category, gender) in zip(KEYS, facts, strict=True):
        folder = place(root, key.dataset, key.product_id, "1_front.png", "2_back.png")
        views = (View(folder / "1_front.png", "front"), View(folder / "2_back.png", "back"))
        products[key] = Product(key, views, category, gender)
    said = {key: Caption(key, *texts) for key, texts in zip(KEYS, captions, strict=True)}
    split = Split("train", products, said, tuple(make_triplet(*drawn) for drawn in triplets))
    write_split(root, split)
    again, report = read_split(root, "train")
    assert again == split
    assert report.skipped == {}


def test_written_lines_carry_the_published_field_names(root: Path) -> None:
    split, _ = read_split(root, "val")
    write_split(root / "copy", replace(split, name="train"))
    rows = [json.loads(line) for line in (root / "copy" / "train_triplets.jsonl").read_text().splitlines()]
    assert rows[0] == triplet("a", "b")
    rows = [json.loads(line) for line in (root / "copy" / "train_captions.jsonl").read_text().splitlines()]
    assert rows[0] == caption("a", image_captions=[])


def test_what_the_layout_cannot_hold_is_not_written(root: Path) -> None:
    split, _ = read_split(root, "val")
    a, b = ProductKey("f200k", "a"), ProductKey("f200k", "b")
    dress = ProductKey("deepfashion", DRESS)
    gone = ProductKey("f200k", "gone")
    for wrong, said in [
        (replace(split, triplets=(Triplet(a, dress, "x"),)), "triplets across datasets"),
        (replace(split, triplets=(*split.triplets, Triplet(a, gone, "x"))), "triplets of products that are not"),
        (replace(split, captions={**split.captions, gone: Caption(gone, "x", "y")}), "captions of products that"),
        (replace(split, triplets=split.triplets[1:]), "products that no caption and no triplet names"),
        (
            replace(split, products={**split.products, b: replace(split.products[b], gender="men")}),
            "no caption to carry it",
        ),
    ]:
        with pytest.raises(DataError, match=said):
            write_split(root / "copy", wrong)
        assert not (root / "copy").exists()


def test_check_images_decodes_every_view(root: Path) -> None:
    split, _ = read_split(root, "val")
    assert check_images(split, workers=2) == LoadReport(products=5, views=11)
    (root / "images" / "f200k" / "b" / "b_1.jpeg").write_bytes(PICTURE[:-30])
    (root / "images" / "f200k" / "a" / "a_0.jpeg").unlink()
    with pytest.raises(ImageError, match=r"2 unreadable views; replace") as caught:
        check_images(split, workers=2)
    assert "b_1.jpeg: " in str(caught.value)
    assert "a_0.jpeg: cannot be read" in str(caught.value)
    report = check_images(split, workers=2, allow_unreadable=True)
    assert (report.products, report.views, report.skipped) == (3, 9, {"unreadable views": 2})
    assert len(report.examples["unreadable views"]) == 2


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_any_bytes_in_a_file_give_a_split_or_a_procir_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    place(root, "d", "1", "front.png")
    lines(root / "val_triplets.jsonl", triplet("1", "1", "d"))
    (root / "val_captions.jsonl").write_bytes(content)
    try:
        split, _ = read_split(root, "val")
    except ProcirError:
        return
    assert list(split.products) == [ProductKey("d", "1")]
