"""Section evaluation: official metrics from the start of a process to its scores.

The files are made by seed: a street's objects, and detections that find most of them, miss some and see others that are
not there.
"""

import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

from peers.harness import environment, program, report, say, timed

# Of a category: the class, its share of the boxes, width, length and height (m), speed (m/s) and attributes.
CLASSES = {
    "vehicle.car": ("car", 0.43, (1.9, 4.6, 1.7), 8, ("vehicle.moving", "vehicle.parked", "vehicle.stopped")),
    "human.pedestrian.adult": ("pedestrian", 0.19, (0.7, 0.7, 1.8), 1.4, ("pedestrian.moving", "pedestrian.standing")),
    "movable_object.barrier": ("barrier", 0.13, (2.5, 0.5, 1.0), 0, ()),
    "movable_object.trafficcone": ("traffic_cone", 0.08, (0.4, 0.4, 1.1), 0, ()),
    "vehicle.truck": ("truck", 0.08, (2.5, 6.9, 2.8), 7, ("vehicle.moving", "vehicle.parked", "vehicle.stopped")),
    "vehicle.trailer": ("trailer", 0.02, (2.9, 12.3, 3.9), 5, ("vehicle.moving", "vehicle.parked")),
    "vehicle.bus.rigid": ("bus", 0.02, (2.9, 11.2, 3.5), 6, ("vehicle.moving", "vehicle.parked")),
    "vehicle.construction": ("construction_vehicle", 0.015, (2.8, 6.5, 3.2), 1, ("vehicle.moving", "vehicle.parked")),
    "vehicle.motorcycle": ("motorcycle", 0.0125, (0.8, 2.1, 1.5), 6, ("cycle.with_rider", "cycle.without_rider")),
    "vehicle.bicycle": ("bicycle", 0.0125, (0.6, 1.7, 1.3), 4, ("cycle.with_rider", "cycle.without_rider")),
    "static_object.bicycle_rack": (None, 0.01, (1.5, 4.0, 1.4), 0, ()),
}
SENSORS = (
    ["LIDAR_TOP"]
    + [f"CAM_{side}" for side in ("FRONT", "FRONT_RIGHT", "FRONT_LEFT", "BACK", "BACK_LEFT", "BACK_RIGHT")]
    + [f"RADAR_{side}" for side in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT")]
)
VERSION = "v1.0-trainval"
# 12 of the 150 scenes of the split: as much as the devkit reads and scores in about half a minute.
NUSCENES_SCENES = [f"scene-{n:04d}" for n in (3, 12, 13, 14, 15, 16, 17, 18, 35, 36, 38, 39)]
SAMPLES_PER_SCENE = 40
# Of each sensor, per key frame, in between: nuScenes has about 77 recordings a sample.
SWEEPS = 5
BOXES_PER_SAMPLE = 250


def token(kind, number):
    return f"{kind:04x}{number:028x}"


def yaw_quaternion(yaw):
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]


