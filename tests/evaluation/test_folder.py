"""Which objects are on which sheet, and what the sheets show."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.evaluation import folder
from dimvida.evaluation.folder import draw_sheets, rank_objects, require_free
from dimvida.evaluation.metrics import build_metrics
from dimvida.evaluation.protocol import evaluate_model
from dimvida.sampling.multiview import load
from dimvida.sampling.trajectory import sample_id_tensor

MEANS = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize(("metric", "order"), [("psnr", [0, 2, 4, 3, 1, 5]), ("lpips", [5, 1, 3, 4, 2, 0])])
def test_the_best_come_first(metric: str, order: list[int], monkeypatch: pytest.MonkeyPatch):
    assert rank_objects(MEANS, metric) == {"best": order, "median": order, "worst": order}
    monkeypatch.setattr(folder, "ROWS", 2)
    assert rank_objects(MEANS, metric) == {"best": order[:2], "median": order[2:4], "worst": order[4:]}


def test_equal_pictures_are_best():
    means = torch.tensor([20.0, math.inf], dtype=torch.float64)
    assert rank_objects(means, "psnr")["best"] == [1, 0]


def test_sheets_show_what_was_scored(tiny_checkpoint: Path):
    model = load(tiny_checkpoint)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 4, 3, 16, 16), generator=generator, dtype=torch.uint8)
    ids, labels = ("chair/a", "chair/b", "c"), torch.tensor([0, 0, -1])
    objects = MultiViewBatch(images, torch.ones(3, 4, dtype=torch.bool), labels, ids, model.view_names)
    metrics = build_metrics(16, ("chair",), model.device, names=("psnr",))
    sampling = {"steps": 2, "seed": 5}
    evaluation = evaluate_model(model, objects, ("chair",), metrics, [2, 1], batch=3, **sampling)
    sheets = draw_sheets(model, objects, ("chair",), evaluation, **sampling)
    assert list(sheets) == ["best", "median", "worst"]

    given = torch.tensor([True, False, False, False]).expand(3, 4)
    completed = model.generate(images, given, sample_ids=sample_id_tensor(ids), **sampling)
    sheet = np.asarray(sheets["best"])
    for pictures in (images, completed):
        for picture in pictures.flatten(0, 1):
            assert contains(sheet, picture.permute(1, 2, 0).numpy())


def contains(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a picture is on a sheet, enlarged to the size that sheets have."""
    large = np.asarray(Image.fromarray(picture).resize((128, 128), Image.Resampling.LANCZOS))
    places = np.argwhere((sheet[:-127, :-127] == large[0, 0]).all(2))
    return any(np.array_equal(sheet[y : y + 128, x : x + 128], large) for y, x in places)


def test_a_folder_that_holds_an_evaluation_is_kept(tmp_path: Path):
    require_free(tmp_path / "new", overwrite=False)
    (tmp_path / "evaluation.json").touch()
    with pytest.raises(InputError, match="holds an evaluation already"):
        require_free(tmp_path, overwrite=False)
    require_free(tmp_path, overwrite=True)
