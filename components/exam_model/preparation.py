"""Turn a mammography file into the input of the model, exactly as the pipeline does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.common.png import encode_png
from components.dicom.reading import LoadedView, load_view
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView


@dataclass(frozen=True)
class PreparedView:
    """A file that is ready for the model.

    Attributes:
        loaded: Header and reduced pixels.
        result: Result of preprocessing.
        png: The preprocessed image, 8-bit PNG.
    """

    loaded: LoadedView
    result: PreprocessedView
    png: bytes


def prepare_file(path: Path, view: str | None, recipe: PreprocessingRecipe) -> PreparedView:
    """Read and preprocess one file.

    Args:
        path: DICOM, PNG or JPEG.
        view: View of the image if the file names none of the four; required for PNG and JPEG.
        recipe: Recipe of the model.

    Returns:
        The view.

    Raises:
        IngestError: The file cannot be used; the message says why.
    """
    loaded = load_view(path, view, recipe.longest_side, recipe.max_pixels, recipe.acceptance, recipe.voi_index)
    result = preprocess_view(loaded.pixels, loaded.header.view, recipe.preprocess)
    return PreparedView(loaded, result, encode_png(result.image))
