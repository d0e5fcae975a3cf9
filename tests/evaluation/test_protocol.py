"""What exactly is averaged, over which pictures, and what is compared with what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.evaluation.metrics import MetricSet, build_metrics, psnr, ssim
from dimvida.evaluation.networks import Judge
from dimvida.evaluation.objects import views_by_angle
from dimvida.evaluation.protocol import (
    ModelEvaluation,
    Scorer,
    evaluate_model,
    study_true_views,
)
from dimvida.sampling.multiview import MultiViewModel, load
from dimvida.sampling.trajectory import sample_id_tensor

IDS = ("chair/a", "chair/b", "table/c")
LABELS = torch.tensor([0, 0, 1])
VIEWS = range(4)


class Brightness(torch.nn.Module):
    """Says "dark" or "bright" of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3]))
            self.head.bias.copy_(torch.tensor([380.0, -380.0]))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(pictures.float().mean((2, 3)))


@pytest.fixture(scope="module")
def objects() -> MultiViewBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 4, 3, 16, 16), generator=generator, dtype=torch.uint8)
    known = torch.ones(3, 4, dtype=torch.bool)
    return MultiViewBatch(images, known, LABELS, IDS, ("front", "right", "back", "left"))


def similarity(model: MultiViewModel) -> MetricSet:
    return build_metrics(model.image_size, (), model.device, names=("psnr", "ssim"))


def judged(model: MultiViewModel) -> MetricSet:
    judge = Judge(Brightness(), ("dark", "bright"), ("dark", "bright"), "--classifier here")
    return MetricSet(model.device, distances={"feature_frechet": judge}, judged={"coherence": judge})


