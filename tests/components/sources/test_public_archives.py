"""Each adapter reads files with the archive's real names and columns."""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path

import pytest

from components.dicom.rejections import AcceptanceConfig, ManifestError
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.patients import split_of
from components.dicom_example_gen.plan.planning import inspect, plan
from components.dicom_example_gen.report import summary
from components.sources.archives import ArchiveKind
from components.sources.archives.listing import Listing
from components.sources.archives.registry import archive_candidates
from components.sources.candidates import Candidate, Candidates, Label
from components.sources.source import (
    ArchiveSource,
    archive_fingerprint,
    find_candidates,
    source_from_json,
    source_to_json,
)

CBIS_LABELS = Path("../shared/data/cbis_ddsm_labels")


def put(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def table(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def offered(kind: ArchiveKind, root: Path) -> tuple[dict[str, Candidate], Candidates]:
    candidates = find_candidates(ArchiveSource(kind, root))
    return {c.file: c for c in candidates.found}, candidates


def reasons(found: dict[str, Candidate]) -> dict[str, Reason]:
    return {file: c.rejection.reason for file, c in found.items() if c.rejection}


VINDR = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split",
    "s1,r,i1,L,CC,3518,2800,BI-RADS 4,DENSITY B,training",
    "s1,r,i2,L,MLO,3518,2800,BI-RADS 4,DENSITY B,training",
    "s1,r,i3,R,CC,3518,2800,BI-RADS 3,DENSITY C,training",
    "s1,r,i4,R,MLO,3518,2800,BI-RADS 3,DENSITY C,training",
    "s2,r,i5,L,CC,3518,2800,BI-RADS 1,DENSITY A,test",
    "s2,r,i6,L,MLO,3518,2800,BI-RADS 1,DENSITY D,test",
    "s3,r,i7,L,CC,3518,2800,BI-RADS 1,DENSITY D,test",
    "s3,r,i8,L,MLO,3518,2800,BI-RADS 1,DENSITY D,holdout",
    "s4,r,i9,L,CC,3518,2800,BI-RADS 1,DENSITY E,test",
)


def test_vindr_mammo(tmp_path: Path) -> None:
    table(tmp_path / "breast-level_annotations.csv", *VINDR)
    put(tmp_path, "metadata.csv", "LICENSE.txt", "images/s9/stray.dicom", "images/s1/i4.dicom", "images_png/s1/i4.png")
    put(tmp_path, *(f"images/{name}.dicom" for name in ("s1/i1", "s1/i2", "s1/i3", "s2/i5", "s2/i6", "s3/i8", "s4/i9")))
    found, candidates = offered(ArchiveKind.VINDR_MAMMO, tmp_path)
    # The denser breast grades the exam; study stands for patient; the official training set is divided later.
    label = Label("s1", "C", "s1", split="train+eval")
    assert found["images/s1/i1.dicom"] == Candidate("images/s1/i1.dicom", 2, "CC_L", label, exam_id="s1")
    assert {found[f"images/s1/{i}"].view for i in ("i2.dicom", "i3.dicom")} == {"MLO_L", "CC_R"}
    assert found["images_png/s1/i4.png"].view == found["images/s1/i4.dicom"].view == "MLO_R"
    assert reasons(found) == {
        "images/s2/i5.dicom": Reason.INVALID_LABEL,  # one breast, two densities
        "images/s2/i6.dicom": Reason.INVALID_LABEL,
        "images/s3/i7.dicom": Reason.MISSING_FILE,
        "images/s3/i8.dicom": Reason.INVALID_ROW,
        "images/s4/i9.dicom": Reason.INVALID_LABEL,
        "images/s9/stray.dicom": Reason.NO_LABEL,
    }
    rejection = found["images/s4/i9.dicom"].rejection
    assert rejection is not None
    assert rejection.message == (
        "images/s4/i9.dicom: invalid_label, breast-level_annotations.csv row 10, column density is DENSITY E;"
        " DENSITY A, DENSITY B, DENSITY C, DENSITY D are allowed."
    )
    assert candidates.ignored == {".csv": 2, ".txt": 1}
    assert candidates.tables == (tmp_path / "breast-level_annotations.csv",)


def test_official_training_exams_never_reach_the_test_split(tmp_path: Path) -> None:
    rows = [f"s{i},r,i{i},L,CC,9,9,BI-RADS 1,DENSITY A,{'test' if i % 5 == 0 else 'training'}" for i in range(400)]
    table(tmp_path / "breast-level_annotations.csv", VINDR[0], *rows)
    candidates = find_candidates(ArchiveSource(ArchiveKind.VINDR_MAMMO, tmp_path))
    fractions = IngestConfig().splits
    named = {c.exam_id: c.label.split for c in candidates.found if c.label}
    splits = Counter((split, split_of(exam, fractions, 0, split)) for exam, split in named.items())
    assert splits.keys() == {("train+eval", "train"), ("train+eval", "eval"), ("test", "test")}
    assert splits["test", "test"] == 80
    assert splits["train+eval", "eval"] / 320 == pytest.approx(0.15 / 0.85, abs=0.06)


RSNA = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case",
    "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False",
    "1,10011,1031443799,L,CC,55.0,0,0,0,0.0,0,B,21,True",
    "1,10011,541722628,L,CC,55.0,0,0,0,0.0,0,B,21,True",
    "1,10011,220375232,L,MLO,55.0,0,0,0,0.0,0,B,21,True",
    "1,10011,270344397,L,ML,55.0,0,0,0,0.0,0,B,21,True",
    "1,10025,562340703,L,CC,,0,0,0,0.0,1,C,49,False",
)


