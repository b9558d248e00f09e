#include "core/state_report.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/text.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using Shape = std::vector<int64_t>;

constexpr absl::string_view kBatches = ".num_batches_tracked";
constexpr absl::string_view kSteps = "global_step";

std::string ShapeText(const Shape& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

// Names come out of a file.
std::string Shown(absl::string_view name) { return OneLine(Shorten(name, 120)); }

bool IsFloat(absl::string_view dtype) { return absl::StartsWith(dtype, "F") || dtype == "BF16"; }

// ---- Layouts of sparse kernels (detectors.md section 1.2).

enum Layout { kOurs = 1, kSpconv1 = 2, kSpconv2Native = 4 };

absl::string_view LayoutName(Layout layout) {
  switch (layout) {
    case kSpconv1:
      return "spconv 1 (kz, ky, kx, in, out)";
    case kSpconv2Native:
      return "spconv 2 native (kz, ky, kx, out, in)";
    default:
      return "spconv 2 (out, kz, ky, kx, in)";
  }
}

// Bits of the layouts in which a kernel that we call `want` (out, kz, ky, kx, in) has the shape `have`.
int PossibleLayouts(const Shape& have, const Shape& want) {
  const int64_t out = want[0], z = want[1], y = want[2], x = want[3], in = want[4];
  return (have == want ? kOurs : 0) | (have == Shape{z, y, x, in, out} ? kSpconv1 : 0) |
         (have == Shape{z, y, x, out, in} ? kSpconv2Native : 0);
}

// A channel count that equals an extent of the kernel can fake a match.
bool Tells(const Shape& want) {
  for (const int64_t channels : {want[0], want[4]}) {
    if (std::find(want.begin() + 1, want.begin() + 4, channels) != want.begin() + 4) return false;
  }
  return want[0] != want[4];
}

struct LayoutDecision {
  std::optional<Layout> layout;
  // A layer that told it, and its shape in the file.
  std::string told_by;
};

LayoutDecision DecideLayout(const std::vector<StateEntry>& wanted, const std::map<std::string, SafeTensor>& weights) {
  int told = 0, common = kOurs | kSpconv1 | kSpconv2Native;
  LayoutDecision decision;
  for (const StateEntry& entry : wanted) {
    const auto found = weights.find(entry.name);
    if (entry.shape.size() != 5 || found == weights.end()) continue;
    const int possible = PossibleLayouts(found->second.shape, entry.shape);
    if (possible == 0) continue;
    common &= possible;
    if (!Tells(entry.shape)) continue;
    told |= possible;
    if (decision.told_by.empty()) decision.told_by = absl::StrCat(entry.name, " ", ShapeText(found->second.shape));
  }
  // Without a layer that tells, all of them together may; what fits as it is stays.
  const int left = told != 0 ? told : (common & kOurs) != 0 ? kOurs : common;
  for (const Layout layout : {kOurs, kSpconv1, kSpconv2Native}) {
    if (left == layout) decision.layout = layout;
  }
  if (told == 0) decision.told_by = "all layers together";
  return decision;
}

// From `layout` to ours.
void ConvertKernel(Layout layout, const Shape& want, SafeTensor& kernel) {
  const size_t out = static_cast<size_t>(want[0]), in = static_cast<size_t>(want[4]);
  const size_t sites = static_cast<size_t>(want[1] * want[2] * want[3]);
  const size_t size = static_cast<size_t>(SafeTensorElementSize(kernel.dtype));
  std::string bytes(kernel.bytes.size(), '\0');
  for (size_t o = 0; o < out; ++o) {
    for (size_t k = 0; k < sites; ++k) {
      for (size_t i = 0; i < in; ++i) {
        const size_t from = layout == kSpconv1 ? (k * in + i) * out + o : (k * out + o) * in + i;
        std::memcpy(bytes.data() + ((o * sites + k) * in + i) * size, kernel.bytes.data() + from * size, size);
      }
    }
  }
  kernel.bytes = std::move(bytes);
  kernel.shape = want;
}

// ---- Known causes (users meet them with every third checkpoint).

using Names = std::set<std::string, std::less<>>;

bool HasPrefix(const Names& names, absl::string_view prefix) {
  const auto at = names.lower_bound(prefix);
  return at != names.end() && absl::StartsWith(*at, prefix);
}

// Groups of classes that a CenterHead's names show.
size_t Groups(const Names& names) {
  size_t groups = 0;
  while (HasPrefix(names, absl::StrCat("dense_head.heads_list.", groups, "."))) ++groups;
  return groups;
}

// Both sides' names.
struct Sides {
  Names have, want;
};

std::string PointFeatures(int64_t have, int64_t want) {
  const std::string counts =
      absl::StrCat("the checkpoint has ", have, " inputs per point, the configuration ", want, ": ");
  switch (have - want) {
    case -1:
      return counts +
             "trained without the height in the pillar (mmdetection3d's use_voxel_center_z=false), or with one name "
             "less in used_feature_list";
    case 1:
      return counts + "trained with WITH_DISTANCE: True, or with one name more in used_feature_list";
    case -3:
      return counts + "trained with USE_ABSLOTE_XYZ: False";
    default:
      return counts + "trained with another used_feature_list";
  }
}

// An anchor head with two rotations per class has 2 n anchors a cell and n scores each.
std::string AnchorClasses(int64_t have, int64_t want) {
  const auto classes = [](int64_t rows) {
    for (int64_t n = 1; n < 100; ++n) {
      if (2 * n * n == rows) return absl::StrCat(n, n == 1 ? " class" : " classes");
    }
    return absl::StrCat(rows, " scores a cell");
  };
  return absl::StrCat("the checkpoint's head knows ", classes(have), ", the configuration's ", classes(want),
                      " (CLASS_NAMES, ANCHOR_GENERATOR_CONFIG)");
}

std::string MismatchCause(absl::string_view name, const Shape& have, const Shape& want) {
  const bool same_rank = !have.empty() && have.size() == want.size();
  if (absl::StartsWith(name, "vfe.pfn_layers.0.linear.") && have.size() == 2 && want.size() == 2 &&
      have[0] == want[0]) {
    return PointFeatures(have[1], want[1]);
  }
  if (absl::StartsWith(name, "backbone_3d.conv_input.0."))
    return "another number of point features (used_feature_list), or other widths (NUM_FILTERS, WIDTH)";
  if (absl::StartsWith(name, "dense_head.") && absl::StrContains(name, ".hm.") && same_rank && have[0] != want[0]) {
    return absl::StrCat("the checkpoint's head has ", have[0], have[0] == 1 ? " class" : " classes",
                        " in this group, the configuration ", want[0], " (CLASS_NAMES_EACH_HEAD)");
  }
  if (absl::StartsWith(name, "dense_head.conv_cls.") && same_rank && have[0] != want[0])
    return AnchorClasses(have[0], want[0]);
  if ((absl::StartsWith(name, "dense_head.conv_box.") || absl::StartsWith(name, "dense_head.conv_dir_cls.")) &&
      same_rank && have[0] != want[0]) {
    return "another number of anchors a cell: other CLASS_NAMES, ANCHOR_GENERATOR_CONFIG or NUM_DIR_BINS";
  }
  if (absl::StartsWith(name, "roi_head.") || absl::StartsWith(name, "pfe.") || absl::StartsWith(name, "point_head.")) {
    return "the second stage is configured otherwise";
  }
  if (absl::StartsWith(name, "backbone_2d.blocks.0.1.") && same_rank && have[0] == want[0]) {
    return "another input of the BEV backbone: another z range or voxel height, or other widths before it";
  }
  return "other widths (NUM_FILTERS, NUM_UPSAMPLE_FILTERS, SHARED_CONV_CHANNEL, WIDTH)";
}

std::string Backbone3d(const Names& names) {
  if (HasPrefix(names, "backbone_3d.conv_up_t4.")) return "UNetV2";
  return names.contains("backbone_3d.conv1.0.conv1.weight") ? "VoxelResBackBone8x" : "VoxelBackBone8x";
}

// Why a name stands on one side only; `on` is that side, `off` the other.
std::string OneSidedCause(absl::string_view name, const Names& on, const Names& off, absl::string_view on_side,
                          absl::string_view off_side) {
  const auto differ = [&](absl::string_view on_has, absl::string_view off_has) {
    return absl::StrCat(on_side, " has ", on_has, ", ", off_side, " ", off_has);
  };
  if (absl::StartsWith(name, "roi_head.") || absl::StartsWith(name, "pfe.") || absl::StartsWith(name, "point_head.")) {
    return HasPrefix(off, "roi_head.") ? "the second stage is configured otherwise"
                                       : differ("a second stage", "has none");
  }
  const bool of_center_head =
      absl::StartsWith(name, "dense_head.heads_list.") || absl::StartsWith(name, "dense_head.shared_conv.");
  if (of_center_head && HasPrefix(off, "dense_head.conv_")) return differ("a CenterHead", "an AnchorHeadSingle");
  if (absl::StartsWith(name, "dense_head.conv_") && HasPrefix(off, "dense_head.heads_list."))
    return differ("an AnchorHeadSingle", "a CenterHead");
  if (of_center_head && Groups(on) != Groups(off)) {
    return absl::StrCat(differ(absl::StrCat(Groups(on), " groups of classes"), absl::StrCat(Groups(off))),
                        " (CLASS_NAMES_EACH_HEAD): a head for another data set");
  }
  if (of_center_head && absl::StrContains(name, ".vel."))
    return differ("a branch for velocities", "has none (HEAD_ORDER): a head for another data set");
  if (of_center_head && absl::StrContains(name, ".iou.")) return differ("a branch for IoU", "has none");
  if (absl::StartsWith(name, "dense_head.conv_dir_cls."))
    return differ("a direction classifier", "has none (USE_DIRECTION_CLASSIFIER)");
  if (absl::StartsWith(name, "backbone_3d.") && !HasPrefix(off, "backbone_3d."))
    return differ("a 3D backbone", "has none: voxels and pillars");
  if (absl::StartsWith(name, "vfe.pfn_layers.") && !HasPrefix(off, "vfe.pfn_layers."))
    return differ("PillarVFE", "has not: pillars and voxels");
  if (absl::StartsWith(name, "backbone_3d.")) {
    const std::string has = Backbone3d(on), has_not = Backbone3d(off);
    if (has != has_not) return differ(has, has_not);
    if (absl::StartsWith(name, "backbone_3d.conv_out.") && has == "UNetV2")
      return differ("RETURN_ENCODED_TENSOR True", "False: Part-A2 without anchors");
    return "another depth (LAYER_NUMS)";
  }
  if (absl::StartsWith(name, "backbone_2d.")) return "another depth or number of levels (LAYER_NUMS, UPSAMPLE_STRIDES)";
  return "";
}

// Its detectors call their heads bbox_head, or pts_bbox_head where pictures may be a second input.
std::string Mmdetection3dNames(const Names& names) {
  if (!HasPrefix(names, "pts_bbox_head.") && !HasPrefix(names, "bbox_head.")) return "";
  std::vector<std::string> parts;
  for (const std::string& name : names) {
    std::string part = name.substr(0, name.find('.'));
    if (parts.empty() || parts.back() != part) parts.push_back(std::move(part));
  }
  constexpr size_t kShown = 5;
  const bool more = parts.size() > kShown;
  if (more) parts.resize(kShown);
  return absl::StrCat("this looks like a checkpoint of mmdetection3d: its names start with ",
                      Shown(absl::StrJoin(parts, ", ")), more ? ", ..." : "",
                      ". They are not translated: heads there give sine before cosine, before version 1.0 also other "
                      "sizes and yaws, and weights do not tell their version. Take weights that OpenPCDet trained");
}

// The part of the names before OpenPCDet's own, where all have one.
std::string ForeignNames(const Sides& sides) {
  if (sides.have.empty() || sides.want.empty()) return "";
  if (std::any_of(sides.have.begin(), sides.have.end(),
                  [&](const std::string& name) { return sides.want.contains(name); }))
    return "";
  const std::string& first = *sides.have.begin();
  for (size_t dot = first.find('.'); dot != std::string::npos; dot = first.find('.', dot + 1)) {
    const std::string prefix = first.substr(0, dot + 1);
    const auto fits = [&](const std::string& name) {
      return absl::StartsWith(name, prefix) && sides.want.contains(name.substr(prefix.size()));
    };
    if (std::any_of(sides.have.begin(), sides.have.end(), fits))
      return absl::StrCat("the checkpoint's names have \"", Shown(prefix),
                          "\" before them: take that part of it as a checkpoint of its own");
  }
  if (std::string known = Mmdetection3dNames(sides.have); !known.empty()) return known;
  return absl::StrCat("no name in common: \"", Shown(first),
                      "\" is none of OpenPCDet's names; were the weights trained with other code?");
}

struct Group {
  std::string cause;
  std::vector<const StateFinding*> findings;
};

std::vector<Group> ByCause(const std::vector<StateFinding>& findings) {
  std::vector<Group> groups;
  for (const StateFinding& finding : findings) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& candidate) { return candidate.cause == finding.cause; });
    if (group == groups.end()) group = groups.insert(groups.end(), Group{.cause = finding.cause});
    group->findings.push_back(&finding);
  }
  return groups;
}

