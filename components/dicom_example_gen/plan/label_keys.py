"""Match images to the exams of a labels file: find the kind of key that the file uses.

A labels file names exams by one kind of key: Study Instance UID, Accession Number, a folder's path or name, Study ID or
Patient ID. Names are short and numbers repeat, so several kinds may match: folders ``EXAM/SERIES`` both count from 1,
and consoles write Study ID 1 for every exam. So each kind is evaluated as a whole, one level of folders at a time, by
the images that each key joins:

    * a key is *bad* if its images contradict each other (``evidence.contradictions``), or if images of one study would
      get different keys;
    * it is *vague* if its images have no common study or patient, and it is a Study ID, or the name of several folders:
      images without a better key are rejected (``ambiguous_label``);
    * it is *doubtful* if its images have no common study or patient, and they repeat views twice or more, or a header's
      key joins several folders;
    * otherwise it is *clean*.

Two kinds compete if they give an image different keys, or one key to different images. Two levels of folders always
compete, and so do Study or Patient IDs with any other kind. The winner is, in this order: the kind that has all keys of
the other, and more in the same folders; the kind with three times as many clean keys (minus the bad ones); the kind
with more keys; the stronger kind, if it divides what the other joins. If there is no winner, the meaning is unknown,
and the images with different keys get no label (``ambiguous_label``). An image without a key of the winner gets none
from the loser. A folder with a part of a study, whose other images have no key of this kind, is a series, and its name
is not a key. A Study Instance UID never matches by chance: it decides per image, and other keys of its images do not
apply to further images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.exams.evidence import Census, contradiction, of_one_person

ROW: Final = "row"
STUDY: Final = "study"
ACCESSION: Final = "accession number"
PATH: Final = "folder path"
STUDY_ID: Final = "study id"
PATIENT_ID: Final = "patient id"
_NEAREST: Final = "nearest folder"
_DECISIVE: Final = 3
_DOUBTFUL_REPEATS: Final = 2


@dataclass(frozen=True)
class Images:
    """Files of a folder, with their headers.

    Attributes:
        files: Their paths, sorted.
        headers: Header of each file; None if it is unreadable.
        census: Unreliable identifiers of the archive.
    """

    files: tuple[str, ...]
    headers: tuple[ViewHeader | None, ...]
    census: Census


@dataclass(frozen=True)
class Keys:
    """Keys of the files.

    Attributes:
        key: File's position -> ``exam_id`` of the labels.
        kind: File's position -> kind of the key, such as ``folder level 1``.
        disputed: Positions of files with different keys from equally good kinds.
        kinds: The selected kinds, or those without a winner.
    """

    key: Mapping[int, str]
    kind: Mapping[int, str]
    disputed: frozenset[int]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class _Kind:
    """One kind of key: the files' keys, and the folders that name them. A lower ``strength`` is stronger."""

    name: str
    strength: int
    keys: Mapping[int, str]
    places: Mapping[int, str] = field(default_factory=dict)
    clean: int = 0
    bad: frozenset[str] = frozenset()
    vague: frozenset[str] = frozenset()

    @property
    def is_folder(self) -> bool:
        return self.strength == _FOLDER

    @property
    def worth(self) -> int:
        return self.clean - len(self.bad)

    def groups(self, of: Collection[int] | None = None) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = defaultdict(list)
        for position, key in self.keys.items():
            if of is None or position in of:
                groups[key].append(position)
        return groups

    def without(self, keys: Collection[str], positions: Collection[int]) -> _Kind:
        kept = {p: key for p, key in self.keys.items() if key not in keys and p not in positions}
        return replace(self, keys=kept)


_STUDY, _PATH, _ACCESSION, _FOLDER, _STUDY_ID, _PATIENT_ID = range(6)


def _folders(images: Images, labels: Collection[str]) -> Iterator[_Kind]:
    """Yield kinds of folder keys: path, level from the root, level above the file, and nearest labelled folder."""
    parts = [PurePosixPath(file).parts[:-1] for file in images.files]
    levels = range(max(map(len, parts), default=0))
    paths = {"/".join(PurePosixPath(label).parts): label for label in labels if "/" in label}

    def kind(name: str, keys: Mapping[int, str | None], strength: int = _FOLDER) -> _Kind:
        return _Kind(name, strength, {position: key for position, key in keys.items() if key in labels and key})

    def at(name: str, ends: Mapping[int, int]) -> _Kind:
        found = {p: parts[p][:end] for p, end in ends.items() if parts[p][end - 1] in labels}
        keys = {p: folders[-1] for p, folders in found.items()}
        return _Kind(name, _FOLDER, keys, {p: "/".join(folders) for p, folders in found.items()})

    def deepest(folders: Sequence[str]) -> str | None:
        found = ("/".join(folders[:end]) for end in range(len(folders), 0, -1))
        return next((paths[path] for path in found if path in paths), None)

    if paths:
        yield kind(PATH, {p: deepest(folders) for p, folders in enumerate(parts)}, _PATH)
    for level in levels:
        ends = {p: level + 1 for p, folders in enumerate(parts) if level < len(folders)}
        yield at(f"folder level {level + 1}", ends)
    for level in levels:
        ends = {p: len(folders) - level for p, folders in enumerate(parts) if level < len(folders)}
        yield at(f"folder level {level + 1} above the file", ends)
    nearest = {p: next((n for n in reversed(folders) if n in labels), None) for p, folders in enumerate(parts)}
    if _is_unambiguous(parts, nearest, labels):
        yield kind(_NEAREST, nearest)


