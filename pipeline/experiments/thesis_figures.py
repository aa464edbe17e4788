"""The values in the slides, copied exactly (C. Scapicchio, Pisa, 25 March 2021).

They were measured on 1,962 exams of the Azienda Ospedaliero-Universitaria Pisana (AOUP), which are not public. Beside
values from other data they show what the thesis found. No value measured here can confirm or refute them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipeline.experiments.declarations import Key, Published

AOUP_DATA: Final = "other data: 1,962 AOUP exams"
# Rows of every table of the slides, in their order.
SLIDE_FIGURES: Final = ("accuracy", "macro_recall", "macro_precision")
_WU_FIGURES: Final = ("macro_auc", "accuracy", "top_2_accuracy", "top_3_accuracy", "dense_accuracy")


def _block(arm: str, parts: Sequence[str], rows: Iterable[Sequence[float]]) -> dict[Key, float]:
    """Read a block of a slide, in per cent: one row per metric, one column per part."""
    return {
        (arm, part, figure): round(value / 100, 4)
        for figure, values in zip(SLIDE_FIGURES, rows, strict=False)
        for part, value in zip(parts, values, strict=True)
    }


_TEST_SETS: Final = ("AOUP test set", "BIRADS test set", "Uniform test set")

ARCHITECTURE: Final = Published(
    "Dataset distribution: further comparison",
    {
        **_block("ResNet1, AOUP", _TEST_SETS, [(76.6, 76.3, 72.2), (72.0, 75.8, 72.2), (75.7, 74.2, 77.5)]),
        **_block("ResNet2, AOUP", _TEST_SETS, [(75.3, 73.7, 73.6), (71.6, 72.7, 73.6), (77.2, 74.6, 80.3)]),
        **_block("ResNet3, AOUP", _TEST_SETS, [(78.5, 79.7, 73.6), (74.2, 77.9, 73.6), (81.2, 83.0, 79.4)]),
        **_block("ResNet1, BIRADS", _TEST_SETS, [(75.3, 77.1, 65.3), (66.7, 71.7, 65.3), (83.8, 84.6, 74.7)]),
        **_block("ResNet2, BIRADS", _TEST_SETS, [(76.6, 80.5, 75.0), (71.9, 76.9, 75.0), (78.3, 81.2, 80.4)]),
        **_block("ResNet3, BIRADS", _TEST_SETS, [(79.1, 83.1, 73.6), (75.2, 80.1, 73.6), (82.6, 87.9, 79.0)]),
    },
    AOUP_DATA,
)

NORMALISATION: Final = Published(
    "Normalization comparison",
    {
        **_block("norm_1", ["test set"], [(79.7,), (79.5,), (78.3,)]),
        **_block("norm_2", ["test set"], [(82.2,), (78.0,), (89.7,)]),
    },
    AOUP_DATA,
)

SEGMENTATION: Final = Published(
    "Pectoral muscle segmentation",
    {
        **_block("Non-segmented mammograms", ["test set"], [(79.9,), (78.1,), (81.1,)]),
        **_block("Segmented mammograms", ["test set"], [(82.0,), (80.3,), (83.3,)]),
    },
    f"{AOUP_DATA}, of which 924 train and 134 test without, 910 and 128 with segmentation",
)

_FLIP_PARTS: Final = ("right CC", "right MLO", "All")
FLIP: Final = Published(
    "Horizontal flip for Data Augmentation",
    {
        **_block("Without flip", _FLIP_PARTS, [(79.9, 69.4, 78.4), (76.8, 64.9, 77.1), (83.1, 66.6, 76.9)]),
        **_block("With flip", _FLIP_PARTS, [(77.2, 72.0, 76.1), (75.8, 65.9, 73.7)]),
    },
    f"{AOUP_DATA}, of which 924 images a projection train without, 1848 with flip",
)

SUMMARY: Final = Published(
    "Summary of performance improvement",
    {
        **_block("First release", ["AOUP test set"], [(77.3,), (77.1,), (78.6,)]),
        **_block("New results", ["BIRADS test set"], [(83.1,), (80.1,), (87.9,)]),
    },
    AOUP_DATA,
)


def _wu(arm: str, values: Sequence[float]) -> Mapping[Key, float]:
    return {(arm, "test set", figure): value for figure, value in zip(_WU_FIGURES, values, strict=True)}


DATASET_SIZE: Final = Published(
    "Wu et al., Breast density classification with deep convolutional neural networks, 2018 (as the slides cite it)",
    {
        **_wu("1 %", (0.888, 0.729, 0.967, 0.998, 0.849)),
        **_wu("10 %", (0.907, 0.745, 0.976, 0.999, 0.856)),
        **_wu("100 %", (0.916, 0.767, 0.982, 0.999, 0.865)),
    },
    "other data: 200,000 exams",
)

# The slides' backup tables: one network per view, the breasts, the exam. Rows as in SLIDE_FIGURES.
VIEW_PARTS: Final = ("CC_R", "MLO_R", "CC_L", "MLO_L", "Right", "Left", "All")
VIEW_BY_VIEW: Final = Published(
    "Backup slides, view by view",
    {
        **_block(
            "ResNet1, BIRADS",
            VIEW_PARTS,
            [
                (72.9, 75.4, 74.6, 68.6, 79.7, 74.6, 77.1),
                (70.6, 70.6, 71.6, 61.7, 74.8, 70.1, 71.7),
                (77.8, 76.6, 78.4, 76.2, 86.7, 78.5, 84.6),
            ],
        ),
        **_block(
            "ResNet2, BIRADS",
            VIEW_PARTS,
            [
                (77.1, 71.2, 74.6, 76.3, 77.1, 78.8, 80.5),
                (77.9, 71.1, 74.7, 74.2, 76.3, 75.8, 76.9),
                (78.7, 69.2, 76.6, 80.0, 78.0, 83.2, 81.2),
            ],
        ),
        **_block(
            "ResNet3, BIRADS",
            VIEW_PARTS,
            [
                (80.5, 74.6, 74.6, 74.6, 78.8, 78.0, 83.1),
                (81.6, 74.7, 74.7, 70.1, 77.4, 73.8, 80.1),
                (81.7, 73.0, 78.3, 74.9, 81.5, 81.6, 87.9),
            ],
        ),
    },
    AOUP_DATA,
)