void AppendFindings(std::string* text, absl::string_view title, const std::vector<StateFinding>& findings,
                    const std::function<std::string(const StateFinding&)>& show) {
  constexpr size_t kShown = 3;
  if (findings.empty()) return;
  absl::StrAppend(text, title, " ", findings.size(), "\n");
  for (const Group& group : ByCause(findings)) {
    if (!group.cause.empty()) absl::StrAppend(text, "  ", group.cause, "\n");
    for (size_t i = 0; i < std::min(group.findings.size(), kShown); ++i)
      absl::StrAppend(text, "    ", show(*group.findings[i]), "\n");
    if (group.findings.size() > kShown) absl::StrAppend(text, "    and ", group.findings.size() - kShown, " more\n");
  }
}

}  // namespace

StateReport FitState(const std::vector<StateEntry>& wanted, std::map<std::string, SafeTensor>& weights) {
  StateReport report{.wanted = wanted.size()};
  const LayoutDecision decision = DecideLayout(wanted, weights);
  Sides sides;
  for (const StateEntry& entry : wanted) sides.want.insert(entry.name);
  for (const auto& [name, tensor] : weights) sides.have.insert(name);
  const std::string foreign = ForeignNames(sides);
  const auto one_sided = [&](const std::string& name, bool in_checkpoint) {
    if (!foreign.empty()) return foreign;
    return in_checkpoint ? OneSidedCause(name, sides.have, sides.want, "the checkpoint", "the configuration")
                         : OneSidedCause(name, sides.want, sides.have, "the configuration", "the checkpoint");
  };

  std::map<std::string, SafeTensor> fitting;
  for (const StateEntry& entry : wanted) {
    const auto found = weights.find(entry.name);
    if (found == weights.end()) {
      if (absl::EndsWith(entry.name, kBatches) &&
          sides.have.contains(entry.name.substr(0, entry.name.size() - kBatches.size()) + ".running_mean")) {
        // Checkpoints of torch before 0.4.1; with a fixed momentum nothing reads it.
        report.ignored.push_back(entry.name);
        continue;
      }
      report.missing.push_back(
          {.name = entry.name, .want = entry.shape, .cause = one_sided(entry.name, /*in_checkpoint=*/false)});
      continue;
    }
    SafeTensor& tensor = found->second;
    StateFinding finding{.name = entry.name, .have = tensor.shape, .want = entry.shape};
    if (IsFloat(tensor.dtype) != IsFloat(entry.dtype)) {
      finding.cause = absl::StrCat("numbers of type ", tensor.dtype, ", expected ", entry.dtype);
      report.mismatched.push_back(finding);
      continue;
    }
    const int possible = entry.shape.size() == 5 ? PossibleLayouts(tensor.shape, entry.shape) : 0;
    if (possible != 0 && decision.layout.has_value() && (possible & *decision.layout) != 0 &&
        *decision.layout != kOurs) {
      ConvertKernel(*decision.layout, entry.shape, tensor);
      report.kernels = absl::StrCat(LayoutName(*decision.layout), ", told by ", decision.told_by);
      report.converted.push_back(finding);
    } else if (tensor.shape != entry.shape || (possible != 0 && decision.layout != kOurs)) {
      finding.cause = possible == 0 ? MismatchCause(entry.name, tensor.shape, entry.shape)
                      : decision.layout.has_value()
                          ? absl::StrCat("other kernels of the file have the layout of ", LayoutName(*decision.layout))
                          : "the kernels' layout cannot be told: no layer, or not every one, allows just one";
      report.mismatched.push_back(finding);
      continue;
    }
    ++report.matched;
    fitting.emplace(entry.name, std::move(tensor));
  }
  for (const auto& [name, tensor] : weights) {
    if (sides.want.contains(name)) continue;
    if (name == kSteps) {
      report.ignored.push_back(name);
    } else {
      report.unexpected.push_back(
          {.name = name, .have = tensor.shape, .cause = one_sided(name, /*in_checkpoint=*/true)});
    }
  }
  weights = std::move(fitting);
  return report;
}

