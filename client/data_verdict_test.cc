#include "client/data_verdict.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "data/simulator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

DataVerdict VerdictOf(const std::function<void(Frame&)>& change, const std::string& format = "custom",
                      double intensity_scale = 1) {
  ConventionEvidence evidence;
  FrameSurvey survey(3);
  for (int seed = 0; seed < 8; ++seed) {
    Frame frame = SimulateFrame(seed).frame;
    change(frame);
    evidence.Add(frame);
    survey.Add(frame);
  }
  return JudgeData(evidence.Conclude(), survey, format, intensity_scale);
}

std::function<void(Frame&)> EachBox(const std::function<void(Box3d&)>& change) {
  return [change](Frame& frame) {
    for (LabeledBox& labeled : frame.boxes) change(labeled.box);
  };
}

TEST(DataVerdictTest, WhatFitsNeedsNoRemedy) {
  const DataVerdict verdict = VerdictOf([](Frame&) {});
  EXPECT_TRUE(verdict.fits);
  EXPECT_THAT(verdict.text, HasSubstr("fits as declared"));
  EXPECT_EQ(verdict.remedy, "");
}

TEST(DataVerdictTest, EachFaultIsNamedWithItsRemedy) {
  struct Case {
    std::function<void(Frame&)> change;
    std::string text, remedy;
  };
  const Case cases[] = {
      {EachBox([](Box3d& b) { std::swap(b.dx, b.dy); }), "does not fit: l and w swapped (", "exchange dx and dy"},
      {EachBox([](Box3d& b) { b.yaw += static_cast<float>(M_PI / 2); }), "heading off by 90 degrees", "add pi/2"},
      {EachBox([](Box3d& b) { b.z -= b.dz / 2; }), "z is the bottom", "add dz/2 to z"},
      {EachBox([](Box3d& b) { b.yaw = -b.yaw; }), "heading clockwise", "negate the heading"},
      {[](Frame& f) {
         for (size_t i = 3; i < f.points.size(); i += 4) f.points[i] *= 255;
       },
       "intensity 0..255 instead of 0..1",
       "set data.intensity_scale: 255 (here --intensity-scale 255), but not if the teacher was trained on these very "
       "numbers"},
      {[](Frame& f) {
         for (size_t i = 0; i < f.points.size(); i += 4) f.points[i] += 30000;
         for (LabeledBox& labeled : f.boxes) labeled.box.x += 30000;
       },
       "far from the sensor", "subtract the sensor's position"}};
  for (const Case& c : cases) {
    const DataVerdict verdict = VerdictOf(c.change);
    EXPECT_FALSE(verdict.fits);
    EXPECT_THAT(verdict.text, HasSubstr(c.text));
    EXPECT_THAT(verdict.remedy, HasSubstr(c.remedy));
  }
}

TEST(DataVerdictTest, RemediesAreInTheNamesOfTheFormat) {
  const auto bottom = EachBox([](Box3d& b) { b.z += b.dz / 2; });
  EXPECT_EQ(VerdictOf(bottom, "kitti").remedy, "add height/2 to y, which is the bottom of a box");
  EXPECT_EQ(VerdictOf(bottom, "waymo").remedy, "subtract height/2 from center_z");
  const auto centimetres = EachBox([](Box3d& b) {
    for (float* length : {&b.x, &b.y, &b.z, &b.dx, &b.dy, &b.dz}) *length *= 100;
  });
  EXPECT_THAT(VerdictOf(centimetres, "kitti").text, HasSubstr("boxes in centimetres"));
  EXPECT_EQ(VerdictOf(centimetres, "kitti").remedy, "divide height width length x y z of the labels by 100");
}

TEST(DataVerdictTest, AScaleThatIsSetIsCountedIn) {
  const auto intensity = [](float value) {
    return [value](Frame& frame) {
      for (size_t i = 3; i < frame.points.size(); i += 4) frame.points[i] = value;
    };
  };
  EXPECT_TRUE(VerdictOf(intensity(1), "custom", 255).fits);
  const DataVerdict small = VerdictOf(intensity(2), "custom", 255);
  EXPECT_THAT(small.text, HasSubstr("intensity 0..2 instead of 0..1"));
  EXPECT_THAT(small.remedy, HasSubstr("set data.intensity_scale: 510 "));
  // What the files have fits already.
  const DataVerdict needless = VerdictOf(intensity(100), "custom", 0.01);
  EXPECT_THAT(needless.text, HasSubstr("intensity 0..100 instead of 0..1"));
  EXPECT_THAT(needless.remedy, HasSubstr("set data.intensity_scale: 1 "));
  EXPECT_EQ(VerdictOf(intensity(255), "kitti").remedy, "divide the intensity by 255");
}

TEST(DataVerdictTest, FewBoxesAreNoVerdict) {
  const DataVerdict verdict = VerdictOf([](Frame& frame) { frame.boxes.clear(); });
  EXPECT_TRUE(verdict.fits);
  EXPECT_THAT(verdict.text, HasSubstr("cannot tell: 0 boxes, need 8"));
  EXPECT_THAT(verdict.remedy, HasSubstr("--frames 0"));
  // What the points tell is told all the same.
  const DataVerdict bytes = VerdictOf([](Frame& frame) {
    frame.boxes.clear();
    for (size_t i = 3; i < frame.points.size(); i += 4) frame.points[i] *= 255;
  });
  EXPECT_FALSE(bytes.fits);
  EXPECT_THAT(bytes.text, HasSubstr("intensity 0..255"));
  EXPECT_THAT(bytes.text, HasSubstr("cannot tell: 0 boxes, need 8"));
}

}  // namespace
}  // namespace kd
