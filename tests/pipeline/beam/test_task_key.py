"""The key that a driver shares with workers that it does not speak to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.beam.requirements import KEY_VARIABLE, TaskKeyError, find_task_key

SECRET = "0123456789abcdef0123456789abcdef"


def test_the_key_is_of_the_variable_or_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    found = find_task_key({KEY_VARIABLE: SECRET})
    assert len(found) == 32
    assert SECRET.encode() not in found
    assert find_task_key({f"{KEY_VARIABLE}_FILE": str(file)}) == found
    assert find_task_key({KEY_VARIABLE: SECRET + "0"}) != found


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "Set either BREAST_DENSITY_TASK_KEY or BREAST_DENSITY_TASK_KEY_FILE"),
        ({KEY_VARIABLE: SECRET, f"{KEY_VARIABLE}_FILE": "key"}, "Set either"),
        ({KEY_VARIABLE: "much too short "}, "has 14 bytes, at least 16 are needed"),
        ({f"{KEY_VARIABLE}_FILE": "/nowhere/key"}, "/nowhere/key, which cannot be read: No such file"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_unseen(environment: dict[str, str], said: str) -> None:
    with pytest.raises(TaskKeyError) as raised:
        find_task_key(environment)
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "much too short" not in str(raised.value)


def test_a_file_that_everyone_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    file.chmod(0o644)
    with pytest.raises(TaskKeyError, match="everyone on this machine may read"):
        find_task_key({f"{KEY_VARIABLE}_FILE": str(file)})
