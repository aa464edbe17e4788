"""Turn a mammography file into the input of the model, exactly as the pipeline does.

The model contains its recipe, so a client cannot preprocess differently: offline and served images are equal to the
byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from components.common.png import encode_png
from components.dicom.reading import LoadedView, load_view
from components.dicom.rejections import DEFAULT_MAX_PIXELS, AcceptanceConfig
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView


class PreprocessingRecipe(BaseModel):
    """All settings that determine the input of the model for a file.

    Attributes:
        longest_side: Longest side after the reduction by ingest, pixels.
        max_pixels: Largest matrix that is decoded, pixels.
        acceptance: Special images that ingest accepted; the client accepts them too.
        voi_index: Index of the VOI LUT or window if there are several, as in ingest.
        preprocess: Segmentation and geometry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_side: int = Field(1024, ge=64, le=16384)
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1)
    acceptance: AcceptanceConfig = AcceptanceConfig()
    voi_index: int = Field(0, ge=0, le=255)
    preprocess: PreprocessConfig = PreprocessConfig()

    def digest(self) -> str:
        """Return the SHA-256 of the recipe's JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


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
