#include <liblzf/lzf.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/custom_dataset.h"
#include "data/custom_label.h"
#include "data/fake_dataset.h"
#include "data/object_sampler.h"
#include "data/point_rows.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string Npy(const std::string& header, const std::string& data, char version = 1) {
  std::string length(version == 1 ? 2 : 4, '\0');
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>(header.size() >> 8 * i);
  return absl::StrCat("\x93NUMPY", std::string(1, version), std::string(1, '\0'), length, header, data);
}

constexpr char kFloat32[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }          \n";
const std::vector<float> kEight = {1, 2, 3, 0.5, -1, -2, -3, 0.25};

TEST(NpyTest, BothFloatTypesAndAllVersionsGiveTheSameRows) {
  const std::vector<double> eight(kEight.begin(), kEight.end());
  for (const char version : {1, 2, 3}) {
    const auto rows = ParseNpy(Npy(kFloat32, Bytes(kEight), version), "f.npy");
    ASSERT_THAT(rows, IsOk());
    EXPECT_EQ(rows->values, kEight);
    EXPECT_EQ(rows->columns, 4u);
  }
  const auto rows = ParseNpy(Npy("{'shape': (2, 4), 'fortran_order': False, 'descr': '<f8'}", Bytes(eight)), "f.npy");
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ(rows->values, kEight);
}

TEST(NpyTest, WhatCannotBeReadIsRefusedByName) {
  const auto refusal = [](const std::string& header) {
    return std::string(ParseNpy(Npy(header, Bytes(kEight)), "f.npy").status().message());
  };
  EXPECT_THAT(refusal("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4)}"),
              HasSubstr("f.npy: header at byte 10: it is a pickled array"));
  EXPECT_THAT(refusal("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 4)}"), HasSubstr("its type is \">f4\""));
  EXPECT_THAT(refusal("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (8,)}"),
              HasSubstr("records with named fields"));
  EXPECT_THAT(refusal("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4)}"),
              HasSubstr("numpy.ascontiguousarray"));
  EXPECT_THAT(refusal("{'descr': '<f4', 'fortran_order': False, 'shape': (8,)}"),
              HasSubstr("its shape is (8), expected (N, C)"));
  EXPECT_THAT(refusal("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}"),
              HasSubstr(": 32 bytes of numbers, its shape (3, 4) needs 16 for each row"));
  EXPECT_THAT(refusal("{'descr': '<f4', 'fortran_order': False}"), HasSubstr("lacks one of"));
  EXPECT_THAT(refusal("{'descr': '<f4', 'descr': '<f4'}"), HasSubstr("there twice"));
  EXPECT_THAT(ParseNpy("not numpy", "f.npy"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("f.npy: byte 0")));
}

// Every number is as the file has it, or the refusal is one line that names the file.
template <typename Result>
void ExpectUsable(const Result& rows, int& parsed, int& refused) {
  if (rows.ok()) {
    ++parsed;
    ASSERT_GE(rows->columns, 3u);
    ASSERT_EQ(rows->values.size(), rows->num_points() * rows->columns);
    return;
  }
  ++refused;
  ASSERT_THAT(rows, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("f.")));
  ASSERT_THAT(rows.status().message(), IsOneLine());
}

TEST(NpyTest, HostileBytesAreReadOrRefusedInOneLine) {
  int parsed = 0, refused = 0;
  ForHostileInput(Npy(kFloat32, Bytes(kEight)), 5000,
                  [&](const std::string& bytes) { ExpectUsable(ParseNpy(bytes, "f.npy"), parsed, refused); });
  EXPECT_GT(parsed, 300);
  EXPECT_GT(refused, 500);
}

// x y z intensity, a field of one byte, padding of three.
constexpr char kPcdHead[] =
    "# .PCD v0.7\nVERSION 0.7\nFIELDS ring x y z _ intensity\nSIZE 1 4 4 8 1 4\nTYPE U F F F U F\nCOUNT 1 1 1 1 3 1\n"
    "WIDTH 2\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2\nDATA ";

std::string PcdRow(uint8_t ring, float x, float y, double z, float intensity) {
  std::string row(1, static_cast<char>(ring));
  return absl::StrCat(row, Bytes<float>({x, y}), Bytes<double>({z}), "pad", Bytes<float>({intensity}));
}

std::string BinaryPcd() {
  return absl::StrCat(kPcdHead, "binary\n", PcdRow(7, 1, 2, 3, 0.5), PcdRow(9, -1, -2, -3, 0.25));
}