def _is_unambiguous(
    parts: Sequence[tuple[str, ...]], nearest: Mapping[int, str | None], labels: Collection[str]
) -> bool:
    """Return True if each label names one folder, and no image deeper in it belongs to another label."""
    place: dict[str, tuple[str, ...]] = {}
    outer: set[str] = set()
    deep: set[str] = set()
    for position, folders in enumerate(parts):
        named = [(name, folders[: end + 1]) for end, name in enumerate(folders) if name in labels]
        if any(place.setdefault(name, path) != path for name, path in named):
            return False
        outer.update(name for name, _ in named[:-1])
        if named and named[-1][1] != folders:
            deep.add(nearest[position] or "")
    return not outer & deep


def _all_kinds(images: Images, labels: Collection[str]) -> list[_Kind]:
    def of_header(name: str, strength: int, attribute: str) -> _Kind:
        values = ((p, getattr(h, attribute)) for p, h in enumerate(images.headers) if h is not None)
        return _Kind(name, strength, {position: value for position, value in values if value and value in labels})

    kinds = [
        of_header(STUDY, _STUDY, "study_uid"),
        of_header(ACCESSION, _ACCESSION, "accession_number"),
        *_folders(images, labels),
        of_header(STUDY_ID, _STUDY_ID, "study_id"),
        of_header(PATIENT_ID, _PATIENT_ID, "patient_id"),
    ]
    return [kind for kind in kinds if kind.keys]


def _judged(kind: _Kind, images: Images) -> _Kind:
    """Return a kind with the number of its clean keys, and its bad and vague keys."""
    of_study: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, list[int]] = defaultdict(list)
    for position, key in kind.keys.items():
        header = images.headers[position]
        if header is not None:
            groups[key].append(position)
            if study := images.census.study(header):
                of_study[study].add(key)
    bad = {key for keys in of_study.values() if len(keys) > 1 for key in keys}
    vague: set[str] = set()
    clean = 0
    for key, positions in groups.items():
        headers = [header for p in positions if (header := images.headers[p]) is not None]
        if key not in bad and contradiction(headers, images.census) is not None:
            bad.add(key)
        studies = {images.census.study(header) for header in headers}
        if key in bad or (len(studies) == 1 and "" not in studies):
            clean += key not in bad
            continue
        folders = {kind.places.get(p) or images.files[p].rpartition("/")[0] for p in positions}
        one_person = of_one_person(headers, images.census)
        if not one_person and len(positions) > 1 and (kind.strength == _STUDY_ID or (kind.places and len(folders) > 1)):
            vague.add(key)
        repeats = len(headers) - len({header.view for header in headers})
        # Folders of one name may be one exam, if the level above is the series: the views decide, not the folders.
        clean += repeats < _DOUBTFUL_REPEATS and (kind.is_folder or one_person or len(folders) < 2)
    return replace(kind, clean=clean, bad=frozenset(bad), vague=frozenset(vague))


def _without_series(kind: _Kind, images: Images) -> _Kind:
    """Return a kind of folder keys without the keys that divide a study whose other images have no key."""
    if not kind.is_folder:
        return kind
    of_study: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for position, header in enumerate(images.headers):
        if header is not None and (study := images.census.study(header)):
            of_study[study][header.view, header.sop_uid].add(kind.keys.get(position, ""))
    cut = {key for marks in of_study.values() if {""} in marks.values() for keys in marks.values() for key in keys}
    return kind.without(cut, ())


def _compete(one: _Kind, other: _Kind, readable: Collection[int]) -> bool:
    """Return True if two kinds give an image different keys, or one key to different images.

    A table uses one level of folders, or Study or Patient IDs, but not both: these always compete.
    """
    mine, others = one.groups(readable), other.groups(readable)
    if other.strength >= _STUDY_ID or (one.is_folder and other.is_folder):
        return mine != others
    if any(others[key] != positions for key, positions in mine.items() if key in others):
        return True
    return any(other.keys.get(p, key) != key for p, key in one.keys.items() if p in readable)


