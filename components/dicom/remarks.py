"""Remarks: the closed list of deviations that a reader of an accepted file must know.

A remark is not a rejection: the picture is right. It says that the file deviates from the standard, and that ingest
read it by another rule than the usual one. Remarks contain no value of the file, so they identify nobody. They come
from the header (``ViewHeader.remarks``) and from decoding (``LoadedView.remarks`` has both). They go to
``files.jsonl``, to the summary of an ingest report, to ``describe``, and to each graded exam.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Remark(str, Enum):
    """Every remark.

    Members:
        TURNED: Patient Orientation says that the picture is mirrored, upside down or rotated; ingest turned it.
        IMPOSSIBLE_ORIENTATION: Patient Orientation contradicts the view that a manifest names; ingest did not turn it.
        OTHER_VR_ENCODING: File meta information names another VR encoding or byte order than the data set has; the
            encoding of the data set was used.
        FUNCTIONAL_GROUPS_OVER_ROOT: The functional groups differ from the root of the data set; the groups were used.
        UNUSABLE_WINDOW: A window, or a part of it, is not a number or not plausible; the first valid one was used, or
            the full range if there is none.
        UNUSABLE_LUT: One of several LUTs is damaged; the first valid one was used.
        UNKNOWN_WINDOW_FUNCTION: VOI LUT Function is not one of the standard; the window was read as linear.
        UNUSED_BITS_SET: Bits of the pixels outside the value are set, for example by an overlay; they were cut off.
        VALUES_BEYOND_BITS_STORED: A few pixels exceed Bits Stored, or many exceed it slightly; they count as the
            greatest value.
        DECIMAL_COMMA: A number of the grey scale has a decimal comma; it was read as a decimal point.
        WRONG_OFFSET_TABLE: The offset table of compressed pixels is missing or does not describe one frame; all
            fragments were read as one frame.
        IRREGULAR_FRAGMENTS: Fragments of compressed pixels are empty, have no delimiter, or are in an element with a
            defined length.
        OTHER_COMPRESSION: The transfer syntax names another compression than the pixels have; the compression of the
            pixels was used.
        UNDECLARED_LOSS: The compression is lossy, but the transfer syntax is a lossless one.
        NO_END_MARKER: The compressed pixels are complete, but the end marker is missing.
        CLASS_OF_FILE_META: The data set has neither a SOP class nor a mammography Modality; the mammography class of
            the file meta information was used.
        VOUCHED_FOR: Nothing in the file says that it is a mammogram; the person who named its view said so.
        BROKEN_UID: Another file with other pixel data has the same SOP Instance UID; both were accepted.
        CORRECTED_PATIENT_ID: Images of its exam have different Patient IDs, but the same study, machine and birth date;
            they were read as one patient.
        LOW_RESOLUTION: The stored matrix has fewer or larger pixels than the network's picture
            (``AcceptanceConfig.ample_side``).
        SPECIAL_PICTURE: The picture shows a special case that the configuration accepts.
        POSSIBLE_PADDLE: The picture may show the rim of a small paddle; the evidence is not enough to reject it.
        POSSIBLE_IMPLANT: The picture may show an implant; the evidence is not enough to reject it.
        POSSIBLE_CUT_OFF: Tissue reaches an edge of the picture that it should not reach; a very large breast can do so
            too.
    """

    TURNED = "turned"
    IMPOSSIBLE_ORIENTATION = "impossible_orientation"
    OTHER_VR_ENCODING = "other_vr_encoding"
    FUNCTIONAL_GROUPS_OVER_ROOT = "functional_groups_over_root"
    UNUSABLE_WINDOW = "unusable_window"
    UNUSABLE_LUT = "unusable_lut"
    UNKNOWN_WINDOW_FUNCTION = "unknown_window_function"
    UNUSED_BITS_SET = "unused_bits_set"
    VALUES_BEYOND_BITS_STORED = "values_beyond_bits_stored"
    DECIMAL_COMMA = "decimal_comma"
    WRONG_OFFSET_TABLE = "wrong_offset_table"
    IRREGULAR_FRAGMENTS = "irregular_fragments"
    OTHER_COMPRESSION = "other_compression"
    UNDECLARED_LOSS = "undeclared_loss"
    NO_END_MARKER = "no_end_marker"
    CLASS_OF_FILE_META = "class_of_file_meta"
    VOUCHED_FOR = "vouched_for"
    BROKEN_UID = "broken_uid"
    CORRECTED_PATIENT_ID = "corrected_patient_id"
    LOW_RESOLUTION = "low_resolution"
    SPECIAL_PICTURE = "special_picture"
    POSSIBLE_PADDLE = "possible_paddle"
    POSSIBLE_IMPLANT = "possible_implant"
    POSSIBLE_CUT_OFF = "possible_cut_off"

    @property
    def text(self) -> str:
        """The remark in words."""
        return self.value.replace("_", " ")


def joined(*groups: Iterable[Remark]) -> tuple[Remark, ...]:
    """Return all remarks, each once, in the order of ``Remark``."""
    found = {remark for group in groups for remark in group}
    return tuple(remark for remark in Remark if remark in found) if found else ()