def test_rsna_screening(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", *RSNA)
    put(tmp_path, "test.csv", "test_images/10008/736471439.dcm")
    put(tmp_path, *(f"train_images/{row.split(',')[1]}/{row.split(',')[2]}.dcm" for row in RSNA[1:]))
    found, candidates = offered(ArchiveKind.RSNA_SCREENING, tmp_path)
    label = Label("10011", "B", "10011", 55, "", "RSNA machine 21")
    for image, view in ((1031443799, "CC_L"), (541722628, "CC_L"), (220375232, "MLO_L")):
        candidate = found[f"train_images/10011/{image}.dcm"]
        assert (candidate.view, candidate.label, candidate.rejection) == (view, label, None)
    assert reasons(found) == {
        "train_images/10006/462822612.dcm": Reason.NO_LABEL,
        "train_images/10011/270344397.dcm": Reason.UNSUPPORTED_VIEW,
        "train_images/10025/562340703.dcm": Reason.IMPLANT_PRESENT,
        "test_images/10008/736471439.dcm": Reason.NO_LABEL,
    }
    assert candidates.ignored == {".csv": 2}
    # What the configuration accepts is read like any other file, with the row's label.
    implant = found["train_images/10025/562340703.dcm"]
    accepting = AcceptanceConfig(accept=(Reason.IMPLANT_PRESENT,))
    outcome = inspect(implant, tmp_path, 10**6, accepting)
    assert outcome.rejection is not None
    assert outcome.rejection.reason is Reason.TRUNCATED  # the test's file is empty
    assert implant.label is not None
    assert implant.label.density == "C"


INBREAST = (
    "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads",
    "removed;removed;R;CC;201001;22678622;4;1",
    "removed;removed;L;MLO;200901;22678694;3;3",
    "removed;removed;R;MLO;201001;53582540;               ;1",
    "removed;removed;R;CC;201001;53582567;2;1",
    "removed;removed;L;CC;201001;50996228;;2",
    "removed;removed;L;CC;201001;20588334;1;2",
    "removed;removed;R;CC;201001;11111111;1;2",
    ";;;;;;;",
)


def test_inbreast(tmp_path: Path) -> None:
    table(tmp_path / "INbreast.csv", *INBREAST)
    put(tmp_path, "INbreast.xls", "AllXML/22678622.xml", "AllDICOMs/20588334.dcm")
    put(
        tmp_path,
        *(
            f"AllDICOMs/{name}_ANON.dcm"
            for name in (
                "22678622_61b13c59bcba149e_MG_R_CC",
                "22678694_61b13c59bcba149e_MG_L_ML",
                "53582540_b37b0a46cdd2a2f5_MG_R_ML",
                "53582567_b37b0a46cdd2a2f5_MG_R_CC",
                "50996228_0a1b2c3d4e5f6071_MG_L_CC",
            )
        ),
    )
    found, candidates = offered(ArchiveKind.INBREAST, tmp_path)
    by_number = {Path(file).name.split("_")[0].removesuffix(".dcm"): c for file, c in found.items()}
    assert by_number["22678622"].label == Label("61b13c59bcba149e 201001", "D", "61b13c59bcba149e")
    assert by_number["22678694"].label == Label("61b13c59bcba149e 200901", "C", "61b13c59bcba149e")
    assert by_number["22678694"].view == "MLO_L"
    blank = by_number["53582540"].label  # takes the density of its exam
    assert blank is not None
    assert blank.density == "B"
    assert {number: c.rejection.reason for number, c in by_number.items() if c.rejection} == {
        "50996228": Reason.NO_LABEL,
        "20588334": Reason.INVALID_ROW,  # the file's name tells no patient
        "11111111": Reason.MISSING_FILE,
    }
    assert candidates.ignored == {".csv": 1, ".xls": 1, ".xml": 1}


CBIS_MASS = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,mass margins,"
    "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
)
CBIS_CALC = CBIS_MASS.replace("breast_density", "breast density").replace("mass shape,mass margins", "calc type,x")


