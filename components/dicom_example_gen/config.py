"""Configuration of ingest."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.dicom.acceptance import DEFAULT_MAX_PIXELS, AcceptanceConfig
from components.exams.distribution import DistributionConfig


class SplitFractions(BaseModel):
    """Share of the patients that goes to each split; the three sum to 1.

    Attributes:
        train: For the training.
        eval: For the choice of the epoch, and the calibration.
        test: For the figures of the report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float = Field(default=0.7, ge=0, le=1)
    eval: float = Field(default=0.15, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitFractions:
        total = self.train + self.eval + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"splits must sum to 1. Received: train={self.train}, eval={self.eval}, test={self.test}, sum={total:g}"
            )
        return self


class IngestConfig(AcceptanceConfig):
    """What ``DicomExampleGen`` may be told; which special images it takes is told as in ``AcceptanceConfig``.

    Attributes:
        longest_side: Longest side of the images kept, pixels. Larger ones are reduced by area averaging,
            smaller ones are kept as they are.
        splits: Share of patients by split, where the source names no split.
        split_seed: Changes which patients fall into which split, and which exams a distribution keeps.
        distribution: Class distribution of each split; None keeps all exams.
        shard_size: Images in one TFRecord file.
        max_pixels: Largest matrix that is decoded, rows x columns (a guard against hostile headers; the
            largest film scans have some 35 million).
        voi_index: Which VOI LUT, or which window where there is no LUT, of images that come with several, from 0.
            An image with fewer gives its first.
        hash_key_variable: Environment variable that holds the key of the patient and exam hashes. The variable of
            the same name with ``_FILE`` names a file that holds it.
        hash_key_file: File that holds the key, where neither variable is set; empty = none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_side: int = Field(default=1024, ge=64, le=16384)
    splits: SplitFractions = SplitFractions()
    split_seed: str | int = 0
    distribution: DistributionConfig | None = None
    shard_size: int = Field(default=32, ge=1)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1)
    voi_index: int = Field(default=0, ge=0, le=255)
    hash_key_variable: str = Field(default="BREAST_DENSITY_HASH_KEY", min_length=1)
    hash_key_file: str = ""

    @property
    def acceptance(self) -> AcceptanceConfig:
        """Which special images are taken, without the rest."""
        return AcceptanceConfig(**{name: getattr(self, name) for name in AcceptanceConfig.model_fields})
