"""Writes the files beside it with torch 2.11 and numpy, which scripts/setup brings:

    PYTHONPATH=$PWD/.deps/wheels:$PWD/.deps/test python3 tests/golden/torch/make.py

Their numbers are counted up, so that a test can tell them.
"""

import collections
import os

import numpy
import torch

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def count(*shape, start=0, dtype=torch.float32):
    size = 1
    for extent in shape:
        size *= extent
    return (torch.arange(size) + start).to(dtype).reshape(shape)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.tied = self.block[0]
        with torch.no_grad():
            self.block[0].weight.copy_(count(2, 3))
            self.block[0].bias.copy_(count(2, start=10))

    def forward(self, x):
        return self.block(x)


# OpenPCDet's form, with the optimiser's moments and a numpy number beside the weights.
net = Net()
optimizer = torch.optim.Adam(net.parameters())
net(count(4, 3)).sum().backward()
optimizer.step()
with torch.no_grad():
    net.block[0].weight.copy_(count(2, 3))
    net.block[0].bias.copy_(count(2, start=10))
openpcdet = {
    "epoch": 3,
    "it": numpy.float64(7),
    "model_state": net.state_dict(),
    "optimizer_state": optimizer.state_dict(),
    "version": "pcdet+0",
}
torch.save(openpcdet, "openpcdet.pth")
# As torch before 1.6 wrote it.
torch.save(openpcdet, "legacy.pth", _use_new_zipfile_serialization=False)

# Views of one storage, strides, an offset, every number type, names as data-parallel training has them, nothing around.
base = count(4, 6)
views = collections.OrderedDict(
    [
        ("module.whole", base),
        ("module.transposed", base.t()),
        ("module.part", base[1:3, 2:5]),
        ("module.column", base[:, 1]),
        ("module.expanded", base[0, 3].expand(2, 3)),
        ("module.scalar", torch.tensor(5, dtype=torch.int64)),
        ("module.empty", torch.zeros(0, 3)),
        ("module.parameter", torch.nn.Parameter(count(2, start=1))),
        ("module.f64", count(2, start=1, dtype=torch.float64)),
        ("module.f16", count(2, start=1, dtype=torch.float16)),
        ("module.bf16", count(2, start=1, dtype=torch.bfloat16)),
        ("module.i32", count(2, start=1, dtype=torch.int32)),
        ("module.i16", count(2, start=1, dtype=torch.int16)),
        ("module.i8", count(2, start=-1, dtype=torch.int8)),
        ("module.u8", count(2, start=254, dtype=torch.uint8)),
        ("module.bool", torch.tensor([True, False])),
    ]
)
torch.save(views, "views.pth")
torch.save(views, "legacy_views.pth", _use_new_zipfile_serialization=False)

torch.jit.save(torch.jit.script(net.eval()), "script.pt")
# A whole module instead of its state: loading it would import a class.
torch.save(torch.nn.Linear(1, 1), "module.pth")
