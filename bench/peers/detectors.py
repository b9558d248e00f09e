"""PointPillars and CenterPoint on voxels as people run them from PyPI.

Plain PyTorch, spconv's voxels and sparse layers, OpenCV's suppression of rotated boxes. The layers, their order and the
names of their weights are OpenPCDet's; the code is ours.
"""

import math
from functools import partial

import cv2
import numpy as np
import torch
from cumm import tensorview
from spconv.utils import Point2VoxelCPU3d
from torch import nn

norm1d = partial(nn.BatchNorm1d, eps=1e-3, momentum=0.01)
norm2d = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
WAYMO_RANGE = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
WAYMO_VOXEL = (0.1, 0.1, 0.15)
WAYMO_SHAPE = (41, 1504, 1504)


class VoxelGenerator:
    def __init__(self, size, extent, features, most_points, most_voxels):
        self.generator = Point2VoxelCPU3d(
            vsize_xyz=list(size),
            coors_range_xyz=list(extent),
            num_point_features=features,
            max_num_voxels=most_voxels,
            max_num_points_per_voxel=most_points,
        )

    def __call__(self, points):
        """Voxels, coordinates (frame, z, y, x) and numbers of points."""
        # The generator writes into memory of its own.
        voxels, coords, counts = (
            torch.from_numpy(part.numpy().copy())
            for part in self.generator.point_to_voxel(tensorview.from_numpy(points))
        )
        return voxels, nn.functional.pad(coords, (1, 0)), counts


class PillarEncoder(nn.Module):
    def __init__(self, size, extent):
        super().__init__()
        self.linear = nn.Linear(10, 64, bias=False)
        self.norm = norm1d(64)
        self.size, self.low = torch.tensor(size), torch.tensor(extent[:3])

    def forward(self, voxels, coords, counts):
        xyz = voxels[:, :, :3]
        mean = xyz.sum(1, keepdim=True) / counts.view(-1, 1, 1)
        centre = coords[:, [3, 2, 1]] * self.size + (self.size / 2 + self.low)
        columns = torch.cat([voxels, xyz - mean, xyz - centre.unsqueeze(1)], 2)
        columns *= (torch.arange(voxels.shape[1]) < counts.unsqueeze(1)).unsqueeze(2)
        x = self.norm(self.linear(columns).flatten(0, 1)).view(len(voxels), voxels.shape[1], -1)
        return torch.relu(x).max(1)[0]


class BevBackbone(nn.Module):
    def __init__(self, width, layers, strides, filters, ups, up_filters):
        super().__init__()
        self.blocks, self.deblocks = nn.ModuleList(), nn.ModuleList()
        for count, stride, out, up, up_out in zip(layers, strides, filters, ups, up_filters):
            block = [nn.Identity()]
            for i in range(count + 1):
                block += [
                    nn.Conv2d(width, out, 3, stride if i == 0 else 1, 1, bias=False),
                    norm2d(out),
                    nn.ReLU(inplace=True),
                ]
                width = out
            self.blocks.append(nn.Sequential(*block))
            self.deblocks.append(
                nn.Sequential(
                    nn.ConvTranspose2d(out, up_out, up, up, bias=False), norm2d(up_out), nn.ReLU(inplace=True)
                )
            )

    def forward(self, x):
        maps = []
        for block, deblock in zip(self.blocks, self.deblocks):
            x = block(x)
            maps.append(deblock(x))
        return torch.cat(maps, 1)


def suppress(boxes, scores, threshold, most):
    """Rows that OpenCV keeps, of boxes sorted by score."""
    rectangles = [((x, y), (dx, dy), math.degrees(yaw)) for x, y, _, dx, dy, _, yaw in boxes[:, :7].tolist()]
    rows = cv2.dnn.NMSBoxesRotated(rectangles, scores.tolist(), 0.0, threshold)
    return torch.as_tensor(np.asarray(rows, np.int64).reshape(-1)[:most])


