"""Section gpu, run in the environment of spconv for CUDA.

Detectors in frames per second, and sparse convolution against spconv.
"""

import sys

import torch

import ops
from peers.detectors import voxel_backbone, weights
from peers.harness import Ours, report, report_nothing, say

DETECTORS = (
    "pointpillar_kitti",
    "second_kitti",
    "pv_rcnn_kitti",
    "voxel_rcnn_kitti",
    "part_a2_kitti",
    "centerpoint_pillar",
    "centerpoint_voxel",
)


def frames_per_second(ours, rounds):
    for name in DETECTORS:
        points = ops.kitti_scan() if name.endswith("kitti") else ops.scan()
        if ours.ask(f"detector {name} -") != ["loaded"]:
            sys.exit(f"ops: {name} does not load")
        ours.load({"points": torch.from_numpy(points)})
        for batch in (1, 16):
            for precision in ("fp32", "bf16"):
                what = f"gpu.{name}.{precision}.batch-{batch}"
                answer = ours.ask(f"throughput cuda {batch} {precision} {rounds}")
                try:
                    report(what, [batch / float(seconds) for seconds in answer], unit="frames/s")
                except ValueError:  # Such as too little memory: the others are measured all the same.
                    report_nothing(what, " ".join(answer)[:200])


def sparse_convolution(ours, rounds):
    coords, features = ops.voxels_of(ops.scan())
    net = voxel_backbone().cuda().eval()
    ours.load(
        {
            **{f"param.{name}": tensor for name, tensor in weights(net.cpu()).items()},
            "features": features,
            "coords": coords,
            "shape": torch.tensor(ops.SHAPE),
        }
    )
    net.cuda()
    there, at = features.cuda(), coords.int().cuda()

    def peer():
        with torch.inference_mode():
            out = net(there, at).features
            torch.cuda.synchronize()
            return out

    _, (rows, total) = ours.seconds("backbone forward cuda")
    out = peer()
    difference = abs(out.abs().sum().item() - total) / total
    # Its tensor cores round to TF32.
    if out.shape[0] != rows or difference > 1e-2:
        sys.exit(
            f"ops: spconv has {out.shape[0]} sites, ours {rows:.0f}; features differ by {difference:.2g} of their sum"
        )
    for _ in range(3):
        peer()
        ours.seconds("backbone forward cuda")
    ratios = []
    for _ in range(rounds):
        mine = ours.seconds("backbone forward cuda")[0]
        ratios.append(ops.timed(peer)[0] / mine)
    report("gpu.sparse-conv.forward", ratios, peer="spconv-cu126 2.3.8")


def main():
    rounds = int(sys.argv[1])
    say(f"GPU: {torch.cuda.get_device_name()}")
    ours = Ours("cuda")
    frames_per_second(ours, rounds)
    sparse_convolution(ours, rounds)


if __name__ == "__main__":
    main()
