"""Writes submissions.json beside it: what nuscenes-devkit 1.2.0 makes of n01_small's submission after changes.

    python3 tests/golden/nuscenes/make_submissions.py GOLDEN

wants the packages of bench/peers-nuscenes.txt. GOLDEN holds n01_small with all tables of nuScenes, of which the copy
here has those that are read. A change puts a value ("to") or takes one away; its place ("at") is a way through the
document, or through "results" if it begins with the number of a sample. A case has the devkit's scores, or why it
refuses it; null is a score that is not finite, and numbers that JSON does not know stand in quotes behind an @.
"""

import contextlib
import copy
import io
import json
import math
import os
import sys
import tempfile
import warnings

from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval

FOLDER = os.path.dirname(os.path.abspath(__file__))
BASE = json.load(open(os.path.join(FOLDER, "n01_small/submission.json")))
RESULTS = BASE["results"]
TOKENS = list(RESULTS)
NAN, INF, MINUS_INF, HUGE = "@NaN", "@Infinity", "@-Infinity", "@1e999"  # No JSON: the marks are taken off at last.


def put(at, value):
    return {"at": at, "to": value}


def remove(at):
    return {"at": at}


def box(sample, number, *inside):
    return [sample, number, *inside]


def boxes_of(*names):
    places = [(s, n) for s, token in enumerate(TOKENS) for n in range(len(RESULTS[token]))]
    return [(s, n) for s, n in places if RESULTS[TOKENS[s]][n]["detection_name"] in names]


def of_class(name, field, value, every=1):
    return [put(box(s, n, field), value) for s, n in boxes_of(name)[::every]]


def of_all(field, value, every=1):
    places = [(s, n) for s, token in enumerate(TOKENS) for n in range(len(RESULTS[token]))]
    return [put(box(s, n, field), value) for s, n in places[::every]]


def scaled_scores(factor, shift):
    return [
        put(box(s, n, "detection_score"), RESULTS[t][n]["detection_score"] * factor + shift)
        for s, t in enumerate(TOKENS)
        for n in range(len(RESULTS[t]))
    ]


