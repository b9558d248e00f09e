"""Writes detector_centerpoint_dynamic_pillar beside it: OpenPCDet's modules in a row, run by torch 2.11 on a CPU.

    PYTHONPATH=$PWD/.deps/wheels:$PWD/.deps/test python3 tests/golden/models/make_dynamic_pillar.py CHECKOUT

CHECKOUT holds OpenPCDet at the commit below. Nothing of it is compiled: torch_scatter is stood in for by torch's
scatter_reduce, and suppression by one that keeps every box, as NMS_THRESH 1 does. Points crowd in some pillars and
leave the range in others; the BEV backbone ends in a level of stride 1/2, as nuScenes's does.
"""

import json
import os
import struct
import sys
import types

import numpy as np
import torch

COMMIT = "8cacccec11db6f59bf6934600c9a175dae254806"
NAME = "detector_centerpoint_dynamic_pillar"
CHECKOUT = os.path.abspath(sys.argv[1])
os.chdir(os.path.dirname(os.path.abspath(__file__)))


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], leaf, made)


# Packages without their __init__, which would import everything.
for name in (
    "pcdet",
    "pcdet.models",
    "pcdet.models.backbones_2d",
    "pcdet.models.backbones_2d.map_to_bev",
    "pcdet.models.backbones_3d",
    "pcdet.models.backbones_3d.vfe",
    "pcdet.models.dense_heads",
    "pcdet.models.model_utils",
    "pcdet.ops",
    "pcdet.ops.iou3d_nms",
    "pcdet.ops.roiaware_pool3d",
    "pcdet.utils",
):
    module(name, __path__=[f"{CHECKOUT}/{name.replace('.', '/')}"])


def scatter(how):
    def reduce(rows, index, dim=0):
        out = torch.zeros(int(index.max()) + 1, rows.shape[1])
        return out.scatter_reduce(dim, index[:, None].expand(-1, rows.shape[1]), rows, how, include_self=False)

    return reduce


module("torch_scatter", scatter_mean=scatter("mean"), scatter_max=lambda *a, **k: (scatter("amax")(*a, **k), None))
module("numba", jit=lambda *a, **k: a[0] if a and callable(a[0]) else lambda f: f, njit=lambda f: f)
module("scipy")
module("scipy.spatial", Delaunay=None)
module("SharedArray")
module("pcdet.ops.roiaware_pool3d.roiaware_pool3d_utils")
module(
    "pcdet.ops.iou3d_nms.iou3d_nms_utils",
    nms_gpu=lambda boxes, scores, threshold, **k: (torch.argsort(scores, descending=True, stable=True), None),
)
np.int = int  # gone from numpy since
torch.Tensor.cuda = lambda self, *a, **k: self

from pcdet.models.backbones_2d.base_bev_backbone import BaseBEVBackbone  # noqa: E402
from pcdet.models.backbones_2d.map_to_bev.pointpillar_scatter import PointPillarScatter  # noqa: E402
from pcdet.models.backbones_3d.vfe.dynamic_pillar_vfe import DynamicPillarVFE  # noqa: E402
from pcdet.models.dense_heads.center_head import CenterHead  # noqa: E402


class Config(dict):
    def __getattr__(self, key):
        if key in self:
            return self[key]
        raise AttributeError(key)


def config(value):
    if isinstance(value, dict):
        return Config({key: config(entry) for key, entry in value.items()})
    return [config(entry) for entry in value] if isinstance(value, list) else value


CLASSES = ["Vehicle", "Pedestrian", "Cyclist"]
VOXEL, RANGE, GRID = [0.4, 0.4, 6.0], [0.0, -3.2, -2.0, 9.6, 3.2, 4.0], [24, 16, 1]
branches = {"center": 2, "center_z": 1, "dim": 3, "rot": 2}
MODEL = {
    "NAME": "CenterPoint",
    "VFE": {
        "NAME": "DynPillarVFE",
        "WITH_DISTANCE": False,
        "USE_ABSLOTE_XYZ": True,
        "USE_NORM": True,
        "NUM_FILTERS": [8, 8],
    },
    "MAP_TO_BEV": {"NAME": "PointPillarScatter", "NUM_BEV_FEATURES": 8},
    "BACKBONE_2D": {
        "NAME": "BaseBEVBackbone",
        "LAYER_NUMS": [1, 1],
        "LAYER_STRIDES": [2, 2],
        "NUM_FILTERS": [8, 12],
        "UPSAMPLE_STRIDES": [0.5, 1],
        "NUM_UPSAMPLE_FILTERS": [8, 8],
    },
    "DENSE_HEAD": {
        "NAME": "CenterHead",
        "CLASS_AGNOSTIC": False,
        "CLASS_NAMES_EACH_HEAD": [CLASSES],
        "SHARED_CONV_CHANNEL": 8,
        "USE_BIAS_BEFORE_NORM": True,
        "NUM_HM_CONV": 2,
        "SEPARATE_HEAD_CFG": {
            "HEAD_ORDER": list(branches),
            "HEAD_DICT": {name: {"out_channels": width, "num_conv": 2} for name, width in branches.items()},
        },
        "TARGET_ASSIGNER_CONFIG": {
            "FEATURE_MAP_STRIDE": 4,
            "NUM_MAX_OBJS": 20,
            "GAUSSIAN_OVERLAP": 0.1,
            "MIN_RADIUS": 2,
        },
        "LOSS_CONFIG": {"LOSS_WEIGHTS": {"cls_weight": 1.0, "loc_weight": 2.0, "code_weights": [1.0] * 8}},
        "POST_PROCESSING": {
            "SCORE_THRESH": 0.1,
            "POST_CENTER_LIMIT_RANGE": [-80, -80, -10, 80, 80, 10],
            "MAX_OBJ_PER_SAMPLE": 10,
            "NMS_CONFIG": {"NMS_TYPE": "nms_gpu", "NMS_THRESH": 1.0, "NMS_PRE_MAXSIZE": 100, "NMS_POST_MAXSIZE": 10},
        },
    },
    "POST_PROCESSING": {"RECALL_THRESH_LIST": [0.3]},
}

