"""TFX executor of ArchiveScan."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.common.progress import advance, expect
from components.dicom_example_gen import IngestConfig, find_key
from components.review.folder import review_source
from components.sources.source import archive_fingerprint, source_from_json, source_to_json
from components.sources.spans import choose_span


class Executor(base_executor.BaseExecutor):
    """Find span, fingerprint, key and reviews of an archive."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``source``, ``fingerprint``, ``span``, ``key_id`` and ``reviews``, as DicomExampleGen reads them.

        Raises:
            ManifestError: The archive, its labels or its spans are not usable.
            HashKeyError: The key of the hashes cannot be used.
            ReviewFolderError: The folder of reviews cannot be read.
        """
        del input_dict
        expect(1, "archives")
        newest = exec_properties["newest_span"]
        wanted = str(json.loads(newest)["number"]) if newest else exec_properties["wanted_span"]
        part = choose_span(source_from_json(exec_properties["archive"]), wanted, exec_properties["before"])
        reviews = exec_properties["reviews_folder"]
        found = {
            "source": source_to_json(part.source),
            "fingerprint": archive_fingerprint(part.source),
            "span": json.dumps(dataclasses.asdict(part.span)) if part.span else "",
            "key_id": find_key(IngestConfig.model_validate_json(exec_properties["config"]), os.environ).key_id,
            "reviews": review_source(Path(reviews)).to_json() if reviews else "",
        }
        for name, value in found.items():
            artifact_utils.get_single_instance(output_dict[name]).value = value
        advance()