class PointPillars(nn.Module):
    """kdctl's "pointpillar_kitti"."""

    name, features = "pointpillar_kitti", 4
    size, extent = (0.16, 0.16, 4.0), (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)

    def __init__(self):
        super().__init__()
        self.voxels = VoxelGenerator(self.size, self.extent, 4, 32, 40000)
        encoder = nn.Module()
        encoder.pfn_layers = nn.ModuleList([PillarEncoder(self.size, self.extent)])
        self.vfe = encoder
        self.backbone_2d = BevBackbone(64, (3, 5, 5), (2, 2, 2), (64, 128, 256), (1, 2, 4), (128, 128, 128))
        head = nn.Module()
        head.conv_cls, head.conv_box, head.conv_dir_cls = (
            nn.Conv2d(384, 18, 1),
            nn.Conv2d(384, 42, 1),
            nn.Conv2d(384, 12, 1),
        )
        nn.init.normal_(head.conv_box.weight, std=0.01)
        self.dense_head = head
        self.anchors = self.make_anchors(248, 216)

    def make_anchors(self, height, width):
        x, y = torch.linspace(0, 69.12, width), torch.linspace(-39.68, 39.68, height)
        boxes = torch.zeros(height, width, 3, 2, 7)
        boxes[..., 0], boxes[..., 1] = x.view(1, -1, 1, 1), y.view(-1, 1, 1, 1)
        for i, (size, bottom) in enumerate(
            (((3.9, 1.6, 1.56), -1.78), ((0.8, 0.6, 1.73), -0.6), ((1.76, 0.6, 1.73), -0.6))
        ):
            boxes[:, :, i, :, 3:6] = torch.tensor(size)
            boxes[:, :, i, :, 2] = bottom + size[2] / 2
        boxes[..., 1, 6] = 1.57
        return boxes.view(-1, 7)

    def maps(self, points):
        voxels, coords, counts = self.voxels(points)
        pillars = self.vfe.pfn_layers[0](voxels, coords, counts)
        canvas = torch.zeros(64, 496 * 432)
        canvas[:, (coords[:, 2] * 432 + coords[:, 3]).long()] = pillars.t()
        x = self.backbone_2d(canvas.view(1, 64, 496, 432))
        head = self.dense_head
        return [conv(x).permute(0, 2, 3, 1).contiguous() for conv in (head.conv_cls, head.conv_box, head.conv_dir_cls)]

    def forward(self, points):
        """Boxes (7), scores and labels from 0."""
        scores, codes, directions = (part.view(len(self.anchors), -1) for part in self.maps(points))
        a = self.anchors
        diagonal = torch.sqrt(a[:, 3:4] ** 2 + a[:, 4:5] ** 2)
        yaw = codes[:, 6] + a[:, 6] - 0.78539
        yaw = yaw - torch.floor(yaw / math.pi) * math.pi + 0.78539 + math.pi * directions.argmax(1)
        boxes = torch.cat(
            [
                codes[:, :2] * diagonal + a[:, :2],
                codes[:, 2:3] * a[:, 5:6] + a[:, 2:3],
                torch.exp(codes[:, 3:6]) * a[:, 3:6],
                yaw.unsqueeze(1),
            ],
            1,
        )
        best, labels = torch.sigmoid(scores).max(1)
        rows = torch.nonzero(best >= 0.1).squeeze(1)
        best, order = best[rows].topk(min(len(rows), 4096))
        rows = rows[order]
        kept = suppress(boxes[rows], best, 0.01, 500)
        return boxes[rows][kept], best[kept], labels[rows][kept]

    def set_scores(self, points, count):
        """Moves the scores so that about `count` anchors pass the threshold, as a trained head's do."""
        best = self.maps(points)[0].view(len(self.anchors), -1).max(1)[0]
        self.dense_head.conv_cls.bias.data += math.log(0.1 / 0.9) - best.topk(count)[0][-1]


def voxel_backbone():
    """VoxelResBackBone8x of spconv's layers. Its CPU convolutions take no bias: it is added by hand."""
    import spconv.pytorch as spconv
    import spconv.pytorch.ops as spconv_ops

    # Asked for on the way back even where no CUDA is.
    if not torch.cuda.is_available():
        spconv_ops.get_current_stream = lambda: 0

    class Block(spconv.SparseModule):
        def __init__(self, width, key):
            super().__init__()
            self.conv1 = spconv.SubMConv3d(width, width, 3, padding=1, bias=False, indice_key=key)
            self.bn1 = norm1d(width)
            self.conv2 = spconv.SubMConv3d(width, width, 3, padding=1, bias=False, indice_key=key)
            self.bn2 = norm1d(width)
            self.bias1 = nn.Parameter(torch.zeros(width))
            self.bias2 = nn.Parameter(torch.zeros(width))

        def forward(self, x):
            y = self.conv1(x)
            y = self.conv2(y.replace_feature(torch.relu(self.bn1(y.features + self.bias1))))
            return y.replace_feature(torch.relu(self.bn2(y.features + self.bias2) + x.features))

    def layer(conv, width):
        return spconv.SparseSequential(conv, norm1d(width), nn.ReLU())

    def down(width_in, width, key, padding=1, kernel=3, stride=2):
        return layer(spconv.SparseConv3d(width_in, width, kernel, stride, padding, bias=False, indice_key=key), width)

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_input = layer(spconv.SubMConv3d(5, 16, 3, padding=1, bias=False, indice_key="subm1"), 16)
            self.conv1 = spconv.SparseSequential(Block(16, "res1"), Block(16, "res1"))
            self.conv2 = spconv.SparseSequential(down(16, 32, "spconv2"), Block(32, "res2"), Block(32, "res2"))
            self.conv3 = spconv.SparseSequential(down(32, 64, "spconv3"), Block(64, "res3"), Block(64, "res3"))
            self.conv4 = spconv.SparseSequential(
                down(64, 128, "spconv4", (0, 1, 1)), Block(128, "res4"), Block(128, "res4")
            )
            self.conv_out = down(128, 128, "spconv_down2", 0, (3, 1, 1), (2, 1, 1))

        def forward(self, features, coords, shape=WAYMO_SHAPE):
            x = spconv.SparseConvTensor(features, coords, list(shape), 1)
            for stage in (self.conv_input, self.conv1, self.conv2, self.conv3, self.conv4, self.conv_out):
                x = stage(x)
            return x

    torch.manual_seed(0)
    return Backbone()


