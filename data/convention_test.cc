#include "data/convention.h"

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/dataset.h"
#include "data/kitti_dataset.h"
#include "data/kitti_label.h"
#include "data/simulator.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

constexpr int kFrames = 12;

// What simulated frames tell when their boxes or points are changed.
ConventionReport ReportOf(const std::function<void(Box3d&)>& change_box, float point_unit = 1, int frames = kFrames) {
  ConventionEvidence evidence;
  for (int seed = 0; seed < frames; ++seed) {
    Frame frame = SimulateFrame(seed).frame;
    for (LabeledBox& labeled : frame.boxes) change_box(labeled.box);
    for (size_t i = 0; i < frame.points.size(); ++i) {
      if (i % 4 < 3) frame.points[i] *= point_unit;
    }
    evidence.Add(frame);
  }
  return evidence.Conclude();
}

Convention BestOf(const ConventionReport& report) { return report.rows[report.best].convention; }

void Multiply(Box3d& box, float by) {
  for (float* length : {&box.x, &box.y, &box.z, &box.dx, &box.dy, &box.dz}) *length *= by;
}

TEST(ConventionTest, TheOwnConventionFits) {
  const ConventionReport report = ReportOf([](Box3d&) {});
  EXPECT_EQ(BestOf(report), Convention());
  EXPECT_GT(report.boxes, 50u);
  EXPECT_GT(report.rows[0].score, 0.7);
  EXPECT_FALSE(report.wide());
  EXPECT_FALSE(report.undecided());
}

TEST(ConventionTest, ExchangedLengthAndWidthAreFound) {
  const ConventionReport report = ReportOf([](Box3d& box) { std::swap(box.dx, box.dy); });
  EXPECT_EQ(BestOf(report), (Convention{.quarter = true}));
  EXPECT_TRUE(report.wide());
}

TEST(ConventionTest, AHeadingOffByAQuarterTurnIsFound) {
  for (const double turn : {M_PI / 2, -M_PI / 2}) {
    const ConventionReport report = ReportOf([&](Box3d& box) { box.yaw += static_cast<float>(turn); });
    EXPECT_EQ(BestOf(report), (Convention{.quarter = true}));
    EXPECT_FALSE(report.wide());
  }
}

TEST(ConventionTest, ExchangedSidesWithAQuarterTurnAreSeenByTheSidesAlone) {
  const ConventionReport report = ReportOf([](Box3d& box) {
    std::swap(box.dx, box.dy);
    box.yaw += static_cast<float>(M_PI / 2);
  });
  EXPECT_EQ(BestOf(report), Convention());
  EXPECT_TRUE(report.wide());
}

TEST(ConventionTest, AMirroredHeadingIsFound) {
  EXPECT_EQ(BestOf(ReportOf([](Box3d& box) { box.yaw = -box.yaw; })), (Convention{.clockwise = true}));
}

TEST(ConventionTest, AHeightAtTheBottomOrTheTopIsFound) {
  EXPECT_EQ(BestOf(ReportOf([](Box3d& box) { box.z -= box.dz / 2; })),
            (Convention{.height = Convention::Height::kBottom}));
  EXPECT_EQ(BestOf(ReportOf([](Box3d& box) { box.z += box.dz / 2; })),
            (Convention{.height = Convention::Height::kTop}));
}

TEST(ConventionTest, OtherUnitsAreFound) {
  using Unit = Convention::Unit;
  for (const Unit unit : {Unit::kCentimetre, Unit::kMillimetre}) {
    const auto by = static_cast<float>(1 / InMetres(unit));
    EXPECT_EQ(BestOf(ReportOf([&](Box3d& box) { Multiply(box, by); })), (Convention{.boxes = unit}));
    EXPECT_EQ(BestOf(ReportOf([](Box3d&) {}, by)), (Convention{.points = unit}));
    EXPECT_EQ(BestOf(ReportOf([&](Box3d& box) { Multiply(box, by); }, by)),
              (Convention{.boxes = unit, .points = unit}));
  }
}

TEST(ConventionTest, SidesExchangedInAnotherUnitAreToldFromAQuarterTurn) {
  for (const float by : {100.0f, 1000.0f}) {
    const ConventionReport report = ReportOf([&](Box3d& box) {
      Multiply(box, by);
      std::swap(box.dx, box.dy);
    });
    EXPECT_TRUE(BestOf(report).quarter);
    EXPECT_TRUE(report.wide());
    EXPECT_EQ(report.long_boxes, 0u);
  }
}

TEST(ConventionTest, OtherAxesAreFound) {
  using Axes = Convention::Axes;
  const auto mirrored = [](Box3d& box) {
    box.y = -box.y;
    box.yaw = -box.yaw;
  };
  EXPECT_EQ(BestOf(ReportOf(mirrored)), (Convention{.axes = Axes::kMirrored}));
  // x right, y forward.
  const auto turned = [](Box3d& box) {
    box = {.x = -box.y,
           .y = box.x,
           .z = box.z,
           .dx = box.dx,
           .dy = box.dy,
           .dz = box.dz,
           .yaw = box.yaw + static_cast<float>(M_PI / 2)};
  };
  EXPECT_EQ(BestOf(ReportOf(turned)), (Convention{.axes = Axes::kQuarterRight}));
}

