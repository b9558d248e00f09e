"""Writes *.json and *.safetensors beside it: OpenPCDet's second stages on given RoIs, by torch on a CPU.

    OMP_NUM_THREADS=1 PYTHONPATH=$PWD/.deps/wheels PYTHON tests/golden/second_stages/make.py CHECKOUT

PYTHON has bench/peers.txt and pyyaml installed; CHECKOUT holds OpenPCDet at openpcdet_on_cpu.COMMIT. The networks are
the released ones with fewer keypoints and a small grid: mean features, 3D backbone, height compression and second
stage, in evaluation mode. The stored numbers are torch 2.11's. Names and shapes of the whole Part-A2 networks go into
../models.

Weights are not stored. Both sides fill every float parameter and buffer by its name. With h(x) the finaliser of
MurmurHash3 for 32 bits and FNV-1a of the name's bytes, element i gets
u = (h(FNV(name) + i * 0x9E3779B9) >> 8) / 2^24, and from it
    a matrix or kernel              (2 u - 1) * sqrt(6 / (elements / shape[0]))
    NAME.weight of one dimension    0.75 + u / 2
    NAME.running_var                0.5 + u
    other vectors                   (2 u - 1) / 4
computed in double precision and rounded once. hyper.score_scale multiplies the layer that scores voxels, so that some
score below 0.3.
"""

import json
import os
import struct
import sys

import numpy as np
import torch
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import openpcdet_on_cpu  # noqa: E402

openpcdet_on_cpu.Prepare(sys.argv[1])
CONFIGS = os.path.join(os.path.abspath(sys.argv[1]), "tools", "cfgs")

from pcdet.models import build_network  # noqa: E402


def Uniform(name, count):
    mask = 0xFFFFFFFF
    hashed = 0x811C9DC5
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x01000193 & mask
    h = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + hashed) & mask
    h ^= h >> np.uint64(16)
    h = h * np.uint64(0x85EBCA6B) & np.uint64(mask)
    h ^= h >> np.uint64(13)
    h = h * np.uint64(0xC2B2AE35) & np.uint64(mask)
    h ^= h >> np.uint64(16)
    return (h >> np.uint64(8)).astype(np.float64) / 2**24


