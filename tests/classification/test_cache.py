"""Generated sets: the known views are the real ones, and nothing is made twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers.networks import StopAfter, no_progress

from dimvida.classification.cache import CompletedObjects, Sampler
from dimvida.sampling.trajectory import sample_id_tensor
from dimvida.training.control import Interrupt, Interrupted

SAMPLER = Sampler("sde-dpmpp-2m", 2, 7, "eager", "float32", 4)


@pytest.fixture
def completions(model, single_views, tmp_path: Path) -> CompletedObjects:
    return CompletedObjects(tmp_path, "generating", model, single_views(10), SAMPLER)


def draw(completions: CompletedObjects, number: int = 0) -> torch.Tensor:
    return completions.draw(number, no_progress, Interrupt())


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_known_views_are_the_real_ones_and_the_others_generated_from_them(completions: CompletedObjects, model):
    views, objects = draw(completions), completions.objects
    assert torch.equal(views[objects.known()], objects.images)
    part, known = objects.rows(slice(4, 8)), objects.known()[4:8]
    given = torch.zeros_like(views[4:8])
    given[known] = part.images
    expected = model.generate(
        given, known, steps=2, solver="sde-dpmpp-2m", seed=7, sample_ids=sample_id_tensor(part.ids), backend="eager"
    )
    assert torch.equal(views[4:8], expected)


def test_they_are_made_once(completions: CompletedObjects, tmp_path: Path):
    views, before = draw(completions), times(tmp_path)
    assert len([path for path in before if path.name.startswith("part-")]) == 3
    assert torch.equal(draw(dataclasses.replace(completions)), views)
    assert times(tmp_path) == before


def test_draws_differ_in_what_is_generated_alone(completions: CompletedObjects):
    first, second, known = draw(completions), draw(completions, 1), completions.objects.known()
    assert torch.equal(first[known], second[known])
    assert not torch.equal(first[~known], second[~known])


def test_whatever_decides_about_a_pixel_decides_about_the_place(completions: CompletedObjects, single_views):
    others = [
        dataclasses.replace(completions, objects=single_views(10, seed=1)),
        dataclasses.replace(completions, objects=completions.objects.rows(slice(0, 9))),
        *(
            dataclasses.replace(completions, sampler=dataclasses.replace(SAMPLER, **change))
            for change in ({"steps": 3}, {"seed": 8}, {"solver": "ddim"}, {"batch": 5})
        ),
    ]
    assert len({other.digest for other in (completions, *others)}) == 7


def test_an_interrupted_set_goes_on_where_it_was(completions: CompletedObjects, tmp_path: Path):
    whole = draw(dataclasses.replace(completions, folder=tmp_path / "whole"))
    cut = dataclasses.replace(completions, folder=tmp_path / "cut")
    with pytest.raises(Interrupted):
        cut.draw(0, no_progress, StopAfter(2))
    before = times(tmp_path / "cut")
    assert len([path for path in before if path.name.startswith("part-")]) == 2
    assert torch.equal(draw(cut), whole)
    assert before.items() <= times(tmp_path / "cut").items()


def one_bit_off(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "other": lambda content: b"damaged",
    "last pixel": lambda content: one_bit_off(content, -1 % len(content)),
    "a pixel in the middle": lambda content: one_bit_off(content, len(content) * 2 // 3),
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_made_again(completions: CompletedObjects, tmp_path: Path, damage: str):
    views = draw(completions)
    path = next(tmp_path.rglob("part-0001.safetensors"))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert torch.equal(draw(completions), views)


def test_parts_that_changed_places_are_made_again(completions: CompletedObjects, tmp_path: Path):
    views = draw(completions), draw(completions, 1)
    parts = [next(tmp_path.rglob(f"draw-{number}/part-000{number}.safetensors")) for number in (0, 1)]
    parts[0].write_bytes(parts[1].read_bytes())
    assert all(torch.equal(draw(completions, number), views[number]) for number in (0, 1))
