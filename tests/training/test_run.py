"""A run lowers both losses, resumes exactly, and guards its folder."""

from __future__ import annotations

import dataclasses
import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.trainings import StopAfter, curve
from PIL import Image

from dimvida.data.batch import MultiViewBatch
from dimvida.data.contact_sheet import SheetRow
from dimvida.errors import DimvidaError, InputError
from dimvida.models.autoencoder import build_autoencoder
from dimvida.models.checkpoint import WEIGHT_FILES, load_checkpoint
from dimvida.models.config import ScoreConfig
from dimvida.sampling.multiview import load
from dimvida.training import figures
from dimvida.training.autoencoder import AutoencoderObjective
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.control import no_progress
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.loop import optimise
from dimvida.training.objective import LossModule
from dimvida.training.ranks import Ranks, Share
from dimvida.training.run import Run
from dimvida.training.state import TrainingState, average_decay, load_state


def run(
    out: Path,
    config: TrainConfig,
    data: TrainingData,
    *,
    stop=10**9,
    stage="all",
    resume=False,
    init=None,
    watch=no_progress,
) -> bool:
    return Run(out, config, data, torch.device("cpu"), watch, StopAfter(stop), init).train(stage, resume)


def with_stage(config: TrainConfig, name: str, **values: object) -> TrainConfig:
    stage = dataclasses.replace(getattr(config, f"{name}_stage"), **values)
    return dataclasses.replace(config, **{f"{name}_stage": stage})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, fast_config: TrainConfig, data: TrainingData) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(out, fast_config, data)
    return out


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_both_losses_fall(finished: Path, stage: str):
    rows = curve(finished / f"{stage}.csv")
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"])


def test_the_folder_holds_what_it_promises(finished: Path, data: TrainingData):
    assert Image.open(finished / "curves.png").width > 600
    for sheet in ("autoencoder-000060.png", "diffusion-000120.png"):
        assert Image.open(finished / "samples" / sheet).width > 200
    checkpoint = load_checkpoint(finished)
    assert checkpoint.config.provenance["autoencoder"]["steps"] == 60
    assert checkpoint.config.provenance["diffusion"]["steps"] == 120
    assert checkpoint.config.provenance["data"]["name"] == "boxes"
    inputs = checkpoint.config.inputs
    assert inputs is not None and not inputs.foreign_border(data.images.flatten(0, 1)).any()
    model, views = load(finished), data.images.flatten(0, 1)
    assert inputs.badly_reconstructed(views, model.decode(model.encode(views))).float().mean() < 0.02
    assert inputs.foreign_border(255 - views).all()
    assert str(finished.parent) not in (finished / "checkpoint" / "config.json").read_text()


def test_sheets_name_objects_and_views(data: TrainingData, fast_config: TrainConfig, tmp_path: Path, monkeypatch):
    """The pictures are drawn as ever; what is written on them is looked at before."""
    drawn: list[list[SheetRow]] = []
    draw = figures.draw_contact_sheet
    monkeypatch.setattr(
        figures, "draw_contact_sheet", lambda rows, header: drawn.append(rows) or draw(rows, header=header)
    )
    config = with_stage(with_stage(fast_config, "autoencoder", steps=1), "diffusion", steps=1)
    assert run(tmp_path, config, data)
    reconstructed, completed = drawn
    names = list(data.held_out_ids)
    assert len(names) == len(data.held_out) and set(names) < {f"box/{number}" for number in range(40)}
    assert [row.title for row in reconstructed] == [title for name in names for title in (name, "reconstructed")]
    assert [row.title for row in completed if row.title != "true"] == names
    for row in (*reconstructed, *completed):
        assert [tile.caption for tile in row.tiles][:4] == ["front", "right", "back", "left"]


@pytest.mark.parametrize("name", ["_front", "a__b", "front/left", "", ".", "x" * 300])
def test_names_of_views_that_could_not_be_generated_are_refused(
    fast_config: TrainConfig, data: TrainingData, name: str
):
    batch = MultiViewBatch(
        images=data.images,
        known=data.present,
        labels=torch.zeros(len(data.images), dtype=torch.int64),
        ids=tuple(map(str, range(len(data.images)))),
        view_names=("front", "right", "back", name),
    )
    with pytest.raises(InputError, match="cannot name a view"):
        prepare_data(batch, ("box",), fast_config, {})


