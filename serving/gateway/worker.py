"""Grade the queued studies with a limited number of threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from components.exam_model.recipe import PreprocessingRecipe
from schema.features import VIEWS
from serving.client.grader import Grader
from serving.client.grades import InvalidExamError, ServingError
from serving.client.grading import ExamRefusedError, GradedExam, ModelChangedError, grade_prepared
from serving.client.preprocessing import PreparedExam
from serving.dicom_results import ResultsError
from serving.gateway.decoding import Decoder, DecodingBrokeError
from serving.gateway.monitoring import log
from serving.gateway.outcome import StudyOutcome, graded_outcome, refused_outcome, results_in
from serving.gateway.records import Claim
from serving.gateway.spool import SpoolFullError
from serving.gateway.studies import Studies

POLL_SECONDS: Final = 0.25
GATEWAY_FAILED: Final = "gateway_failed"
_SWAPS: Final = 5


class ConsistentGrader:
    """Grades exams with the recipe of the served model, also while its version changes. Threads may share it."""

    def __init__(self, grader: Grader) -> None:
        self._grader = grader
        self._recipe: PreprocessingRecipe | None = None

    def grade(self, grade: Callable[[Grader, PreprocessingRecipe], GradedExam]) -> GradedExam:
        """Grade an exam.

        Args:
            grade: Function that grades the exam with a recipe, such as `serving.client.grading.grade_exam`.

        Returns:
            The grade.

        Raises:
            ExamRefusedError: The exam is not graded.
            ServingError: Server or model is at fault, or versions change all the time.
        """
        recipe = self._recipe or self._grader.model_recipe().recipe
        for _ in range(_SWAPS):
            try:
                graded = grade(self._grader, recipe)
            except (ExamRefusedError, ModelChangedError) as error:
                found = self._grader.model_recipe().recipe
                # An exam may be refused before the server is called: the refusal must come from the current recipe.
                if found == recipe and isinstance(error, ExamRefusedError):
                    raise
                recipe = found
                continue
            self._recipe = recipe
            return graded
        raise ModelChangedError("The model server changes its model all the time: wait until one stays.")


class Worker(threading.Thread):
    """One thread that grades studies until the gateway stops."""

    def __init__(self, studies: Studies, grader: ConsistentGrader, stopping: threading.Event, number: int) -> None:
        super().__init__(name=f"grading-{number}", daemon=True)
        self._studies = studies
        self._grader = grader
        self._stopping = stopping
        self._decoder = Decoder(studies.config.grading.decode_seconds)

    def run(self) -> None:
        """Grade the studies that are due."""
        try:
            self._grade_all()
        finally:
            self._decoder.close()

    def _grade_all(self) -> None:
        claim = None
        while not self._stopping.is_set():
            try:
                claim = claim or self._studies.store.claim(self._studies.now())
                if claim is not None:
                    self._work_on(claim)
                    claim = None
                    continue
            except Exception:  # the disk is full or broken: accepted images wait
                if self._stopping.is_set():  # the gateway did not wait for this study, and closed its store
                    log.info("grading: stopped in the middle of a study, which is graded after the next start")
                    return
                log.exception("grading: the spool cannot be used")
                self._stopping.wait(1.0)
            with self._studies.work:
                self._studies.work.wait(POLL_SECONDS)

    def _work_on(self, claim: Claim) -> None:
        studies = self._studies
        started = time.monotonic()
        try:
            outcome = self._outcome(claim)
            studies.spool.write_results(claim.key, claim.revision, outcome.files)
        except Exception as error:
            self._not_done(claim, error)
            return
        destinations = [d.name for d in studies.config.destinations]
        counts = studies.store.finish(
            claim, outcome.document, outcome.refusal, outcome.rejected, destinations, studies.now()
        )
        if not counts:
            log.info("study %s: images came while it was graded, it is graded again", claim.key)
            return
        seconds = time.monotonic() - started
        studies.metrics.grading.observe(seconds)
        answer = "graded" if outcome.refusal is None else "refused"
        studies.metrics.answers.labels(answer).inc()
        for flag in outcome.flags:
            studies.metrics.flags.labels(flag, answer).inc()
        if outcome.familiarity is not None:
            studies.metrics.familiarity.observe(outcome.familiarity)
        # What was sent stays until something newer is sent: the newer result names what it replaces.
        studies.spool.remove_results(claim.key, studies.store.sent_revision(claim.key) or claim.revision)
        what = f"refused, {outcome.refusal['reason']}" if outcome.refusal else ", ".join((answer, *outcome.flags))
        log.log(logging.WARNING if outcome.flags else logging.INFO, "study %s: %s in %.1f s", claim.key, what, seconds)
        studies.wake()

    def _outcome(self, claim: Claim) -> StudyOutcome:
        studies = self._studies
        folder = studies.spool.images(claim.key)
        results = studies.config.results if studies.config.destinations else None
        last = claim.starts + 1 >= studies.config.grading.crashes

        def grade(grader: Grader, recipe: PreprocessingRecipe) -> GradedExam:
            def prepare() -> PreparedExam:
                # Another study may have taken the memory: before a study fails, it is read alone once.
                with studies.turns.take(alone=last):
                    return self._decoder.prepare(folder, recipe)

            return grade_prepared(prepare, grader, recipe, studies.config.grading.policy)

        try:
            graded = self._grader.grade(grade)
        except ExamRefusedError as error:
            message = error.message.replace(str(folder), "The study")
            told = ExamRefusedError(error.reason, message, error.rejected, error.flags, error.familiarity)
            return self._refused(claim, told)
        names = studies.store.image_names(claim.key)
        images = {
            uid: folder / names[studies.spool.instance_id(uid)]
            for uid in (item.loaded.header.sop_uid for item in graded.prepared.views.values())
        }
        return graded_outcome(graded, images, results, self._earlier(claim))

    def _refused(self, claim: Claim, refusal: ExamRefusedError) -> StudyOutcome:
        results = self._studies.config.results if self._studies.config.destinations else None
        images = self._by_view(claim.key, self._studies.spool.images(claim.key))
        return refused_outcome(refusal, images, results, self._earlier(claim))

    def _earlier(self, claim: Claim) -> tuple[Dataset, ...]:
        """Return the headers of the results that a destination may have; those of this revision replace them."""
        sent = self._studies.store.sent_revision(claim.key)
        return results_in(self._studies.spool.results(claim.key, sent)) if 0 < sent < claim.revision else ()

    def _by_view(self, key: str, folder: Path) -> dict[str, Path]:
        """Return the images that a refusal refers to: one per view; if none shows a view, the first one."""
        found = sorted(self._studies.store.image_views(key).items())
        by_view = {view: folder / name for name, view in reversed(found) if view}
        if not by_view:
            return {"image": folder / found[0][0]}
        return {view: by_view[view] for view in VIEWS if view in by_view}

    def _not_done(self, claim: Claim, error: Exception) -> None:
        """Return a study to the queue, or fail it after repeated faults of the study or of this code."""
        if isinstance(error, (ServingError, SpoolFullError)) and not isinstance(error, InvalidExamError):
            self._postpone(claim, str(error), own_fault=False)
            return
        problem = f"The gateway could not grade the study ({type(error).__name__}): look at its log."
        if isinstance(error, (InvalidExamError, ResultsError, DecodingBrokeError)):
            problem = str(error)
        else:
            log.error("study %s: grading broke", claim.key, exc_info=error)
        if claim.starts + 1 >= self._studies.config.grading.crashes:
            self._fail(claim, problem)
        else:
            self._postpone(claim, problem, own_fault=True)

    def _postpone(self, claim: Claim, problem: str, own_fault: bool) -> None:
        studies, attempts = self._studies, claim.attempts + 1
        now = studies.now()
        studies.store.postpone(claim, problem, now + studies.config.retry.wait(attempts), now, own_fault)
        studies.metrics.answers.labels("postponed").inc()
        log.warning("study %s: waits, attempt %d failed: %s", claim.key, attempts, " ".join(problem.split()))

    def _fail(self, claim: Claim, problem: str) -> None:
        studies = self._studies
        destinations = [destination.name for destination in studies.config.destinations]
        try:  # the destinations learn of the failure
            refusal = self._refused(claim, ExamRefusedError(GATEWAY_FAILED, problem))
            studies.spool.write_results(claim.key, claim.revision, refusal.files)
        except Exception as error:
            log.error("study %s: its failure cannot be written as DICOM (%s)", claim.key, type(error).__name__)
            destinations = []
        studies.store.fail(claim, problem, destinations, studies.now())
        studies.wake()
        studies.metrics.answers.labels("failed").inc()
        log.error("study %s: failed, %s", claim.key, problem)