def cases():
    bus = boxes_of("bus")[0]
    first = RESULTS[TOKENS[0]][0]
    yield "as_it_is", []
    # Velocities.
    yield "velocity_nan_here_and_there", of_all("velocity", [NAN, NAN], every=3)
    yield "velocity_nan_of_a_class", of_class("bus", "velocity", [NAN, NAN])
    yield "velocity_nan_everywhere", of_all("velocity", [NAN, NAN])
    yield "velocity_half_nan", of_all("velocity", [NAN, 1.0], every=2)
    yield "velocity_infinite_here_and_there", of_all("velocity", [INF, 0.0], every=4)
    yield "velocity_infinite_of_a_class", of_class("bus", "velocity", [0, MINUS_INF])
    yield "velocity_infinite_everywhere", of_all("velocity", [INF, MINUS_INF])
    yield "velocity_beyond_any_double", of_class("truck", "velocity", [HUGE, 0.0], every=2)
    yield "velocity_of_three", [put(box(*bus, "velocity"), [1.0, 2.0, 0.0])]
    yield "velocity_missing", [remove(box(*bus, "velocity"))]
    # Scores.
    yield "score_above_1_here_and_there", of_all("detection_score", 1.5, every=5)
    yield "score_as_a_logit_above_0", scaled_scores(40.0, 0.0)
    yield "score_1_written_whole", of_class("bus", "detection_score", 1, every=2)
    yield "score_infinite_here_and_there", of_all("detection_score", INF, every=6)
    yield "score_infinite_of_a_class", of_class("bus", "detection_score", INF)
    yield "score_0_of_a_class", of_class("bus", "detection_score", 0.0)
    yield "score_0_everywhere", of_all("detection_score", 0.0)
    yield "score_below_0_everywhere", scaled_scores(1.0, -1.0)
    yield "score_below_0_of_one", [put(box(*bus, "detection_score"), -0.5)]
    yield "score_missing_of_one", [remove(box(*bus, "detection_score"))]
    yield "score_minus_infinite_of_one", [put(box(*bus, "detection_score"), MINUS_INF)]
    for name in ("traffic_cone", "bus", "truck", "bicycle", "trailer"):
        s, n = min(boxes_of(name), key=lambda p: RESULTS[TOKENS[p[0]]][p[1]]["detection_score"])
        yield f"score_below_0_of_the_last_{name}", [put(box(s, n, "detection_score"), -0.25)]
    yield "score_nan", [put(box(*bus, "detection_score"), NAN)]
    yield "score_null", [put(box(*bus, "detection_score"), None)]
    # Sizes.
    for name, size in (("0", [0.0, 2.0, 1.0]), ("below_0", [1.0, -2.0, 1.0])):
        yield f"size_{name}_of_all_buses", of_class("bus", "size", size)
        yield (
            f"size_{name}_far_from_labels",
            [put(box(0, 0, "size"), size), put(box(0, 0, "translation"), [v + 15.0 for v in first["translation"]])],
        )
        yield (
            f"size_{name}_out_of_range",
            [put(box(0, 0, "size"), size), put(box(0, 0, "translation"), [v + 1000.0 for v in first["translation"]])],
        )
    yield "size_infinite", of_class("bus", "size", [INF, 2.0, 1.0], every=2)
    yield "size_beyond_any_object", of_class("bus", "size", [1e200, 1e200, 1e200], every=2)
    yield "size_tiny", of_class("bus", "size", [1e-200, 1e-200, 1e-200], every=2)
    yield "size_nan", [put(box(*bus, "size"), [NAN, 2.0, 1.0])]
    yield "size_of_two", [put(box(*bus, "size"), [2.0, 1.0])]
    # Rotations.
    for s, n in boxes_of("bus")[:1]:
        yield (
            "rotation_three_times_as_long",
            [
                put(box(s, n, "rotation"), [3 * v for v in RESULTS[TOKENS[s]][n]["rotation"]])
                for s, n in boxes_of("bus")
            ],
        )
    yield "rotation_0", of_class("bus", "rotation", [0.0, 0.0, 0.0, 0.0])
    yield "rotation_infinite", of_class("bus", "rotation", [INF, 0.0, 0.0, 1.0], every=2)
    yield "rotation_infinite_everywhere", of_all("rotation", [0.0, 0.0, 0.0, INF])
    yield "rotation_huge", of_class("bus", "rotation", [1e200, 0.0, 0.0, 1e200])
    yield "rotation_tiny", of_class("bus", "rotation", [1e-200, 0.0, 0.0, 1e-200])
    yield "rotation_tilted", of_class("bus", "rotation", [0.5, 0.1, -0.7, 0.3])
    yield "rotation_nan", [put(box(*bus, "rotation"), [1.0, 0.0, 0.0, NAN])]
    yield "rotation_of_three", [put(box(*bus, "rotation"), [1.0, 0.0, 0.0])]
    # Places.
    yield "translation_infinite", of_class("bus", "translation", [INF, 0.0, 0.0], every=2)
    yield "translation_1e9", of_class("bus", "translation", [1e9, 1e300, 0.0], every=2)
    yield "height_infinite", [put(box(*p, "translation", 2), INF) for p in boxes_of("bus", "bicycle", "motorcycle")]
    yield "translation_nan", [put(box(*bus, "translation"), [NAN, 0.0, 0.0])]
    yield "height_nan", [put(box(*bus, "translation", 2), NAN)]
    yield "translation_of_two", [put(box(*bus, "translation"), [1.0, 2.0])]
    # Names.
    yield "attribute_empty_everywhere", of_all("attribute_name", "")
    yield "attribute_of_another_class", of_all("attribute_name", "cycle.with_rider")
    yield "attribute_unknown", [put(box(*bus, "attribute_name"), "vehicle.flying")]
    yield "attribute_null", [put(box(*bus, "attribute_name"), None)]
    yield "attribute_missing", [remove(box(*bus, "attribute_name"))]
    yield "name_unknown", [put(box(*bus, "detection_name"), "tank")]
    yield "name_missing", [remove(box(*bus, "detection_name"))]
    # Fields that detections need not have.
    yield "num_pts_0", of_all("num_pts", 0, every=2)
    yield "num_pts_below_1", of_all("num_pts", 0.75, every=2)
    yield "num_pts_above_0", of_all("num_pts", 7)
    yield "num_pts_below_0", of_all("num_pts", -3.5)
    yield "num_pts_nan", [put(box(*bus, "num_pts"), NAN)]
    yield "num_pts_infinite", [put(box(*bus, "num_pts"), INF)]
    yield "num_pts_null", [put(box(*bus, "num_pts"), None)]
    yield "ego_translation", of_all("ego_translation", [1e6, INF, 0.0])
    yield "ego_translation_nan", [put(box(*bus, "ego_translation"), [0.0, NAN, 0.0])]
    yield "ego_translation_of_two", [put(box(*bus, "ego_translation"), [0.0, 0.0])]
    yield "fields_that_nobody_knows", of_all("tracking_id", {"a": [NAN, None, "x"]}) + [put(["version"], HUGE)]
    # Samples.
    yield "a_sample_without_boxes", [put([0], [])]
    yield "no_boxes_at_all", [put([s], []) for s in range(len(TOKENS))]
    yield "no_boxes_in_range", of_all("translation", [0.0, 0.0, 0.0])
    yield "a_sample_missing", [remove([1])]
    yield "a_sample_unknown", [put(["results", "a" * 32], [])]
    yield "a_sample_null", [put([1], None)]
    # The rest.
    yield "meta_empty", [put(["meta"], {})]
    yield "meta_of_other_types", [put(["meta", "use_lidar"], "yes"), put(["meta", "use_map"], None)]
    yield "meta_null", [put(["meta"], None)]
    yield "meta_missing", [remove(["meta"])]
    yield "results_missing", [remove(["results"])]
    yield "results_a_list", [put(["results"], [])]


