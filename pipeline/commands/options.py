"""Options of several commands: the archive, and overrides of the configuration."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from components.sources.archives import ArchiveKind

GIVE_DATA: Final = "give --data with --labels or --archive, or --manifest."

DataFolder = Annotated[str | None, typer.Option("--data", help="Folder of DICOM files, or of a public archive.")]
Labels = Annotated[str | None, typer.Option(help="CSV or Parquet: exam_id, density.")]
Manifest = Annotated[str | None, typer.Option(help="CSV or Parquet: exam_id, view, file, density.")]
Archive = Annotated[ArchiveKind | None, typer.Option(help="Public archive that the folder contains.")]
DensityValues = Annotated[
    str | None, typer.Option("--density-values", help="Meaning of densities, such as 0=A,1=B,2=C,3=D; 0= for none.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as pipeline.trainer.epochs=3. Repeatable."),
]


def data_keys(
    folder: str | None,
    labels: str | None,
    manifest: str | None,
    archive: ArchiveKind | None,
    density_values: str | None = None,
) -> dict[str, str]:
    """Return the configuration values of the options that name an archive, by dotted key."""
    named = {
        "data.folder": folder,
        "data.labels": labels,
        "data.manifest": manifest,
        "data.density_values": density_values,
    }
    paths = {key: str(value) for key, value in named.items() if value is not None}
    return paths | ({"data.archive": archive.value} if archive else {})