class CenterPointVoxel(nn.Module):
    """kdctl's "centerpoint_voxel"."""

    name, features = "centerpoint_voxel", 5

    def __init__(self):
        super().__init__()
        self.voxels = VoxelGenerator(WAYMO_VOXEL, WAYMO_RANGE, 5, 5, 150000)
        self.backbone_3d = voxel_backbone()
        self.backbone_2d = BevBackbone(256, (5, 5), (1, 2), (128, 256), (1, 2), (256, 256))

        def conv(width, out):
            return nn.Sequential(nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True))

        head = nn.Module()
        head.shared_conv = conv(512, 64)
        head.heads_list = nn.ModuleList(
            [
                nn.ModuleDict(
                    {
                        name: nn.Sequential(conv(64, 64), nn.Conv2d(64, width, 3, padding=1))
                        for name, width in (("center", 2), ("center_z", 1), ("dim", 3), ("rot", 2), ("hm", 3))
                    }
                )
            ]
        )
        # Boxes of random weights stay of this world.
        for name in ("center", "center_z", "dim", "rot"):
            head.heads_list[0][name][1].weight.data *= 0.1
        head.heads_list[0]["dim"][1].bias.data = torch.tensor([4.6, 2.0, 1.7]).log()
        self.dense_head = head

    def maps(self, points):
        voxels, coords, counts = self.voxels(points)
        mean = voxels.sum(1) / counts.clamp_min(1).unsqueeze(1)
        x = self.backbone_3d(mean, coords).dense()
        x = self.backbone_2d(x.view(1, -1, *x.shape[3:]))
        x = self.dense_head.shared_conv(x)
        return {name: branch(x) for name, branch in self.dense_head.heads_list[0].items()}

    def forward(self, points):
        """Boxes (7), scores and labels from 0."""
        maps = self.maps(points)
        heat = torch.sigmoid(maps["hm"])
        width = heat.shape[3]
        scores, cells = heat[0].flatten(1).topk(500)
        scores, ranks = scores.flatten().topk(500)
        labels, cells = ranks // 500, cells.flatten()[ranks]

        def at(name):
            return maps[name][0].flatten(1)[:, cells].t()

        y, x = torch.div(cells, width, rounding_mode="floor"), cells % width
        centre = (torch.stack([x, y], 1) + at("center")) * 8 * torch.tensor(WAYMO_VOXEL[:2]) + torch.tensor(
            WAYMO_RANGE[:2]
        )
        turn = at("rot")
        boxes = torch.cat([centre, at("center_z"), torch.exp(at("dim")), torch.atan2(turn[:, 1:], turn[:, :1])], 1)
        low, high = torch.tensor(WAYMO_RANGE[:3]), torch.tensor(WAYMO_RANGE[3:])
        keep = (scores > 0.1) & (boxes[:, :3] >= low).all(1) & (boxes[:, :3] <= high).all(1)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        kept = suppress(boxes, scores, 0.7, 500)
        return boxes[kept], scores[kept], labels[kept]

    def set_scores(self, points, count):
        """Moves the heat map so that about `count` cells pass the threshold, as a trained head's do."""
        best = self.maps(points)["hm"].flatten()
        self.dense_head.heads_list[0]["hm"][1].bias.data += math.log(0.1 / 0.9) - best.topk(count)[0][-1]


def settled(model, points, candidates):
    """`model` for evaluation, its batch norms set to the statistics of `points`: random weights keep numbers in bounds.

    With one thread: spconv's CPU convolutions race.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()
        model.maps(points)
        model.eval()
        model.set_scores(points, candidates)
    torch.set_num_threads(threads)
    return model


def weights(model):
    """Under OpenPCDet's names."""
    return {
        name.replace(".bias1", ".conv1.bias").replace(".bias2", ".conv2.bias"): tensor.contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
