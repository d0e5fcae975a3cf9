"""Steps of a study: what is made anew, as something else decides about it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.objects import VIEWS

from dimvida.classification import study
from dimvida.classification.study import Study
from dimvida.training.control import Interrupted


class Objects(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.records)


def judged_by(views: tuple[str, ...], c: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a judge is named by, which is trained on objects that have these views."""
    told: list[str] = []

    def named(parent: Path, name: str, plan: object, data: str, *others: object) -> None:
        told.append(data)
        raise Interrupted

    monkeypatch.setattr(study.ClassifierRun, "named", named)
    d = Objects(records=[SimpleNamespace(id="x")], view_names=views)
    nothing: Any = SimpleNamespace()
    config = SimpleNamespace(seed=0, validation=0.25, classifier_stage=None)
    model, design = SimpleNamespace(view_names=VIEWS, device=torch.device("cpu")), SimpleNamespace(weights={})
    roles = SimpleNamespace(d=d, c=SimpleNamespace(classes=("a", "b")))
    ignore = lambda *told: None  # noqa: E731
    one = Study(Path(), roles, model, nothing, config, design, ignore, nothing, ignore, ignore)
    with pytest.raises(Interrupted):
        one.measure_coherence(SimpleNamespace(objects=c))
    return told[0]


def test_a_judge_is_of_the_views_that_it_was_trained_on(single_views, monkeypatch: pytest.MonkeyPatch):
    """As --nmr-views chooses them, also where each object of c keeps the one that is known of it."""
    c = single_views()
    keys = {judged_by(views, c, monkeypatch) for views in (VIEWS, VIEWS[:3], VIEWS[:2], VIEWS)}
    assert len(keys) == 3
