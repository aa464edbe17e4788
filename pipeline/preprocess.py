"""The command ``preprocess``: single files through the pipeline's own preprocessing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from components.dicom_example_gen.reading import load_view
from components.mammogram_preprocessor.files import preprocess_pixels_to_files
from components.mammogram_preprocessor.result import PreprocessedView
from serving.preprocessing import PreprocessingRecipe


class SameNameError(ValueError):
    """Two input files would write the same output files."""


def check_stems(files: Sequence[Path]) -> None:
    """Makes sure that outputs do not overwrite each other.

    Raises:
        SameNameError: Two files have one name but for folder and ending.
    """
    twice = sorted(stem for stem, count in Counter(file.stem for file in files).items() if count > 1)
    if twice:
        raise SameNameError(
            f"Several files would write {twice[0]}.png: give files of different names, or preprocess them apart."
        )


def preprocess_file(file: Path, view: str | None, recipe: PreprocessingRecipe, out: Path) -> PreprocessedView:
    """Preprocesses a file and writes its picture, its muscle mask and its figures.

    Args:
        file: DICOM, PNG or JPEG.
        view: Overrides the file's own view; required for PNG and JPEG.
        recipe: How.
        out: Folder for ``STEM.png`` (what the network sees), ``STEM.pectoral.png`` (0 or 255, in the file's own rows
            and columns), ``STEM.overlay.png`` and ``STEM.json``.

    Returns:
        What preprocessing gave.

    Raises:
        IngestError: The file cannot be used.
    """
    loaded = load_view(file, view, recipe.longest_side, recipe.max_pixels)
    header = loaded.header
    return preprocess_pixels_to_files(
        loaded.pixels, header.view, recipe.preprocess, out, file.stem, (header.rows, header.columns)
    )
