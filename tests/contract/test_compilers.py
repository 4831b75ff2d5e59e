"""torch.export and torch.compile."""

import shutil

import pytest
import torch
from contract.subjects import SMALL, build, build_short, difference, images

from gpvit.models.variants import VARIANTS
from gpvit.zoo.factory import create_model

_DEFAULT = ("gpvit_nano",)  # others take some 5 s each
SUBJECTS = [pytest.param(n, build_short, marks=[pytest.mark.slow] * (n not in _DEFAULT)) for n in VARIANTS]
SEGMENTERS = ("upernet_gpvit_nano", "segformer_gpvit_nano")
SUBJECTS += [pytest.param(name, build, marks=pytest.mark.slow) for name in VARIANTS if name not in SMALL]


@pytest.mark.parametrize(("name", "make"), SUBJECTS)
@pytest.mark.slow
def test_exported_once_it_serves_every_batch_and_size(name, make):
    model = make(name, num_classes=7).eval()
    anything = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(model, (images(2, 100, 92),), dynamic_shapes={"x": anything})
    exported = program.module()
    with torch.no_grad():
        for batch, height, width in ((1, 32, 32), (3, 33, 47), (2, 57, 91), (1, 223, 220), (5, 96, 48)):
            x = images(batch, height, width)
            assert difference(exported(x), model(x)) < 1e-5


@pytest.mark.parametrize(("name", "make"), SUBJECTS)
def test_compiler_sees_one_graph(name, make):
    torch.compiler.reset()  # it counts all models' graphs together, up to a limit
    model = make(name, num_classes=3, drop_path_rate=0.1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    x = images(2, 57, 91)
    with torch.no_grad():
        assert difference(compiled.eval()(x), model(x)) < 1e-5
    model.train()
    compiled(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_are_exported_for_every_size_and_compiled_to_one_graph(name):
    model = create_model(name, num_classes=3)
    torch.nn.init.normal_(model.decoder.classifier.weight)
    x = images(2, 100, 92)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(x).square().sum().backward()
    anything = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes={"images": anything}).module()
    with torch.no_grad():
        assert difference(compiled.eval()(x), model(x)) < 1e-5
        for batch, height, width in ((1, 32, 32), (3, 33, 47), (1, 223, 220)):
            x = images(batch, height, width)
            assert difference(exported(x), model(x)) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_code_computes_the_same():
    model = build("gpvit_nano", num_classes=3).eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=False)
    x = images(2, 57, 91)
    with torch.no_grad():
        assert difference(compiled(x), model(x)) < 1e-4