def cbis_row(kind: str, patient: str, density: str, side: str, view: str, finding: int = 1) -> str:
    series = f"{kind}_{patient}_{side}_{view}"
    paths = f'{series}/1.3.1/1.3.{series}/000000.dcm,"{series}_{finding}/1.3.2/1.4.{series}/000001.dcm\n"'
    mask = f"{series}_{finding}/1.3.2/1.4.{series}/000000.dcm"
    return f"{patient},{density},{side},{view},{finding},mass,OVAL,SPICULATED,4,BENIGN,5,{paths},{mask}"


@pytest.mark.parametrize("layout", ["tcia", "original", "kaggle"])
def test_cbis_ddsm(tmp_path: Path, layout: str) -> None:
    table(
        tmp_path / "csv/mass_case_description_train_set.csv",
        CBIS_MASS,
        cbis_row("Mass-Training", "P_00001", "3", "LEFT", "CC"),
        cbis_row("Mass-Training", "P_00001", "3", "LEFT", "CC", 2),  # two findings in one image
        cbis_row("Mass-Training", "P_00002", "2", "RIGHT", "MLO"),
    )
    table(
        tmp_path / "csv/calc_case_description_test_set.csv",
        CBIS_CALC,
        cbis_row("Calc-Test", "P_00002", "2", "RIGHT", "CC"),
        cbis_row("Calc-Test", "P_00003", "0", "RIGHT", "CC"),
    )

    def image(series: str, mask: bool = False) -> str:
        uid = f"1.{4 if mask else 3}.{series.removesuffix('_1') if mask else series}"
        return {
            "tcia": f"CBIS-DDSM/{series}/10-04-2016-DDSM-NA-30104/1.000000-full mammogram images-14172/1-1.dcm",
            "original": f"{series}/1.3.1/{uid}/000000.dcm",
            "kaggle": f"jpeg/{uid}/1-263.jpg",
        }[layout]

    names = ("Mass-Training_P_00001_LEFT_CC", "Mass-Training_P_00002_RIGHT_MLO", "Calc-Test_P_00002_RIGHT_CC")
    put(tmp_path, *map(image, (*names, "Calc-Test_P_00003_RIGHT_CC")), image(f"{names[0]}_1", mask=True))
    found, candidates = offered(ArchiveKind.CBIS_DDSM, tmp_path)
    assert len(found) == 4
    assert found[image(names[0])].label == Label("P_00001", "C", "P_00001", split="train+eval")
    assert found[image(names[0])].view == "CC_L"
    assert found[image(names[2])].label == Label("P_00002", "B", "P_00002", split="test")
    assert reasons(found) == {
        image(names[1]): Reason.SPLIT_CONFLICT,  # the patient is in the official test set
        image("Calc-Test_P_00003_RIGHT_CC"): Reason.NO_LABEL,
    }
    assert candidates.ignored == {".csv": 2, "ROI mask or crop": 1}