torch.manual_seed(20)
parts = config(MODEL)
vfe = DynamicPillarVFE(parts.VFE, num_point_features=4, voxel_size=VOXEL, grid_size=GRID, point_cloud_range=RANGE)
to_bev = PointPillarScatter(parts.MAP_TO_BEV, grid_size=GRID)
bev = BaseBEVBackbone(parts.BACKBONE_2D, input_channels=8)
head = CenterHead(
    parts.DENSE_HEAD,
    input_channels=bev.num_bev_features,
    num_class=3,
    class_names=CLASSES,
    grid_size=np.array(GRID),
    point_cloud_range=np.array(RANGE, dtype=np.float32),
    voxel_size=VOXEL,
    predict_boxes_when_training=False,
)
net = torch.nn.Module()
net.vfe, net.backbone_2d, net.dense_head = vfe, bev, head
with torch.no_grad():
    for parameter in net.parameters():
        if parameter.dim() == 1:
            parameter.add_(torch.rand_like(parameter) * 0.4 - 0.2)
        else:
            parameter.mul_(2)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)

# Frame, x, y, z, intensity; frame after frame.
points = torch.rand(600, 5)
points[:, 0] = (torch.arange(600) >= 300).float()
points[:, 1:4] = points[:, 1:4] * torch.tensor([11.0, 7.4, 8.0]) - torch.tensor([0.7, 3.7, 3.0])
points[100:160, 1:3] = torch.tensor([4.1, 0.3]) + torch.rand(60, 2) * 0.2
points[400:430, 1:3] = torch.tensor([7.3, -1.7]) + torch.rand(30, 2) * 0.2
boxes = torch.zeros(2, 4, 8)
boxes[0, :3] = torch.tensor(
    [
        [2.0, 0.5, 0.5, 4.2, 1.9, 1.6, 0.3, 1],
        [6.5, -1.5, 0.2, 0.9, 0.8, 1.7, -2.1, 2],
        [8.8, 2.6, 0.1, 1.8, 0.7, 1.6, 1.2, 3],
    ]
)
boxes[1, :2] = torch.tensor([[5.0, -0.4, 0.9, 4.8, 2.1, 1.8, 2.9, 1], [1.2, 2.2, 0.0, 0.8, 0.8, 1.8, 0.0, 2]])


def forward():
    batch = {"points": points.clone(), "gt_boxes": boxes.clone(), "batch_size": 2}
    for part in (vfe, to_bev, bev, head):
        batch = part(batch)
    return batch


tensors = {"in.points": points, "in.gt_boxes": boxes}
tensors.update({"param." + name: value.clone() for name, value in net.state_dict().items()})
net.eval()
with torch.no_grad():
    for frame, final in enumerate(forward()["final_box_dicts"]):
        tensors.update({f"out.pred.{frame}.{name}": value for name, value in final.items()})
net.train()
forward()
loss, _ = head.get_loss()
loss.backward()
tensors["out.loss"] = loss.detach()
tensors.update({"grad.param." + name: parameter.grad for name, parameter in net.named_parameters()})

header, data = {}, b""
for name, tensor in tensors.items():
    raw = tensor.detach().contiguous().numpy().tobytes()
    kind = "F32" if tensor.dtype == torch.float32 else "I64"
    header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(NAME + ".safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
case = {
    "name": NAME,
    "op": "model.detector",
    "source": {"repository": "OpenPCDet", "commit": COMMIT, "where": "pcdet/models/detectors:CenterPoint"},
    "hyper": {
        "model": MODEL,
        "grid_size": GRID,
        "voxel_size": VOXEL,
        "point_cloud_range": RANGE,
        "class_names": CLASSES,
        "point_features": 4,
    },
    "tolerance": {"rtol": 0.002, "atol": 0.0002, "exact": []},
    "notes": [
        "made by make_dynamic_pillar.py",
        "in.points: frame, x, y, z, intensity; the encoder makes pillars of them",
        "out.pred: evaluation pass with running statistics, nothing suppressed, one entry a frame; labels from 1",
        "out.loss and grad.param.*: training pass with batch statistics on the same points",
    ],
    "tensors": {
        name: {"dtype": "float32" if entry["dtype"] == "F32" else "int64", "shape": entry["shape"]}
        for name, entry in header.items()
    },
}
with open(NAME + ".json", "w") as file:
    json.dump(case, file, indent=1)
    file.write("\n")
