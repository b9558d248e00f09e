#!/usr/bin/env python3
"""What our kernels, metrics and detectors cost against the packages that people take from PyPI otherwise.

    scripts/bench ops [SECTION ...] [--rounds 5]

Both sides take turns on the same data, each with two threads at most (metrics with one); results are compared before or
while they are timed. Ratios are their time / ours. The peers are installed into .deps/bench and .deps/bench-nuscenes on
first use; LibTorch comes from .deps/wheels.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
from peers.harness import ROOT, THREADS, Ours, environment, report, report_nothing, say, timed

SHAPE = (41, 1504, 1504)
RANGE = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
VOXEL = (0.1, 0.1, 0.15)


def enter_peers():
    """Runs this script again in the peers' environment."""
    python = environment("bench", "peers.txt")
    if sys.prefix == os.path.dirname(os.path.dirname(python)):
        return
    variables = dict(os.environ, PYTHONPATH=os.path.join(ROOT, ".deps", "wheels"), OMP_NUM_THREADS=str(THREADS))
    os.execve(python, [python, os.path.abspath(__file__)] + sys.argv[1:], variables)


def scan(beams=64, columns=2650, seed=0):
    """A turning LiDAR among boxes on a plane: N x 5 float32."""
    import numpy as np

    rng = np.random.default_rng(seed)
    pitch = np.deg2rad(np.linspace(-17.6, 2.4, beams))
    yaw = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    pitch, yaw = np.meshgrid(pitch, yaw, indexing="ij")
    ray = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], -1).reshape(-1, 3)
    reach = np.full(len(ray), 75.0)
    down = ray[:, 2] < -1e-3
    reach[down] = np.minimum(reach[down], 1.8 / -ray[down, 2])
    for _ in range(120):
        at, size, top = rng.uniform(-70, 70, 2), rng.uniform(1.5, 8, 2), rng.uniform(0, 8)
        if np.hypot(*at) < 6:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = [(at[axis] + sign * size[axis] / 2) / ray[:, axis] for axis in (0, 1) for sign in (-1, 1)]
        near = np.maximum(np.minimum(sides[0], sides[1]), np.minimum(sides[2], sides[3]))
        far = np.minimum(np.maximum(sides[0], sides[1]), np.maximum(sides[2], sides[3]))
        z = near * ray[:, 2]
        hit = (near < far) & (near > 0) & (z < top - 1.8) & (z > -1.8)
        reach[hit] = np.minimum(reach[hit], near[hit])
    seen = reach < 74.9
    points = ray[seen] * (reach[seen] + rng.normal(0, 0.02, seen.sum()))[:, None]
    return np.concatenate([points, rng.uniform(0, 1, (len(points), 2))], 1).astype(np.float32)


def voxels_of(points):
    """Voxel coordinates (frame, z, y, x) in random order, with random features."""
    import numpy as np
    import torch

    low, size = np.array(RANGE[:3]), np.array(VOXEL)
    cells = np.floor((points[:, :3] - low) / size).astype(np.int64)
    inside = ((cells >= 0) & (cells < np.array([SHAPE[2], SHAPE[1], SHAPE[0] - 1]))).all(1)
    unique = np.unique(cells[inside], axis=0)[:, ::-1]
    rng = np.random.default_rng(1)
    rng.shuffle(unique)
    coords = np.concatenate([np.zeros((len(unique), 1), np.int64), unique], 1)
    return torch.from_numpy(coords), torch.from_numpy(rng.normal(size=(len(coords), 5)).astype(np.float32))


def sparse_conv(ours, rounds):
    import torch
    from peers.detectors import voxel_backbone, weights

    coords, features = voxels_of(scan())
    say(f"sparse convolution: {len(coords)} voxels")
    net = voxel_backbone()
    parameters = {f"param.{name}": tensor for name, tensor in weights(net).items()}
    ours.load({**parameters, "features": features, "coords": coords, "shape": torch.tensor(SHAPE)})
    coords = coords.int()

    def forward():
        net.eval()
        with torch.no_grad():
            return net(features, coords).features

    def backward():
        net.train()
        net.zero_grad()
        loss = (net(features.clone().requires_grad_(), coords).features ** 2).mean()
        return timed(loss.backward)[0]

    # With one thread: spconv's CPU convolutions race.
    _, (rows, total) = ours.seconds("backbone forward cpu")
    torch.set_num_threads(1)
    out = forward()
    torch.set_num_threads(THREADS)
    if out.shape[0] != rows:
        sys.exit(f"ops: spconv has {out.shape[0]} sites, ours {rows:.0f}")
    difference = abs(out.abs().sum().item() - total) / total
    if difference > 1e-4:
        sys.exit(f"ops: spconv's features differ by {difference:.2g} of their sum")
    ratios = {"forward": [], "backward": []}
    for _ in range(rounds):
        mine = ours.seconds("backbone forward cpu")[0]
        ratios["forward"].append(timed(forward)[0] / mine)
        mine = ours.seconds("backbone train cpu")[0]
        ratios["backward"].append(backward() / mine)
    report("sparse-conv.forward", ratios["forward"], 1.5, peer="spconv 2.3.8, CPU")
    report("sparse-conv.backward", ratios["backward"], 1.5, peer="spconv 2.3.8, CPU")