def test_latents_are_standardised(finished: Path, data: TrainingData):
    latents = load(finished).encode(data.images).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(0, correction=0), torch.ones(8), rtol=0, atol=1e-4)


def test_the_model_generates(finished: Path, data: TrainingData):
    model = load(finished)
    known = torch.zeros(len(data.held_out), 4, dtype=torch.bool)
    known[:, 0] = True
    out = model.generate(data.held_out, known, seed=1)
    assert out.dtype == torch.uint8 and out.shape == data.held_out.shape
    assert torch.equal(out[:, 0], data.held_out[:, 0])


@pytest.mark.parametrize("stops", [[10, 20, 45], [61, 40], [60 + 7, 33, 33]])
def test_resumed_runs_equal_the_uninterrupted_one(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData, stops: list[int]
):
    for number, stop in enumerate(stops):
        assert not run(tmp_path, fast_config, data, stop=stop, resume=number > 0)
        load_checkpoint(tmp_path)  # an interrupted run has a usable checkpoint
    assert run(tmp_path, fast_config, data, resume=True)
    for stage in ("autoencoder", "diffusion"):
        assert curve(tmp_path / f"{stage}.csv") == curve(finished / f"{stage}.csv")
    for name in WEIGHT_FILES:
        assert (tmp_path / "checkpoint" / name).read_bytes() == (finished / "checkpoint" / name).read_bytes()