def generated(
    model: MultiViewModel, objects: MultiViewBatch, known: int, **sampling
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Object, view and picture of all that is generated, one set of known views after the other."""
    for subset in itertools.combinations(VIEWS, known):
        given = torch.tensor([view in subset for view in VIEWS]).expand(len(objects), 4)
        completed = model.generate(objects.images, given, sample_ids=sample_id_tensor(objects.ids), **sampling)
        for place, view in itertools.product(range(len(objects)), VIEWS):
            if view not in subset:
                yield place, view, completed[place, view]


def evaluate(model, objects, metrics, counts, **options) -> ModelEvaluation:
    return evaluate_model(
        model, objects, ("chair", "table"), metrics, counts, **{"batch": 2, "steps": 2, "seed": 3, **options}
    )


@pytest.mark.parametrize("known", [1, 2, 3])
def test_the_mean_is_over_every_view_generated_from_every_set(model, objects, known: int):
    evaluation = evaluate(model, objects, similarity(model), [known])
    (scores,) = evaluation.known
    values = []
    for place, view, picture in generated(model, objects, known, steps=2, seed=3):
        pair = picture[None], objects.images[place, view][None]
        values.append((place, view, psnr(*pair).item(), ssim(*pair).item()))
    assert scores.subsets == scores.subsets_total == len(evaluation.subsets[known]) == math.comb(4, known)

    def mean(column: int, rows: list) -> float:
        return sum(row[column] for row in rows) / len(rows)

    def check(found, rows: list) -> None:
        # Another batch may move a pixel by one level of 255.
        assert found["psnr"].mean == pytest.approx(mean(2, rows), abs=0.02)
        assert found["ssim"].mean == pytest.approx(mean(3, rows), abs=0.002)
        assert found["psnr"].count == found["ssim"].count == len(rows)

    check(scores.scores, values)
    for view in VIEWS:
        check(evaluation.per_view[view].scores, [row for row in values if row[1] == view])
    assert [(entry.name, entry.objects) for entry in evaluation.per_class] == [("chair", 2), ("table", 1)]
    check(evaluation.per_class[0].scores, [row for row in values if row[0] in (0, 1)])
    check(evaluation.per_class[1].scores, [row for row in values if row[0] == 2])
    for place in range(3):
        expected = mean(2, [row for row in values if row[0] == place])
        assert evaluation.object_means[known][place].item() == pytest.approx(expected, abs=0.02)


def test_coherence_and_distance_are_of_the_generated_views(model, objects):
    evaluation = evaluate(model, objects, judged(model), [1])
    (scores,) = evaluation.known
    classifier = Brightness()
    right, features, true = [], [], []
    for place, view, picture in generated(model, objects, 1, steps=2, seed=3):
        right.append(float(classifier(picture[None]).argmax(1) == LABELS[place]))
        features.append(picture.float().mean((1, 2)))
        true.append(objects.images[place, view].float().mean((1, 2)))
    assert scores.scores["coherence"].mean == pytest.approx(sum(right) / len(right))
    assert scores.scores["coherence"].count == len(right) == 36
    roots = [torch.stack(rows).double() for rows in (features, true)]
    means = [root.mean(0) for root in roots]
    roots = [(root - mean) / math.sqrt(35) for root, mean in zip(roots, means, strict=True)]
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    expected = (means[0] - means[1]).square().sum() + sum(root.square().sum() for root in roots) - 2 * cross
    # Another batch may move a pixel by one level of 255.
    assert scores.scores["feature_frechet"].mean == pytest.approx(float(expected), rel=1e-3)
    assert scores.scores["feature_frechet"].count == 36
    assert list(evaluation.per_view[0].scores) == ["coherence"]

    flat = objects.images.flatten(0, 1)
    accuracy = (classifier(flat).argmax(1) == LABELS.repeat_interleave(4)).double().mean().item()
    assert evaluation.reference["coherence"].mean == pytest.approx(accuracy)


def test_objects_without_a_class_have_no_coherence(model, objects):
    labels = torch.tensor([0, -1, 1])
    some = MultiViewBatch(objects.images, objects.known, labels, IDS, objects.view_names)
    (scores,) = evaluate(model, some, judged(model), [3]).known
    assert scores.scores["coherence"].count == 2 * 4
    assert scores.scores["feature_frechet"].count == 3 * 4


def test_the_ceiling_is_the_autoencoders_reconstruction_of_every_view(model, objects):
    scores = evaluate(model, objects, similarity(model), [3]).reconstruction
    flat = objects.images.flatten(0, 1)
    decoded = (model.decode(model.encode(flat)) * 255).round().to(torch.uint8)
    assert scores["psnr"].mean == pytest.approx(psnr(decoded, flat).mean().item(), abs=0.02)
    assert scores["psnr"].count == 12


def test_a_sample_of_sets(model, objects):
    done: list[int] = []
    evaluation = evaluate(model, objects, judged(model), [2, 1], most_subsets=3, progress=done.append)
    two, one = evaluation.known
    assert (two.known, one.known) == (2, 1)
    assert (two.subsets, two.subsets_total, one.subsets, one.subsets_total) == (3, 6, 3, 4)
    assert two.scores["coherence"].count == 3 * 3 * 2
    assert sum(done) == 3 * (2 + 3 + 3)
    # The distance is to the true pictures of the same views, each as often as it was generated.
    assert two.scores["feature_frechet"].count == 18
    shown = [sum(view not in subset for subset in evaluation.subsets[2]) for view in VIEWS]
    counts = [entry.scores["coherence"].count for entry in evaluation.per_view if entry.known == 2]
    assert counts == [3 * times for times in shown]


def test_a_generator_of_true_views_has_distance_nought(model, objects):
    # However often each view is scored, the true views that it is compared with are as many of the same.
    metrics = judged(model)
    true = study_true_views(metrics, objects.images, objects.labels, batch=2)
    scorer = Scorer(metrics, true)
    for views in ([0, 2], [2, 3]):
        scorer.add(slice(0, 3), torch.tensor(views), objects.images[:, views])
    assert scorer.scores()["feature_frechet"].mean == pytest.approx(0, abs=1e-6)


def test_batches_make_no_difference(model, objects):
    one = evaluate(model, objects, judged(model), [2], batch=1).known[0].scores
    three = evaluate(model, objects, judged(model), [2], batch=3).known[0].scores
    assert one["coherence"] == three["coherence"]
    assert one["feature_frechet"].mean == pytest.approx(three["feature_frechet"].mean, rel=1e-3)


@pytest.mark.parametrize("known", [0, 4])
def test_numbers_of_known_views_that_leave_nothing_to_do(model, objects, known: int):
    with pytest.raises(InputError, match=f"--known {known}: must be between 1 and 3"):
        evaluate(model, objects, similarity(model), [known])


def test_what_objects_are_ranked_by(model, objects):
    metrics = similarity(model)
    assert evaluate(model, objects, metrics, [3]).ranked == "psnr"
    metrics.pictures["lpips"] = lambda images, references: torch.zeros(len(images), dtype=torch.float64)
    with_lpips = evaluate(model, objects, metrics, [3])
    assert with_lpips.ranked == "lpips" and with_lpips.object_means[3].tolist() == [0.0] * 3
    unranked = evaluate(model, objects, judged(model), [3])
    assert unranked.ranked is None and not unranked.object_means


def test_views_of_trained_and_of_other_angles_are_told_apart(camera_checkpoint):
    model = load(camera_checkpoint)  # trained on azimuths 0, -90, -180 and -270 at elevation 30
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 5, 3, 16, 16), generator=generator, dtype=torch.uint8)
    names = ("a", "b", "c", "d", "e")
    objects = MultiViewBatch(images, torch.ones(3, 5, dtype=torch.bool), LABELS, IDS, names)
    cameras = ((-90.0, 30.0), (-45.0, 30.0), (360.2, 30.0), (0.0, 50.0), (-135.0, 30.0))
    assert views_by_angle(model, cameras) == {"trained": [0, 2], "untrained": [1, 3, 4]}
    evaluation = evaluate(model, objects, similarity(model), [1, 2], cameras=cameras)
    assert [(entry.known, entry.view) for entry in evaluation.per_angle] == [
        (known, kind) for known in (1, 2) for kind in ("trained", "untrained")
    ]
    found = {entry.view: entry.scores["psnr"] for entry in evaluation.per_angle if entry.known == 1}
    values: dict[str, list[float]] = {"trained": [], "untrained": []}
    for known in range(5):
        given = (torch.arange(5) == known).expand(3, 5)
        sampling = {"sample_ids": sample_id_tensor(IDS), "steps": 2, "seed": 3, "cameras": cameras}
        completed = model.generate(images, given, **sampling)
        for kind, views in (("trained", [0, 2]), ("untrained", [1, 3, 4])):
            for view in set(views) - {known}:
                values[kind] += psnr(completed[:, view], images[:, view]).tolist()
    for kind, score in found.items():
        assert score.count == len(values[kind])
        assert score.mean == pytest.approx(sum(values[kind]) / len(values[kind]), abs=0.02)


def test_named_views_have_no_angles(model, objects):
    evaluation = evaluate(model, objects, similarity(model), [3])
    assert evaluation.per_angle == [] and evaluation.to_result()["per_angle"] is None
