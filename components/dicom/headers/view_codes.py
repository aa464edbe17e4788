"""Codes of mammographic views: DICOM PS3.16 CID 4014 (views) and CID 4015 (view modifiers).

The tables have codes of SNOMED CT, as the current standard, and of SNOMED RT (``SRT``, earlier ``SNM3``), as older
systems. No code is in both schemes. So the scheme is not checked: many systems name the wrong one.
"""

from __future__ import annotations

from typing import Final

from components.dicom.rejections import RejectionReason

# CID 4014 -> abbreviation for View Position. R-102CF, Y-X1770 and Y-X1771 were withdrawn from the standard, but
# archives still contain them (PS3.16 Annex J).
VIEW_CODES: Final = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
    "399099002": "LMO",
    "R-10230": "LMO",
    "399196006": "FB",
    "R-10244": "FB",
    "399188001": "SIO",
    "R-102D0": "SIO",
    "441555000": "ISO",
    "R-40AAA": "ISO",
    "399192008": "XCCL",
    "R-1024A": "XCCL",
    "Y-X1770": "XCCL",
    "399101009": "XCCM",
    "R-1024B": "XCCM",
    "Y-X1771": "XCCM",
    "R-102CF": "XCC",
    "127457009": "SPECIMEN",
    "G-8310": "SPECIMEN",
}

# CID 4015 -> special case. None: the whole breast in its standard projection, with the nipple in profile or the
# inframammary fold visible, as in any good image.
MODIFIER_CODES: Final[dict[str, RejectionReason | None]] = {
    "399161006": RejectionReason.CLEAVAGE,
    "R-102D2": RejectionReason.CLEAVAGE,
    "399011000": RejectionReason.AXILLARY_TAIL,
    "R-102D1": RejectionReason.AXILLARY_TAIL,
    "442580003": RejectionReason.AXILLARY_TAIL,
    "R-40AB2": RejectionReason.AXILLARY_TAIL,
    "399197002": RejectionReason.ROLLED,
    "R-102D3": RejectionReason.ROLLED,
    "399226006": RejectionReason.ROLLED,
    "R-102D4": RejectionReason.ROLLED,
    "414493004": RejectionReason.ROLLED,
    "R-102CA": RejectionReason.ROLLED,
    "415670009": RejectionReason.ROLLED,
    "R-102C9": RejectionReason.ROLLED,
    "399209000": RejectionReason.IMPLANT_DISPLACED,
    "R-102D5": RejectionReason.IMPLANT_DISPLACED,
    "399163009": RejectionReason.MAGNIFICATION,
    "R-102D6": RejectionReason.MAGNIFICATION,
    "399055006": RejectionReason.SPOT_COMPRESSION,
    "R-102D7": RejectionReason.SPOT_COMPRESSION,
    "399110001": RejectionReason.TANGENTIAL,
    "R-102C2": RejectionReason.TANGENTIAL,
    "441752004": RejectionReason.ANTERIOR_COMPRESSION,
    "P2-00161": RejectionReason.ANTERIOR_COMPRESSION,
    "442581004": None,
    "R-40AB3": None,
    "442593008": None,
    "R-40ABE": None,
}

# ACR's abbreviations of the modifiers (last column of CID 4015) and words of consoles, before or after the view.
MODIFIER_PREFIXES: Final = {"M": RejectionReason.MAGNIFICATION, "S": RejectionReason.SPOT_COMPRESSION}
MODIFIER_SUFFIXES: Final[dict[str, RejectionReason | None]] = {
    "SPOT": RejectionReason.SPOT_COMPRESSION,
    "MAG": RejectionReason.MAGNIFICATION,
    "RL": RejectionReason.ROLLED,
    "RM": RejectionReason.ROLLED,
    "RI": RejectionReason.ROLLED,
    "RS": RejectionReason.ROLLED,
    "ID": RejectionReason.IMPLANT_DISPLACED,
    "AC": RejectionReason.ANTERIOR_COMPRESSION,
    "AX": RejectionReason.AXILLARY_TAIL,
    "NP": None,
    "IMF": None,
}
# Abbreviations of a view with its modifier. A tangential view can have any projection.
COMBINED: Final = {
    "CV": ("CC", RejectionReason.CLEAVAGE),
    "AT": ("MLO", RejectionReason.AXILLARY_TAIL),
    "TAN": ("", RejectionReason.TANGENTIAL),
}
# Names of views without blanks and hyphens, the longest first.
NAMES: Final = {
    "MEDIOLATERALOBLIQUE": "MLO",
    "LATEROMEDIALOBLIQUE": "LMO",
    "CRANIOCAUDAL": "CC",
    "MEDIOLATERAL": "ML",
    "LATEROMEDIAL": "LM",
}
# Terms of general radiography, PS3.3 C.8.7.1 and C.8.11.5: positions that are not of the breast.
OTHER_POSITIONS: Final = frozenset({"AP", "PA", "LL", "LLD", "RLD", "LLO", "RLO"})
