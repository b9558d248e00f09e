"""Runs OpenPCDet without its compiled extensions and without a GPU: import it first, then Prepare(CHECKOUT).

Each kernel that two-stage detectors reach has a plain form here, with the kernel's order of visits, its comparisons,
its padding and its float32 arithmetic. Kernels that nothing here needs raise when they are called. Suppression is exact
(shapely), not the kernel's with its tolerance of 1 cm.

Sparse convolutions are spconv 2.3.8's on the CPU, which races with more than one thread: OMP_NUM_THREADS=1.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import types

import numpy as np
import torch

COMMIT = "8cacccec11db6f59bf6934600c9a175dae254806"
F = np.float32


def _array(tensor):
    """Shares memory with the tensor, so that writing to it answers."""
    assert tensor.is_contiguous()
    return tensor.detach().numpy()


def _frames(counts):
    starts = np.concatenate([[0], np.cumsum(_array(counts))])
    return zip(starts[:-1], starts[1:])


def _squared(points, query):
    d = (query[None] - points).astype(F)
    return (d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1]) + d[:, 2] * d[:, 2]


# pointnet2_stack


def ball_query(frames, queries, radius, samples, new_xyz, new_counts, xyz, counts, idx):
    """The first points in order with d2 < radius2; the first of them pads; -1 in place 0 for none."""
    radius2 = F(radius) * F(radius)
    points, places, rows = _array(xyz), _array(new_xyz), _array(idx)
    for (low, high), (first, last) in zip(_frames(counts), _frames(new_counts)):
        for q in range(first, last):
            found = np.flatnonzero(_squared(points[low:high], places[q]) < radius2)[:samples]
            if len(found) == 0:
                rows[q, 0] = -1
                continue
            rows[q] = found[0]
            rows[q, : len(found)] = found


def voxel_query(
    queries,
    depth,
    height,
    width,
    samples,
    radius,
    reach_z,
    reach_y,
    reach_x,
    new_xyz,
    xyz,
    new_coords,
    point_indices,
    idx,
):
    """The first voxels by z, y, x of the cells around with d2 <= radius2; padded as above."""
    radius2 = F(radius) * F(radius)
    points, places, rows = _array(xyz), _array(new_xyz), _array(idx)
    cells, table = _array(new_coords), _array(point_indices)
    for q in range(queries):
        frame, z, y, x = cells[q]

        def span(at, reach, extent):
            return slice(max(at - reach, 0), max(min(at + reach, extent - 1) + 1, 0))

        near = table[frame, span(z, reach_z, depth), span(y, reach_y, height), span(x, reach_x, width)].reshape(-1)
        near = near[near >= 0]
        found = near[_squared(points[near], places[q]) <= radius2][:samples]
        if len(found) == 0:
            rows[q, 0] = -1
            continue
        rows[q] = found[0]
        rows[q, : len(found)] = found


def group_points(frames, queries, channels, samples, features, counts, idx, idx_counts, out):
    values, rows, to = _array(features), _array(idx), _array(out)
    for (low, high), (first, last) in zip(_frames(counts), _frames(idx_counts)):
        if last == first:
            continue
        if high == low:
            # The kernel reads what lies there: nothing found, so the caller sets it to zero.
            to[first:last] = 0
            continue
        to[first:last] = values[low:high][rows[first:last]].transpose(0, 2, 1)


def _farthest(points, samples, threads):
    """Equals: the lowest thread (index modulo the number of threads), there the lowest index."""
    nearest = np.full(len(points), 1e10, F)
    order = np.lexsort((np.arange(len(points)), np.arange(len(points)) % threads))
    chosen, last = [0], 0
    for _ in range(1, samples):
        nearest = np.minimum(nearest, _squared(points, points[last]))
        last = int(order[np.argmax(nearest[order])])
        chosen.append(last)
    return chosen


def farthest_point_sampling(frames, count, samples, xyz, temp, idx):
    threads = max(min(1 << int(np.log(float(count)) / np.log(2.0)), 1024), 1)
    for frame in range(frames):
        _array(idx)[frame] = _farthest(_array(xyz)[frame], samples, threads)


def stack_farthest_point_sampling(xyz, temp, counts, idx, samples):
    for (low, high), (first, last) in zip(_frames(counts), _frames(samples)):
        if last > first:
            _array(idx)[first:last] = low + np.array(_farthest(_array(xyz)[low:high], last - first, 1024))


# roiaware_pool3d


def _inside(points, box):
    """Of each point: whether it lies in the box, and x and y along the box's own axes."""
    cos, sin = np.cos(-F(box[6])), np.sin(-F(box[6]))
    dx, dy = points[:, 0] - F(box[0]), points[:, 1] - F(box[1])
    x, y = dx * cos + dy * -sin, dx * sin + dy * cos
    margin = np.float64(F(1e-5))
    inside = ~(np.abs(points[:, 2] - F(box[2])) > np.float64(box[5]) / 2)
    inside &= (np.abs(x) < np.float64(box[3]) / 2 + margin) & (np.abs(y) < np.float64(box[4]) / 2 + margin)
    return inside, x, y