@pytest.mark.skipif(not CBIS_LABELS.is_dir(), reason="needs ../shared/data")
def test_cbis_ddsm_real_label_files(tmp_path: Path) -> None:
    images = set()
    for name in ("mass", "calc"):
        file = CBIS_LABELS / f"{name}_case_description_test_set.csv"
        (tmp_path / file.name).symlink_to(file.resolve())
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                images.add(row["image file path"].strip())
                put(tmp_path, *(row[key].strip() for key in ("image file path", "ROI mask file path")))
    found, candidates = offered(ArchiveKind.CBIS_DDSM, tmp_path)
    assert len(found) == len(images) == 645
    assert {c.label.split for c in found.values() if c.label} == {"test"}
    assert len({c.exam_id for c in found.values()}) == 349
    assert Counter(reasons(found).values()) == {Reason.NO_LABEL: 2}  # density 0
    assert Counter(c.view for c in found.values()).keys() == {"CC_L", "CC_R", "MLO_L", "MLO_R"}
    assert candidates.ignored["ROI mask or crop"] > 600


EMBED_METADATA = (
    "Unnamed: 0,anon_dicom_path,empi_anon,acc_anon,study_date_anon,StudyDescription,SeriesDescription,FinalImageType,"
    "ImageLateralityFinal,ViewPosition,spot_mag,ManufacturerModelName"
)
EMBED_CLINICAL = "empi_anon,acc_anon,study_date_anon,desc,side,numfind,asses,tissueden,age_at_study"
NAS = "/mnt/NAS2/mammo/anon_dicom/"


def embed_row(path: str, exam: str, kind: str = "2D", side: str = "L", view: str = "CC", spot: str = "") -> str:
    return f"0,{NAS}{path},5{exam},{exam},2013-01-01,MG Screening,x,{kind},{side},{view},{spot},Selenia Dimensions"


def test_embed(tmp_path: Path) -> None:
    table(
        tmp_path / "tables/EMBED_OpenData_metadata.csv",
        EMBED_METADATA,
        embed_row("cohort_1/51/a.dcm", "1"),
        embed_row("cohort_1/51/b.dcm", "1", side="R", view="MLO"),
        embed_row("cohort_1/51/c.dcm", "1", view=""),
        embed_row("cohort_1/51/d.dcm", "1", view="XCCL"),
        embed_row("cohort_1/51/e.dcm", "1", kind="cview"),
        embed_row("cohort_1/51/f.dcm", "1", kind="3D"),
        embed_row("cohort_1/51/g.dcm", "1", kind="ROI_SSC"),
        embed_row("cohort_1/51/h.dcm", "1", spot="1.0"),
        embed_row("cohort_2/52/i.dcm", "2"),
        embed_row("cohort_2/53/j.dcm", "3"),
        embed_row("cohort_2/54/k.dcm", "4"),
        embed_row("cohort_2/55/l.dcm", "5"),
    )
    table(
        tmp_path / "tables/EMBED_OpenData_clinical.csv",
        EMBED_CLINICAL,
        "51,1,2013-01-01,MG,L,1,N,2.0,61.9",
        "51,1,2013-01-01,MG,R,2,B,3.0,61.9",
        "51,1,2013-01-01,MG,,3,B,,",
        "52,2,2013-01-01,MG,B,1,N,5.0,50.0",
        "53,3,2013-01-01,MG,B,1,N,,50.0",
        "55,5,2013-01-01,MG,L,1,N,4,",
    )
    put(tmp_path, *(f"images/cohort_1/51/{name}.dcm" for name in "abcdefgh"))
    put(tmp_path, *(f"images/cohort_2/5{n}/{name}.dcm" for n, name in ((2, "i"), (3, "j"), (4, "k"))))
    found, _ = offered(ArchiveKind.EMBED, tmp_path)
    by_name = {Path(file).stem: c for file, c in found.items()}
    assert by_name["a"].label == by_name["b"].label == Label("1", "C", "51", 61)
    assert [by_name[name].view for name in "abc"] == ["CC_L", "MLO_R", None]  # the file itself must say
    assert {name: c.rejection.reason for name, c in by_name.items() if c.rejection} == {
        "d": Reason.UNSUPPORTED_VIEW,
        "e": Reason.SYNTHETIC_2D,
        "f": Reason.TOMOSYNTHESIS,
        "g": Reason.UNSUPPORTED_IMAGE,
        "h": Reason.SPOT_COMPRESSION,
        "i": Reason.INVALID_LABEL,  # 5 = normal male
        "j": Reason.NO_LABEL,
        "k": Reason.NO_LABEL,  # not in the clinical table
        "l": Reason.MISSING_FILE,
    }
    assert by_name["l"].file == "images/cohort_2/55/l.dcm"


