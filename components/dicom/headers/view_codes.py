"""Codes of mammographic views: DICOM PS3.16 CID 4014 (views) and CID 4015 (view modifiers).

Values of SNOMED CT, as the standard has them now, and of SNOMED RT (``SRT``, before that ``SNM3``), as older systems
write them. The values of the two schemes never coincide, so the scheme is not asked: many systems name the wrong one.
"""

from __future__ import annotations

from typing import Final

from components.dicom.acceptance import SpecialCase

# CID 4014 to the abbreviation of View Position. R-102CF, Y-X1770 and Y-X1771 were withdrawn from the standard and are
# still found in archives (PS3.16 Annex J).
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

# CID 4015 to the special case. None: the whole breast in its standard projection, with its nipple in profile or its
# inframammary fold shown, as a good image has them anyway.
MODIFIER_CODES: Final[dict[str, SpecialCase | None]] = {
    "399161006": SpecialCase.CLEAVAGE,
    "R-102D2": SpecialCase.CLEAVAGE,
    "399011000": SpecialCase.AXILLARY_TAIL,
    "R-102D1": SpecialCase.AXILLARY_TAIL,
    "442580003": SpecialCase.AXILLARY_TAIL,
    "R-40AB2": SpecialCase.AXILLARY_TAIL,
    "399197002": SpecialCase.ROLLED,
    "R-102D3": SpecialCase.ROLLED,
    "399226006": SpecialCase.ROLLED,
    "R-102D4": SpecialCase.ROLLED,
    "414493004": SpecialCase.ROLLED,
    "R-102CA": SpecialCase.ROLLED,
    "415670009": SpecialCase.ROLLED,
    "R-102C9": SpecialCase.ROLLED,
    "399209000": SpecialCase.IMPLANT_DISPLACED,
    "R-102D5": SpecialCase.IMPLANT_DISPLACED,
    "399163009": SpecialCase.MAGNIFICATION,
    "R-102D6": SpecialCase.MAGNIFICATION,
    "399055006": SpecialCase.SPOT_COMPRESSION,
    "R-102D7": SpecialCase.SPOT_COMPRESSION,
    "399110001": SpecialCase.TANGENTIAL,
    "R-102C2": SpecialCase.TANGENTIAL,
    "441752004": SpecialCase.ANTERIOR_COMPRESSION,
    "P2-00161": SpecialCase.ANTERIOR_COMPRESSION,
    "442581004": None,
    "R-40AB3": None,
    "442593008": None,
    "R-40ABE": None,
}

# ACR's abbreviations of the modifiers (last column of CID 4015), and consoles' words, before or after that of the view.
MODIFIER_PREFIXES: Final = {"M": SpecialCase.MAGNIFICATION, "S": SpecialCase.SPOT_COMPRESSION}
MODIFIER_SUFFIXES: Final[dict[str, SpecialCase | None]] = {
    "SPOT": SpecialCase.SPOT_COMPRESSION,
    "MAG": SpecialCase.MAGNIFICATION,
    "RL": SpecialCase.ROLLED,
    "RM": SpecialCase.ROLLED,
    "RI": SpecialCase.ROLLED,
    "RS": SpecialCase.ROLLED,
    "ID": SpecialCase.IMPLANT_DISPLACED,
    "AC": SpecialCase.ANTERIOR_COMPRESSION,
    "AX": SpecialCase.AXILLARY_TAIL,
    "NP": None,
    "IMF": None,
}
# Abbreviations that stand for a view with its modifier. A tangential view may be of any projection.
COMBINED: Final = {
    "CV": ("CC", SpecialCase.CLEAVAGE),
    "AT": ("MLO", SpecialCase.AXILLARY_TAIL),
    "TAN": ("", SpecialCase.TANGENTIAL),
}
# Views written out, without blanks and hyphens, the longest first.
NAMES: Final = {
    "MEDIOLATERALOBLIQUE": "MLO",
    "LATEROMEDIALOBLIQUE": "LMO",
    "CRANIOCAUDAL": "CC",
    "MEDIOLATERAL": "ML",
    "LATEROMEDIAL": "LM",
}
# Terms of general radiography, PS3.3 C.8.7.1 and C.8.11.5: positions, but none of the breast.
OTHER_POSITIONS: Final = frozenset({"AP", "PA", "LL", "LLD", "RLD", "LLO", "RLO"})