def _includes(one: _Kind, other: _Kind) -> bool:
    return all(one.keys.get(position) == key for position, key in other.keys.items())


def _in_the_same_folders(one: _Kind, other: _Kind, images: Images) -> bool:
    """Return True if the additional keys of one kind are in folders where both kinds have the key."""

    def places(kind: _Kind) -> set[tuple[str, str]]:
        return {(key, images.files[position].rpartition("/")[0]) for position, key in kind.keys.items()}

    return places(one) == places(other)


def _wins(one: _Kind, other: _Kind, images: Images) -> bool:
    """Return True if a kind wins against another with which it competes."""
    covered = sum(header is not None for header in images.headers)
    if one.clean and not other.is_folder and len(set(other.keys.values())) == 1 and len(other.keys) >= covered:
        return True  # the whole archive has this key in its headers
    for more, less in ((one, other), (other, one)):
        # An image in the folder of an exam belongs to it, or contradicts it: then the exam is rejected.
        if _includes(more, less) and _in_the_same_folders(more, less, images):
            return more is one
    if one.worth > 0 and one.worth >= _DECISIVE * other.worth:
        return True
    if other.worth > 0 and other.worth >= _DECISIVE * one.worth:
        return False
    if one.bad and one.worth <= 0:
        return False
    if other.bad and other.worth <= 0:
        return True
    if one.worth >= other.worth and (one.name == _NEAREST or _includes(one, other)):
        return True
    if other.worth >= one.worth and (other.name == _NEAREST or _includes(other, one)):
        return False
    separates = all(other.keys.get(position, key) == key for position, key in one.keys.items())
    return one.strength < other.strength and separates


def _beyond_studies(kinds: list[_Kind], images: Images) -> list[_Kind]:
    """Remove from other kinds the images with a study key, and the keys of these images."""
    study = next((kind for kind in kinds if kind.name == STUDY), None)
    if study is None:
        return kinds
    judged = _judged(study, images)
    others = [kind for kind in kinds if kind.name != STUDY]
    reached = {position for kind in others for position in kind.keys}
    broken = {key for key, positions in study.groups().items() if key in judged.bad and reached.issuperset(positions)}
    study = study.without(broken, ())
    result = [study]
    for kind in others:
        shared = {kind.keys[position] for position in study.keys if position in kind.keys}
        result.append(kind.without(shared, study.keys))
    return [kind for kind in result if kind.keys]


def find_keys(images: Images, labels: Collection[str]) -> Keys:
    """Find the key of each file; see the module for the rules.

    Args:
        images: Files of a folder.
        labels: The ``exam_id`` values of the labels file.

    Returns:
        The keys; files that match none of the selected kinds have no key.
    """
    if not labels:
        return Keys({}, {}, frozenset(), ())
    readable = {position for position, header in enumerate(images.headers) if header is not None}
    kinds: list[_Kind] = []
    for kind in (_without_series(kind, images) for kind in _beyond_studies(_all_kinds(images, labels), images)):
        groups = kind.groups(readable)
        if not any(other.strength == kind.strength and other.groups(readable) == groups for other in kinds):
            kinds.append(_judged(kind, images))
    rivals = [
        (one, other)
        for index, one in enumerate(kinds)
        for other in kinds[index + 1 :]
        if one.strength != _STUDY and _compete(one, other, readable)
    ]
    beaten: set[str] = set()
    for one, other in rivals:
        if _wins(one, other, images):
            beaten.add(other.name)
        elif _wins(other, one, images):
            beaten.add(one.name)
    left = [kind for kind in kinds if kind.name not in beaten] or kinds
    names = {kind.name for kind in left}
    disputed = {
        position
        for one, other in rivals
        if one.name in names and other.name in names
        for position in {*one.keys, *other.keys}
        if one.keys.get(position) != other.keys.get(position)
    }
    levels = [kind for kind in left if kind.is_folder]
    # Two levels give some images two keys: where they agree by chance, as for 1/1, the meaning is unknown too.
    given = ({kind.keys[position] for kind in levels if position in kind.keys} for position in disputed)
    unsure = {key for keys in given if len(keys) > 1 for key in keys}
    disputed |= {position for kind in levels for position, value in kind.keys.items() if value in unsure}
    disputed |= {position for kind in left for position, value in kind.keys.items() if value in kind.vague}
    key: dict[int, str] = {}
    by: dict[int, str] = {}
    for kind in left:
        for position, value in kind.keys.items():
            if position not in disputed and position not in key:
                key[position], by[position] = value, kind.name
    return Keys(key, by, frozenset(disputed), tuple(kind.name for kind in left))
