"""Classifiers on disk: a folder with ``classifier.json`` and ``classifier.safetensors``. No pickle is ever loaded.

    classifier.safetensors   the weights, with torchvision's names
    classifier.json          schema version, what the classifier is, where it comes from, SHA-256 of the weights

The description is written last: with it the folder is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from dimvida.errors import InputError
from dimvida.files import atomic_write
from dimvida.models.classifiers import ClassifierConfig, ImageClassifier
from dimvida.models.weights import (
    JSON_LIMIT,
    pack_weights,
    parse_json,
    read_regular,
    read_weights,
    tensors_of,
    unpack_weights,
    user_path,
)
from dimvida.records import config_from_json

SCHEMA = 1
DESCRIPTION, WEIGHTS = "classifier.json", "classifier.safetensors"


def save_classifier(folder: str | Path, classifier: ImageClassifier, provenance: dict[str, Any]) -> None:
    """Write a classifier's folder.

    Args:
        folder: Made if it is not there.
        classifier: The classifier whose sizes and weights are written.
        provenance: Where its weights come from; plain values for JSON.
    """
    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = pack_weights(classifier.network.state_dict())
    # Between the two files the folder would describe other weights.
    (folder / DESCRIPTION).unlink(missing_ok=True)
    atomic_write(folder / WEIGHTS, weights)
    description = {
        "schema": SCHEMA,
        "config": dataclasses.asdict(classifier.config),
        "provenance": provenance,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    atomic_write(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def load_classifier(folder: str | Path) -> ImageClassifier:
    """Load a classifier's folder, or a training run that holds one.

    Returns:
        The classifier on the CPU in evaluation mode.

    Raises:
        InputError: It is missing, damaged, of another schema, or does not fit together.
    """
    folder = _find(user_path(folder))
    description, path = read_description(folder), folder / WEIGHTS
    config = config_from_json(ClassifierConfig, description.get("config"), f"{folder / DESCRIPTION}: config")
    sha256 = description.get("sha256")
    if not isinstance(sha256, str):
        raise InputError(f"{folder / DESCRIPTION}: has no sha256 of {WEIGHTS}")
    expected = tensors_of(lambda: ImageClassifier(config).network, folder / DESCRIPTION)
    state = unpack_weights(read_weights(path, expected, DESCRIPTION, [sha256]), expected, path)
    with torch.random.fork_rng(devices=[]):  # initial weights, about to be replaced, are no reason to draw
        classifier = ImageClassifier(config)
    classifier.network.load_state_dict(state)
    return classifier.eval()


def read_description(folder: str | Path) -> dict[str, Any]:
    """What ``classifier.json`` says.

    Raises:
        InputError: It is missing, damaged or of another schema.
    """
    path = user_path(folder) / DESCRIPTION
    description = parse_json(read_regular(path, JSON_LIMIT), path)
    schema = description.get("schema") if isinstance(description, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: schema {schema!r} is not one that this dimvida reads ({SCHEMA})")
    return description


def _find(folder: Path) -> Path:
    for candidate in (folder, folder / "classifier"):
        if os.path.lexists(candidate / DESCRIPTION):
            return candidate
    raise InputError(
        f"{folder}: no classifier there (no {DESCRIPTION}); train one with 'dimvida train --stage classifier'"
    )