TEST(ConventionTest, TwoFaultsAtOnceAreFound) {
  const auto change = [](Box3d& box) {
    box.z -= box.dz / 2;
    box.yaw = -box.yaw;
  };
  EXPECT_EQ(BestOf(ReportOf(change)), (Convention{.height = Convention::Height::kBottom, .clockwise = true}));
}

TEST(ConventionTest, HeadingsThatPointBackwardsAreFoundByTheShapeOfCars) {
  const ConventionReport right = ReportOf([](Box3d&) {}, 1, 60);
  EXPECT_TRUE(right.reversal_known());
  EXPECT_FALSE(right.reversed());
  const ConventionReport wrong = ReportOf([](Box3d& box) { box.yaw += static_cast<float>(M_PI); }, 1, 60);
  EXPECT_EQ(BestOf(wrong), Convention());
  EXPECT_TRUE(wrong.reversed());
}

TEST(ConventionTest, FewBoxesTellNothing) {
  EXPECT_TRUE(ConventionEvidence().Conclude().undecided());
  Frame frame = SimulateFrame(1).frame;
  frame.boxes.resize(1);
  std::swap(frame.boxes[0].box.dx, frame.boxes[0].box.dy);
  ConventionEvidence evidence;
  evidence.Add(frame);
  EXPECT_TRUE(evidence.Conclude().undecided());
  EXPECT_EQ(evidence.Conclude().best, 0u);
}

TEST(ConventionTest, EvidenceInPartsIsTheSame) {
  ConventionEvidence whole, first, second;
  for (int seed = 0; seed < 4; ++seed) {
    const Frame frame = SimulateFrame(seed).frame;
    whole.Add(frame);
    (seed < 2 ? first : second).Add(frame);
  }
  first.Add(second);
  const ConventionReport a = whole.Conclude(), b = first.Conclude();
  EXPECT_EQ(a.boxes, b.boxes);
  for (size_t i = 0; i < a.rows.size(); ++i) EXPECT_NEAR(a.rows[i].score, b.rows[i].score, 1e-12);
}

TEST(ConventionTest, ABoxReadBackFromItsMeaningIsTheBox) {
  const Box3d box{.x = 3, .y = -2, .z = 1, .dx = 4, .dy = 2, .dz = 1.5, .yaw = 0.5};
  EXPECT_EQ(Reinterpret(box, {}), box);
  EXPECT_EQ(ConventionName({}), "as declared");
  EXPECT_EQ(ConventionName({.height = Convention::Height::kBottom, .clockwise = true}),
            "z is the bottom, heading clockwise");
}

// Real frames have at least ten labelled objects with points; each fault is seen in them too.
TEST(ConventionTest, RealFramesTellTheSame) {
  const std::string root = SharedPath("data/kitti");
  KD_REQUIRE_FILE(root + "/training/velodyne/000000.bin");
  v1::Data data;
  data.set_format("kitti");
  data.set_root(root);
  for (const char* name : {"Car", "Pedestrian", "Cyclist", "Truck", "Van"}) data.add_class_names(name);
  const auto dataset = OpenDataset(data);
  ASSERT_THAT(dataset, IsOk());
  const auto report = [&](const std::function<void(Box3d&)>& change) {
    ConventionEvidence evidence;
    for (const char* sample : {"000000", "000001", "000002", "000003", "000008", "000134"}) {
      absl::StatusOr<Frame> frame = (*dataset)->Read(sample);
      if (!frame.ok()) {
        // Only the part of the scan that the camera sees is there.
        frame = Frame{.sample = sample};
        frame->points = *ReadKittiPoints(root + "/training/velodyne_reduced/" + sample + ".bin");
        const std::string labels = root + "/training/label_2/" + sample + ".txt";
        const KittiCalib calib = *ReadKittiCalib(root, sample);
        const std::vector<KittiObject> objects = *ParseKittiObjects(*ReadFile(labels), KittiText::kLabels, labels);
        for (const KittiObject& o : objects) {
          if (o.type != "DontCare") frame->boxes.push_back({.box = KittiToLidar(o, calib)});
        }
      }
      for (LabeledBox& labeled : frame->boxes) change(labeled.box);
      evidence.Add(*frame);
    }
    return evidence.Conclude();
  };
  const ConventionReport declared = report([](Box3d&) {});
  EXPECT_GT(declared.boxes, 15u);
  EXPECT_EQ(BestOf(declared), Convention());
  EXPECT_GT(declared.rows[0].score, 0.6);
  EXPECT_EQ(BestOf(report([](Box3d& box) { box.z -= box.dz / 2; })),
            (Convention{.height = Convention::Height::kBottom}));
  EXPECT_EQ(BestOf(report([](Box3d& box) { box.yaw += static_cast<float>(M_PI / 2); })), (Convention{.quarter = true}));
  EXPECT_EQ(BestOf(report([](Box3d& box) { Multiply(box, 1000); })),
            (Convention{.boxes = Convention::Unit::kMillimetre}));
  EXPECT_EQ(BestOf(report([](Box3d& box) { Multiply(box, 100); })),
            (Convention{.boxes = Convention::Unit::kCentimetre}));
}

}  // namespace
}  // namespace kd
