"""Compiled regions: the same numbers, and the network as it was afterwards."""

import pytest
import torch

from procir.errors import ConfigError
from procir.train.compilation import compiled, has_compiler
from procir.train.data import ExampleBuilder
from procir.train.gradients import accumulate
from training import crowded_split, fresh_model, gradients_of, settings


@pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")
# Importing the compiler, torch warns of itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_regions_give_the_same_gradients(tmp_path):
    split, config, found = crowded_split(tmp_path), settings(batch_size=3), {}
    for wanted in (False, True):
        model = fresh_model()
        model.network.train()
        plain = {name: module.forward for name, module in model.network.named_modules()}
        with compiled(model.network, wanted=wanted):
            changed = {name for name, module in model.network.named_modules() if module.forward != plain[name]}
            outcome = accumulate(model, ExampleBuilder(model, split, config).examples(1), config)
        assert all(module.forward == plain[name] for name, module in model.network.named_modules())
        assert len(changed) == (3 * (3 + 4) if wanted else 0)
        found[wanted] = outcome.losses, gradients_of(model)
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-5)
    for name, gradient in found[False][1].items():
        assert (found[True][1][name] - gradient).norm() <= 1e-3 * gradient.norm(), name


def test_without_a_compiler_it_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    network = fresh_model().network
    with pytest.raises(ConfigError, match="compile needs a C\\+\\+ compiler"), compiled(network, wanted=True):
        pass
    with torch.no_grad(), compiled(network, wanted=False):
        pass
