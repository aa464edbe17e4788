"""The experiments of the thesis, by name."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from pipeline.experiments import thesis_figures as thesis
from pipeline.experiments.declarations import EXAMS, Arm, Experiment, Part
from pipeline.experiments.thesis_figures import SLIDE_FIGURES
from schema.features import VIEWS

_TEST: Final = (Part("test set"),)
_AOUP, _BIRADS = Part("AOUP test set", "AOUP"), Part("BIRADS test set", "BIRADS")
_FIGURES: Final = (*SLIDE_FIGURES, "quadratic_kappa", EXAMS)
_NETWORKS: Final = {
    "ResNet1": {"pipeline.trainer.image.channels": 1, "pipeline.trainer.network.dropout": 0.0},
    "ResNet2": {"pipeline.trainer.image.channels": 3, "pipeline.trainer.network.dropout": 0.0},
    "ResNet3": {"pipeline.trainer.image.channels": 1, "pipeline.trainer.network.dropout": 0.2},
}

_ARCHITECTURE: Final = Experiment(
    name="architecture",
    title="Architecture, training and test distribution",
    sentence="ResNet1, 2 and 3, trained and tested on AOUP's and BI-RADS' class distribution.",
    arms=tuple(
        Arm(f"{network}, {train}", {**keys, "pipeline.selection.train": train}, f"{train} training set", network)
        for train in ("AOUP", "BIRADS")
        for network, keys in _NETWORKS.items()
    ),
    parts=(_AOUP, _BIRADS, Part("Uniform test set", "uniform")),
    figures=_FIGURES,
    rows=("arm", "figure"),
    columns="part",
    baseline="ResNet1, AOUP",
    published=thesis.ARCHITECTURE,
    detail=_BIRADS,
    detail_published=thesis.VIEW_BY_VIEW,
)
_NORMALISATION: Final = Experiment(
    name="normalisation",
    title="Normalisation",
    sentence="norm_1 (each image minus its mean, by its deviation) against norm_2 (times 1/255).",
    arms=tuple(Arm(name, {"pipeline.trainer.image.normalisation": name}) for name in ("norm_1", "norm_2")),
    parts=_TEST,
    figures=_FIGURES,
    rows=("arm",),
    columns="figure",
    baseline="norm_1",
    published=thesis.NORMALISATION,
)
_SEGMENTATION: Final = Experiment(
    name="segmentation",
    title="Pectoral muscle segmentation",
    sentence="The pectoral muscle left in against the muscle removed.",
    arms=(
        Arm("Non-segmented mammograms", {"pipeline.preprocess.method": "none"}),
        Arm("Segmented mammograms", {"pipeline.preprocess.method": "auto"}),
    ),
    parts=_TEST,
    figures=_FIGURES,
    rows=("arm",),
    columns="figure",
    baseline="Non-segmented mammograms",
    published=thesis.SEGMENTATION,
)
_FLIP: Final = Experiment(
    name="flip",
    title="Horizontal flip",
    sentence="Four networks against two, for CC and MLO, that see the other breast flipped: twice the images.",
    arms=(
        Arm("Without flip", {"pipeline.trainer.sides": "separate"}),
        Arm("With flip", {"pipeline.trainer.sides": "mirrored"}),
    ),
    parts=(Part("right CC", view="CC_R"), Part("right MLO", view="MLO_R"), Part("All")),
    figures=_FIGURES,
    rows=("arm", "figure"),
    columns="part",
    baseline="Without flip",
    published=thesis.FLIP,
    note="The slide shows two tables and then two captions: they are matched in the order of reading. It gives no "
    "precision for the second.",
)
_IMAGE_SIZE: Final = Experiment(
    name="image_size",
    title="Image size",
    sentence="The image size of the configuration against 650/450 of it.",
    arms=(Arm("450 pixels"), Arm("650 pixels", image_scale=Fraction(650, 450))),
    parts=_TEST,
    figures=_FIGURES,
    rows=("arm",),
    columns="figure",
    baseline="450 pixels",
    note="The slides compare class activation maps at two image sizes and give no figures.",
)
_UNSEEN_SYSTEM: Final = Experiment(
    name="unseen_system",
    title="Test on a different mammographic system",
    sentence="Each acquisition system judged by a model that never saw it, and by one that did.",
    arms=(Arm("Seen"),),
    parts=(),
    figures=_FIGURES,
    rows=("part", "figure"),
    columns="arm",
    baseline="Seen",
    note="The slides show one confusion matrix and give no figures. A system's exams are kept from training, from the "
    "choice of epoch and from the temperature; in the row of all systems each exam is graded by the model that never "
    "saw its system. The model that saw all systems had more exams to learn from.",
    leave_one_system_out=True,
)
_DATASET_SIZE: Final = Experiment(
    name="dataset_size",
    title="Dataset size",
    sentence="All training exams against half, a quarter and a tenth of them.",
    arms=(*(Arm(f"{share} %", {"pipeline.selection.fraction": share / 100}) for share in (10, 25, 50)), Arm("100 %")),
    parts=_TEST,
    figures=("macro_auc", "accuracy", "top_2_accuracy", "top_3_accuracy", "dense_accuracy", "quadratic_kappa", EXAMS),
    rows=("arm",),
    columns="figure",
    baseline="100 %",
    published=thesis.DATASET_SIZE,
    note="Shares are of each class, and a smaller one is part of a larger one. Epochs are the same for all, so fewer "
    "exams are also fewer steps.",
)
_SUMMARY: Final = Experiment(
    name="summary",
    title="Summary of performance improvement",
    sentence="None of the thesis's improvements against all of them together.",
    arms=(
        Arm(
            "First release",
            {
                **_NETWORKS["ResNet1"],
                "pipeline.preprocess.method": "none",
                "pipeline.trainer.image.normalisation": "norm_1",
                "pipeline.selection.train": "AOUP",
            },
        ),
        Arm(
            "New results",
            {
                **_NETWORKS["ResNet3"],
                "pipeline.preprocess.method": "auto",
                "pipeline.trainer.image.normalisation": "norm_2",
                "pipeline.selection.train": "BIRADS",
            },
        ),
    ),
    parts=(_AOUP, _BIRADS),
    figures=_FIGURES,
    rows=("part", "figure"),
    columns="arm",
    baseline="First release",
    published=thesis.SUMMARY,
    note="Here the first release is ResNet1, norm_1, the muscle left in, trained on AOUP's distribution, and the new "
    "results are ResNet3, norm_2, the muscle removed, trained on BI-RADS'. The slides do not say on which test set "
    "their first release was judged; its figures stand beside AOUP's.",
)


def detail_parts(experiment: Experiment) -> tuple[Part, ...]:
    """Return the columns of the slides' backup tables: views, breasts, exam."""
    of = experiment.detail.distribution
    views = (Part(name, of, view=name) for name in thesis.VIEW_PARTS if name in VIEWS)
    return (*views, Part("Right", of, side="R"), Part("Left", of, side="L"), Part("All", of))


EXPERIMENTS: Final = {
    experiment.name: experiment
    for experiment in (
        _ARCHITECTURE,
        _NORMALISATION,
        _SEGMENTATION,
        _FLIP,
        _IMAGE_SIZE,
        _UNSEEN_SYSTEM,
        _DATASET_SIZE,
        _SUMMARY,
    )
}
