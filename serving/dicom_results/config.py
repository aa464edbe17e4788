"""What the DICOM results say of their maker, and when."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from schema.version import installed_version


class ResultsConfig(BaseModel):
    """Configuration of the DICOM results.

    Attributes:
        manufacturer: Manufacturer (0008,0070), at most 64 characters.
        model_name: Name of the algorithm and Manufacturer's Model Name (0008,1090).
        software_version: Of this software, by default the installed one; part of what the UIDs are derived from.
        report_series_number: Series Number of the report.
        heat_map_series_number: Series Number of the heat maps.
        heat_map_longest_side: Longest side of a heat map, pixels; no larger than what the model's recipe keeps.
        created_at: Content date and time; None is the time of the call.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manufacturer: str = Field("breast-density (research)", min_length=1, max_length=64)
    model_name: str = Field("breast-density", min_length=1, max_length=64)
    software_version: str = Field(default_factory=installed_version, min_length=1, max_length=64)
    report_series_number: int = Field(9001, ge=1)
    heat_map_series_number: int = Field(9002, ge=1)
    heat_map_longest_side: int = Field(1024, ge=64, le=4096)
    created_at: datetime | None = None
