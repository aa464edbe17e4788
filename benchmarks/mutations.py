"""Hostile files: a corpus of sound ones in every syntax and format, and what can be done to them.

Everything is drawn from a ``random.Random``, so that a file is made again from the seed and its number.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import cv2
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from benchmarks.pictures import picture
from benchmarks.reference_images import compressed, file_bytes, reference_streams, with_stream

Mutation = Callable[[bytes, Random], bytes]

_STREAMS: Final = {
    JPEGBaseline8Bit: ("jpeg-baseline-8u", 8),
    JPEGExtended12Bit: ("jpeg-extended-12u", 12),
    JPEGLossless: ("jpeg-lossless-6-12u", 12),
    JPEGLosslessSV1: ("jpeg-lossless-1-14u", 14),
    HTJ2KLossless: ("htj2k-lossless-12u", 12),
    HTJ2K: ("htj2k-lossy-12u", 12),
}
_ENCODED: Final = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
)
_BOUNDARIES: Final = (0, 1, 2, 7, 8, 15, 16, 17, 127, 128, 255, 256, 4096, 8000, 32767, 32768, 65534, 65535)
_NUMBERS: Final = ("0", "-1", "1E308", "-1E308", "NaN", "inf", "1E-300", "junk", "", "\\", "1\\2\\3", "9" * 16)
_KEYWORDS: Final = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames", "WindowCenter", "WindowWidth"),
    *("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "VOILUTFunction", "ViewPosition"),
    *("ImageLaterality", "Modality", "SOPClassUID", "PatientAge", "StudyDate", "ImagerPixelSpacing", "ImageType"),
)
_SIDE: Final = 7_900  # pixels: an image of this side is just about allowed


def _lut(entries: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, 0, 12])
    item.add_new("LUTData", "OW", (np.arange(entries, dtype=np.uint16) % 4096).tobytes())
    return item


def _rich(syntax: UID) -> bytes:
    """Return a native image with every attribute that the grey scale reads."""
    dataset = compressed(picture(12, False), 12, syntax)
    dataset.VOILUTSequence, dataset.ModalityLUTSequence = [_lut(4096), _lut(256)], [_lut(4096)]
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = ["2000", "1000"], ["3000", "500"], "SIGMOID"
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new(0x60000102, "US", 12)
    return file_bytes(dataset)


def _pillow(format_: str, sixteen: bool, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(16 if sixteen else 8, False)).save(buffer, format_, **options)
    return buffer.getvalue()


def corpus() -> Mapping[str, bytes]:
    """Make the sound files, by name; those of DICOM are named ``dicom ...``."""
    files = {f"dicom {s.keyword}": file_bytes(compressed(picture(12, False), 12, s)) for s in _ENCODED}
    streams = reference_streams()
    for syntax, (name, bits) in _STREAMS.items():
        files[f"dicom {syntax.keyword}"] = file_bytes(with_stream(picture(bits, False), bits, syntax, streams[name]))
    files["dicom rich"], files["dicom rich implicit"] = _rich(ExplicitVRLittleEndian), _rich(ImplicitVRLittleEndian)
    files["png 8"], files["png 16"] = _pillow("PNG", False), _pillow("PNG", True)
    files["png colour"] = cv2.imencode(".png", cv2.merge([picture(16, False)] * 3))[1].tobytes()
    files["jpeg"], files["jpeg progressive"] = _pillow("JPEG", False), _pillow("JPEG", False, progressive=True)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files[f"tiff 8 {compression}"] = _pillow("TIFF", False, compression=compression)
    files["tiff 16"] = _pillow("TIFF", True, compression="tiff_lzw")
    return files


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    end = random.choice((200, 400, 1500, len(data), len(data)))
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        changed[random.randrange(min(end, len(data)))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at, size = random.randrange(len(data)), random.choice((1, 2, 4, 8))
        changed[at : at + size] = random.choice((b"\0", b"\xff", bytes([random.randrange(256)]))) * size
    return bytes(changed)


def _move(data: bytes, random: Random) -> bytes:
    start, end = sorted(random.randrange(len(data)) for _ in range(2))
    end = min(end, start + random.choice((1, 2, 8, 100, 2000)))
    at = random.randrange(len(data))
    return random.choice((data[:start] + data[end:], data[:at] + data[start:end] + data[at:]))


def _elements(data: bytes) -> list[tuple[int, int]]:
    """Return positions and sizes of the length fields in an explicit little endian header."""
    dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    places = []
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        start, vr = getattr(element, "value_tell", 0), getattr(element, "VR", None)
        if start:
            size = 4 if vr in (None, "OB", "OW", "SQ", "UN", "UT") else 2
            places.append((start - size, size))
    return places


def _length(data: bytes, random: Random) -> bytes:
    """An element that says it is longer or shorter than it is."""
    start, size = random.choice(_elements(data))
    value = random.choice((0, 1, 3, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)) & ((1 << 8 * size) - 1)
    return data[:start] + value.to_bytes(size, "little") + data[start + size :]


def _field(data: bytes, random: Random) -> bytes:
    """Another value in a field, where the value's bytes are found."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword in random.sample(_KEYWORDS, random.choice((1, 1, 2, 4))):
        vr = pydicom.datadict.dictionary_VR(keyword)
        if vr == "US" or "US" in vr:
            dataset.add_new(keyword, "US", random.choice(_BOUNDARIES))
        else:
            dataset.add_new(keyword, "LO", random.choice(_NUMBERS))
            dataset[keyword].VR = vr
    return _written(dataset)