def changed(changes):
    submission = copy.deepcopy(BASE)
    for change in changes:
        at = change["at"]
        *way, last = ["results", TOKENS[at[0]], *at[1:]] if isinstance(at[0], int) else at
        node = submission
        for key in way:
            node = node[key]
        if "to" in change:
            node[last] = change["to"]
        else:
            del node[last]
    return submission


def without_marks(text):
    for mark in (NAN, INF, MINUS_INF, HUGE):
        text = text.replace(f'"{mark}"', mark[1:])
    return text


def finite(value):
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    return value if math.isfinite(value) else None


def score(tables, text):
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        path = os.path.join(folder, "submission.json")
        with open(path, "w") as file:
            file.write(text)
        evaluation = DetectionEval(
            tables, config_factory("detection_cvpr_2019"), path, "mini_val", os.path.join(folder, "out"), verbose=False
        )
        pred = len(evaluation.pred_boxes.all)
        summary = evaluation.main(render_curves=False)
    kept = ("mean_ap", "mean_dist_aps", "label_tp_errors", "tp_errors", "tp_scores", "nd_score")
    return finite({key: summary[key] for key in kept}) | {"pred": pred}


def main():
    warnings.filterwarnings("ignore")
    tables = NuScenes("v1.0-mini", os.path.join(sys.argv[1], "n01_small"), verbose=False)
    written = []
    for name, changes in cases():
        text = without_marks(json.dumps(changed(changes)))
        case = {"name": name, "changes": changes}
        try:
            case["scores"] = score(tables, text)
        except Exception as error:
            case["refused"] = f"{type(error).__name__}: {error}"
        written.append(case)
        print(name, case.get("refused", case.get("scores", {}).get("nd_score")))
    with open(os.path.join(FOLDER, "submissions.json"), "w") as file:
        file.write("[" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in written) + "]\n")


if __name__ == "__main__":
    main()
