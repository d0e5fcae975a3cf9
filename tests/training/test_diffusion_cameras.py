"""Training a transformer that is told where its views are seen from, on a few of them a step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers.networks import FAST, TRANSFORMER, curve, tiny_transformer, weights
from torch import Tensor

from dimvida.data.cameras import Camera
from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import InputError
from dimvida.models.checkpoint import load_checkpoint
from dimvida.sampling.multiview import load
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.costs import step_costs
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.diffusion import DiffusionObjective
from dimvida.training.latents import object_variants
from dimvida.training.ranks import Share
from dimvida.training.stage_config import DiffusionStageConfig

from .conftest import absent_views_leave_no_trace, batch_of, complete, partly, run, with_stage

CPU = torch.device("cpu")
CAMERAS = {"front": Camera(0, 30), "right": Camera(-90, 30), "back": Camera(-180, 20), "left": Camera(-250, 30)}
ANGLES = torch.tensor([(0.0, 30.0), (-90.0, 30.0), (-180.0, 20.0), (-250.0, 30.0)])
TWO_OF_FOUR = (*TRANSFORMER, "diffusion_stage.views_drawn=2", "diffusion_stage.mirror=true")


def seen_from(known: Tensor, config: TrainConfig, cameras: dict[str, Camera] | None = CAMERAS) -> TrainingData:
    return prepare_data(batch_of(known), ("box",), config, {}, cameras=cameras)


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return load_preset("tiny", TWO_OF_FOUR)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, config: TrainConfig) -> Path:
    out = tmp_path_factory.mktemp("cameras")
    assert run(out, config, seen_from(complete(), config))
    return out


def test_its_checkpoint_knows_the_cameras_and_generates(finished: Path):
    checkpoint = load_checkpoint(finished)
    assert checkpoint.config.cameras == tuple(map(tuple, ANGLES.tolist()))
    assert checkpoint.score.takes_cameras and torch.equal(checkpoint.score.view_embedding.cameras, ANGLES)
    losses = [float(row["validation_loss"]) for row in curve(finished / "diffusion.csv")]
    assert losses[-1] < losses[0]
    images = batch_of(complete(3)).images
    made = load(finished).generate(images[:, 0], "front", steps=2)
    assert torch.equal(made[:, 0], images[:, 0]) and made.shape == images.shape
    assert (finished / "samples/diffusion-000060.png").exists()


def test_a_stopped_run_ends_as_the_whole_one(finished: Path, tmp_path: Path, config: TrainConfig):
    for number, stop in enumerate([20, 10 + 33]):
        assert not run(tmp_path, config, seen_from(complete(), config), stop=stop, resume=number > 0)
    assert run(tmp_path, config, seen_from(complete(), config), resume=True)
    assert weights(tmp_path) == weights(finished)


def test_other_cameras_are_other_data_to_the_diffusion_alone(finished: Path, config: TrainConfig):
    other = {name: Camera(camera.azimuth, 0) for name, camera in CAMERAS.items()}
    data, another = seen_from(complete(), config), seen_from(complete(), config, other)
    assert data.digest_for("autoencoder") == another.digest_for("autoencoder")
    assert data.digest_for("diffusion") != another.digest_for("diffusion")
    with pytest.raises(InputError, match=r"was made on other data \(its pictures, names, cameras, "):
        run(finished, config, another, resume=True)


def test_by_choice_or_for_want_of_cameras_views_have_names(config: TrainConfig):
    assert seen_from(complete(), config, None).cameras is None
    assert seen_from(complete(), with_stage(config, "diffusion", cameras=False)).cameras is None
    mlp = load_preset("tiny", FAST)
    data = seen_from(complete(), mlp)
    assert data.cameras is None and data.digest_for("diffusion") == data.digest


def test_names_that_contradict_mirroring_do_not_where_cameras_say_more(config: TrainConfig, tmp_path: Path):
    short = with_stage(with_stage(config, "autoencoder", steps=2), "diffusion", steps=2)
    batch = dataclasses.replace(batch_of(complete()), view_names=("front", "back", "left", "right"))
    with pytest.raises(InputError, match="mirror"):
        run(tmp_path, short, prepare_data(batch, (), short, {}))
    assert run(tmp_path, short, prepare_data(batch, (), short, {}, cameras=CAMERAS))


def test_a_mirrored_view_stays_in_place_and_has_the_opposite_azimuth():
    plain, mirrored = object_variants(3, mirror=True, recolour=False, exchange=False)
    images = torch.randint(256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    assert torch.equal(mirrored.of(images), images.flip(-1))
    assert torch.equal(mirrored.views(images), images)
    assert torch.equal(mirrored.cameras(ANGLES), ANGLES * torch.tensor([-1, 1]))
    assert torch.equal(plain.cameras(ANGLES), ANGLES)


def objective_of_numbers(present: Tensor | None = None, **options: object) -> DiffusionObjective:
    """Three variants of six objects with five views; a latent says which of them it is."""
    variant, item, view = torch.meshgrid(torch.arange(3.0), torch.arange(6.0), torch.arange(5.0), indexing="ij")
    latents = torch.stack([variant, item, view], -1).repeat(1, 1, 1, 4)  # [3, 6, 5, 12]
    # The camera of view v of variant k has azimuth v and elevation k.
    cameras = torch.stack([view[:, 0], variant[:, 0]], -1)
    network = tiny_transformer(5, (3, 2, 2), cameras[0].tolist())
    return DiffusionObjective(
        network,
        latents,
        latents[0],
        DiffusionStageConfig(autocast="off", **options),
        VPSchedule(),
        CPU,
        "velocity",
        None if present is None else present.expand(3, 6, 5),
        present,
        cameras,
    )


def test_a_step_draws_some_views_of_each_object_with_their_cameras():
    objective, sets, known = objective_of_numbers(views_drawn=3), set(), set()
    for step in range(20):
        drawn = objective.draw(torch.arange(6), 0, step, slice(0, 6))
        latents, cameras = drawn["latents"], drawn["views"]
        assert latents.shape == (6, 3, 12) and cameras.shape == (6, 3, 2) and drawn["known"].shape == (6, 3)
        assert torch.equal(latents[..., 1], torch.arange(6.0)[:, None].expand(6, 3))  # of the objects asked for
        assert torch.equal(latents[..., 2], cameras[..., 0])  # views where they are
        assert torch.equal(latents[..., 0], cameras[..., 1])  # of their variants
        assert all(len(set(row)) == 3 for row in latents[..., 2].tolist())
        sets |= {tuple(sorted(row)) for row in latents[..., 2].tolist()}
        known |= {tuple(row) for row in drawn["known"].tolist()}
    assert len(sets) == 10 and len(known) == 7  # all sets of 3 of 5; none, one or two of three are known


def test_what_is_drawn_for_a_row_does_not_depend_on_the_others():
    objective = objective_of_numbers(views_drawn=4, views_least=2, views_even=0.5)
    whole = objective.draw(torch.arange(6), 0, 7, slice(0, 6))
    part = objective.draw(torch.arange(6), 0, 7, slice(2, 5))
    assert whole.keys() == part.keys() and all(torch.equal(whole[name][2:5], part[name]) for name in whole)


def test_a_range_of_numbers_is_drawn_from():
    objective = objective_of_numbers(views_drawn=4, views_least=2)
    counts = {objective.draw(torch.arange(6), 0, step, slice(0, 6))["known"].shape[1] for step in range(30)}
    assert counts == {2, 3, 4}


def test_views_that_an_object_has_come_first():
    present = torch.ones(6, 5, dtype=torch.bool)
    present[:, :3] = False
    objective = objective_of_numbers(present, views_drawn=3)
    drawn = objective.draw(torch.arange(6), 0, 0, slice(0, 6))
    assert (drawn["present"].sum(1) == 2).all() and ((drawn["latents"][..., 2] >= 3) == drawn["present"]).all()
    assert torch.isfinite(objective.loss(Share(slice(0, 6)), **drawn))


def test_all_views_are_told_by_their_cameras_too():
    objective = objective_of_numbers()
    drawn = objective.draw(torch.arange(6), 0, 0, slice(0, 6))
    assert drawn["views"].shape == (6, 5, 2) and torch.equal(drawn["views"][..., 0], drawn["latents"][..., 2])


def test_held_out_views_are_drawn_the_same_each_time():
    objective = objective_of_numbers(views_drawn=2)
    told = []
    objective.network.register_forward_pre_hook(lambda _, inputs, named: told.append(named["views"]), with_kwargs=True)
    assert objective.validate(objective.network) == objective.validate(objective.network)
    assert told[0].shape == (6, 2, 2) and torch.equal(*told)
    assert (told[0][..., 1] == 0).all()  # of unaltered objects


def test_partial_objects_train_what_they_have(tmp_path: Path, config: TrainConfig):
    short = with_stage(with_stage(config, "autoencoder", steps=2), "diffusion", steps=4)
    assert absent_views_leave_no_trace(tmp_path, short, lambda: seen_from(partly(), short))


def test_named_views_may_be_drawn_too(tmp_path: Path, config: TrainConfig):
    named = with_stage(with_stage(config, "autoencoder", steps=2), "diffusion", steps=4)
    assert run(tmp_path, named, seen_from(complete(), named, None))
    start = load_checkpoint(tmp_path)
    assert start.config.cameras is None
    with pytest.raises(InputError, match="knows its views by their names, and this run would by their cameras; add"):
        run(tmp_path / "cameras", named, seen_from(complete(), named), init=start)


def test_weights_of_other_views_are_a_start_where_all_have_cameras(finished: Path, tmp_path: Path, config: TrainConfig):
    short = with_stage(with_stage(config, "autoencoder", steps=2), "diffusion", steps=2)
    batch = dataclasses.replace(batch_of(complete()), view_names=("a", "b", "c", "d"))
    start = load_checkpoint(finished)
    cameras = {name: Camera(10 * number, 0) for number, name in enumerate(batch.view_names)}
    data = prepare_data(batch, (), short, {}, cameras=cameras)
    assert run(tmp_path / "new", short, data, init=start)
    with pytest.raises(InputError, match="knows its views by their cameras, and this run would by their names"):
        run(tmp_path / "named", short, prepare_data(batch, (), short, {}), init=start)


def test_a_step_s_cost_is_that_of_the_views_drawn():
    whole, drawn = (
        step_costs(load_preset("tiny", [*TRANSFORMER, f"diffusion_stage.views_drawn={count}"]), 24) for count in (0, 4)
    )
    assert drawn["diffusion"].operations < whole["diffusion"].operations / 6
    assert drawn["diffusion"].parameters == whole["diffusion"].parameters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["diffusion_stage.views_drawn=1"], "views_drawn must be 0 for all views, or at least 2"),
        (["diffusion_stage.views_least=2"], r"views_least must be 0, or from 2 to views_drawn \(0\)"),
        (["diffusion_stage.views_drawn=4", "diffusion_stage.views_least=5"], "views_least must be"),
        (["diffusion_stage.views_even=1.5"], r"views_even must be in \[0, 1\]"),
    ],
)
def test_refused_options(settings: list[str], message: str):
    with pytest.raises(InputError, match=message):
        load_preset("tiny", [*TRANSFORMER, *settings])


def test_views_are_drawn_for_a_transformer_only():
    with pytest.raises(InputError, match=r"views_drawn: score\.kind mlp takes all views"):
        load_preset("tiny", ["score.kind=mlp", "diffusion_stage.views_drawn=2"])


def test_even_sets_need_cameras(config: TrainConfig):
    even = with_stage(config, "diffusion", views_even=0.5)
    for cameras, settings in ((None, even), (CAMERAS, with_stage(even, "diffusion", cameras=False))):
        with pytest.raises(InputError, match=r"views_even: nothing says how the views are spaced"):
            seen_from(complete(), settings, cameras)


def test_options_that_came_later_are_in_no_older_digest(config: TrainConfig):
    values = load_preset("tiny", TRANSFORMER).to_dict()["diffusion_stage"]
    assert not {"cameras", "views_drawn", "views_least", "views_even"} & values.keys()
    assert config.to_dict()["diffusion_stage"]["views_drawn"] == 2
