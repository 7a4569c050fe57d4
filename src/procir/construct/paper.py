"""The paper's own statistics of FashionMV, by the names of its datasets in the published files."""

from __future__ import annotations

from collections.abc import Mapping

SPLITS: Mapping[tuple[str, str], tuple[int, int]] = {
    ("deepfashion", "train"): (16_399, 8_856),
    ("deepfashion", "val"): (5_188, 2_791),
    ("f200k", "train"): (98_800, 56_960),
    ("f200k", "val"): (18_499, 10_720),
    ("fashiongen_train", "train"): (72_816, 42_612),
    ("fashiongen_val", "val"): (9_031, 5_292),
}
"""Table 1: triplets and products, by dataset and split."""

VERIFICATION: Mapping[str, tuple[int, int]] = {
    "deepfashion": (12_711, 487),
    "f200k": (77_106, 3_607),
    "fashiongen_train": (48_476, 1_942),
    "fashiongen_val": (6_086, 271),
}
"""Table 4: products checked for confused sides, and errors found."""

WORDS: Mapping[str, Mapping[str, int]] = {
    "deepfashion": {"image caption": 115, "long caption": 219, "short caption": 39},
    "f200k": {"image caption": 115, "long caption": 220, "short caption": 39},
    "fashiongen_train": {"image caption": 115, "long caption": 222, "short caption": 40},
    "fashiongen_val": {"image caption": 115, "long caption": 223, "short caption": 40},
}
"""Table 5: mean words a caption."""

COMBINATIONS: Mapping[str, int] = {
    "back + front": 180_040,
    "front + side": 27_556,
    "back + front + side": 6_390,
    "back + side": 4_636,
    "back + detail + front": 416,
}
"""Table 6: triplets by the views involved; 1,695 have other combinations."""

OTHER_COMBINATIONS = 1_695
TRIPLETS = 220_733

SEVERAL_VIEWS = 0.9983
"""Share of the triplets that involve at least two views (section 3.4)."""

MEDIANS: Mapping[str, int] = {
    "short caption": 40,
    "short modification text": 23,
    "long caption": 222,
    "long modification text": 84,
    "image caption": 115,
}
"""Figure 5: median words of each kind of text."""

DATASETS = frozenset(WORDS)