std::string CompressedPcd() {
  const std::string by_field = absl::StrCat("\x07\x09", Bytes<float>({1, -1, 2, -2}), Bytes<double>({3, -3}), "padpad",
                                            Bytes<float>({0.5, 0.25}));
  std::string packed(by_field.size() * 2, '\0');
  packed.resize(lzf_compress(by_field.data(), static_cast<unsigned>(by_field.size()), packed.data(),
                             static_cast<unsigned>(packed.size())));
  const std::vector<uint32_t> sizes = {static_cast<uint32_t>(packed.size()), static_cast<uint32_t>(by_field.size())};
  return absl::StrCat(kPcdHead, "binary_compressed\n", Bytes(sizes), packed);
}

std::string AsciiPcd() { return absl::StrCat(kPcdHead, "ascii\n7 1 2 3 0 0 0 0.5\n9 -1 -2 -3 0 0 0 0.25\n"); }

TEST(PcdTest, AllThreeFormsGiveTheSameRowsWithIntensityInFourthPlace) {
  for (const std::string& bytes : {AsciiPcd(), BinaryPcd(), CompressedPcd()}) {
    const auto rows = ParsePcd(bytes, "f.pcd");
    ASSERT_THAT(rows, IsOk());
    EXPECT_THAT(rows->names, ElementsAre("x", "y", "z", "intensity", "ring"));
    EXPECT_THAT(rows->values, ElementsAre(1, 2, 3, 0.5, 7, -1, -2, -3, 0.25, 9));
  }
}

TEST(PcdTest, IntensityHasThreeNames) {
  const auto names = [](const std::string& last) {
    std::string bytes = AsciiPcd();
    bytes.replace(bytes.find("intensity"), 9, last);
    return ParsePcd(bytes, "f.pcd")->names;
  };
  EXPECT_THAT(names("Intensity"), ElementsAre("x", "y", "z", "Intensity", "ring"));
  EXPECT_THAT(names("i"), ElementsAre("x", "y", "z", "i", "ring"));
  EXPECT_THAT(names("reflectivity"), ElementsAre("x", "y", "z", "ring", "reflectivity"));
}

TEST(PcdTest, ErrorsNameTheLineOrTheByte) {
  const auto refusal = [](const std::string& from, const std::string& to, std::string bytes = AsciiPcd()) {
    bytes.replace(bytes.find(from), from.size(), to);
    return std::string(ParsePcd(bytes, "f.pcd").status().message());
  };
  EXPECT_THAT(refusal("SIZE 1 4 4 8 1 4", "SIZE 1 4"), HasSubstr("f.pcd:4: SIZE has 2 values for 6 fields"));
  EXPECT_THAT(refusal("ascii", "zipped"),
              HasSubstr("f.pcd:11: DATA \"zipped\", expected ascii, binary or binary_compressed"));
  EXPECT_THAT(refusal("POINTS 2", "POINTS 3"), HasSubstr("POINTS 3 is not WIDTH 2 times HEIGHT 1"));
  EXPECT_THAT(refusal("ring x", "ring X"), HasSubstr("f.pcd: no field x among ring, X"));
  EXPECT_THAT(refusal("TYPE U F", "TYPE U Q"), HasSubstr("field \"x\" is of type \"Q\""));
  EXPECT_THAT(refusal("9 -1", "9 one"), HasSubstr("f.pcd:13: \"one\" is not a number"));
  EXPECT_THAT(refusal("9 -1", "9"), HasSubstr("f.pcd:13: 7 numbers, the header promises 8"));
  EXPECT_THAT(refusal("9 -1 -2 -3 0 0 0 0.25\n", ""), HasSubstr("the file ends after 1 of 2 points"));
  EXPECT_THAT(refusal("0.5", "0.5\n1 1 1 1 0 0 0 1"), HasSubstr("f.pcd:14: more than the 2 points"));
  const std::string binary = BinaryPcd();
  EXPECT_THAT(ParsePcd(binary.substr(0, binary.size() - 1), "f.pcd").status().message(),
              HasSubstr("47 bytes of points, 2 points need 48"));
}