def voxelize(ours, rounds):
    import torch
    from spconv.utils import Point2VoxelCPU3d
    from cumm import tensorview

    points = scan()
    settings = {
        "waymo": (VOXEL, RANGE, 5, 150000),
        "kitti": ((0.05, 0.05, 0.1), (0, -40, -3, 70.4, 40, 1), 5, 40000),
        "pillars": ((0.32, 0.32, 6.0), (-74.24, -74.24, -2, 74.24, 74.24, 4), 20, 150000),
    }
    for name, (size, extent, most_points, most_voxels) in settings.items():
        ours.load({"points": torch.from_numpy(points), "range": torch.tensor(extent, dtype=torch.float32)})
        generator = Point2VoxelCPU3d(
            vsize_xyz=list(size),
            coors_range_xyz=list(extent),
            num_point_features=5,
            max_num_voxels=most_voxels,
            max_num_points_per_voxel=most_points,
        )
        command = f"voxelize {','.join(map(str, size))} {most_points} {most_voxels}"

        def peer():
            return [part.numpy() for part in generator.point_to_voxel(tensorview.from_numpy(points))]

        # The C library finds its freed blocks again only after some calls: both sides get as many before time is taken.
        for _ in range(10):
            _, (count, kept) = ours.seconds(command)
            theirs = peer()
        # Points on a border of cells may fall to either side.
        if abs(len(theirs[1]) - count) > 1e-3 * count or abs(int(theirs[2].sum()) - kept) > 1e-3 * kept:
            sys.exit(
                f"ops: spconv makes {len(theirs[1])} voxels of {theirs[2].sum()} points, ours {count:.0f} of {kept:.0f}"
            )
        ratios = []
        for _ in range(rounds):
            mine = ours.seconds(command)[0]
            ratios.append(timed(peer)[0] / mine)
        report(f"voxelize.{name}", ratios, 2, peer="spconv 2.3.8, CPU")


