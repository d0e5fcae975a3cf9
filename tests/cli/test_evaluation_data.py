"""Which objects commands train and evaluate on, by the names of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimvida.cli.evaluation_data import open_for_evaluation
from dimvida.data.names import split_family
from dimvida.data.partitions import make_partitions, save_partitions
from dimvida.errors import InputError
from dimvida.training.data import open_for_training

VIEWS = ("front", "left")


@pytest.fixture
def data(tmp_path: Path, write_objects):
    """Multi-view data with an object of the split's name in each split."""

    def data(*splits: str) -> Path:
        return write_objects(tmp_path / "data", {f"{split}/chair/of-{split}": VIEWS for split in splits})

    return data


def names(source) -> list[str]:
    return [record.name for record in source.records]


@pytest.mark.parametrize(
    ("splits", "trains", "tests"),
    [
        (("training", "testing"), "training", "testing"),
        (("Train", "Test"), "Train", "Test"),
        (("TRAIN", "VAL", "TEST"), "TRAIN", "TEST"),
        (("train_set", "test_set"), "train_set", "test_set"),
        (("train2017", "val2017", "eval"), "train2017", "eval"),
        (("Training-Images", "Testing-Images"), "Training-Images", "Testing-Images"),
    ],
)
def test_splits_by_their_families(data, splits, trains, tests):
    path = data(*splits)
    source, split = open_for_training(path, None, None)
    assert (names(source), split) == ([f"of-{trains}"], trains)
    assert names(open_for_evaluation(path, None)) == [f"of-{tests}"]


@pytest.mark.parametrize("splits", [("testing",), ("val", "test"), ("fold1", "fold2"), ("trainval", "test")])
def test_without_a_training_split_one_is_asked_for(data, splits):
    path = data(*splits)
    with pytest.raises(InputError, match=r"none of its splits is called train or training; choose one of .* --split"):
        open_for_training(path, None, None)
    source, split = open_for_training(path, splits[0], None)
    assert (names(source), split) == ([f"of-{splits[0]}"], splits[0])


@pytest.mark.parametrize("family", ["train", "test"])
def test_several_splits_of_a_family_are_not_mixed(data, family):
    path = data(family, family.upper())
    with pytest.raises(InputError, match=rf"has the splits {family.upper()}, {family}; choose one with --split"):
        open_for_training(path, None, None) if family == "train" else open_for_evaluation(path, None)


def test_a_folder_around_the_set_is_no_reason_to_ask(data):
    source, split = open_for_training(data("download"), None, None)
    assert (names(source), split) == (["of-download"], None)


def test_classes_called_like_splits_stay_classes(tmp_path: Path, write_objects):
    objects = {"test/a": VIEWS, "train/b": VIEWS, "sofa/c": VIEWS}
    source, split = open_for_training(write_objects(tmp_path / "data", objects), None, None)
    assert (source.classes, source.splits, split, len(source)) == (("sofa", "test", "train"), (), None, 3)


def test_a_partition_names_objects_of_any_split(data, tmp_path: Path):
    path = data("training", "testing")
    source = open_for_evaluation(path, "testing")
    save_partitions(make_partitions(source.records, (1.0, 0.0, 0.0)), tmp_path / "p.json")
    assert names(open_for_training(path, None, tmp_path / "p.json")[0]) == ["of-testing"]


def test_evaluation_says_when_no_split_is_for_testing(data, capsys):
    assert len(open_for_evaluation(data("train", "val"), None)) == 2
    assert "note: none of the splits is called test or testing: objects of all (train, val) are taken" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["chair", "trains", "tester", "development", "valley", "train-clean", "", "latest"])
def test_other_names_are_no_splits(name):
    assert split_family(name) is None


def test_single_images_in_splits_without_classes(tmp_path: Path, tiny_image):
    for split in ("Train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for view in VIEWS:
            tiny_image().save(tmp_path / "data" / split / f"{split}__{view}.png")
    source, split = open_for_training(tmp_path / "data", None, None)
    assert (names(source), split, source.classes) == (["Train"], "Train", ())
