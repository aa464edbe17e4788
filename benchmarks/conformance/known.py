"""Known disagreements of the readers: where they part from each other, who is right by the standard, whom we follow.

A disagreement explains a difference only if its predicate over the case's description holds and it names the reader; a
case in which it holds must still agree with the standard's text (``truth``) and with every other reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.conformance import truth
from benchmarks.conformance.cases import Case, Lut, Rescale, decimal_values, output_range
from components.dicom.rejections import RejectionReason

_NUMPY_READERS: Final = frozenset({"pydicom", "gdcm", "highdicom"})
_FLAT_READERS: Final = frozenset({"pydicom", "gdcm", "dcmtk"})
_ALL: Final = _NUMPY_READERS | _FLAT_READERS


@dataclass(frozen=True)
class Known:
    """One known disagreement.

    Attributes:
        name: What the readers differ in, for the table of results.
        readers: Readers that differ from us.
        holds: Tells from a description whether it can show.
        right: Who is right, by which sentence of the standard, and whom we follow.
    """

    name: str
    readers: frozenset[str]
    holds: Callable[[Case], bool]
    right: str


def _has_window(case: Case) -> bool:
    return case.windows is not None and not case.voi_luts


def _chosen(case: Case) -> int:
    several = len(case.windows.centres.split("\\")) if case.windows is not None else 1
    return case.voi_index if case.voi_index < several else 0


def _odd_window(case: Case) -> bool:
    """Return True if the window at the index is not valid, so that another window or none is used."""
    if case.windows is None or not _has_window(case):
        return False
    parts = [decimal_values(text) for text in (case.windows.centres, case.windows.widths)]
    asked = tuple(part[_chosen(case)] if _chosen(case) < len(part) else None for part in parts)
    return len(parts[0]) != len(parts[1]) or truth.usable_window(case, case.windows) != asked


def _rescale(case: Case) -> tuple[float, float]:
    return (1.0, 0.0) if isinstance(case.modality, Lut) else truth.rescale_of(case.modality)


KNOWN: Final = (
    Known(
        "sample above the lowest bits of its cell",
        _NUMPY_READERS,
        lambda case: case.high_bit != case.stored - 1,
        "PS3.5 8.1.1: the sample ends at High Bit. pydicom, GDCM and highdicom take the lowest bits; dcmtk is right.",
    ),
    Known(
        "bits above the sample",
        frozenset({"highdicom"}),
        lambda case: truth.has_filled_bits(case) or (case.signed and "JPEGLS" in case.syntax),
        "PS3.5 8.1.1: nothing may be assumed of unused bits. highdicom takes the whole cell; pydicom, GDCM and dcmtk"
        " mask it and are right.",
    ),
    Known(
        "lossy values beyond the sample",
        _NUMPY_READERS,
        lambda case: case.syntax == "HTJ2K",  # the kept stream has 16 bits of precision, and rounds up to 4116
        "PS3.3 C.7.6.3: a sample has Bits Stored bits, and rounding leads a lossy decoder beyond. Others go on with"
        " that value; we take the nearest possible one.",
    ),
    Known(
        "rescale by fractions",
        frozenset({"dcmtk"}),
        lambda case: any(number % 1 for number in _rescale(case)),
        "PS3.3 C.11.1: output = slope * stored + intercept. dcmtk rounds its range of output values to whole numbers.",
    ),
    Known(
        "grey scale in functional groups",
        _FLAT_READERS,
        lambda case: case.groups != "root",
        "PS3.3 C.7.6.16.2.9 and .10: the grey scale of an enhanced object stands in its functional groups. pydicom's"
        " functions, GDCM and dcmtk look at the root alone; highdicom is right.",
    ),
    Known(
        "window that cannot be meant",
        _ALL,
        _odd_window,
        "PS3.3 C.11.2.1.2: width at least 1 (LINEAR) or above 0, as many centres as widths. A window of junk, or one"
        " that lies outside of all values, would make an image of one grey: we take the first sound pair, else none.",
    ),
    Known(
        "LINEAR_EXACT",
        frozenset({"dcmtk"}),
        lambda case: _has_window(case) and case.windows is not None and case.windows.function == "LINEAR_EXACT",
        "PS3.3 C.11.2.1.3.2 defines it since 2010; dcmtk 3.6.7 does not know it and takes LINEAR.",
    ),
    Known(
        "VOI LUT of values between whole numbers",
        _ALL,
        lambda case: bool(case.voi_luts) and any(number % 1 for number in _rescale(case)),
        "PS3.3 C.11.2.1.1 counts inputs in whole numbers and does not say which entry 10.5 has. pydicom and dcmtk cut"
        " the fraction off; we round to the nearest entry.",
    ),
    Known(
        "8-bit VOI LUT",
        frozenset({"pydicom", "gdcm"}),
        lambda case: any(lut.bits == 8 for lut in case.voi_luts),
        "PS3.3 C.11.2.1.1 allows 8 bits an entry. pydicom counts entries in the type of the output, and takes entry 0"
        " for input 256; two entries in a word it cannot unpack. highdicom and dcmtk are right.",
    ),
    Known(
        "VOI behind a modality transform",
        frozenset({"highdicom"}),
        lambda case: case.modality is not None and (case.windows is not None or bool(case.voi_luts)),
        "PS3.3 C.11.2.1.2: the 0.5 and 1 of the formula count in output values of the modality transform. highdicom"
        " joins both transforms to one, in which they count in stored values.",
    ),
    Known(
        "VOI LUT in functional groups",
        frozenset({"highdicom"}),
        lambda case: bool(case.voi_luts) and case.groups != "root",
        "PS3.3 C.7.6.16.2.10b: a Frame VOI LUT With LUT holds VOI LUTs. highdicom takes its window, or nothing.",
    ),
    Known(
        "sign of a first input value in Implicit VR",
        _NUMPY_READERS,
        lambda case: case.is_implicit and not case.signed and any(lut.first < 0 for lut in case.voi_luts),
        "PS3.3 C.11.2.1.1: it is SS if the output of the rescale may be signed. pydicom goes by the pixels; dcmtk is"
        " right.",
    ),
    Known(
        "VOI LUT of values above 65,535",
        frozenset({"pydicom", "gdcm"}),
        lambda case: bool(case.voi_luts) and output_range(case)[1] - min(lut.first for lut in case.voi_luts) > 65_535,
        "PS3.3 C.11.2.1.1: inputs behind the last entry take that. pydicom counts them in 16 bits, and begins anew.",
    ),
    Known(
        "several fragments",
        frozenset({"highdicom", "pydicom"}),
        lambda case: case.fragments > 1,
        "PS3.5 A.4: all fragments of an only frame are that frame, whatever the Basic Offset Table says. pydicom's and"
        " highdicom's readers believe a table of several offsets, and decode the first fragment.",
    ),
    Known(
        "decimal comma",
        frozenset({"dcmtk"}),
        lambda case: "," in repr((case.windows, case.modality)).replace(", ", ""),
        "PS3.5 6.2 wants a full stop (DS). pydicom and highdicom refuse it, dcmtk cuts the number off at the comma."
        " What is meant is plain, so we read it and tell of it.",
    ),
    Known(
        "window behind a negative slope",
        frozenset({"pydicom", "gdcm"}),
        lambda case: _has_window(case) and _rescale(case)[0] < 0,
        "PS3.3 C.11.2.1.2: the window counts in output values of the rescale. pydicom turns its output range round.",
    ),
)


def explanation(reader: str, case: Case) -> str:
    """Name the known disagreement that explains why a reader differs from us in a case; empty = none."""
    return next((known.name for known in KNOWN if reader in known.readers and known.holds(case)), "")


def must_be_refused(case: Case) -> RejectionReason | None:
    """Return the reason why a case must be refused; None if it must be read.

    A rescale that cannot be read would shift the whole grey scale, and every window with it.
    """
    if not isinstance(case.modality, Rescale):
        return None
    texts = (case.modality.slope, case.modality.intercept)
    unreadable = any(None in decimal_values(text) for text in texts)
    return RejectionReason.MALFORMED_HEADER if unreadable else None
