"""Grey-scale cases: the frozen description of one DICOM file, how it is drawn, and how it is shrunk.

A description says everything about a file but the bytes: it is drawn from a seed, written by ``writers``, and read by
``readers``; ``truth`` computes from it, by the standard's text, what a reader must answer. Its ``repr`` is Python, so a
case that fails can be pasted into a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, Final

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
        """Whether the syntax gives back other values than were written."""
        return self.syntax in LOSSY

    @property
    def is_encapsulated(self) -> bool:
        """Whether pixel data come in fragments."""
        return self.syntax not in NATIVE

    @property
    def is_implicit(self) -> bool:
        """Whether VRs are not in the file."""
        return self.syntax == "ImplicitVRLittleEndian"

    @property
    def outside_padding(self) -> bool:
        """Whether padding lies outside of what the stored bits can hold."""
        ends = [] if self.padding is None else [e for e in (self.padding.value, self.padding.limit) if e is not None]
        return any(not self.low <= end <= self.high for end in ends)


def is_possible(case: Case) -> bool:
    """Tells whether a description makes sense; the shrinker asks, the generator draws nothing else."""
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
    """Reads the values of a decimal string (DS); None for one that is no number."""
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
    """Returns the lowest and highest value that can leave the modality LUT or rescale."""
    if isinstance(case.modality, Lut):
        return 0.0, float((1 << case.modality.bits) - 1)
    slope, intercept = 1.0, 0.0
    if case.modality is not None:
        slope, intercept = (decimal_values(t)[0] or 0.0 for t in (case.modality.slope, case.modality.intercept))
    first, last = sorted((case.low * slope + intercept, case.high * slope + intercept))
    return first, last


# ---- Drawing


def _lut(random: Random, low: float, high: float, vr_signed: bool, largest: int = 4096) -> Lut:
    """Draws a LUT that begins and ends anywhere around its input range."""
    span = int(high - low) + 1
    bits = random.choice((8, 10, 12, 14, 16, 16))
    entries = random.choice((min(span, 65536), max(2, min(span // 2, 65536)), 256, random.randint(2, largest)))
    entries = max(2, entries - entries % 2)
    first = int(low) + random.choice((0, 0, span // 4, -7 if vr_signed else 0))
    first = min(max(first, -32768 if vr_signed else 0), 32767 if vr_signed else 65535)
    data_vr = random.choice(("US", "OW", "OW")) if entries < 32_768 else "OW"
    packed = bits == 8 and data_vr == "OW" and random.random() < 0.5
    return Lut(entries, first, bits, data_vr, packed, "SS" if vr_signed else "US")


_ODD_WINDOWS: Final = ("trailing empty", "leading empty", "decimal comma", "width 1", "width 0", "NaN", "narrow", "off")


def _windows(random: Random, low: float, high: float) -> Windows:
    """Draws one to three windows inside the range, a fifth of them in an odd form."""
    span = high - low
    function = random.choice(("", "LINEAR", "LINEAR", "LINEAR_EXACT", "SIGMOID"))
    number = random.choice((1, 1, 2, 3))
    centres = [f"{low + span * random.uniform(0.2, 0.8):.1f}" for _ in range(number)]
    widths = [f"{max(2.0, span * random.uniform(0.05, 1.5)):.1f}" for _ in range(number)]
    centres = [c if random.random() < 0.5 else c.partition(".")[0] for c in centres]
    odd = random.choice(_ODD_WINDOWS) if random.random() < 0.3 else ""
    if odd == "trailing empty":
        centres, widths = [*centres, ""], random.choice(([*widths, ""], widths))
    elif odd == "leading empty":
        centres, widths = ["", *centres], ["", *widths]
    elif odd == "decimal comma":
        centres, widths = [c.replace(".", ",") for c in centres], [w.replace(".", ",") for w in widths]
    elif odd in ("width 1", "width 0"):
        widths = [odd[-1]] * number
    elif odd == "NaN":
        centres, widths = [*centres, "NaN"], [*widths, "NaN"]
    elif odd == "narrow":
        widths = ["1.5"] * number
    elif odd == "off":
        centres = [f"{high + 2 * span:.0f}"] * number
        widths = [f"{max(2.0, span / 2):.0f}"] * number
    return Windows("\\".join(centres), "\\".join(widths), function)


def _rescale(random: Random) -> Rescale:
    slope = random.choice(("1", "1.0", "2", "0.5", "1.25", "-1", "0,5", "1E0"))
    if random.random() < 0.06:
        return random.choice((Rescale("one", "0"), Rescale("1", "none"), Rescale("2\\x", "-5\\x"), Rescale("1", "NaN")))
    return Rescale(slope, random.choice(("0", "0", "-1024", "100", "-0.5", "-1500.0", "12,0")))


def _padding(random: Random, case: Case) -> Padding:
    vr = "SS" if case.signed else "US"
    if random.random() < 0.2 and case.allocated > case.stored:
        return Padding(32767 if case.signed else (1 << case.allocated) - 1, None, vr)
    value = random.choice((case.low, case.low, case.high, 0))
    if random.random() < 0.5:
        limit = value + (-1 if value == case.high else 1) * random.randint(0, (case.high - case.low) // 8)
        return Padding(value, limit, vr)
    return Padding(value, None, vr)


def draw(random: Random, number: int) -> Case:
    """Draws a case; the same generator state and number give the same case."""
    while True:
        case = _draw(random, number)
        if is_possible(case):
            return case


def _draw(random: Random, number: int) -> Case:
    syntax = random.choice(tuple(ENCODERS))
    encoder = random.choice(ENCODERS[syntax])
    encapsulated = syntax not in NATIVE
    allocated = 8 if syntax == "JPEGBaseline8Bit" else random.choice((8, 16, 16, 16))
    stored = 8 if allocated == 8 else random.choice((8, 10, 12, 12, 12, 13, 14, 16))
    if encoder == "stream":
        allocated, stored = 16, STREAM_BITS[syntax]
    high_bit = stored - 1
    if syntax in WITH_CELLS and random.random() < 0.15:
        high_bit = random.randint(stored - 1, allocated - 1)
    case = Case(
        seed=number,
        syntax=syntax,
        encoder=encoder,
        pixel_vr="OB" if encapsulated or (allocated == 8 and random.random() < 0.5) else "OW",
        allocated=allocated,
        stored=stored,
        high_bit=high_bit,
        signed=random.random() < 0.3,
        inverse=random.random() < 0.35,
        overlay=random.choice(("", "", "", "", "", "embedded", "junk", "extended", "own")),
        groups=random.choice(("root",) * 6 + ("shared", "frame")),
    )
    kind = random.random()
    if kind < 0.25:
        modality: Rescale | Lut | None = _rescale(random)
    elif kind < 0.4:
        modality = _lut(random, case.low, case.high, case.signed)
    else:
        modality = None
    case = replace(case, modality=modality)
    low, high = output_range(case)
    kind = random.random()
    if kind < 0.3:
        luts = tuple(_lut(random, low, high, low < 0) for _ in range(random.choice((1, 1, 2, 3))))
        case = replace(case, voi_luts=luts)
    if kind > 0.2 and kind < 0.75:
        case = replace(case, windows=_windows(random, low, high))
    if random.random() < 0.2:
        case = replace(case, padding=_padding(random, case))
    if random.random() < 0.15:
        case = replace(case, voi_index=1)
    if encapsulated and random.random() < 0.3:
        offsets = random.choice(("empty", "one", "each", "junk"))
        case = replace(case, fragments=random.choice((1, 2, 3, 5)), offsets=offsets)
    return case


# ---- Shrinking

_PLAIN: Final = Case()


def _simpler(value: Any) -> Iterator[Any]:
    """Lists simpler forms of one attribute, the plainest first."""
    if isinstance(value, tuple):
        yield from (value[:n] for n in range(len(value)))
        for position, item in enumerate(value):
            yield from ((*value[:position], simpler, *value[position + 1 :]) for simpler in _simpler(item))
    elif isinstance(value, Lut):
        for plain in (Lut(), Lut(first=value.first, descriptor_vr=value.descriptor_vr)):
            for field in fields(Lut):
                yield replace(value, **{field.name: getattr(plain, field.name)})
    elif isinstance(value, Rescale):
        yield from (replace(value, slope="1"), replace(value, intercept="0"))
    elif isinstance(value, Windows):
        first = [text.partition("\\")[0] for text in (value.centres, value.widths)]
        yield from (replace(value, centres=first[0], widths=first[1]), replace(value, function=""))
    elif isinstance(value, Padding):
        yield replace(value, limit=None)


def _candidates(case: Case) -> Iterator[Case]:
    for field in fields(Case):
        value, plain = getattr(case, field.name), getattr(_PLAIN, field.name)
        if value == plain:
            continue
        yield replace(case, **{field.name: plain})
        for simpler in _simpler(value):
            yield replace(case, **{field.name: simpler})
    # Attributes that depend on each other change together.
    plain_syntax = {"syntax": _PLAIN.syntax, "encoder": "pydicom", "fragments": 1, "offsets": "empty", "pixel_vr": "OW"}
    yield replace(case, **plain_syntax)
    yield replace(case, allocated=16, stored=12, high_bit=11)
    yield replace(case, high_bit=case.stored - 1)
    yield replace(case, encoder=ENCODERS[case.syntax][0])


def shrink(case: Case, still_fails: Callable[[Case], bool], most_tries: int = 200) -> Case:
    """Makes a failing case as plain as it can be made, one attribute at a time.

    Args:
        case: A case that fails.
        still_fails: Tells whether a case fails in the same way.
        most_tries: How many cases are tried at most.

    Returns:
        A case that fails, of which nothing can be made plainer without mending it.
    """
    tries, again = 0, True
    while again:
        again = False
        for simpler in _candidates(case):
            if simpler == case or not is_possible(simpler):
                continue
            tries += 1
            if tries > most_tries:
                return case
            if still_fails(simpler):
                case, again = simpler, True
                break
    return case