def test_the_best_and_every_kth_checkpoint_are_kept(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", keep_every=25)
    config = with_stage(config, "diffusion", keep_every=40, lr=0.3, lr_schedule="constant", ema=0.0)
    for number, stop in enumerate([40, 50, 10**9]):
        assert run(tmp_path / "cut", config, data, stop=stop, resume=number > 0) == (stop > 120)
    assert run(tmp_path / "whole", with_stage(config, "diffusion", keep_every=0), data)
    rows = curve(tmp_path / "whole" / "diffusion.csv")
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert best is not rows[-1], "nothing to tell apart"
    for out in (tmp_path / "cut", tmp_path / "whole"):
        account = load_checkpoint(out / "best").config.provenance["diffusion"]
        assert account["steps"] == int(best["step"])
        assert account["validation"] == {"loss": float(best["validation_loss"])}
    for name in WEIGHT_FILES:
        assert (tmp_path / "cut/best" / name).read_bytes() == (tmp_path / "whole/best" / name).read_bytes()
    score = Path("score.safetensors")
    assert (tmp_path / "cut/best" / score).read_bytes() != (tmp_path / "cut/checkpoint" / score).read_bytes()
    kept = ["autoencoder-000025", "autoencoder-000050", "diffusion-000040", "diffusion-000080", "diffusion-000120"]
    assert sorted(path.name for path in (tmp_path / "cut" / "steps").iterdir()) == kept
    assert load_checkpoint(tmp_path / "cut/steps/diffusion-000080").config.provenance["diffusion"]["steps"] == 80
    last = (tmp_path / "cut/steps/diffusion-000120" / score).read_bytes()
    assert last == (tmp_path / "cut/checkpoint" / score).read_bytes()
    assert not (tmp_path / "whole/steps" / "diffusion-000040").exists()


def test_the_best_autoencoder_is_usable_before_the_diffusion(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    assert not run(tmp_path, with_stage(fast_config, "autoencoder", steps=30), data, stop=27)
    assert load_checkpoint(tmp_path / "best").config.provenance["autoencoder"]["steps"] in (10, 20)
    latents = load(tmp_path / "best").encode(data.images)
    assert 0.5 < float(latents.std()) < 2


def test_a_run_stopped_while_it_encodes_resumes_exactly(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", steps=5)
    config = with_stage(config, "diffusion", steps=20, mirror=True, recolour=True)
    assert run(tmp_path / "whole", config, data)
    # 5 steps, then one batch of held-out objects and one of each of 12 variants.
    assert not run(tmp_path / "cut", config, data, stop=5 + 1)
    load_checkpoint(tmp_path / "cut")
    shown: list[tuple[str, int, int]] = []

    def watch(work: str, total: int, unit: str, done: int, later: float = 0.0):
        shown.append((work, total, done))
        return no_progress(work, total, unit, done)

    assert not run(tmp_path / "cut", config, data, stop=1 + 7, resume=True, watch=watch)
    assert not run(tmp_path / "cut", config, data, stop=4 + 9, resume=True, watch=watch)
    assert run(tmp_path / "cut", config, data, resume=True, watch=watch)
    objects, held_out = len(data.images), len(data.held_out)
    encodings = [entry[1:] for entry in shown if entry[0] == "encoding"]
    everything, people_count = held_out + 12 * objects, held_out + objects
    assert encodings == [
        (people_count, held_out),
        (people_count, (held_out + objects) * people_count // everything),
        (people_count, (held_out + 8 * objects) * people_count // everything),
    ]
    for name in WEIGHT_FILES:
        file = Path("checkpoint") / name
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_the_diffusion_goes_on_without_the_images(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    assert not run(tmp_path, fast_config, data, stop=60 + 7)
    blank = dataclasses.replace(data, images=torch.zeros_like(data.images))
    assert run(tmp_path, fast_config, blank, resume=True)
    for name in WEIGHT_FILES:
        assert (tmp_path / "checkpoint" / name).read_bytes() == (finished / "checkpoint" / name).read_bytes()


@pytest.mark.slow
def test_a_compiled_stage_trains_alike(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    short = with_stage(with_stage(fast_config, "autoencoder", steps=3), "diffusion", steps=4, log_every=1)
    both = with_stage(with_stage(short, "autoencoder", compile=True), "diffusion", compile=True)
    counters = torch._dynamo.utils.counters
    counters.clear()
    assert run(tmp_path / "plain", short, data) and not counters["stats"]
    # Traced as ever, but not made into machine code, which takes a minute.
    with torch.compiler.set_stance(force_backend="aot_eager"):
        assert run(tmp_path / "compiled", both, data)
    assert counters["stats"]["unique_graphs"] >= 2 and not counters["graph_break"]
    for stage in ("autoencoder", "diffusion"):
        plain, compiled = (
            [float(row["loss"]) for row in curve(tmp_path / name / f"{stage}.csv")] for name in ("plain", "compiled")
        )
        assert plain == pytest.approx(compiled, rel=1e-4)


def test_stages_one_by_one(finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    with pytest.raises(InputError, match="no trained autoencoder"):
        run(tmp_path, fast_config, data, stage="diffusion")
    assert run(tmp_path, fast_config, data, stage="autoencoder")
    assert run(tmp_path, fast_config, data, stage="diffusion")
    score = Path("checkpoint") / "score.safetensors"
    assert (tmp_path / score).read_bytes() == (finished / score).read_bytes()


def test_a_run_is_not_overwritten(finished: Path, fast_config: TrainConfig, data: TrainingData):
    with pytest.raises(InputError, match="add --resume, or give another --out"):
        run(finished, fast_config, data)


def test_other_options_or_data_are_refused_by_name(finished: Path, fast_config: TrainConfig, data: TrainingData):
    other = with_stage(dataclasses.replace(fast_config, seed=1), "diffusion", lr=0.5)
    with pytest.raises(
        InputError, match=r"another configuration \(seed: 0 -> 1, diffusion_stage\.lr: 0\.002 -> 0\.5\)"
    ):
        run(finished, other, data, resume=True)
    with pytest.raises(InputError, match="on other data"):
        run(finished, fast_config, dataclasses.replace(data, digest="other"), resume=True)


@pytest.mark.parametrize("stage", ["autoencoder", "all"])
def test_options_of_a_stage_to_come_belong_to_the_run(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData, stage: str
):
    assert not run(tmp_path, fast_config, data, stop=3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for changed in (
        with_stage(fast_config, "diffusion", lr=0.5),
        dataclasses.replace(fast_config, score=ScoreConfig()),
    ):
        with pytest.raises(InputError, match=r"another configuration \((diffusion_stage\.lr|score\.width): "):
            run(tmp_path, changed, data, stage=stage, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # How often it writes may be told later.
    often = with_stage(fast_config, "diffusion", log_every=7, save_every=9, sheet_every=11)
    assert not run(tmp_path, often, data, stop=1, stage=stage, resume=True)
    with pytest.raises(InputError, match=r"another configuration \(autoencoder_stage\.log_every: 10 -> 7\)"):
        run(tmp_path, with_stage(often, "autoencoder", log_every=7), data, resume=True)


def test_a_stage_begun_later_may_have_options_of_its_own(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    assert run(tmp_path, with_stage(fast_config, "autoencoder", steps=3), data, stage="autoencoder")
    other = with_stage(with_stage(fast_config, "autoencoder", steps=3), "diffusion", lr=0.5, steps=2)
    assert run(tmp_path, other, data, stage="diffusion")
    with pytest.raises(InputError, match=r"autoencoder_stage\.steps: 3 -> 4\)"):
        run(tmp_path, with_stage(other, "autoencoder", steps=4), data, resume=True)


def test_a_longer_training_is_the_one_that_was_longer_from_the_beginning(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    """With a constant learning rate, bit for bit; also after an interruption in the steps that were added."""
    constant = with_stage(with_stage(fast_config, "autoencoder", lr_schedule="constant", steps=30), "diffusion",
                          lr_schedule="constant", steps=40)  # fmt: skip
    longer = with_stage(with_stage(constant, "autoencoder", steps=50), "diffusion", steps=70)
    assert run(tmp_path / "whole", longer, data)
    out = tmp_path / "longer"
    assert run(out, constant, data, stage="autoencoder")
    between = with_stage(constant, "autoencoder", steps=50)
    assert not run(out, between, data, stop=7, resume=True)
    assert run(out, between, data, resume=True)
    assert not run(out, longer, data, stop=13, resume=True)
    assert not run(out, longer, data, stop=0, resume=True)
    assert run(out, longer, data, resume=True)
    for stage in ("autoencoder", "diffusion"):
        assert curve(out / f"{stage}.csv") == curve(tmp_path / "whole" / f"{stage}.csv")
    for name in WEIGHT_FILES:
        assert (out / "checkpoint" / name).read_bytes() == (tmp_path / "whole" / "checkpoint" / name).read_bytes()
    with pytest.raises(InputError, match="its diffusion has done 70 steps already; 69 are too few"):
        run(out, with_stage(longer, "diffusion", steps=69), data, resume=True)


def write_unhashed(path: Path, state: object) -> None:
    """A state as it was saved before there were hashes."""
    torch.save(state, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, state: path.write_bytes(path.read_bytes()[:1000]),
        lambda path, state: path.write_bytes(path.read_bytes()[:30]),
        lambda path, state: path.write_bytes(b""),
        lambda path, state: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path, state: write_unhashed(path, {"weights": torch.zeros(2)}),
        lambda path, state: write_unhashed(path, [1, 2]),
        lambda path, state: write_unhashed(path, torch.zeros(2)),
        lambda path, state: write_unhashed(path, {name: state[name] for name in ("config_digest", "step", "network")}),
        lambda path, state: write_unhashed(path, {**state, "network": {}}),
        lambda path, state: write_unhashed(path, {**state, "average": None}),
        lambda path, state: write_unhashed(path, {**state, "curve": [[1, 2]]}),
    ],
)
def test_a_file_that_is_no_state_is_refused_in_one_line(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData, damage: Callable[[Path, dict], object]
):
    path = tmp_path / "autoencoder.state"
    path.write_bytes((finished / "autoencoder.state").read_bytes())
    damage(path, read_state(path))
    with pytest.raises(InputError, match=r"autoencoder\.state: not a training state \(.+\)") as caught:
        run(tmp_path, fast_config, data, resume=True)
    assert "\n" not in str(caught.value)


def read_state(path: Path) -> dict:
    with open(path, "rb") as file:
        file.readline()  # the hash
        return torch.load(io.BytesIO(file.read()), weights_only=True)


def test_every_flipped_bit_of_a_state_is_refused(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    content = (finished / "autoencoder.state").read_bytes()
    digest = read_state(finished / "autoencoder.state")["config_digest"]
    path = tmp_path / "autoencoder.state"
    # In the header, in its hash, and anywhere else.
    places = [0, 1, 40, content.index(b"\n"), len(content) - 1, *random.Random(0).sample(range(len(content)), 60)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"autoencoder\.state: not a training state \(damaged: .+\)"):
            load_state(path, [digest])
    path.write_bytes(content)
    assert load_state(path, [digest])["step"] == 60
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"; give another --out to start over, and --init {tmp_path} to start from "):
        run(tmp_path, fast_config, data, resume=True)


def test_a_state_saved_before_there_were_hashes_is_continued(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    assert not run(tmp_path, fast_config, data, stop=60 + 60)
    for name in ("autoencoder", "diffusion"):
        write_unhashed(tmp_path / f"{name}.state", read_state(tmp_path / f"{name}.state"))
    assert run(tmp_path, fast_config, data, resume=True)
    for name in WEIGHT_FILES:
        assert (tmp_path / "checkpoint" / name).read_bytes() == (finished / "checkpoint" / name).read_bytes()


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.1), (1, 2 / 11), (9, 10 / 19), (890, 891 / 900), (891, 0.99), (10**9, 0.99)]
)
def test_the_average_forgets_its_beginning(step: int, decay: float):
    """The decay grows as that of diffusers and timm: (1 + step) / (10 + step), up to the highest."""
    assert average_decay(0.99, step) == pytest.approx(decay, rel=1e-12)


def test_averages_are_those_of_the_growing_decay(data: TrainingData, fast_config: TrainConfig, tmp_path: Path):
    config = with_stage(fast_config, "autoencoder", ema=0.5, steps=12).autoencoder_stage
    objective = AutoencoderObjective(
        build_autoencoder(fast_config.autoencoder),
        data.images.flatten(0, 1), data.held_out.flatten(0, 1), config, torch.device("cpu"), Ranks(),
    )  # fmt: skip
    stage = TrainingState(objective, config, 0, tmp_path / "autoencoder.state", "")
    weight = next(objective.network.parameters())
    expected = None
    share = Share(slice(0, 16))
    for step in range(12):
        optimise(stage, LossModule(objective), share, objective.draw(torch.arange(16), 0, step, slice(0, 16)))
        decay = min(0.5, (1 + step) / (10 + step))
        now = weight.detach().clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
        torch.testing.assert_close(next(stage.averaged_network.parameters()).detach(), expected)
    assert not torch.equal(expected, now)


def test_averaging_does_not_spoil_a_short_training(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    """However high the decay is, the average of 40 steps is far from the random weights that they began with."""
    figures = {}
    for ema in (0.0, 0.9999):
        config = with_stage(fast_config, "autoencoder", steps=40, ema=ema)
        assert run(tmp_path / str(ema), config, data, stage="autoencoder")
        figures[ema] = [float(row["validation_loss"]) for row in curve(tmp_path / str(ema) / "autoencoder.csv")]
    learned = figures[0.0][0] - figures[0.0][-1]
    assert learned > 0.1 * figures[0.0][0]
    assert figures[0.9999][-1] < figures[0.0][-1] + 0.1 * learned
    assert figures[0.9999] == sorted(figures[0.9999], reverse=True)  # a longer training is a better one


def test_a_diverging_run_stops_and_keeps_the_last_state(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    assert not run(tmp_path, fast_config, data, stop=5)
    before = (tmp_path / "autoencoder.state").read_bytes()
    data = dataclasses.replace(data, images=data.images.float() * float("nan"))
    with pytest.raises(DimvidaError, match=r"^autoencoder: the loss became nan at step 5; .* --init \S+$"):
        run(tmp_path, fast_config, data, resume=True)
    assert (tmp_path / "autoencoder.state").read_bytes() == before


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", lr=1e39, save_every=1)
    with pytest.raises(DimvidaError, match=r"the weights became .* at step 1; .* autoencoder_stage\.lr below 1e\+39$"):
        run(tmp_path, config, data)
    assert not (tmp_path / "autoencoder.state").exists()


def test_after_a_divergence_the_advice_helps(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(with_stage(fast_config, "autoencoder", steps=3), "diffusion", lr=1e30, steps=10)
    with pytest.raises(DimvidaError) as caught:
        run(tmp_path / "high", config, data)
    said = f"--init {tmp_path / 'high'} --stage diffusion"
    assert "diffusion_stage.lr below 1e+30" in str(caught.value) and said in str(caught.value)
    lower = with_stage(config, "diffusion", lr=1e-3)
    assert run(tmp_path / "lower", lower, data, init=load_checkpoint(tmp_path / "high"), stage="diffusion")


def test_mirroring_is_refused_for_views_in_another_order(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    data = dataclasses.replace(data, view_names=("front", "back", "left", "right"))
    config = with_stage(with_stage(fast_config, "autoencoder", steps=1), "diffusion", mirror=True)
    with pytest.raises(InputError, match=r"diffusion_stage\.mirror"):
        run(tmp_path / "run", config, data)
    assert not (tmp_path / "run").exists()
    assert run(tmp_path / "run", config, data, stage="autoencoder")


def test_trivial_augment_resumes_exactly(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", augment="trivial-augment-wide", steps=15)
    assert run(tmp_path / "a", config, data, stage="autoencoder")
    assert not run(tmp_path / "b", config, data, stage="autoencoder", stop=7)
    assert run(tmp_path / "b", config, data, stage="autoencoder", resume=True)
    assert curve(tmp_path / "a" / "autoencoder.csv") == curve(tmp_path / "b" / "autoencoder.csv")


def test_the_callers_randomness_is_left_alone(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", augment="trivial-augment-wide", steps=2)
    config = with_stage(config, "diffusion", steps=2)
    before = torch.random.get_rng_state()
    assert run(tmp_path, config, data)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_run_starts_from_another_checkpoint(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    init = load_checkpoint(finished)
    config = with_stage(fast_config, "autoencoder", steps=1, lr=1e-12, ema=0.0)
    config = with_stage(config, "diffusion", steps=1, lr=1e-12, ema=0.0)
    assert run(tmp_path, config, data, init=init)
    result = load_checkpoint(tmp_path)
    for name, tensor in init.score.state_dict().items():
        torch.testing.assert_close(result.score.state_dict()[name], tensor, rtol=0, atol=1e-6)
    assert result.config.provenance["init"]["checkpoint_sha256"] == init.digest
    wider = dataclasses.replace(config, score=ScoreConfig(width=64, time_dim=16, groups=4))
    with pytest.raises(InputError, match="that checkpoint has score"):
        run(tmp_path / "wider", wider, data, init=init)


def test_the_diffusion_alone_starts_from_another_checkpoints_autoencoder(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    init = load_checkpoint(finished)
    config = dataclasses.replace(
        fast_config, diffusion_stage=dataclasses.replace(fast_config.diffusion_stage, steps=20)
    )
    assert run(tmp_path / "whole", config, data, init=init, stage="diffusion")
    tmp_path = tmp_path / "cut"
    # Stopped while it encodes, and in the middle of the training.
    assert not run(tmp_path, config, data, init=init, stage="diffusion", stop=1)
    with pytest.raises(InputError, match="was started with --init"):
        run(tmp_path, config, data, stage="diffusion", resume=True)
    assert not run(tmp_path, config, data, init=init, stage="diffusion", stop=10, resume=True)
    assert run(tmp_path, config, data, init=init, stage="diffusion", resume=True)
    for name in WEIGHT_FILES:
        file = Path("checkpoint") / name
        assert (tmp_path / file).read_bytes() == (tmp_path.with_name("whole") / file).read_bytes()
    result = load_checkpoint(tmp_path)
    for name, tensor in init.autoencoder.state_dict().items():
        assert torch.equal(result.autoencoder.state_dict()[name], tensor), name
    assert torch.equal(result.latent_mean, init.latent_mean) and torch.equal(result.latent_std, init.latent_std)
    assert not torch.equal(result.score.output.weight, init.score.output.weight)
    assert result.config.provenance["autoencoder"] == init.config.provenance["autoencoder"]
    assert not (tmp_path / "autoencoder.state").exists()


def test_presets():
    paper = load_preset("paper")
    assert (paper.score.width, paper.score.time_dim, paper.autoencoder.latent_dim) == (1536, 512, 64)
    assert (paper.diffusion_stage.epochs, paper.diffusion_stage.lr, paper.diffusion_stage.drop) == (1000, 1e-4, 0.2)
    assert (paper.autoencoder_stage.augment, paper.autoencoder_stage.scale) == ("trivial-augment-wide", 0.75)
    assert (paper.sampling.solver, paper.sampling.steps) == ("euler-maruyama", 250)
    for name in ("small", "tiny"):
        assert load_preset(name).digest() != paper.digest()
