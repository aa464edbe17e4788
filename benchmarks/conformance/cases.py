"""Grey-scale cases: the frozen description of one DICOM file, and what follows from it.

A description says everything about a file but the bytes: it is drawn from a seed (``drawing``), written by ``writers``,
and read by ``readers``; ``truth`` computes from it, by the standard's text, what a reader must answer. Its ``repr`` is
Python, so a case that fails can be pasted into a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

ROWS, COLUMNS = 34, 40

# Transfer syntaxes by the keyword of PS3.6, and who can write them here; "stream" is what another encoder wrote once,
# kept in ``reference_streams.zip``.
ENCODERS: Final[dict[str, tuple[str, ...]]] = {
    "ImplicitVRLittleEndian": ("pydicom", "dcmtk", "gdcm"),
    "ExplicitVRLittleEndian": ("pydicom", "dcmtk", "gdcm", "dump2dcm"),
    "ExplicitVRBigEndian": ("pydicom", "dcmtk"),
    "DeflatedExplicitVRLittleEndian": ("pydicom", "dcmtk", "gdcm"),
    "RLELossless": ("pydicom", "dcmtk", "gdcm"),
    "JPEGBaseline8Bit": ("dcmtk", "opencv"),
    "JPEGExtended12Bit": ("dcmtk", "stream"),
    "JPEGLossless": ("dcmtk", "stream"),
    "JPEGLosslessSV1": ("dcmtk", "gdcm"),
    "JPEGLSLossless": ("pydicom", "dcmtk", "gdcm"),
    "JPEGLSNearLossless": ("pydicom", "dcmtk"),
    "JPEG2000Lossless": ("pydicom", "gdcm"),
    "JPEG2000": ("pydicom",),
    "HTJ2KLossless": ("stream",),
    "HTJ2K": ("stream",),
}
NATIVE: Final = frozenset(
    {
        "ImplicitVRLittleEndian",
        "ExplicitVRLittleEndian",
        "ExplicitVRBigEndian",
        "DeflatedExplicitVRLittleEndian",
    }
)
# Syntaxes that keep whole cells, with bits that are no part of the sample.
WITH_CELLS: Final = NATIVE | {"RLELossless"}
LOSSY: Final = frozenset({"JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGLSNearLossless", "JPEG2000", "HTJ2K"})
# Bits stored of the kept streams.
STREAM_BITS: Final = {"JPEGExtended12Bit": 12, "JPEGLossless": 12, "HTJ2KLossless": 12, "HTJ2K": 12}


@dataclass(frozen=True)
class Rescale:
    """Rescale Slope and Intercept (0028,1053) and (0028,1052), as the file spells them."""

    slope: str = "1"
    intercept: str = "0"


@dataclass(frozen=True)
class Lut:
    """One item of a Modality or VOI LUT Sequence; its entries rise from 0 to the highest of its bits.

    Attributes:
        entries: Number of entries, up to 65,536 (which the file writes as 0).
        first: First input value that is mapped.
        bits: Bits of an entry, 8 to 16.
        data_vr: VR of LUT Data (0028,3006) in Explicit VR: US or OW.
        packed: Two 8-bit entries lie in a word (8 bits and OW only).
        descriptor_vr: VR of LUT Descriptor (0028,3002): US, or SS where the input may be negative.
        falling: The entries fall instead.
    """

    entries: int = 256
    first: int = 0
    bits: int = 16
    data_vr: str = "US"
    packed: bool = False
    descriptor_vr: str = "US"
    falling: bool = False


@dataclass(frozen=True)
class Windows:
    """Window Center, Width and VOI LUT Function (0028,1050), (0028,1051), (0028,1056), as the file spells them."""

    centres: str
    widths: str
    function: str = ""


@dataclass(frozen=True)
class Padding:
    """Pixel Padding Value and Range Limit (0028,0120) and (0028,0121)."""

    value: int
    limit: int | None = None
    vr: str = "US"


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        seed: Of the pixels.
        syntax: Keyword of the transfer syntax.
        encoder: Who writes the transfer syntax, see ``ENCODERS``.
        pixel_vr: VR of Pixel Data in Explicit VR: OW or OB.
        allocated: Bits Allocated.
        stored: Bits Stored.
        high_bit: High Bit.
        signed: Pixel Representation is 1.
        inverse: MONOCHROME1.
        modality: Modality LUT, rescale, or none of both.
        voi_luts: VOI LUTs, in order.
        windows: Windows, or none.
        voi_index: Which of several VOI LUTs or windows is asked for.
        padding: Padding, or none.
        overlay: ``""``; ``embedded``: drawn in a bit above the sample, and declared in group 6000; ``junk``: bits above
            (and below) the sample are anything; ``extended``: they repeat the sign; ``own``: group 6000 has data of its
            own.
        fragments: Fragments of the frame, of encapsulated syntaxes.
        offsets: Basic Offset Table: ``empty``, ``one``, ``each`` (one offset a fragment), ``junk``.
        groups: Where the grey scale stands: ``root``, or functional groups ``shared`` or ``frame``.
    """

    seed: int = 0
    syntax: str = "ExplicitVRLittleEndian"
    encoder: str = "pydicom"
    pixel_vr: str = "OW"
    allocated: int = 16
    stored: int = 12
    high_bit: int = 11
    signed: bool = False
    inverse: bool = False
    modality: Rescale | Lut | None = None
    voi_luts: tuple[Lut, ...] = ()
    windows: Windows | None = None
    voi_index: int = 0
    padding: Padding | None = None
    overlay: str = ""
    fragments: int = 1
    offsets: str = "empty"
    groups: str = "root"

    @property
    def low(self) -> int:
        """Lowest value that the stored bits can hold."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Highest value that the stored bits can hold."""
        return self.low + (1 << self.stored) - 1

    @property
    def is_lossy(self) -> bool:
        """Return True if the syntax returns other values than were written."""
        return self.syntax in LOSSY

    @property
    def is_encapsulated(self) -> bool:
        """Return True if the pixel data are in fragments."""
        return self.syntax not in NATIVE

    @property
    def is_implicit(self) -> bool:
        """Return True if the file does not contain VRs."""
        return self.syntax == "ImplicitVRLittleEndian"

    @property
    def outside_padding(self) -> bool:
        """Return True if padding is outside the range of the stored bits."""
        ends = [] if self.padding is None else [e for e in (self.padding.value, self.padding.limit) if e is not None]
        return any(not self.low <= end <= self.high for end in ends)