def make_nuscenes(root):
    """Writes the tables and a submission below `root`; returns the number of samples."""
    import cv2

    rng = np.random.default_rng(7)
    os.makedirs(os.path.join(root, VERSION))
    os.makedirs(os.path.join(root, "maps"))
    cv2.imwrite(os.path.join(root, "maps", "street.png"), np.zeros((8, 8), np.uint8))
    attribute_names = [
        "vehicle.moving",
        "vehicle.parked",
        "vehicle.stopped",
        "cycle.with_rider",
        "cycle.without_rider",
        "pedestrian.moving",
        "pedestrian.standing",
        "pedestrian.sitting_lying_down",
    ]
    categories, shares = list(CLASSES), np.array([c[1] for c in CLASSES.values()])
    shares = shares / shares.sum()
    tables = {
        name: [] for name in ("instance", "ego_pose", "log", "scene", "sample", "sample_data", "sample_annotation")
    }
    tables["category"] = [
        {"token": token(1, i), "name": name, "description": "", "index": i} for i, name in enumerate(categories)
    ]
    tables["attribute"] = [
        {"token": token(2, i), "name": name, "description": ""} for i, name in enumerate(attribute_names)
    ]
    tables["visibility"] = [
        {"token": str(i + 1), "level": level, "description": ""}
        for i, level in enumerate(("v0-40", "v40-60", "v60-80", "v80-100"))
    ]
    tables["sensor"] = [
        {"token": token(3, i), "channel": name, "modality": {"L": "lidar", "C": "camera", "R": "radar"}[name[0]]}
        for i, name in enumerate(SENSORS)
    ]
    intrinsic = [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]]
    tables["calibrated_sensor"] = [
        {
            "token": token(4, i),
            "sensor_token": token(3, i),
            "translation": [0.94, 0.0, 1.84],
            "rotation": yaw_quaternion(0.3 * i),
            "camera_intrinsic": intrinsic if name[0] == "C" else [],
        }
        for i, name in enumerate(SENSORS)
    ]
    results = {}

    def add_recordings(sample, time, ego, heading, previous, rows):
        for i, channel in enumerate(SENSORS):
            for sweep in range(SWEEPS + 1):
                name = token(5, len(rows))
                at = time + (500000 * sweep) // (SWEEPS + 1)
                row = {
                    "token": name,
                    "sample_token": sample,
                    "ego_pose_token": name,
                    "calibrated_sensor_token": token(4, i),
                    "timestamp": at,
                    "fileformat": "jpg" if channel[0] == "C" else "pcd",
                    "is_key_frame": sweep == 0,
                    "height": 900 if channel[0] == "C" else 0,
                    "width": 1600 if channel[0] == "C" else 0,
                    "filename": f"{'sweeps' if sweep else 'samples'}/{channel}/n000-2026-01-01__{channel}__{at}",
                    "prev": previous.get(channel, ""),
                    "next": "",
                }
                if row["prev"]:
                    rows[int(row["prev"][4:], 16)]["next"] = name
                previous[channel] = name
                rows.append(row)
                tables["ego_pose"].append(
                    {
                        "token": name,
                        "timestamp": at,
                        "rotation": yaw_quaternion(heading),
                        "translation": [ego[0] + 0.1 * sweep, ego[1], 0.0],
                    }
                )

    def floats(values):
        return [float(value) for value in values]

    def detection(sample, name, center, size, yaw, velocity, attribute, score):
        return {
            "sample_token": sample,
            "translation": floats(center),
            "size": floats(size),
            "rotation": yaw_quaternion(yaw),
            "velocity": floats(velocity),
            "detection_name": name,
            "detection_score": score,
            "attribute_name": attribute,
        }

    for scene, scene_name in enumerate(NUSCENES_SCENES):
        tables["log"].append(
            {
                "token": token(6, scene),
                "logfile": f"n000-{scene}",
                "vehicle": "n000",
                "date_captured": "2026-01-01",
                "location": "singapore-onenorth",
            }
        )
        first = len(tables["sample"])
        tables["scene"].append(
            {
                "token": token(7, scene),
                "log_token": token(6, scene),
                "nbr_samples": SAMPLES_PER_SCENE,
                "first_sample_token": token(8, first),
                "last_sample_token": token(8, first + SAMPLES_PER_SCENE - 1),
                "name": scene_name,
                "description": "made by seed",
            }
        )
        heading, speed = rng.uniform(-3.1, 3.1), rng.uniform(0, 10)
        start = rng.uniform(300, 1500, 2)
        kinds = rng.choice(len(categories), 100, p=shares)
        places = start + rng.uniform(-70, 70, (100, 2)) + speed * 10 * np.array([math.cos(heading), math.sin(heading)])
        yaws = rng.uniform(-3.1, 3.1, 100)
        speeds = np.array([rng.choice([0, 0.3, 1]) * CLASSES[categories[k]][3] for k in kinds])
        sizes = [floats(np.array(CLASSES[categories[k]][2]) * rng.uniform(0.85, 1.15, 3)) for k in kinds]
        tracks = {}
        previous = {}
        for step in range(SAMPLES_PER_SCENE):
            number = first + step
            sample, time = token(8, number), 1500000000000000 + scene * 10**9 + step * 500000
            tables["sample"].append(
                {
                    "token": sample,
                    "timestamp": time,
                    "prev": token(8, number - 1) if step else "",
                    "next": token(8, number + 1) if step + 1 < SAMPLES_PER_SCENE else "",
                    "scene_token": token(7, scene),
                }
            )
            ego = floats(start + speed * step * 0.5 * np.array([math.cos(heading), math.sin(heading)]))
            add_recordings(sample, time, ego, heading, previous, tables["sample_data"])
            found = []
            for i, kind in enumerate(kinds):
                moved = places[i] + speeds[i] * (step - 20) * 0.5 * np.array([math.cos(yaws[i]), math.sin(yaws[i])])
                if np.hypot(*(moved - ego)) > 60:
                    continue
                name, _, _, _, attributes = CLASSES[categories[kind]]
                attribute = "" if not attributes else attributes[0] if speeds[i] > 0 else attributes[-1]
                row = {
                    "token": token(9, len(tables["sample_annotation"])),
                    "sample_token": sample,
                    "instance_token": "",
                    "visibility_token": str(rng.integers(1, 5)),
                    "attribute_tokens": [token(2, attribute_names.index(attribute))] if attribute else [],
                    "translation": floats([*moved, sizes[i][2] / 2]),
                    "size": sizes[i],
                    "rotation": yaw_quaternion(yaws[i]),
                    "prev": "",
                    "next": "",
                    "num_lidar_pts": int(rng.geometric(0.03) - 1),
                    "num_radar_pts": 0,
                }
                tables["sample_annotation"].append(row)
                tracks.setdefault(i, []).append(row)
                if name is None or rng.random() > 0.85:
                    continue
                told = attribute if not attributes or rng.random() < 0.8 else str(rng.choice(attributes))
                yaw = yaws[i] + rng.normal(0, 0.15) + (math.pi if rng.random() < 0.1 else 0)
                velocity = speeds[i] * np.array([math.cos(yaws[i]), math.sin(yaws[i])]) + rng.normal(0, 0.4, 2)
                found.append(
                    detection(
                        sample,
                        name,
                        row["translation"] + rng.normal(0, 0.3, 3),
                        sizes[i] * rng.uniform(0.9, 1.1, 3),
                        yaw,
                        velocity,
                        told,
                        rng.beta(4, 2),
                    )
                )
            while len(found) < BOXES_PER_SAMPLE:
                kind = rng.choice(len(categories) - 1, p=shares[:-1] / shares[:-1].sum())
                name, _, size, _, attributes = CLASSES[categories[kind]]
                found.append(
                    detection(
                        sample,
                        name,
                        [*(ego + rng.uniform(-55, 55, 2)), size[2] / 2],
                        size * rng.uniform(0.8, 1.2, 3),
                        rng.uniform(-3.1, 3.1),
                        rng.normal(0, 1, 2),
                        str(rng.choice(attributes)) if attributes else "",
                        rng.beta(1, 8),
                    )
                )
            results[sample] = found
        for i, rows in tracks.items():
            instance = token(10, len(tables["instance"]))
            tables["instance"].append(
                {
                    "token": instance,
                    "category_token": token(1, int(kinds[i])),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": rows[0]["token"],
                    "last_annotation_token": rows[-1]["token"],
                }
            )
            for row, after in zip(rows, rows[1:] + [None]):
                row["instance_token"] = instance
                if after:
                    row["next"], after["prev"] = after["token"], row["token"]
    tables["map"] = [
        {
            "token": token(11, 0),
            "log_tokens": [row["token"] for row in tables["log"]],
            "category": "semantic_prior",
            "filename": "maps/street.png",
        }
    ]
    for name, rows in tables.items():
        # Laid out as nuScenes's own files.
        with open(os.path.join(root, VERSION, f"{name}.json"), "w") as file:
            file.write(json.dumps(rows, indent=0))
    with open(os.path.join(root, "submission.json"), "w") as file:
        meta = {f"use_{source}": source == "lidar" for source in ("camera", "lidar", "radar", "map", "external")}
        file.write(json.dumps({"meta": meta, "results": results}))
    say(
        f"nuScenes: {len(tables['sample'])} samples, {len(tables['sample_annotation'])} labels, "
        f"{len(tables['sample_data'])} recordings, "
        f"{sum(map(len, results.values()))} detections"
    )
    return len(tables["sample"])