def Fill(net):
    for name, tensor in list(net.named_parameters()) + list(net.named_buffers()):
        if not tensor.is_floating_point():
            continue
        u = Uniform(name, tensor.numel())
        if tensor.dim() > 1:
            values = (2 * u - 1) * np.sqrt(6 / (tensor.numel() // tensor.shape[0]))
        elif name.endswith(".weight"):
            values = 0.75 + u / 2
        elif name.endswith(".running_var"):
            values = 0.5 + u
        else:
            values = (2 * u - 1) / 4
        tensor.data.copy_(torch.from_numpy(values.astype(np.float32)).view(tensor.shape))


class Dataset:
    def __init__(self, config, low, high, voxel, features):
        self.class_names = config["CLASS_NAMES"]
        self.point_cloud_range = np.array(low + high, np.float32)
        self.voxel_size = voxel
        extent = self.point_cloud_range[3:] - self.point_cloud_range[:3]
        self.grid_size = np.round(extent / np.array(voxel)).astype(np.int64)
        self.depth_downsample_factor = None
        self.point_feature_encoder = openpcdet_on_cpu.Config({"num_point_features": features})


def Voxels(points, low, voxel, most):
    """Cells in the order of their first point: padded points, frame z y x, numbers of points."""
    cells = torch.floor((points[:, 1:4] - torch.tensor(low)) / torch.tensor(voxel)).long()
    held = {}
    for point, (x, y, z) in zip(points, cells.tolist()):
        held.setdefault((int(point[0]), z, y, x), []).append(point[1:])
    voxels = torch.zeros(len(held), most, points.shape[1] - 1)
    for row, own in enumerate(held.values()):
        voxels[row, : min(most, len(own))] = torch.stack(own[:most])
    return voxels, torch.tensor(list(held)), torch.tensor([min(most, len(own)) for own in held.values()])


def Write(name, tensors, case):
    header, data = {}, b""
    for key, tensor in tensors.items():
        raw = tensor.detach().contiguous().numpy().tobytes()
        kind = "F32" if tensor.dtype == torch.float32 else "I64"
        header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, name + ".safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    case["tensors"] = {
        key: {"dtype": "float32" if entry["dtype"] == "F32" else "int64", "shape": entry["shape"]}
        for key, entry in header.items()
    }
    with open(os.path.join(HERE, name + ".json"), "w") as file:
        json.dump(case, file, indent=1)
        file.write("\n")


def Points(low, high, features, seed):
    """Two frames of points: 380 with two crowds, and 20 in a corner, fewer than there are keypoints."""
    torch.manual_seed(seed)
    points = torch.rand(400, 1 + features)
    points[:, 0] = (torch.arange(400) >= 380).float()
    points[:, 1:4] = points[:, 1:4] * (torch.tensor(high) - torch.tensor(low)) + torch.tensor(low)
    size = torch.tensor(high) - torch.tensor(low)
    crowd = torch.randperm(380)
    points[crowd[:160], 1:4] = torch.tensor(low) + size * torch.tensor([0.3, 0.4, 0.5]) + torch.rand(160, 3) * 0.9
    points[crowd[160:230], 1:4] = torch.tensor(low) + size * torch.tensor([0.7, 0.6, 0.3]) + torch.rand(70, 3) * 0.5
    points[380:, 1:4] = torch.tensor(low) + size * torch.tensor([0.6, 0.2, 0.4]) + torch.rand(20, 3) * 1.1
    # On the range's upper border along x and y there is no cell, but a point.
    points[7, 1], points[8, 2] = high[0], high[1]
    return points


def Rois(low, high):
    """Per frame: in a crowd, turned; large and turned; half outside the range; a row of padding, or in empty space."""
    size = torch.tensor(high) - torch.tensor(low)

    def Box(at, extent, yaw):
        return (torch.tensor(low) + size * torch.tensor(at)).tolist() + extent + [yaw]

    return torch.tensor(
        [
            [
                Box([0.345, 0.452, 0.61], [1.31, 0.83, 0.91], 0.37),
                Box([0.51, 0.47, 0.42], [3.93, 1.62, 1.57], -2.11),
                Box([1.003, 0.61, 0.33], [1.71, 0.93, 1.23], 1.43),
                [0.0] * 7,
            ],
            [
                Box([0.671, 0.263, 0.55], [1.27, 1.13, 0.97], 2.87),
                Box([0.57, 0.31, 0.5], [2.93, 1.31, 1.41], 0.81),
                Box([0.12, 0.91, 0.93], [0.61, 0.53, 0.33], 0.1),
                Box([-0.51, 0.52, 0.5], [0.81, 0.63, 0.71], -1.1),
            ],
        ]
    )


def Dense(low, high, rois):
    """Around a crowd of more points than a cell keeps: a box whose cells hold it whole."""
    cell = 1.25
    yaw = 0.1
    at = torch.tensor(low) + (torch.tensor(high) - torch.tensor(low)) * torch.tensor([0.3, 0.4, 0.5]) + 0.45
    at -= torch.tensor([np.cos(yaw) - np.sin(yaw), np.sin(yaw) + np.cos(yaw), 1]).float() * cell / 2
    rois[0, 1] = torch.tensor(at.tolist() + [12 * cell] * 3 + [yaw])
    return rois


def Empty(points, low, voxel, third=False):
    """One frame of which proposals hold two voxels, one of them in the first cell of its box, or three."""
    cells = torch.floor((points[[3, 200, 100], 1:4] - torch.tensor(low)) / torch.tensor(voxel))
    centres = (cells + 0.5) * torch.tensor(voxel) + torch.tensor(low)
    first = centres[0] + torch.tensor([0.013, 0.013, 0.021])
    second = centres[1] + torch.tensor([0.003, -0.004, 0.008])
    return torch.tensor(
        [
            [
                first.tolist() + [0.028, 0.028, 0.046, 0.0],
                [-3.0, 0.5, 0.2, 1.3, 0.7, 0.6, 0.4],
                (centres[2] + 0.003).tolist() + [0.03, 0.02, 0.05, -0.3] if third else [0.0] * 7,
                second.tolist() + [0.03, 0.02, 0.05, 0.2],
            ]
        ]
    )


def Case(
    name, file, low, high, voxel, seed, features=4, keypoints=0, sources=None, rois=None, frames=2, score_scale=None
):
    with open(os.path.join(CONFIGS, file)) as text:
        config = yaml.safe_load(text)
    model = openpcdet_on_cpu.Config(config["MODEL"])
    if keypoints:
        model.PFE.NUM_KEYPOINTS = keypoints
    if sources is not None:
        model.PFE.FEATURES_SOURCE = sources
    hyper = {
        "point_cloud_range": low + high,
        "voxel_size": voxel,
        "point_features": features,
        "num_keypoints": keypoints,
        "features_source": list(model.PFE.FEATURES_SOURCE) if keypoints else [],
    }
    if "ROI_AWARE_POOL" in model.ROI_HEAD:
        hyper["pool_size"] = model.ROI_HEAD.ROI_AWARE_POOL.POOL_SIZE
    dataset = Dataset(config, low, high, voxel, features)
    net = build_network(model_cfg=model, num_class=len(config["CLASS_NAMES"]), dataset=dataset).eval()
    Fill(net)
    if score_scale is not None:
        hyper["score_scale"] = score_scale
        net.point_head.cls_layers[0].weight.data *= score_scale
        net.point_head.cls_layers[0].bias.data *= score_scale

    points = Points(low, high, features, seed)
    points = points[points[:, 0] < frames]
    rois = Rois(low, high) if rois is None else rois(points)
    cells = torch.floor((points[:, 1:4] - torch.tensor(low)) / torch.tensor(voxel)).long()
    inside = ((cells >= 0) & (cells < torch.from_numpy(dataset.grid_size))).all(1)
    voxels, coords, counts = Voxels(points[inside], low, voxel, 5)
    batch = {
        "batch_size": frames,
        "points": points,
        "voxels": voxels,
        "voxel_coords": coords.int(),
        "voxel_num_points": counts,
        "rois": rois.clone(),
        "roi_scores": torch.zeros(frames, 4),
        "roi_labels": torch.ones(frames, 4).long(),
        "has_class_labels": True,
    }
    if "pool_size" in hyper:
        net.roi_head.conv_part.register_forward_pre_hook(lambda _, cells: print(name, "cells:", len(cells[0].features)))
    codes = []
    net.roi_head.generate_predicted_boxes, decode = (
        lambda **k: codes.append((k["cls_preds"], k["box_preds"])) or decode(**k),
        net.roi_head.generate_predicted_boxes,
    )
    with torch.no_grad():
        for module in (net.vfe, net.backbone_3d, net.map_to_bev_module, net.pfe, net.point_head, net.roi_head):
            if module is None:
                continue
            batch = module(batch)
            if module is net.backbone_3d and "multi_scale_3d_features" in batch:
                maps = batch["multi_scale_3d_features"]
                for key in ("x_conv2", "x_conv3", "x_conv4"):
                    maps[key] = openpcdet_on_cpu.SortSites(maps[key])
    ((cls, reg),) = codes
    tensors = {"in.points": points, "in.voxel_features": batch["voxel_features"], "in.coords": coords, "in.rois": rois}
    notes = ["rows of x_conv2 to x_conv4 were sorted by frame, z, y, x before the second stage read them"]
    if keypoints:
        notes.append("out.features_before_fusion, out.features: every third keypoint of both frames in a row")
        notes.append("out.scores: foreground probabilities of all of them")
        tensors.update(
            {
                "out.keypoints": batch["point_coords"][:, 1:].view(2, keypoints, 3),
                "out.features_before_fusion": batch["point_features_before_fusion"][::3],
                "out.features": batch["point_features"][::3],
                "out.scores": batch["point_cls_scores"],
            }
        )
    elif "point_part_offset" in batch:
        notes = [
            "out.features: every third voxel of all frames in a row, in the order of in.coords",
            "out.scores, out.parts: of all voxels, after the sigmoid; parts are not yet 0 where the score is below 0.3",
        ]
        low_scores, gap = batch["point_cls_scores"] < 0.3, (batch["point_cls_scores"] - 0.3).abs().min()
        print(name, "scores below the threshold:", int(low_scores.sum()), "nearest to it:", float(gap))
        tensors.update(
            {
                "out.features": batch["point_features"][::3],
                "out.scores": batch["point_cls_scores"],
                "out.parts": batch["point_part_offset"],
            }
        )
    tensors.update(
        {"out.cls": cls.view(frames, 4), "out.reg": reg.view(frames, 4, 7), "out.boxes": batch["batch_box_preds"]}
    )
    for key, tensor in tensors.items():
        print(name, key, tuple(tensor.shape), float(tensor.abs().max()))
    Write(
        name,
        tensors,
        {
            "name": name,
            "op": "model.second_stage",
            "source": {
                "repository": "OpenPCDet",
                "commit": openpcdet_on_cpu.COMMIT,
                "where": f"tools/cfgs/{file}:MODEL",
            },
            "hyper": hyper,
            "notes": [
                "made by make.py, which says how parameters are filled",
                "in.points: frame, x, y, z, intensity; in.voxel_features: means of at most 5 points per cell, cells in "
                "the order of their first point at in.coords: frame, z, y, x",
                *notes,
            ],
        },
    )


def Manifest(name, file, low, high, voxel, features):
    """Names, types and shapes of the whole network's state, as manifest_*.json."""
    with open(os.path.join(CONFIGS, file)) as text:
        config = yaml.safe_load(text)
    dataset = Dataset(config, low, high, voxel, features)
    net = build_network(
        model_cfg=openpcdet_on_cpu.Config(config["MODEL"]), num_class=len(config["CLASS_NAMES"]), dataset=dataset
    )
    with open(os.path.join(os.path.dirname(HERE), "models", name + ".json"), "w") as to:
        json.dump(
            {
                "name": name,
                "op": "manifest",
                "source": {
                    "repository": "OpenPCDet",
                    "commit": openpcdet_on_cpu.COMMIT,
                    "where": f"tools/cfgs/{file}:MODEL",
                },
                "hyper": {
                    "class_names": config["CLASS_NAMES"],
                    "voxel_size": voxel,
                    "grid_size": dataset.grid_size.tolist(),
                    "point_cloud_range": dataset.point_cloud_range.tolist(),
                    "point_features": features,
                    "detector": config["MODEL"]["NAME"],
                },
                "trainable_parameters": sum(parameter.numel() for parameter in net.parameters()),
                "state": [
                    [key, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
                    for key, tensor in net.state_dict().items()
                ],
            },
            to,
        )
        to.write("\n")


if __name__ == "__main__":
    KITTI, WAYMO = "kitti_models/pv_rcnn.yaml", "waymo_models/pv_rcnn.yaml"
    Case("pv_rcnn_a", KITTI, [0.0, -6.4, -3.0], [12.8, 6.4, 1.0], [0.1, 0.1, 0.1], seed=1, keypoints=64)
    Case(
        "pv_rcnn_waymo_a",
        WAYMO,
        [-6.4, -6.4, -2.0],
        [6.4, 6.4, 4.0],
        [0.1, 0.1, 0.15],
        seed=2,
        features=5,
        keypoints=48,
    )
    # No released list has another order: the places of bev and raw_points in it do not count, those of maps do.
    Case(
        "pv_rcnn_order_a",
        WAYMO,
        [-6.4, -6.4, -2.0],
        [6.4, 6.4, 4.0],
        [0.1, 0.1, 0.15],
        seed=4,
        keypoints=32,
        sources=["x_conv4", "raw_points", "x_conv1"],
    )
    Case(
        "voxel_rcnn_a",
        "kitti_models/voxel_rcnn_car.yaml",
        [0.0, -3.2, -3.0],
        [6.4, 3.2, 1.0],
        [0.05, 0.05, 0.1],
        seed=3,
    )
    PART, LOW, HIGH, VOXEL = "kitti_models/PartA2.yaml", [0.0, -3.2, -3.0], [6.4, 3.2, 1.0], [0.05, 0.05, 0.1]
    Case(
        "part_a2_a",
        PART,
        LOW,
        HIGH,
        VOXEL,
        seed=5,
        score_scale=4,
        rois=lambda points: Dense(LOW, HIGH, Rois(LOW, HIGH)),
    )
    Case(
        "part_a2_empty_a",
        PART,
        LOW,
        HIGH,
        VOXEL,
        seed=5,
        frames=1,
        score_scale=4,
        rois=lambda points: Empty(points, LOW, VOXEL),
    )
    Case(
        "part_a2_three_cells_a",
        PART,
        LOW,
        HIGH,
        VOXEL,
        seed=5,
        frames=1,
        score_scale=4,
        rois=lambda points: Empty(points, LOW, VOXEL, third=True),
    )
    WAYMO_PART = "waymo_models/PartA2.yaml"
    Case("part_a2_waymo_a", WAYMO_PART, LOW, HIGH, VOXEL, seed=6, features=5, score_scale=4)
    Manifest("manifest_part_a2_openpcdet", PART, [0.0, -40.0, -3.0], [70.4, 40.0, 1.0], VOXEL, 4)
    Manifest(
        "manifest_part_a2_waymo_openpcdet", WAYMO_PART, [-75.2, -75.2, -2.0], [75.2, 75.2, 4.0], [0.1, 0.1, 0.15], 5
    )