TEST(PcdTest, HostileBytesAreReadOrRefusedInOneLine) {
  for (const std::string& good : {AsciiPcd(), BinaryPcd(), CompressedPcd()}) {
    int parsed = 0, refused = 0;
    ForHostileInput(good, 5000,
                    [&](const std::string& bytes) { ExpectUsable(ParsePcd(bytes, "f.pcd"), parsed, refused); });
    EXPECT_GT(parsed, 100);
    EXPECT_GT(refused, 500);
  }
}

constexpr char kLabels[] = "10.5 -2.25 -0.75 4 1.8 1.5 3.5 Car\n\n5 5 -0.5 0.8 0.6 1.75 -1 Pedestrian\r\n";

TEST(CustomLabelTest, BoxesAreReadAndTheirHeadingIsWrapped) {
  const auto objects = ParseCustomObjects(kLabels, "f");
  ASSERT_THAT(objects, IsOk());
  ASSERT_EQ(objects->size(), 2u);
  EXPECT_EQ((*objects)[0].box.dx, 4);
  EXPECT_NEAR((*objects)[0].box.yaw, 3.5 - 2 * M_PI, 1e-6);
  EXPECT_EQ((*objects)[1].type, "Pedestrian");
  const auto again = ParseCustomObjects(FormatCustomObject((*objects)[0]), "g");
  ASSERT_THAT(again, IsOk());
  EXPECT_NEAR(again->front().box.yaw, (*objects)[0].box.yaw, 1e-6);
}

TEST(CustomLabelTest, ABrokenLineIsNamed) {
  const auto message = [](const char* text) {
    return std::string(ParseCustomObjects(text, "f.txt").status().message());
  };
  EXPECT_THAT(message("\n1 2 3 4 5 6 7\n"), HasSubstr("f.txt:2: 7 fields, expected 8 (x y z dx dy dz heading class)"));
  EXPECT_THAT(message("Car 1 2 3 4 5 6 7\n"), HasSubstr("f.txt:1: field 1 is \"Car\", expected a number"));
  EXPECT_THAT(message("1 2 3 4 0 6 7 Car\n"), HasSubstr("f.txt:1: the box is 4 x 0 x 6, sizes must be above 0"));
}

TEST(CustomLabelTest, HostileTextIsParsedToUsableNumbersOrRefusedInOneLine) {
  int parsed = 0, refused = 0;
  ForHostileInput(kLabels, 5000, [&](const std::string& text) {
    const auto objects = ParseCustomObjects(text, "f");
    if (!objects.ok()) {
      ++refused;
      ASSERT_THAT(objects, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("f:"))) << text;
      ASSERT_THAT(objects.status().message(), IsOneLine()) << text;
      return;
    }
    ++parsed;
    for (const CustomObject& object : *objects) {
      ASSERT_TRUE(std::isfinite(object.box.x * object.box.dx) && object.box.dx > 0 && object.box.dz > 0) << text;
      ASSERT_TRUE(object.box.yaw >= -M_PI - 1e-6 && object.box.yaw < M_PI + 1e-6) << text;
    }
  });
  EXPECT_GT(parsed, 300);
  EXPECT_GT(refused, 500);
}

class CustomDatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* part : {"ImageSets", "points", "labels"}) std::filesystem::create_directories(folder_ / part);
    Write("ImageSets/train.txt", "a\nb.1\n");
    Write("points/a.bin", Bytes(kEight));
    Write("points/b.1.npy", Npy(kFloat32, Bytes(kEight)));
    Write("labels/a.txt", kLabels);
    Write("labels/b.1.txt", "");
    data_.set_format("custom");
    data_.set_root(folder_.path());
    data_.add_class_names("Pedestrian");
  }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  absl::StatusOr<Frame> Read(const std::string& sample) const {
    const auto dataset = OpenDataset(data_);
    return dataset.ok() ? (*dataset)->Read(sample) : dataset.status();
  }

  TemporaryFolder folder_;
  v1::Data data_;
};

TEST_F(CustomDatasetTest, FramesHoldPointsOfAnyFormAndBoxesOfTheClasses) {
  const auto dataset = OpenDataset(data_);
  ASSERT_THAT(dataset, IsOk());
  EXPECT_THAT((*dataset)->Split("train"), IsOkAndHolds(std::vector<std::string>{"a", "b.1"}));
  const auto a = (*dataset)->Read("a"), b = (*dataset)->Read("b.1");
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  EXPECT_EQ(a->points, kEight);
  EXPECT_EQ(b->points, kEight);
  ASSERT_EQ(a->boxes.size(), 1u);
  EXPECT_EQ(a->boxes[0].label, 0);
  EXPECT_EQ(a->boxes[0].box.dz, 1.75f);
  EXPECT_TRUE(b->boxes.empty());
}