def _written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
    return buffer.getvalue()


def _stream(data: bytes, random: Random) -> bytes:
    """Damage inside the code stream; now and then header and stream agree on a huge image."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if random.random() < 0.2:
        rows, columns = struct.pack(">H", dataset.Rows), struct.pack(">H", dataset.Columns)
        for old, side in ((rows, _SIDE), (columns, _SIDE)):
            at = bytes(frame[:200]).find(old)
            frame[at : at + 2] = struct.pack(">H", side)
        dataset.Rows = dataset.Columns = _SIDE
    else:
        end = random.choice((50, 120, 300, len(frame)))
        for _ in range(random.choice((1, 2, 4, 16))):
            frame[random.randrange(min(end, len(frame)))] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
    if random.random() < 0.2:
        del frame[random.randrange(len(frame)) :]
    dataset.PixelData = encapsulate([bytes(frame) + b"\0" * (len(frame) % 2)])
    return _written(dataset)


def _with_frame(dataset: Dataset, frame: bytes) -> bytes:
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    return _written(dataset)


def _ending(data: bytes, random: Random) -> bytes:
    """Return a truncated stream with other bytes behind it."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    kept = frame[: random.choice((random.randrange(len(frame)), int(0.99 * len(frame)), len(frame) - 2))]
    lost = random.choice((0, 1, len(frame) - len(kept), 4 * len(frame), 1_000_000))
    filling = random.choice((bytes(lost), b"\xff" * lost, random.randbytes(lost), (frame * 9)[:lost]))
    return _with_frame(dataset, kept + filling + random.choice((b"", b"\xff\xd9", b"\xff\xd9" + frame)))


def _restarts(data: bytes, random: Random) -> bytes:
    """Restart intervals that are not there, or markers of them without any."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    at = max(0, frame.find(b"\xff\xda"))
    interval = random.choice((0, 1, 7, dataset.Columns, 2 * dataset.Columns, 65535))
    markers = bytearray(frame[at:])
    for number in range(random.choice((0, 1, 8, 63, 20_000))):
        place = random.randrange(12, len(markers))
        markers[place:place] = bytes([0xFF, 0xD0 + number % 8])
    return _with_frame(dataset, frame[:at] + b"\xff\xdd\0\x04" + struct.pack(">H", interval) + markers)


def _other_syntax(data: bytes, random: Random) -> bytes:
    """Set a transfer syntax that is not that of the pixels."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    syntax = random.choice([*_STREAMS, *_ENCODED]).encode()
    old = dataset.file_meta.TransferSyntaxUID.encode()
    old, new = (text + b"\0" * (len(text) % 2) for text in (old, syntax))
    return data.replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new, 1)


def _fragments(data: bytes, random: Random) -> bytes:
    """Items of the pixel data that lie: wrong lengths, none, thousands, a delimiter too early."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in (b"", frame[:100], frame[100:])]
    empty = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    value = random.choice(
        (
            b"".join(items),
            items[0],
            items[0] + empty * random.choice((1, 1000, 200_000)) + items[1] + items[2],
            items[0] + struct.pack("<HHL", 0xFFFE, 0xE000, random.choice((1, 0xFFFF, 0xFFFFFFFF))) + frame,
            items[0] + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + items[1],
            struct.pack("<HHL", 0xFFFE, 0xE000, 8) + b"\xff" * 8 + items[1] + items[2],
            items[0] + struct.pack("<HHL", random.randrange(65536), random.randrange(65536), len(frame)) + frame,
        )
    )
    dataset.PixelData = value
    return _written(dataset)


def _header_of_nothing(data: bytes, random: Random) -> bytes:
    """Write thousands of elements, items or levels before the pixels."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    sequence = struct.pack("<HH2sHL", 0x0029, 0x1010, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    stop = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    count = random.choice((100, 5_000, 200_000))
    defined = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * count
    extra = random.choice(
        (
            (sequence + item) * min(count, 50_000),
            (sequence + item) * 900 + (end + stop) * 900,
            sequence + (item + end) * count + stop,
            struct.pack("<HH2sHL", 0x0028, 0x3010, b"SQ", 0, len(defined)) + defined,
            b"".join(struct.pack("<HH2sH", 0x0029 + 2 * (i >> 16), i & 0xFFFF, b"LO", 0) for i in range(count)),
        )
    )
    return data[:at] + extra + data[at:]


