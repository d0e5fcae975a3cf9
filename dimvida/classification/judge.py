"""The classifier of real views that judges the generator before a study begins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from dimvida.classification.trained import Workshop
from dimvida.classification.verdict import Coherence, measure_coherence
from dimvida.data.batch import MultiViewBatch
from dimvida.data.source import MultiViewSource
from dimvida.models.classifiers import ImageClassifier, require_known
from dimvida.training.classifier import ClassifierPlan
from dimvida.training.data import LabelledImages, all_views

JUDGE = "resnet18"


def judge_given(workshop: Workshop, classifier: ImageClassifier) -> Coherence:
    """Coherence of ca by a classifier that was trained before.

    Raises:
        InputError: It does not know a class of the data.
    """
    weights = hashlib.sha256(repr(classifier.config).encode())
    for tensor in classifier.state_dict().values():
        weights.update(memoryview(tensor.cpu().contiguous().numpy()))
    digest = weights.hexdigest()
    return _judge(workshop, classifier.classes, lambda: workshop.given_logits(digest, classifier, workshop.c))


def judge_trained(
    workshop: Workshop, d: MultiViewSource, seed: int, weights: str | None, read: Callable[[], MultiViewBatch]
) -> Coherence:
    """Coherence of ca by a classifier of all real views of d, which is trained unless it is.

    Args:
        workshop: Trains and remembers.
        d: Objects, none of them in c or e.
        seed: Of the training.
        weights: What it starts from.
        read: Reads the views of d; not asked for if the classifier is trained.

    Raises:
        Interrupted: It was interrupted; the state is saved.
    """
    config = workshop.config
    plan = ClassifierPlan(JUDGE, config.classifier_stage, seed, weights)
    # The pixels of d are not read again to name a finished classifier; those of c, of the same data, stand for them.
    names = "\n".join((*(record.id for record in d.records), *workshop.classes))
    key = f"{hashlib.sha256(names.encode()).hexdigest()} {workshop.c.objects.digest} {config.validation}"

    def pictures() -> LabelledImages:
        return all_views(read(), workshop.classes, config.validation, seed, {"part": "d"})

    run = workshop.train_on("judge", plan, key, pictures)
    return _judge(workshop, workshop.classes, lambda: workshop.logits(run, workshop.c))


def _judge(workshop: Workshop, known: tuple[str, ...], logits: Callable[[], torch.Tensor]) -> Coherence:
    require_known(workshop.classes, known, "--judge")
    places = torch.tensor([known.index(name) for name in workshop.classes])
    objects = workshop.c.objects
    return measure_coherence(logits(), places[objects.labels], objects)