TEST_F(CustomDatasetTest, PointsThatAreNotFiniteAreLeftOutAndCounted) {
  std::vector<float> points = kEight;
  points[5] = std::numeric_limits<float>::quiet_NaN();
  Write("points/a.bin", Bytes(points));
  const auto frame = Read("a");
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->num_points(), 1u);
  EXPECT_EQ(frame->not_finite, 1u);
}

TEST_F(CustomDatasetTest, TheNumberOfColumnsIsTheDatas) {
  data_.set_point_columns(5);
  EXPECT_THAT(Read("a"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("points of 5 columns (20 bytes each)")));
  EXPECT_THAT(Read("b.1"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("b.1.npy: 4 columns, expected 5")));
  std::filesystem::remove(folder_ / "points/a.bin");
  Write("points/a.pcd", BinaryPcd());
  const auto five = Read("a");
  ASSERT_THAT(five, IsOk());
  EXPECT_EQ(five->points[4], 7);
  data_.set_point_columns(3);
  const auto three = Read("a");
  ASSERT_THAT(three, IsOk());
  EXPECT_THAT(three->points, ElementsAre(1, 2, 3, -1, -2, -3));
}

TEST_F(CustomDatasetTest, AnArrayMayHaveMoreColumnsThanAreAskedFor) {
  data_.set_point_columns(3);
  const auto three = Read("b.1");
  ASSERT_THAT(three, IsOk());
  EXPECT_EQ(three->num_features, 3);
  EXPECT_THAT(three->points, ElementsAre(1, 2, 3, -1, -2, -3));
  // A .bin file does not tell how many it has: eight numbers are not taken for two points of three and two more.
  EXPECT_THAT(Read("a"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("points of 3 columns (12 bytes each)")));
}

TEST_F(CustomDatasetTest, AnotherFieldIsNotTakenForTheIntensity) {
  std::filesystem::remove(folder_ / "points/a.bin");
  std::string bytes = AsciiPcd();
  bytes.replace(bytes.find("intensity"), 9, "reflect");
  Write("points/a.pcd", bytes);
  EXPECT_THAT(Read("a"),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("points/a.pcd: no field intensity among x, y, z, ring, reflect, and column 4 of a "
                                 "point is its intensity; rename the field")));
  data_.set_point_columns(3);
  const auto frame = Read("a");
  ASSERT_THAT(frame, IsOk());
  EXPECT_THAT(frame->points, ElementsAre(1, 2, 3, -1, -2, -3));
}