def scene(count, seed=3):
    """Boxes of vehicles at constant density, some on one another, with scores."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    extent = 4 * math.sqrt(count)
    boxes = np.stack(
        [
            rng.uniform(-extent, extent, count),
            rng.uniform(-extent, extent, count),
            np.zeros(count),
            rng.uniform(3.5, 5, count),
            rng.uniform(1.6, 2.1, count),
            np.full(count, 1.6),
            rng.uniform(-3.1, 3.1, count),
        ],
        1,
    )
    return torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(rng.uniform(0, 1, count).astype(np.float32))


def corners(box):
    c, s = math.cos(box[6]), math.sin(box[6])
    return [
        (box[0] + c * u - s * v, box[1] + s * u + c * v)
        for u, v in (
            (box[3] / 2, box[4] / 2),
            (box[3] / 2, -box[4] / 2),
            (-box[3] / 2, -box[4] / 2),
            (-box[3] / 2, box[4] / 2),
        )
    ]


def greedy(order, overlaps, threshold):
    kept = []
    for row in order:
        if all(overlaps(row, other) <= threshold for other in kept):
            kept.append(row)
    return len(kept)


def boxes(ours, rounds):
    import cv2
    import shapely

    cv2.setNumThreads(2)
    a, scores = scene(400)
    b, _ = scene(400, seed=4)
    ours.load({"a": a, "b": b, "boxes": a.clone(), "scores": scores})
    rows, others = a.double().tolist(), b.double().tolist()

    def shapely_iou():
        polygons, more = [shapely.Polygon(corners(x)) for x in rows], [shapely.Polygon(corners(x)) for x in others]
        total = 0.0
        for x in polygons:
            for y in more:
                shared = x.intersection(y).area
                total += shared / (x.area + y.area - shared)
        return total

    def cv_rectangle(x):
        return ((x[0], x[1]), (x[3], x[4]), math.degrees(x[6]))

    def cv_overlap(x, y):
        kind, region = cv2.rotatedRectangleIntersection(x, y)
        return 0.0 if kind == cv2.INTERSECT_NONE or region is None else cv2.contourArea(cv2.convexHull(region))

    def cv_iou():
        first, second = [cv_rectangle(x) for x in rows], [cv_rectangle(x) for x in others]
        total = 0.0
        for x in first:
            for y in second:
                shared = cv_overlap(x, y)
                total += shared / (x[1][0] * x[1][1] + y[1][0] * y[1][1] - shared)
        return total

    order = sorted(range(len(rows)), key=lambda i: -scores[i].item())
    threshold = 0.1

    def shapely_nms():
        polygons = [shapely.Polygon(corners(x)) for x in rows]

        def overlap(i, j):
            shared = polygons[i].intersection(polygons[j]).area
            return shared / (polygons[i].area + polygons[j].area - shared)

        return greedy(order, overlap, threshold)

    def cv_nms():
        rectangles = [cv_rectangle(x) for x in rows]

        def overlap(i, j):
            x, y = rectangles[i], rectangles[j]
            shared = cv_overlap(x, y)
            return shared / (x[1][0] * x[1][1] + y[1][0] * y[1][1] - shared)

        return greedy(order, overlap, threshold)

    for name, command, peers, tolerance in (
        ("iou", "iou", (("shapely", shapely_iou, 20), ("opencv", cv_iou, 2)), 1e-3),
        ("nms", f"nms {threshold}", (("shapely", shapely_nms, 20), ("opencv", cv_nms, 2)), 1e-3),
    ):
        _, (result,) = ours.seconds(command)
        for peer, call, goal in peers:
            theirs = call()
            if abs(theirs - result) > tolerance * abs(result):
                sys.exit(f"ops: {name}: {peer} finds {theirs}, ours {result}")
            ratios = []
            for _ in range(rounds):
                mine = min(ours.seconds(command)[0] for _ in range(3))
                ratios.append(timed(call)[0] / mine)
            report(f"{name}.{peer}", ratios, goal, peer=peer)


def exponent(sizes, seconds):
    """Slope of the straight line through the logarithms."""
    xs, ys = [math.log(s) for s in sizes], [math.log(s) for s in seconds]
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / sum((x - mean_x) ** 2 for x in xs)


def scaling(ours, rounds):
    import numpy as np
    import torch
    from peers.detectors import PointPillars, settled, voxel_backbone, weights

    factors = (1, 4, 16)

    # Every round has data of its own, as frames have: what runs again and again is learnt by heart when it is small.
    def fit(name, load, command, warm=1):
        for factor in factors:
            load(factor, 100)
            for _ in range(warm):
                ours.seconds(command(factor))
        fits = []
        for seed in range(rounds):
            seconds = []
            for factor in factors:
                load(factor, seed)
                seconds.append(ours.seconds(command(factor))[0])
            fits.append(exponent(factors, seconds))
        report(f"scaling.{name}", fits, 1.1, better="lower", unit="exponent")

    # The same road with more columns a turn would fill the same cells, so roads stand side by side. The smallest has
    # the points of a sweep of nuScenes.
    def roads(factor, seed):
        sweep = scan(columns=600, seed=seed)
        return np.concatenate([sweep + np.array([160.0 * i, 0, 0, 0, 0], np.float32) for i in range(factor)]).astype(
            np.float32
        )

    def load_points(factor, seed):
        ours.load(
            {
                "points": torch.from_numpy(roads(factor, seed)),
                "range": torch.tensor(
                    [RANGE[0], RANGE[1], RANGE[2], 160.0 * factor - 80, RANGE[4], RANGE[5]], dtype=torch.float32
                ),
            }
        )

    fit("points", load_points, lambda factor: "voxelize 0.2,0.2,0.3 5 1000000", warm=10)

    parameters = {f"param.{name}": tensor for name, tensor in weights(voxel_backbone()).items()}

    def load_voxels(factor, seed):
        coords, features = voxels_of(scan(columns=600, seed=seed))
        shifted = [coords + torch.tensor([0, 0, 0, i * SHAPE[2]]) for i in range(factor)]
        ours.load(
            {
                **parameters,
                "features": features.repeat(factor, 1),
                "coords": torch.cat(shifted),
                "shape": torch.tensor([SHAPE[0], SHAPE[1], SHAPE[2] * factor]),
            }
        )

    fit("voxels", load_voxels, lambda factor: "backbone forward cpu")

    # As many boxes as detectors let take part, and more.
    def load_boxes(factor, seed):
        boxes_of, scores = scene(4096 * factor, seed)
        ours.load({"boxes": boxes_of, "scores": scores})

    fit("boxes", load_boxes, lambda factor: "nms 0.1")

    # Frames of one batch, from points to boxes.
    front = kitti_scan()
    load_detector(ours, settled(PointPillars(), front, CANDIDATES), front)
    fit("frames", lambda factor, seed: None, lambda factor: f"detect {factor}")


# Boxes that pass the score threshold, as many as a trained detector of a street finds before suppression.
CANDIDATES = 400


def kitti_scan():
    """What lies before the camera, with KITTI's density: N x 4."""
    import numpy as np

    points = scan(columns=2083, seed=2)
    return np.ascontiguousarray(points[np.abs(np.arctan2(points[:, 1], points[:, 0])) < np.deg2rad(40)][:, :4])


