"""What was done to a file that is taken, and that its reader must know: the closed list of remarks.

A remark is not a refusal: the picture is right. It tells that the file departs from the standard, and that it was read
by another rule than the plain one. Remarks name no value of the file, so they identify nobody. They come from the
header (``ViewHeader.remarks``) and from decoding (``LoadedView.remarks`` holds both), and go to ``files.jsonl``, to the
summary of an ingest report, to ``describe``, and with each grade.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Remark(str, Enum):
    """Every remark.

    Members:
        TURNED: Patient Orientation says that the picture lies mirrored, upside down or on its side; it was turned.
        IMPOSSIBLE_ORIENTATION: Patient Orientation contradicts the view that a manifest names; not turned.
        OTHER_VR_ENCODING: File meta information names another VR encoding or byte order than the data set has; it was
            read as it is written.
        FUNCTIONAL_GROUPS_OVER_ROOT: The functional groups say something else than the root; they were taken.
        UNUSABLE_WINDOW: A window, or a part of it, is not a number or cannot be meant; the first sound one was used, or
            the full range where there is none.
        UNUSABLE_LUT: One of several LUTs is damaged; the first sound one was used.
        UNKNOWN_WINDOW_FUNCTION: VOI LUT Function is none of the standard; the window was taken as linear.
        UNUSED_BITS_SET: Bits of the pixels that are not part of the value hold something, such as an overlay; cut off.
        VALUES_BEYOND_BITS_STORED: Some pixels exceed Bits Stored, or many by little; they count as the greatest value.
        DECIMAL_COMMA: A number of the grey scale is written with a decimal comma, and was read as meant.
        WRONG_OFFSET_TABLE: The offset table of compressed pixels is missing or is not that of one frame; all fragments
            were taken as the frame.
        IRREGULAR_FRAGMENTS: Fragments of compressed pixels are empty, or without a delimiter, or in an element with a
            length of its own.
        OTHER_COMPRESSION: The transfer syntax names another compression than the pixels have; they were read as what
            they are.
        UNDECLARED_LOSS: The compression is lossy, and the transfer syntax says that it is not.
        NO_END_MARKER: The compressed pixels are all there, but the marker that ends them is not.
        CLASS_OF_FILE_META: The data set names no SOP class, and no Modality of mammography; the file meta information's
            mammography class counts.
        VOUCHED_FOR: Nothing in the file says that it is a mammogram; whoever named its view did.
        BROKEN_UID: Its SOP Instance UID is another file's too, with other pixel data; both were taken.
        CORRECTED_PATIENT_ID: Images of its exam have different Patient IDs, but one study, machine and birth date; they
            were taken as one woman's.
        LOW_RESOLUTION: The stored matrix has fewer pixels, or larger ones, than the network's picture
            (``AcceptanceConfig.ample_side``).
        SPECIAL_PICTURE: The picture shows a special case that the configuration accepts.
        POSSIBLE_PADDLE: The picture may show the rim of a small paddle; that is not sure enough to refuse it.
        POSSIBLE_IMPLANT: The same of an implant.
        POSSIBLE_CUT_OFF: Tissue leaves the picture where it should end in it, as a very large breast does too.
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
    """Returns all remarks, each once, in the order of ``Remark``."""
    found = {remark for group in groups for remark in group}
    return tuple(remark for remark in Remark if remark in found)
