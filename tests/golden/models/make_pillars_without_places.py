"""Writes pillar_vfe_without_places and dynamic_pillar_vfe_without_places beside it.

    PYTHONPATH=$PWD/.deps/wheels PYTHON tests/golden/models/make_pillars_without_places.py CHECKOUT

PYTHON and CHECKOUT are those of ../second_stages/make.py. Points and pillars are those of pillar_vfe_a and
dynamic_pillar_vfe_a, the encoders have USE_ABSLOTE_XYZ False and WITH_DISTANCE True; torch_scatter is stood in for by
torch's scatter_reduce.
"""

import json
import os
import sys
import types

import torch
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import openpcdet_on_cpu  # noqa: E402

openpcdet_on_cpu.Prepare(sys.argv[1])

from pcdet.models.backbones_3d.vfe import dynamic_pillar_vfe, pillar_vfe  # noqa: E402


def Scatter(how):
    def reduce(rows, index, dim=0):
        out = torch.zeros(int(index.max()) + 1, rows.shape[1])
        return out.scatter_reduce(dim, index[:, None].expand(-1, rows.shape[1]), rows, how, include_self=False)

    return reduce


dynamic_pillar_vfe.torch_scatter = types.SimpleNamespace(
    scatter_mean=Scatter("mean"), scatter_max=lambda *a, **k: (Scatter("amax")(*a, **k), None)
)


def Case(like, name, build, outputs):
    with open(os.path.join(HERE, like + ".json")) as file:
        case = json.load(file)
    tensors = {
        key: value
        for key, value in load_file(os.path.join(HERE, like + ".safetensors")).items()
        if key.startswith("in.")
    }
    hyper = case["hyper"]
    hyper.update(use_absolute_xyz=False, with_distance=True)
    config = openpcdet_on_cpu.Config(
        {"USE_NORM": True, "WITH_DISTANCE": True, "USE_ABSLOTE_XYZ": False, "NUM_FILTERS": hyper["num_filters"]}
    )
    torch.manual_seed(30)
    net = build(
        config,
        num_point_features=4,
        voxel_size=hyper["voxel_size"],
        grid_size=hyper["grid_size"],
        point_cloud_range=hyper["point_cloud_range"],
    ).eval()
    with torch.no_grad():
        for key, value in list(net.named_parameters()) + list(net.named_buffers()):
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and value.dim() == 1:
                value.add_(torch.rand_like(value) * 0.4 - 0.2)
        answers = outputs(net, tensors)
    tensors.update({"param." + key: value.clone() for key, value in net.state_dict().items()})
    tensors.update(answers)
    save_file({key: value.contiguous() for key, value in tensors.items()}, os.path.join(HERE, name + ".safetensors"))
    case.update(name=name, notes=["made by make_pillars_without_places.py"] + case["notes"][:1])
    case["tensors"] = {
        key: {"dtype": str(value.dtype).split(".")[1], "shape": list(value.shape)} for key, value in tensors.items()
    }
    with open(os.path.join(HERE, name + ".json"), "w") as file:
        json.dump(case, file)
        file.write("\n")


def OfPillars(net, tensors):
    batch = net(
        {
            "voxels": tensors["in.voxels"].clone(),
            "voxel_num_points": tensors["in.num_points"],
            "voxel_coords": tensors["in.coords"],
        }
    )
    return {"out.pillar_features": batch["pillar_features"]}


def OfPoints(net, tensors):
    batch = net({"points": tensors["in.points"].clone(), "batch_size": 2})
    return {"out.pillar_features": batch["pillar_features"], "out.coords": batch["voxel_coords"].long()}


Case("pillar_vfe_a", "pillar_vfe_without_places", pillar_vfe.PillarVFE, OfPillars)
Case("dynamic_pillar_vfe_a", "dynamic_pillar_vfe_without_places", dynamic_pillar_vfe.DynamicPillarVFE, OfPoints)