def test_large_tables_are_mapped_by_column(tmp_path: Path) -> None:
    count = 20_000
    table(
        tmp_path / "EMBED_OpenData_metadata.csv",
        EMBED_METADATA,
        *(
            embed_row(f"cohort_1/p/{i}.dcm", str(i // 4), side="LR"[i % 2], view=("CC", "MLO")[i // 2 % 2])
            for i in range(count)
        ),
    )
    table(
        tmp_path / "EMBED_OpenData_clinical.csv",
        EMBED_CLINICAL,
        *(f"5{e},{e},2013-01-01,MG,B,1,N,{e % 4 + 1},60" for e in range(count // 4)),
    )
    tables = ("EMBED_OpenData_clinical.csv", "EMBED_OpenData_metadata.csv")
    listing = Listing(tmp_path, (*tables, *(f"images/cohort_1/p/{i}.dcm" for i in range(count))))
    started = time.process_time()
    candidates = archive_candidates(ArchiveKind.EMBED, listing)
    assert time.process_time() - started < 5
    assert len(candidates.found) == count
    assert all(c.label and c.view and not c.rejection for c in candidates.found)


def test_missing_tables_and_columns_give_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"breast-level_annotations\.csv is missing"):
        offered(ArchiveKind.VINDR_MAMMO, tmp_path)
    with pytest.raises(ManifestError, match=r"one of mass_case_description_train_set\.csv, .* must exist"):
        offered(ArchiveKind.CBIS_DDSM, tmp_path)
    table(tmp_path / "train.csv", "site_id,patient_id,image_id,laterality", "1,2,3,L")
    with pytest.raises(
        ManifestError, match=r"train\.csv: columns view, implant, density are missing; .* Received: site"
    ):
        offered(ArchiveKind.RSNA_SCREENING, tmp_path)
    (tmp_path / "INbreast.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ManifestError, match=r"INbreast\.csv: this is not a CSV"):
        offered(ArchiveKind.INBREAST, tmp_path)
    with pytest.raises(ManifestError, match="no such folder"):
        offered(ArchiveKind.EMBED, tmp_path / "gone")


def test_contradicting_rows_of_one_image_are_rejected(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", RSNA[0], RSNA[2], RSNA[2], RSNA[3], RSNA[3].replace(",L,CC,", ",R,CC,"))
    put(tmp_path, "train_images/10011/1031443799.dcm", "train_images/10011/541722628.dcm")
    found, _ = offered(ArchiveKind.RSNA_SCREENING, tmp_path)
    assert reasons(found) == {"train_images/10011/541722628.dcm": Reason.INVALID_ROW}


def test_every_row_and_every_image_is_counted(tmp_path: Path) -> None:
    table(tmp_path / "breast-level_annotations.csv", *VINDR)
    put(tmp_path, "images/s1/i1.dicom", "images/s9/stray.dicom")
    candidates = find_candidates(ArchiveSource(ArchiveKind.VINDR_MAMMO, tmp_path))
    config = IngestConfig()
    outcomes = [inspect(c, tmp_path, config.max_pixels) for c in candidates.found]
    figures = summary(plan(outcomes, candidates.labels, config, b"key"), candidates.ignored)
    assert figures["found"] == figures["rejected"] == 10
    assert figures["exams_found"] == 4
    assert figures["exams_left_out"] == {"invalid_label": 2, "invalid_row": 1, "missing_file": 1}
    assert figures["files_without_exam"] == 1


def test_the_source_travels_as_json_and_its_tables_are_in_the_fingerprint(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", *RSNA)
    source = ArchiveSource(ArchiveKind.RSNA_SCREENING, tmp_path)
    assert source_from_json(source_to_json(source)) == source
    before = archive_fingerprint(source)
    assert archive_fingerprint(source) == before
    table(tmp_path / "train.csv", *RSNA[:-1])
    assert archive_fingerprint(source) != before
