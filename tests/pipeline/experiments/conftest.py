"""Fixtures of the components' tests that experiments use too."""

from tests.components.conftest import small_data_set as small_data_set