def differences(ours, theirs, where=""):
    """Absolute differences of all numbers of the devkit's summary, by name."""
    if isinstance(theirs, dict):
        if set(ours) != set(theirs):
            sys.exit(
                f"ops: nuScenes: {where or 'the results'} has {sorted(theirs)} of the devkit, {sorted(ours)} of ours"
            )
        for key in theirs:
            yield from differences(ours[key], theirs[key], f"{where}/{key}")
    else:
        missing = [value is None or math.isnan(value) for value in (ours, theirs)]
        if missing[0] != missing[1]:
            sys.exit(f"ops: nuScenes: {where}: devkit {theirs}, ours {ours}")
        yield (0.0 if missing[0] else abs(ours - theirs)), where


def quiet(command, **more):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if result.returncode != 0:
        sys.exit(f"ops: {' '.join(command[:4])} ... failed: {result.stderr[-2000:]}")
    return result.stdout


def nuscenes(rounds):
    python = environment("bench-nuscenes", "peers-nuscenes.txt")
    kdctl = program("release", "bin", "kdctl")
    with tempfile.TemporaryDirectory() as root:
        samples = make_nuscenes(root)
        submission = os.path.join(root, "submission.json")
        # The devkit's own command, without its pictures.
        peer = [
            python,
            "-m",
            "nuscenes.eval.detection.evaluate",
            submission,
            "--output_dir",
            os.path.join(root, "devkit"),
            "--eval_set",
            "val",
            "--dataroot",
            root,
            "--version",
            VERSION,
            "--plot_examples",
            "0",
            "--render_curves",
            "0",
            "--verbose",
            "0",
        ]
        mine = [kdctl, "eval", "nuscenes", "--root", root, "--split", "val", "--detections", submission, "-o", "json"]
        single = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        single.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        ratios, mine_s, peer_s = [], [], []
        worst = (0.0, "")
        for _ in range(rounds):
            seconds, text = timed(lambda: quiet(mine))
            mine_s.append(seconds)
            seconds, _ = timed(lambda: quiet(peer, env=single))
            peer_s.append(seconds)
            ratios.append(peer_s[-1] / mine_s[-1])
            with open(os.path.join(root, "devkit", "metrics_summary.json")) as file:
                theirs = json.load(file)
            scores = json.loads(text)
            shared = ("label_aps", "mean_dist_aps", "mean_ap", "label_tp_errors", "tp_errors", "tp_scores", "nd_score")
            worst = max(worst, *differences({key: scores[key] for key in shared}, {key: theirs[key] for key in shared}))
        say(
            f"nuScenes: results differ by at most {worst[0]:.3g}{' at ' + worst[1] if worst[0] else ''}; "
            f"NDS {scores['nd_score']:.4f}"
        )
        if worst[0] > 1e-9:
            sys.exit(f"ops: nuScenes: {worst[1]} differs by {worst[0]:.3g}")
        report(
            "eval.nuscenes",
            ratios,
            30,
            peer="nuscenes-devkit 1.2.0",
            samples=samples,
            threads=1,
            difference=worst[0],
            ours_seconds=round(sorted(mine_s)[rounds // 2], 3),
            peer_seconds=round(sorted(peer_s)[rounds // 2], 2),
        )


KITTI_FRAMES = 3769  # As many as its validation split has.
KITTI_CLASSES = (
    ("Car", 0.75, (1.5, 1.6, 3.9)),
    ("Pedestrian", 0.18, (1.7, 0.6, 0.8)),
    ("Cyclist", 0.07, (1.7, 0.6, 1.8)),
)


def make_kitti(root):
    rng = np.random.default_rng(8)

    def line(name, box, size, at, yaw, score=None):
        alpha = yaw - math.atan2(at[0], at[2])
        numbers = [*box, *size, *at, yaw] + ([score] if score is not None else [])
        hidden = f"0.00 {rng.integers(0, 3)}" if score is None else "-1 -1"
        return f"{name} {hidden} {alpha:.2f} " + " ".join(f"{n:.4f}" for n in numbers)

    def picture(size, at):
        scale = 720 / at[2]
        x, y = 610 + at[0] * scale, 175 + at[1] * scale
        half = max(size[1], size[2]) * scale / 2
        return [max(0, x - half), max(0, y - size[0] * scale), min(1241, x + half), min(374, y)]

    for folder in ("labels", "detections"):
        os.makedirs(os.path.join(root, folder))
    shares = np.array([c[1] for c in KITTI_CLASSES])
    for frame in range(KITTI_FRAMES):
        labels, found = [], []
        for kind in rng.choice(3, rng.integers(2, 14), p=shares):
            name, _, size = KITTI_CLASSES[kind]
            size = np.array(size) * rng.uniform(0.9, 1.1, 3)
            at, yaw = (
                np.array([rng.uniform(-15, 15), rng.uniform(1.4, 1.9), rng.uniform(5, 65)]),
                rng.uniform(-3.1, 3.1),
            )
            labels.append(line(name, picture(size, at), size, at, yaw))
            if rng.random() < 0.85:
                size, at = size * rng.uniform(0.95, 1.05, 3), at + rng.normal(0, 0.12, 3)
                found.append(line(name, picture(size, at), size, at, yaw + rng.normal(0, 0.08), rng.beta(4, 2)))
        for _ in range(rng.integers(0, 4)):
            labels.append("DontCare -1 -1 -10 500.00 170.00 560.00 190.00 -1 -1 -1 -1000 -1000 -1000 -10")
        for kind in rng.choice(3, rng.integers(4, 16), p=shares):
            name, _, size = KITTI_CLASSES[kind]
            at = np.array([rng.uniform(-15, 15), 1.65, rng.uniform(5, 65)])
            found.append(line(name, picture(size, at), size, at, rng.uniform(-3.1, 3.1), rng.beta(1, 6)))
        for folder, lines in (("labels", labels), ("detections", found)):
            with open(os.path.join(root, folder, f"{frame:06d}.txt"), "w") as file:
                file.write("\n".join(lines) + "\n")


def frames_per_second(name, command, frames, rounds):
    seconds = [timed(lambda: quiet(command))[0] for _ in range(rounds)]
    report(name, [frames / s for s in seconds], unit="frames/s", frames=frames, threads=1)


def kitti(rounds):
    with tempfile.TemporaryDirectory() as root:
        make_kitti(root)
        command = [
            "eval",
            "kitti",
            "--labels",
            os.path.join(root, "labels"),
            "--detections",
            os.path.join(root, "detections"),
        ]
        frames_per_second("eval.kitti", [program("release", "bin", "kdctl"), *command], KITTI_FRAMES, rounds)


WAYMO_FRAMES = 1980  # Ten segments of 198.
WAYMO_TYPES = ((1, 0.62, (4.6, 2.0, 1.7)), (2, 0.3, (0.9, 0.9, 1.8)), (4, 0.08, (1.8, 0.8, 1.8)))


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, content):
    """A message or string of the wire format."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def doubles(values):
    return b"".join(varint(number << 3 | 1) + struct.pack("<d", value) for number, value in enumerate(values, 1))


def waymo_object(frame, kind, at, size, yaw, score=None, points=0, speed=(0, 0)):
    label = field(1, doubles([at[0], at[1], at[2], size[1], size[0], size[2], yaw])) + field(2, doubles(speed))
    label += varint(3 << 3) + varint(kind) + varint(7 << 3) + varint(points)
    message = field(1, label) + (b"" if score is None else varint(2 << 3 | 5) + struct.pack("<f", score))
    message += (
        field(4, f"segment-{frame // 198:03d}".encode()) + varint(5 << 3) + varint(1500000000000000 + frame * 100000)
    )
    return field(1, message)


def make_waymo(root):
    rng = np.random.default_rng(9)
    shares = np.array([t[1] for t in WAYMO_TYPES])
    with (
        open(os.path.join(root, "labels.bin"), "wb") as labels,
        open(os.path.join(root, "detections.bin"), "wb") as detections,
    ):
        for frame in range(WAYMO_FRAMES):
            for kind in rng.choice(3, 50, p=shares):
                number, _, size = WAYMO_TYPES[kind]
                size, yaw = np.array(size) * rng.uniform(0.9, 1.1, 3), rng.uniform(-3.1, 3.1)
                at = rng.uniform(-70, 70, 3) * [1, 1, 0.01]
                points, speed = int(rng.geometric(0.01)), rng.normal(0, 3, 2)
                labels.write(waymo_object(frame, number, at, size, yaw, points=points, speed=speed))
                if rng.random() < 0.8:
                    detections.write(
                        waymo_object(
                            frame,
                            number,
                            at + rng.normal(0, 0.1, 3),
                            size * rng.uniform(0.95, 1.05, 3),
                            yaw + rng.normal(0, 0.1),
                            score=rng.beta(4, 2),
                        )
                    )
            for kind in rng.choice(3, 110, p=shares):
                number, _, size = WAYMO_TYPES[kind]
                detections.write(
                    waymo_object(
                        frame,
                        number,
                        rng.uniform(-70, 70, 3) * [1, 1, 0.01],
                        size,
                        rng.uniform(-3.1, 3.1),
                        score=rng.beta(1, 8),
                    )
                )


def waymo(rounds):
    with tempfile.TemporaryDirectory() as root:
        make_waymo(root)
        command = [
            "eval",
            "waymo",
            "--ground-truths",
            os.path.join(root, "labels.bin"),
            "--detections",
            os.path.join(root, "detections.bin"),
        ]
        frames_per_second("eval.waymo", [program("release", "bin", "kdctl"), *command], WAYMO_FRAMES, rounds)
