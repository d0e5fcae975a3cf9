"""What a chain may be asked, and the command lines of its stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dimvida.data.opening import open_source
from dimvida.errors import InputError
from dimvida.reproduction.stages import ChainOptions, StageMaker, open_data, parse_data


def lines(**options) -> dict[str, str]:
    settings = ChainOptions(Path("d.zip"), **options)
    return {stage.name: " ".join(stage.command) for stage in StageMaker(settings, Path("out")).all()}


def test_the_papers_values_are_the_default():
    made = lines()
    assert list(made) == ["partition", "model", "classifier for coherence", "evaluation", "classification", "report"]
    assert "--preset paper" in made["model"] and "--preset paper" in made["classification"]
    assert "--classifiers resnet18,mobilenet-v3-large --seeds 3" in made["classification"]
    assert "--budget both" in made["classification"]
    for name in ("model", "classifier for coherence", "evaluation", "classification"):
        assert "--partition out/partition.json" in made[name]
    for name in ("evaluation", "classification"):
        assert "--checkpoint out/model" in made[name]


def test_options_reach_the_stages_that_they_are_for():
    made = lines(seed=5, values=("score.width=64",), weights=("resnet18=r.pth",), lpips_weights=Path("l.pth"))
    assert "--seed 5" in made["partition"] and "--seed 5" in made["evaluation"]
    for name in ("model", "classifier for coherence", "classification"):
        assert made[name].index("--set seed=5") < made[name].index("--set score.width=64")
    assert "--weights r.pth" in made["classifier for coherence"]
    assert "--weights resnet18=r.pth" in made["classification"]
    assert "--lpips-weights l.pth" in made["evaluation"] and "--inception-weights" not in made["evaluation"]


def test_first_weights_are_those_of_the_model_alone():
    made = lines(init="bundled")
    assert [name for name, line in made.items() if "--init bundled" in line] == ["model"]
    assert not any("--init" in line for line in lines().values())


@pytest.mark.parametrize(
    ("weights", "judge"),
    [
        (("imagenet",), "--weights imagenet"),
        (("resnet18=imagenet",), "--weights imagenet"),
        (("mobilenet-v3-large=m.pth",), ""),
    ],
)
def test_the_judge_starts_from_weights_of_its_own_kind(weights, judge):
    line = lines(weights=weights)["classifier for coherence"]
    assert judge in line and ("--weights" in line) == bool(judge)


def test_the_description_of_a_chain_survives_json(tmp_path: Path, write_objects):
    data = write_objects(tmp_path / "d", {"chair/a": ("front", "back"), "table/b": ("front", "back")})
    settings = ChainOptions(data, preset="tiny", weights=("imagenet",), lpips_weights=Path("l.pth"), budget=5.0)
    described = settings.describe(open_data(str(data)))
    assert json.loads(json.dumps(described)) == described
    assert described["form"] == "folder" and described["name"] == "d"


def test_data_behind_a_url_are_named_without_their_signature(tmp_path: Path, write_objects):
    settings = ChainOptions(parse_data("HTTPS://host/sets/views.zip?signature=abc"), preset="tiny")
    assert settings.data == "https://host/sets/views.zip?signature=abc"
    assert all(settings.data in stage.command for stage in StageMaker(settings, Path("out")).all()[:-1])
    described = settings.describe(open_source(write_objects(tmp_path / "d", {"chair/a": ("front", "back")})))
    assert described["data"] == "https://host/sets/views.zip" and described["name"] == "views.zip"


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({"chair/a": ("front",), "table/b": ("front",)}, "one view"),
        ({"chair/a": ("front", "back")}, "fewer than two classes"),
    ],
)
def test_data_without_views_or_classes_are_refused(tmp_path: Path, write_objects, objects, said):
    data = write_objects(tmp_path / "d", objects)
    with pytest.raises(InputError, match=said):
        open_data(str(data))


def test_nmr_insists_on_that_data_set(tmp_path: Path, write_objects):
    data = write_objects(tmp_path / "d", {"chair/a": ("front", "back"), "table/b": ("front", "back")})
    with pytest.raises(InputError, match="not the NMR data set but folder"):
        open_data(f"nmr:{data}")
    assert len(open_data(str(data))) == 2


@pytest.mark.parametrize(
    "options", [{"budget": -1.0}, {"seeds": 0}, {"preset": "huge"}, {"values": ("score.width=x",)}]
)
def test_options_that_do_not_fit_are_refused_before_anything_is_done(options):
    with pytest.raises(InputError):
        ChainOptions(Path("d"), **options)