def roiaware_forward(rois, points, features, argmax, rows_of_cells, pooled, average):
    boxes, places, values = _array(rois), _array(points), _array(features)
    best, rows, to = _array(argmax), _array(rows_of_cells), _array(pooled)
    extents, most = rows.shape[1:4], rows.shape[4] - 1
    for r, box in enumerate(boxes):
        inside, x, y = _inside(places, box)
        local = (x, y, places[:, 2] - box[2])
        for k in np.flatnonzero(inside):
            with np.errstate(divide="ignore", invalid="ignore"):
                at = [(F(local[a][k]) + box[3 + a] / F(2)) / (box[3 + a] / F(extents[a])) for a in range(3)]
            # The kernel turns not-a-number into 0, and what is negative into a very large number.
            whole = [0 if np.isnan(v) else int(np.clip(v, -1e6, 1e6)) for v in at]
            cell = tuple(n - 1 if v < 0 else min(v, n - 1) for v, n in zip(whole, extents))
            held = rows[(r,) + cell]
            if held[0] < most:
                held[held[0] + 1] = k
                held[0] += 1
        best[r] = -1
        for cell in np.argwhere(rows[r, ..., 0] > 0):
            at = (r,) + tuple(cell)
            held = rows[at][1 : 1 + rows[at][0]]
            if average:
                total = np.zeros(values.shape[1], F)
                for k in held:
                    total += values[k]
                to[at] = total / F(len(held))
            else:
                top = values[held].argmax(0)
                best[at] = held[top]
                to[at] = values[held].max(0)


def points_in_boxes(boxes, points, answer):
    """The first box that holds the point."""
    for frame in range(len(boxes)):
        for k in reversed(range(boxes.shape[1])):
            _array(answer)[frame][_inside(_array(points)[frame], _array(boxes)[frame, k])[0]] = k


def points_in_boxes_cpu(boxes, points, answer):
    for k, box in enumerate(_array(boxes)):
        _array(answer)[k] = _inside(_array(points), box)[0]


# iou3d_nms


