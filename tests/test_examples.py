"""The examples in docstrings of the Python interface run, and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ("dimvida.sampling.multiview", "dimvida.sampling.classifier", "dimvida.generation.dataset")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, one_thread: None):
    module = importlib.import_module(name)
    examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert examples
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    for example in examples:
        said: list[str] = []
        assert runner.run(example, out=said.append).failed == 0, "".join(said)