def is_possible(case: Case) -> bool:
    """Return True if a description is consistent. The generator draws only such cases; the shrinker checks them."""
    padding, cells = case.padding, case.allocated > case.stored
    luts = [lut for lut in (*case.voi_luts, case.modality) if isinstance(lut, Lut)]
    return all(
        (
            case.encoder in ENCODERS[case.syntax],
            8 <= case.stored <= case.allocated,
            case.stored - 1 <= case.high_bit < case.allocated,
            # GDCM moves samples while it writes them.
            case.high_bit == case.stored - 1 or (case.syntax in WITH_CELLS and case.encoder != "gdcm"),
            case.syntax != "JPEGBaseline8Bit" or (case.allocated == 8 and not case.signed),
            case.syntax != "JPEGExtended12Bit" or (case.stored == 12 and case.allocated == 16 and not case.signed),
            case.syntax not in ("JPEG2000", "JPEGLSNearLossless") or not case.signed,
            case.encoder != "stream"
            or (case.stored == STREAM_BITS.get(case.syntax) and case.allocated == 16 and not case.signed),
            case.pixel_vr == "OW" or case.allocated == 8 or case.is_encapsulated,
            case.pixel_vr == "OB" or not case.is_encapsulated,
            case.overlay in ("", "own") or (cells and case.syntax in WITH_CELLS),
            # pydicom's encoder then writes half of the low bytes.
            case.syntax != "RLELossless" or case.encoder != "pydicom" or case.stored > 8 or case.allocated == 8,
            case.overlay != "embedded" or case.high_bit < case.allocated - 1,
            case.overlay != "extended" or case.high_bit == case.stored - 1,
            padding is None or not case.outside_padding or (cells and case.syntax in WITH_CELLS and not case.overlay),
            padding is None or not case.outside_padding or case.high_bit == case.stored - 1,
            padding is None or not case.is_lossy,
            case.fragments == 1 or (case.is_encapsulated and case.syntax != "RLELossless"),
            case.offsets == "empty" or case.is_encapsulated,
            all(lut.bits == 8 and lut.data_vr == "OW" and lut.entries % 2 == 0 for lut in luts if lut.packed),
            all(lut.data_vr == "OW" or lut.entries < 32_768 for lut in luts),  # a US element holds 64 KiB
            all(
                0 <= lut.first < 65_536 if lut.descriptor_vr == "US" else -32_768 <= lut.first < 32_768 for lut in luts
            ),
            case.groups == "root" or not isinstance(case.modality, Lut),
            not (case.modality is None and any(lut.first < 0 for lut in case.voi_luts)) or case.signed,
        )
    )


def decimal_values(text: str) -> list[float | None]:
    """Read the values of a decimal string (DS); None for one that is no number."""
    found: list[float | None] = []
    for part in text.split("\\"):
        try:
            found.append(float(part.replace(",", ".")))
        except ValueError:
            found.append(None)
            continue
        if not math.isfinite(found[-1] or 0.0):
            found[-1] = None
    return found


def output_range(case: Case) -> tuple[float, float]:
    """Return the lowest and highest value that can leave the modality LUT or rescale."""
    if isinstance(case.modality, Lut):
        return 0.0, float((1 << case.modality.bits) - 1)
    slope, intercept = 1.0, 0.0
    if case.modality is not None:
        slope, intercept = (decimal_values(t)[0] or 0.0 for t in (case.modality.slope, case.modality.intercept))
    first, last = sorted((case.low * slope + intercept, case.high * slope + intercept))
    return first, last