def load_detector(ours, model, points):
    import torch
    from peers.detectors import weights

    ours.load(weights(model), f"detector {model.name}")
    ours.load({"points": torch.from_numpy(points)})


def box_difference(theirs, numbers):
    """The largest difference of boxes (m, rad) or scores that belong together; infinite unless each has a partner."""
    import torch

    boxes, scores, labels = theirs
    mine = torch.tensor(numbers).view(-1, 9)
    rows = torch.cat([labels.view(-1, 1).float(), scores.view(-1, 1), boxes[:, :7]], 1)
    if len(mine) != len(rows):
        return math.inf
    # Boxes far apart in label, score and place cannot be partners.
    difference = (mine.unsqueeze(1) - rows.unsqueeze(0)).abs()
    turn = difference[..., 8]
    difference[..., 8] = torch.minimum(turn, (turn - 2 * math.pi).abs())
    nearest, partner = difference.max(2)[0].min(1)
    return nearest.max().item() if len(partner.unique()) == len(rows) else math.inf


def detectors(ours, rounds):
    import torch
    from peers.detectors import CenterPointVoxel, PointPillars, settled

    for name, kind, points in (
        ("pointpillars", PointPillars, kitti_scan()),
        ("centerpoint-voxel", CenterPointVoxel, scan()),
    ):
        torch.manual_seed(0)
        model = settled(kind(), points, CANDIDATES)
        load_detector(ours, model, points)

        def peer():
            with torch.inference_mode():
                return model(points)

        # With one thread: spconv's CPU convolutions race.
        _, boxes = ours.seconds("detect 1")
        torch.set_num_threads(1)
        difference = box_difference(peer(), boxes)
        torch.set_num_threads(THREADS)
        say(f"{name}: {len(points)} points, {len(boxes) // 9} boxes, which differ by at most {difference:.2g}")
        if not boxes or difference > 1e-2:
            sys.exit(f"ops: {name}: boxes differ by {difference:.2g}")
        ratios, mine_s, peer_s = [], [], []
        for _ in range(rounds):
            mine_s.append(ours.seconds("detect 1")[0])
            peer_s.append(timed(peer)[0])
            ratios.append(peer_s[-1] / mine_s[-1])
        report(
            f"inference.{name}",
            ratios,
            1.2,
            peer="PyTorch 2.11.0, spconv 2.3.8, OpenCV 5.0.0",
            threads=THREADS,
            boxes=len(boxes) // 9,
            difference=difference,
            ours_seconds=round(statistics.median(mine_s), 4),
            peer_seconds=round(statistics.median(peer_s), 4),
        )


def gpu(ours, rounds):
    import torch

    if not torch.cuda.is_available():
        report_nothing("gpu", "no GPU")
        return
    # spconv for CUDA stands where spconv for CPUs does, so it has an environment of its own.
    variables = dict(
        os.environ, PYTHONPATH=os.pathsep.join([os.path.join(ROOT, ".deps", "wheels"), os.path.join(ROOT, "bench")])
    )
    subprocess.run(
        [
            environment("bench-cuda", "peers-cuda.txt"),
            "-B",
            os.path.join(ROOT, "bench", "peers", "gpu.py"),
            str(rounds),
        ],
        env=variables,
        check=True,
    )


def evaluation(ours, rounds):
    from peers.evaluation import kitti, nuscenes, waymo

    for section in (nuscenes, kitti, waymo):
        section(rounds)


SECTIONS = {
    "sparse-conv": sparse_conv,
    "voxelize": voxelize,
    "boxes": boxes,
    "detectors": detectors,
    "evaluation": evaluation,
    "scaling": scaling,
    "gpu": gpu,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"default: all of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        parser.error(f'unknown section "{unknown[0]}"; there are {", ".join(SECTIONS)}')
    enter_peers()
    import torch

    torch.set_num_threads(THREADS)
    ours = Ours()
    for name in arguments.sections or SECTIONS:
        SECTIONS[name](ours, arguments.rounds)


if __name__ == "__main__":
    main()