def _deflated_bomb(data: bytes, random: Random) -> bytes:
    """Return a file of one megabyte with a data set of a gigabyte of zeros."""
    dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = _written(dataset)
    start = dataset.file_meta.FileMetaInformationGroupLength + 144
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(head[start:])
    megabyte = bytes(1 << 20)
    body = deflater.compress(content + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 1 << 30))
    body += b"".join(deflater.compress(megabyte) for _ in range(random.choice((100, 300, 600))))
    return head[:start] + body + deflater.flush()


def _chunk(data: bytes, random: Random) -> bytes:
    """A PNG whose header lies, with right check sums."""
    sides = random.choice(((_SIDE, _SIDE), (65535, 65535), (0x7FFFFFFF, 1), (0, 5), (1 << 31, 1 << 31)))
    header = struct.pack(">LL", *(side & 0xFFFFFFFF for side in sides)) + data[24:29]
    if random.random() < 0.5:
        changed = bytearray(header)
        changed[random.randrange(8, 13)] = random.choice((0, 1, 2, 3, 4, 6, 7, 8, 16, 255))
        header = data[16:24] + bytes(changed[8:]) if random.random() < 0.5 else bytes(changed)
    return data[:16] + header + struct.pack(">L", zlib.crc32(b"IHDR" + header)) + data[33:]


def _directory(data: bytes, random: Random) -> bytes:
    """A TIFF whose directory lies: sizes, strips, tiles, loops of pages."""
    little = data.startswith(b"II")
    order, changed = ("<" if little else ">"), bytearray(data)
    start = struct.unpack_from(f"{order}L", data, 4)[0]
    count = struct.unpack_from(f"{order}H", data, start)[0]
    for _ in range(random.choice((1, 1, 2, 3))):
        entry = start + 2 + 12 * random.randrange(count)
        tag = struct.unpack_from(f"{order}H", data, entry)[0]
        if random.random() < 0.3:
            struct.pack_into(f"{order}H", changed, entry, random.choice((256, 257, 258, 259, 262, 322, 323, 277, 339)))
        big = _SIDE if tag in (256, 257, 278) and random.random() < 0.5 else random.choice((0, 1, 65535, 0xFFFFFFFF))
        struct.pack_into(f"{order}L", changed, entry + random.choice((4, 8, 8)), big)
    if random.random() < 0.2:
        struct.pack_into(f"{order}L", changed, start + 2 + 12 * count, random.choice((start, 8, len(data), 1)))
    return bytes(changed)


def _scans(data: bytes, random: Random) -> bytes:
    """A progressive JPEG of a huge image with its last scan over and over."""
    at = data.find(b"\xff\xc2")
    last = data.rfind(b"\xff\xda")
    sides = struct.pack(">HH", _SIDE, _SIDE)
    return data[: at + 5] + sides + data[at + 9 : last] + data[last:-2] * random.choice((50, 2000)) + data[-2:]


def _nothing(data: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\0" * 132, data[:132], random.randbytes(random.randrange(2000)), data))


def mutations_of(name: str) -> tuple[Mutation, ...]:
    """List what can be done to a file of the corpus; the first ones to any."""
    anywhere = (_cut, _flip, _flip, _overwrite, _move, _nothing)
    if name.startswith("dicom"):
        deflated = name.endswith(DeflatedExplicitVRLittleEndian.keyword)
        explicit = not (deflated or name.endswith(("implicit", "ImplicitVRLittleEndian", "BigEndian")))
        of_stream = (_stream, _stream, _fragments, _ending, _restarts) if _is_encapsulated(name) else ()
        of_header = (_length, _length, _header_of_nothing) if explicit else ()
        return (
            *anywhere,
            _field,
            _field,
            _other_syntax,
            *of_stream,
            *of_header,
            *((_deflated_bomb,) if deflated else ()),
        )
    if name.startswith("png"):
        return (*anywhere, _chunk)
    if name.startswith("tiff"):
        return (*anywhere, _directory, _directory)
    return (*anywhere, _scans) if name == "jpeg progressive" else anywhere


def _is_encapsulated(name: str) -> bool:
    return "JPEG" in name or "HTJ2K" in name or "RLE" in name


def hostile_file(files: Mapping[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Make one hostile file.

    Args:
        files: The corpus.
        seed: Seed of the run.
        number: Number of the file.

    Returns:
        What it is ("seed file: mutation"), and its bytes.
    """
    random = Random(f"{seed} {number}")
    name = random.choice(sorted(files))
    mutation = random.choice(mutations_of(name))
    data = mutation(files[name], random)
    if random.random() < 0.15 and data:
        data = _flip(data, random)
    return f"{name}: {mutation.__name__.strip('_')}", data