def _ground(box):
    import shapely

    cos, sin = np.cos(float(box[6])), np.sin(float(box[6]))
    corners = [(sx * box[3] / 2, sy * box[4] / 2) for sx, sy in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    return shapely.Polygon([(box[0] + x * cos - y * sin, box[1] + x * sin + y * cos) for x, y in corners])


def boxes_overlap(a, b, answer):
    grounds = [_ground(box) for box in _array(b)]
    for i, box in enumerate(_array(a)):
        _array(answer)[i] = [_ground(box).intersection(other).area for other in grounds]


def boxes_iou(a, b, answer):
    boxes_overlap(a, b, answer)
    area_a, area_b = _array(a)[:, 3] * _array(a)[:, 4], _array(b)[:, 3] * _array(b)[:, 4]
    overlap = _array(answer)
    overlap[:] = overlap / np.maximum(area_a[:, None] + area_b[None] - overlap, 1e-8)


def nms(boxes, keep, threshold):
    iou = torch.zeros(len(boxes), len(boxes))
    boxes_iou(boxes[:, :7].contiguous(), boxes[:, :7].contiguous(), iou)
    gone, kept = np.zeros(len(boxes), bool), 0
    for k in range(len(boxes)):
        if gone[k]:
            continue
        keep[kept] = k
        kept += 1
        gone |= _array(iou)[k] > threshold
    return kept


EXTENSIONS = {
    "pcdet.ops.pointnet2.pointnet2_stack.pointnet2_stack_cuda": {
        "ball_query_wrapper": ball_query,
        "voxel_query_wrapper": voxel_query,
        "group_points_wrapper": group_points,
        "farthest_point_sampling_wrapper": farthest_point_sampling,
        "stack_farthest_point_sampling_wrapper": stack_farthest_point_sampling,
    },
    "pcdet.ops.pointnet2.pointnet2_batch.pointnet2_batch_cuda": {},
    "pcdet.ops.roiaware_pool3d.roiaware_pool3d_cuda": {
        "forward": roiaware_forward,
        "points_in_boxes_gpu": points_in_boxes,
        "points_in_boxes_cpu": points_in_boxes_cpu,
    },
    "pcdet.ops.roipoint_pool3d.roipoint_pool3d_cuda": {},
    "pcdet.ops.iou3d_nms.iou3d_nms_cuda": {
        "boxes_overlap_bev_gpu": boxes_overlap,
        "boxes_iou_bev_gpu": boxes_iou,
        "boxes_iou_bev_cpu": boxes_iou,
        "nms_gpu": nms,
    },
    "pcdet.ops.bev_pool.bev_pool_ext": {},
    "pcdet.ops.ingroup_inds.ingroup_inds_cuda": {},
    "pcdet.version": {"__version__": "0.6.0"},
}
# Imported by parts of OpenPCDet that do not run here.
ABSENT = (
    "PIL",
    "SharedArray",
    "av2",
    "cv2",
    "kornia",
    "lyft_dataset_sdk",
    "mmcv",
    "mmdet3d",
    "nuscenes",
    "numba",
    "pandas",
    "pandaset",
    "pyquaternion",
    "scipy",
    "skimage",
    "tensorboardX",
    "tensorflow",
    "torch_scatter",
    "torchvision",
    "tqdm",
    "waymo_open_dataset",
)


class _Stub(types.ModuleType):
    """Any attribute is a decorator that leaves functions as they are, and raises when called with anything else."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args, **kwargs):
            if len(args) == 1 and callable(args[0]):
                return args[0]
            if not args:
                return lambda function: function
            raise NotImplementedError(f"{self.__name__}.{name} has no plain form in openpcdet_on_cpu.py")

        return absent


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name in EXTENSIONS or name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Stub(spec.name)

    def exec_module(self, module):
        module.__dict__.update(EXTENSIONS.get(module.__name__, {}))


class Config(dict):
    """What OpenPCDet's code asks of easydict.EasyDict."""

    def __init__(self, entries=()):
        super().__init__({key: _config(value) for key, value in dict(entries).items()})

    def __getattr__(self, key):
        if key in self:
            return self[key]
        raise AttributeError(key)

    def __setattr__(self, key, value):
        self[key] = _config(value)


def _config(value):
    if isinstance(value, dict):
        return Config(value)
    return [_config(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def SortSites(tensor):
    """The rows of a spconv tensor by frame, z, y, x: the order in which its GPU code leaves a strided layer's sites.

    On the CPU they come in no order of frames, which pooling by frame takes for granted. Submanifold layers keep the
    order of their input, which must be grouped by frame.
    """
    order = torch.from_numpy(np.lexsort(tensor.indices.numpy().T[::-1]).copy())
    ordered = tensor.replace_feature(tensor.features[order])
    ordered.indices = tensor.indices[order]
    return ordered


def Prepare(checkout):
    """Makes `import pcdet` read `checkout`, its extensions stood in for, tensors of "cuda" on the CPU."""
    sys.path.insert(0, os.path.abspath(checkout))
    sys.meta_path.insert(0, _Finder())
    if "easydict" not in sys.modules:
        easydict = types.ModuleType("easydict")
        easydict.EasyDict = Config
        sys.modules["easydict"] = easydict
    np.int, np.bool, np.float = int, bool, float  # gone from numpy since
    torch.Tensor.cuda = lambda self, *a, **k: self
    torch.nn.Module.cuda = lambda self, *a, **k: self
    torch.cuda.IntTensor, torch.cuda.FloatTensor, torch.cuda.LongTensor = (
        torch.IntTensor,
        torch.FloatTensor,
        torch.LongTensor,
    )
    torch.jit.script = lambda function, *a, **k: function  # compiles what calls absent modules, too
    torch.set_num_threads(1)
