"""Connected parts of a mask: the same as SciPy's, whichever of the two OpenCVs counts them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from components.dicom.pictures.field import largest, parts_of

_NOISE = np.random.default_rng(5).random((40, 60))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_parts_and_their_areas_are_those_of_scipy(share: float) -> None:
    mask = (share > _NOISE).astype(np.uint8)
    labels, areas = parts_of(mask)
    expected, count = ndimage.label(mask)
    assert areas.shape == (count + 1,)
    np.testing.assert_array_equal(areas, np.bincount(labels.ravel(), minlength=count + 1))
    assert len(set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))) == len(set(labels.ravel()))
    assert sorted(areas[1:]) == sorted(np.bincount(expected.ravel(), minlength=count + 1)[1:])
    assert largest(mask).sum() == max(areas[1:], default=0)