TEST_F(CustomDatasetTest, MissingAndDoubledFilesAreNamed) {
  Write("points/a.npy", Npy(kFloat32, Bytes(kEight)));
  EXPECT_THAT(Read("a"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("remove all but one")));
  std::filesystem::remove(folder_ / "points/a.npy");
  std::filesystem::remove(folder_ / "points/a.bin");
  EXPECT_THAT(Read("a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("points/a.{bin,npy,pcd} is missing")));
  std::filesystem::remove(folder_ / "labels/b.1.txt");
  EXPECT_THAT(Read("b.1"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("labels/b.1.txt")));
  EXPECT_THAT(Read("../a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no frame \"../a\"")));
  std::filesystem::remove_all(folder_ / "labels");
  EXPECT_THAT(OpenDataset(data_), StatusIs(absl::StatusCode::kNotFound, HasSubstr("labels is not a folder")));
}

TEST_F(CustomDatasetTest, SizesBeyondAnyObjectAreRefusedUnlessAskedFor) {
  Write("labels/a.txt", "1 1 1 4000 1800 1500 0 Pedestrian\n");
  EXPECT_THAT(Read("a"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("object 1 (Pedestrian) is 4000 x 1800 x 1500 m")));
  const auto any = OpenCustomDataset(data_, BoxSizes::kAny);
  ASSERT_THAT(any, IsOk());
  EXPECT_THAT((*any)->Read("a"), IsOk());
}

TEST_F(CustomDatasetTest, TheDigestNamesTheContent) {
  const auto digest = [&] { return *(*OpenDataset(data_))->Digest("train"); };
  const std::string before = digest();
  EXPECT_EQ(digest(), before);
  Write("labels/b.1.txt", "1 1 1 1 1 1 1 Pedestrian\n");
  const std::string after = digest();
  EXPECT_NE(after, before);
  data_.set_point_columns(3);
  EXPECT_NE(digest(), after);
}

TEST_F(CustomDatasetTest, TheDigestOfUnscaledPointsIsAsItWasBeforeThereWasAScale) {
  const std::string array = Npy(kFloat32, Bytes(kEight));
  const std::string expected = Sha256Digest(absl::StrCat("custom\n4\nPedestrian\na .bin 32 ", sizeof(kLabels) - 1, "\n",
                                                         kLabels, "b.1 .npy ", array.size(), " 0\n"));
  const auto digest = [&](float scale) {
    data_.set_intensity_scale(scale);
    return *(*OpenDataset(data_))->Digest("train");
  };
  EXPECT_EQ(digest(0), expected);
  EXPECT_EQ(digest(1), expected);
  const std::string bytes = digest(255);
  EXPECT_NE(bytes, expected);
  EXPECT_NE(digest(std::nextafter(255.0f, 256.0f)), bytes);
}

TEST_F(CustomDatasetTest, IntensityIsDividedByItsScaleAndNothingElseIs) {
  data_.set_intensity_scale(0.5);
  const auto frame = Read("a");
  ASSERT_THAT(frame, IsOk());
  EXPECT_THAT(frame->points, ElementsAre(1, 2, 3, 1, -1, -2, -3, 0.5));
  // What becomes too large is not finite, as what is not finite in the file.
  std::vector<float> points = kEight;
  points[3] = 3e38f;
  Write("points/a.bin", Bytes(points));
  const auto large = Read("a");
  ASSERT_THAT(large, IsOk());
  EXPECT_EQ(large->not_finite, 1u);
  data_.set_point_columns(3);
  const auto three = Read("b.1");
  ASSERT_THAT(three, IsOk());
  EXPECT_THAT(three->points, ElementsAre(1, 2, 3, -1, -2, -3));
}

TEST_F(CustomDatasetTest, OnlyOwnDataHaveAScaleOfIntensity) {
  data_.set_intensity_scale(255);
  for (const char* format : {"kitti", "nuscenes", "waymo"}) {
    data_.set_format(format);
    EXPECT_THAT(OpenDataset(data_), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr(absl::StrCat("data.intensity_scale is 255, and the intensity of "
                                                                    "format ",
                                                                    format, " is read as it is"))));
  }
}

TEST_F(CustomDatasetTest, PastedObjectsHaveTheScaleOfTheFrameOrAreRefused) {
  std::vector<float> points;
  for (int i = 0; i < 6; ++i) points.insert(points.end(), {0.1f * static_cast<float>(i), 0, 0, 255});
  Write("points/a.bin", Bytes(points));
  Write("labels/a.txt", "0 0 0 4 2 2 0 Pedestrian\n");
  data_.set_train_split("train");
  data_.set_point_columns(4);
  data_.set_intensity_scale(255);
  data_.mutable_augmentation()->set_objects(folder_ / "objects");
  data_.mutable_augmentation()->add_paste(1);
  const auto dataset = OpenDataset(data_);
  ASSERT_THAT(dataset, IsOk());
  ASSERT_THAT(WriteObjectDatabase(**dataset, "train", folder_ / "objects"), IsOk());
  const auto sampler = ObjectSampler::Open(data_, **dataset);
  ASSERT_THAT(sampler, IsOk());
  const auto pasted = (*sampler)->Paste(*(*dataset)->Read("b.1"), 1);
  ASSERT_THAT(pasted, IsOk());
  ASSERT_EQ(pasted->boxes.size(), 1u);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(pasted->points[4 * i + 3], 1) << i;
  const auto refusal = [&](float scale) {
    data_.set_intensity_scale(scale);
    return std::string(ObjectSampler::Open(data_, **OpenDataset(data_)).status().message());
  };
  EXPECT_THAT(refusal(2), HasSubstr("--format custom --point-columns 4 --intensity-scale 2 --split train"));
  EXPECT_THAT(refusal(1), HasSubstr("--format custom --point-columns 4 --split train"));
}

TEST_F(CustomDatasetTest, ClassesAreFoundInTheLabels) {
  EXPECT_THAT(FindCustomClasses(folder_.path(), {"a", "b.1", "none"}), ElementsAre("Car", "Pedestrian"));
}

}  // namespace
}  // namespace kd