std::vector<std::string> UnfitNames(const StateReport& report, const std::vector<std::string>& patterns) {
  std::vector<std::string> names;
  for (const auto* findings : {&report.mismatched, &report.missing, &report.unexpected}) {
    for (const StateFinding& finding : *findings) {
      const auto fits = [&](const std::string& pattern) {
        return ::fnmatch(pattern.c_str(), finding.name.c_str(), 0) == 0;
      };
      if (std::none_of(patterns.begin(), patterns.end(), fits)) names.push_back(finding.name);
    }
  }
  return names;
}

std::string StateReportToText(const StateReport& report) {
  std::string text = absl::StrCat("matched ", report.matched, " of ", report.wanted, " tensors\n");
  if (!report.converted.empty())
    absl::StrAppend(&text, "converted ", report.converted.size(), " kernels from ", report.kernels, "\n");
  if (!report.ignored.empty()) {
    absl::StrAppend(&text, "ignored ", report.ignored.size(), " without effect: ", Shown(report.ignored[0]),
                    report.ignored.size() > 1 ? ", ..." : "", "\n");
  }
  const auto have = [](const StateFinding& finding) {
    return absl::StrCat(Shown(finding.name), " ", ShapeText(finding.have));
  };
  const auto want = [](const StateFinding& finding) {
    return absl::StrCat(Shown(finding.name), " ", ShapeText(finding.want));
  };
  const auto both = [](const StateFinding& finding) {
    return absl::StrCat(Shown(finding.name), " ", ShapeText(finding.have), ", expected ", ShapeText(finding.want));
  };
  AppendFindings(&text, "mismatched", report.mismatched, both);
  AppendFindings(&text, "missing in the checkpoint", report.missing, want);
  AppendFindings(&text, "unexpected in the checkpoint", report.unexpected, have);
  return text;
}

std::string StateReportToJson(const StateReport& report) {
  const auto list = [](const std::vector<StateFinding>& findings, bool have, bool want) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const StateFinding& finding : findings) {
      nlohmann::ordered_json one = {{"name", finding.name}};
      if (have) one["checkpoint_shape"] = finding.have;
      if (want) one["detector_shape"] = finding.want;
      if (!finding.cause.empty()) one["cause"] = finding.cause;
      json.push_back(std::move(one));
    }
    return json;
  };
  const nlohmann::ordered_json json = {{"fits", report.Fits()},
                                       {"wanted", report.wanted},
                                       {"matched", report.matched},
                                       {"kernels", report.kernels},
                                       {"converted", list(report.converted, true, true)},
                                       {"mismatched", list(report.mismatched, true, true)},
                                       {"missing", list(report.missing, false, true)},
                                       {"unexpected", list(report.unexpected, true, false)},
                                       {"ignored", report.ignored}};
  return json.dump(1);
}

}  // namespace kd
