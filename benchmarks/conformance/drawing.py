"""Draws grey-scale cases: everything that is varied, and how often."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from benchmarks.conformance.cases import (
    ENCODERS,
    NATIVE,
    STREAM_BITS,
    WITH_CELLS,
    Case,
    Lut,
    Padding,
    Rescale,
    Windows,
    is_possible,
    output_range,
)


def _lut(random: Random, low: float, high: float, vr_signed: bool, largest: int = 4096) -> Lut:
    """Draw a LUT that begins and ends anywhere around its input range."""
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
    """Draw one to three windows inside the range, a fifth of them in an odd form."""
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
    """Draw a case; the same generator state and number give the same case."""
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
