#include "core/pair.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kGood[] = R"(apiVersion: kd/v1
kind: Pair
metadata: {name: half}
teacher: {weights: "registry://teachers/sim:v1"}
student:
  compress: {width: {backbone: 0.5}}
data: {format: kitti, root: /data, class_names: [Car, Pedestrian, Cyclist]}
distill:
  - {method: pivotal_logits, weight: 7}
  - {method: label, score_thresh: [0.6, 0.5, 0.5]}
train: {epochs: 2}
)";

std::string With(const std::string& from, const std::string& to) { return absl::StrReplaceAll(kGood, {{from, to}}); }

TEST(PairTest, EveryModelThatAJobMayNameCanBeAStudent) {
  const auto& names =
      v1::StudentSpec::descriptor()->FindFieldByName("model")->options().GetExtension(v1::rule).one_of();
  EXPECT_GE(names.size(), 10);
  for (const std::string& name : names) {
    const auto base = BuiltInDetector(name);
    ASSERT_THAT(base, IsOk());
    EXPECT_THAT(MakeStudentDetector(*base, v1::StudentSpec()), IsOk()) << name;
  }
}

TEST(PairTest, DefaultsAreFilledIn) {
  const auto pair = ParsePair(kGood, "pair.yaml");
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->train().batch_size(), 4u);
  EXPECT_EQ(pair->data().views(), 8u);
  EXPECT_FLOAT_EQ(pair->student().compress().width().backbone(), 0.5f);
  EXPECT_FLOAT_EQ(pair->student().compress().width().head(), 1.0f);
  EXPECT_EQ(pair->distill(0).top_k(), 500u);
  EXPECT_TRUE(pair->teacher().verify_views());
  EXPECT_FLOAT_EQ(pair->data().augmentation().scale_max(), 1.05f);
}

TEST(PairTest, OwnDataIsMeasuredByLidarApUnlessAnotherMetricIsNamed) {
  const auto metric = [](const std::string& format, const std::string& eval) {
    const auto pair = ParsePair(With("format: kitti, root", "format: " + format + ", root") + eval, "pair.yaml");
    EXPECT_THAT(pair, IsOk());
    return pair.ok() ? pair->eval().metric() : "";
  };
  EXPECT_EQ(metric("custom", ""), "lidar");
  EXPECT_EQ(metric("custom", "eval: {every: 0}\n"), "lidar");
  EXPECT_EQ(metric("custom", "eval: {metric: center_distance}\n"), "center_distance");
  EXPECT_EQ(metric("custom", "eval: {metric: custom}\n"), "custom");
  EXPECT_EQ(metric("kitti", ""), "center_distance");
  EXPECT_EQ(metric("kitti", "eval: {metric: kitti}\n"), "kitti");
  v1::Pair pair;
  pair.mutable_data()->set_format("custom");
  FillPairDefaults(pair);
  EXPECT_EQ(pair.eval().metric(), "lidar");
}

TEST(PairTest, AZeroThatWasWrittenStaysZero) {
  const auto pair = ParsePair(With("root: /data,", "root: /data, views: 0, augmentation: {flip_y: 0},"), "pair.yaml");
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->data().views(), 0u);
  EXPECT_FLOAT_EQ(pair->data().augmentation().flip_y(), 0);
  EXPECT_FLOAT_EQ(pair->data().augmentation().rotation(), 0.78539816f);
}

TEST(PairTest, XIsMirroredOnlyWhereItIsAskedFor) {
  EXPECT_FLOAT_EQ(ParsePair(kGood, "pair.yaml")->data().augmentation().flip_x(), 0);
  const auto pair = ParsePair(
      absl::StrReplaceAll(
          kGood, {{"student:\n", "student:\n  model: centerpoint_pillar\n"},
                  {"format: kitti, root: /data,", "format: waymo, root: /data, augmentation: {flip_x: 0.5},"}}),
      "pair.yaml");
  ASSERT_THAT(pair, IsOk());
  EXPECT_FLOAT_EQ(pair->data().augmentation().flip_x(), 0.5f);
}

TEST(PairTest, AStudentDiffersFromItsModelOnlyInWhatIsWritten) {
  const auto pair =
      ParsePair(With("student:\n",
                     "student:\n  model: centerpoint_pillar_sim\n  detector: {vfe: {use_norm: false}, post_processing: "
                     "{score_thresh: 0.25}, dense_head: {code_weights: [1, 1, 1, 1, 1, 1, 2, 2]}}\n"),
                "pair.yaml");
  ASSERT_THAT(pair, IsOk());
  const v1::Detector base = *BuiltInDetector("centerpoint_pillar_sim");
  v1::StudentSpec whole = pair->student();
  whole.clear_compress();
  const auto student = MakeStudentDetector(base, whole);
  ASSERT_THAT(student, IsOk());
  v1::Detector wanted = base;
  wanted.mutable_vfe()->set_use_norm(false);
  wanted.mutable_post_processing()->set_score_thresh(0.25f);
  wanted.mutable_dense_head()->clear_code_weights();
  for (const float weight : {1, 1, 1, 1, 1, 1, 2, 2}) wanted.mutable_dense_head()->add_code_weights(weight);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*student, wanted)) << student->DebugString();
  const auto again = ParsePair(PairToYaml(*pair), "again.yaml");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*pair, *again)) << PairToYaml(*pair);
}

std::string WithAugmentation(const std::string& keys, const std::string& others = "") {
  return With("root: /data,", "root: /data, " + others + "augmentation: {" + keys + "},");
}

TEST(PairTest, ObjectsToPasteAreKept) {
  const auto pair =
      ParsePair(WithAugmentation("objects: /data/objects, paste: [15, 0, 10]", "train_interval: 5, "), "pair.yaml");
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->data().augmentation().objects(), "/data/objects");
  EXPECT_THAT(pair->data().augmentation().paste(), ::testing::ElementsAre(15u, 0u, 10u));
  EXPECT_EQ(pair->data().train_interval(), 5u);
  EXPECT_FLOAT_EQ(pair->data().augmentation().rotation(), 0.78539816f);
  const auto again = ParsePair(PairToYaml(*pair), "again.yaml");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*pair, *again)) << PairToYaml(*pair);
}

struct BadFile {
  const char* name;
  std::string yaml;
  const char* message;
};

class PairErrors : public ::testing::TestWithParam<BadFile> {};

TEST_P(PairErrors, NamesPlaceValueAndRemedy) {
  const auto pair = ParsePair(GetParam().yaml, "pair.yaml");
  EXPECT_THAT(pair, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
  EXPECT_THAT(std::string(pair.status().message()), StartsWith("pair.yaml"));
  EXPECT_THAT(pair.status().message(), IsOneLine());
}

INSTANTIATE_TEST_SUITE_P(
    All, PairErrors,
    ::testing::Values(
        BadFile{"misspelt", With("compress: {width:", "compress: {widht:"),
                "pair.yaml:6:21: unknown key \"widht\" in student.compress; did you mean \"width\"?"},
        BadFile{"type", With("epochs: 2", "epochs: soon"),
                "pair.yaml:11:17: train.epochs is \"soon\", expected a whole number (epochs)"},
        BadFile{"negative", With("epochs: 2", "epochs: -1"), "train.epochs is \"-1\", expected a whole number"},
        BadFile{"quoted", With("epochs: 2", "epochs: \"2\""), "expected a whole number"},
        BadFile{"limit", With("backbone: 0.5", "backbone: 2"),
                "student.compress.width.backbone is 2, expected at most 1"},
        BadFile{"duplicate", With("kind: Pair\n", "kind: Pair\nkind: Pair\n"),
                "pair.yaml:3:1: key \"kind\" appears twice (its first value is in line 2); keep one"},
        BadFile{"anchor", With("metadata: {", "metadata: &a {"), "anchors (&name) are not allowed"},
        BadFile{"alias", With("metadata: {name: half}", "metadata: *a"), "pair.yaml:3:"},
        BadFile{"tag", With("epochs: 2", "epochs: !!python/object 2"), "is not allowed; leave it out"},
        BadFile{"depth", With("epochs: 2", "epochs: " + std::string(40, '[') + std::string(40, ']')),
                "nested deeper than 32"},
        BadFile{"method", With("method: pivotal_logits", "method: pivotal_logit"),
                "pair.yaml:9:14: distill[0].method is \"pivotal_logit\", expected one of pivotal_logits, "
                "uniform_logits, label, feature_roi, feature_fg; did you mean \"pivotal_logits\"?"},
        BadFile{
            "other_method", With("method: pivotal_logits", "method: magic"),
            "pair.yaml:9:14: distill[0].method is \"magic\", expected one of pivotal_logits, uniform_logits, label,"},
        BadFile{"unprintable", With("metadata: {name: half}", "\"a\\nb\": {name: half}"),
                "unknown key \"a\\nb\" at the top level"},
        BadFile{"latin1", With("root: /data", "root: /d\xe4ta"),
                "pair.yaml:7:31: the file is not UTF-8 text; save it as UTF-8"},
        BadFile{"utf16",
                "\xff\xfe"
                "a: 1",
                "pair.yaml:1:1: the file is not UTF-8 text; save it as UTF-8"},
        BadFile{"large", std::string((1 << 20) + 1, '#'),
                "pair.yaml:1:1: the file has 1048577 bytes; at most 1048576 are read"},
        BadFile{"foreign_key", With("weight: 7", "weight: 7, score_thresh: [1]"),
                "does not know this key; it belongs to label"},
        BadFile{"missing", With("train: {epochs: 2}", "train: {}"), "pair.yaml:11:8: train.epochs is missing"},
        BadFile{"classes", With("[0.6, 0.5, 0.5]", "[0.6]"), "has 1 values, expected one per class (3)"},
        BadFile{"paste_without_objects", WithAugmentation("paste: [1, 1, 1]"),
                "data.augmentation.objects: is missing, and data.augmentation.paste asks for objects; name the folder "
                "that kdctl data prepare wrote"},
        BadFile{"objects_without_paste", WithAugmentation("objects: /data/objects"),
                "data.augmentation.paste: is missing, and data.augmentation.objects names objects to paste"},
        BadFile{"paste_of_other_classes", WithAugmentation("objects: /data/objects, paste: [1, 1]"),
                "data.augmentation.paste: has 2 numbers, expected one for each of data.class_names (Car, Pedestrian, "
                "Cyclist)"},
        BadFile{"too_many_to_paste", WithAugmentation("objects: /data/objects, paste: [1, 1, 201]"),
                "data.augmentation.paste[2] is 201, expected at most 200 objects"},
        BadFile{"negative_to_paste", WithAugmentation("objects: /data/objects, paste: [1, -1, 1]"),
                "data.augmentation.paste[1] is \"-1\", expected"},
        BadFile{"class_to_paste", WithAugmentation("objects: /data/objects, paste: {Car: 1}"),
                "data.augmentation.paste is a group of keys, expected a list"},
        BadFile{"paste_into_frames_as_recorded",
                WithAugmentation("objects: /data/objects, paste: [1, 1, 1]", "views: 0, "),
                "data.views: is 0, and nothing is pasted into frames as recorded"},
        BadFile{"interval", With("root: /data,", "root: /data, train_interval: 0,"),
                "data.train_interval is 0, expected at least 1 frames"},
        BadFile{"no_teacher", With("teacher: {weights: \"registry://teachers/sim:v1\"}\n", ""),
                "name a built-in model"},
        BadFile{"second_document", std::string(kGood) + "---\na: 1\n", "a second document"},
        BadFile{"empty", "", "the file is empty"}, BadFile{"nul", std::string("a: \0b", 5), "NUL byte"},
        BadFile{"broken", "a: [1, 2", "not valid YAML"},
        BadFile{"list", "- 1\n", "pair.yaml:1:1: the file is a list, expected a group of keys"},
        BadFile{"control", With("name: half", "name: half, owner: \"a\\e[31mb\""),
                "pair.yaml:3:31: metadata.owner is \"a\\x1b[31mb\", expected no control characters"},
        BadFile{"long", With("name: half", "name: half, owner: " + std::string(5000, 'x')),
                "metadata.owner has 5000 bytes, expected at most 4096"},
        BadFile{"repository", std::string(kGood) + "output: {name: students//half}\n",
                "output.name: \"students//half\" is not a repository name"},
        BadFile{"registry_tag", std::string(kGood) + "output: {name: students/half, tag: -v}\n",
                "output.tag: \"-v\" is not a tag"},
        BadFile{"class_twice", With("Pedestrian, Cyclist]}", "Car, Cyclist]}"),
                "data.class_names: holds \"Car\" twice"},
        BadFile{"class_words", With("Pedestrian, Cyclist]}", "\"a person\", Cyclist]}"),
                "holds \"a person\", which no label file can name"},
        BadFile{"rate", With("epochs: 2", "epochs: 2, lr: 1e308"), "train.lr is 1e308, expected at most 10"},
        BadFile{"threads", With("epochs: 2", "epochs: 2, threads: 4000000000"),
                "train.threads is 4000000000, expected at most 1024"},
        BadFile{"queue", std::string(kGood) + "resources: {priority: high}\n",
                "resources.priority is \"high\", expected one of normal"},
        BadFile{"method_twice", With("method: label, score_thresh: [0.6, 0.5, 0.5]", "method: pivotal_logits"),
                "distill[1].method: \"pivotal_logits\" stands there twice"},
        BadFile{"two_logits", With("method: label, score_thresh: [0.6, 0.5, 0.5]", "method: uniform_logits"),
                "weigh the same class logits in two ways"},
        BadFile{"columns", With("student:\n", "student:\n  model: centerpoint_pillar\n"),
                "takes 5 columns a point, and format kitti has 4"},
        BadFile{"more_columns_than_are_taken",
                absl::StrReplaceAll(kGood, {{"student:\n", "student:\n  model: centerpoint_pillar_kitti\n"},
                                            {"format: kitti,", "format: custom, point_columns: 5,"}}),
                "takes 4 columns a point, and format custom has 5; use another model, or detector: "
                "{num_point_features: 5}, or data.point_columns: 4, which are the first ones of .npy and .pcd files"},
        BadFile{"no_intensity_scale", With("root: /data,", "root: /data, intensity_scale: 0,"),
                "data.intensity_scale is 0, expected at least 0.001"},
        BadFile{"intensity_of_another_format", With("root: /data,", "root: /data, intensity_scale: 255,"),
                "data.intensity_scale: is 255, and the intensity of format kitti is read as it is"},
        BadFile{
            "intensity_that_is_not_read",
            With("format: kitti, root: /data,", "format: custom, root: /data, point_columns: 3, intensity_scale: 255,"),
            "data.intensity_scale: is 255, and points of data.point_columns: 3 have no intensity"},
        BadFile{
            "other_classes",
            With("student:\n",
                 "student:\n  model: centerpoint_pillar_sim\n  detector: {class_names: [Car, Cyclist, Pedestrian]}\n"),
            "student.detector.class_names: differs from data.class_names"},
        BadFile{"velocity",
                With("student:\n",
                     "student:\n  model: centerpoint_pillar_sim\n  detector: {dense_head: {with_velocity: true}}\n"),
                "student.dense_head.with_velocity: is true, and labels of format kitti have no velocity; leave it out"},
        BadFile{"flip_x",
                absl::StrReplaceAll(kGood, {{"student:\n", "student:\n  model: centerpoint_pillar_sim\n"},
                                            {"root: /data,", "root: /data, augmentation: {flip_x: 0.5},"}}),
                "data.augmentation.flip_x: is 0.5, and student sees only what is ahead, x from 0 to 38.4 m"},
        BadFile{"every", std::string(kGood) + "eval: {every: 2}\n", "eval.every is 2, expected at most 0"},
        BadFile{"name", With("name: half", "name: Half"), "is not a job name"}),
    [](const auto& info) { return info.param.name; });

TEST(PairTest, AnAliasBombIsRefusedAtItsFirstAnchor) {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'z'; ++c)
    absl::StrAppend(&bomb, std::string(1, c), ": &", std::string(1, c), " [*", std::string(1, c - 1), ", *",
                    std::string(1, c - 1), "]\n");
  EXPECT_THAT(ParsePair(bomb, "pair.yaml"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "pair.yaml:1:4: anchors (&name) are not allowed; write the value out"));
}

TEST(PairTest, WrittenYamlReadsBackAsTheSameMessage) {
  const auto pair = ParsePair(kGood, "pair.yaml");
  ASSERT_THAT(pair, IsOk());
  const auto again = ParsePair(PairToYaml(*pair), "again.yaml");
  ASSERT_THAT(again, IsOk()) << PairToYaml(*pair);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*pair, *again)) << PairToYaml(*pair);
}

TEST(PairTest, HostileTextIsRefusedInOneLineOrReadsBackAsTheSameMessage) {
  int read = 0, refused = 0;
  ForHostileInput(kGood, 3000, [&](const std::string& text) {
    const auto pair = ParsePair(text, "pair.yaml");
    if (!pair.ok()) {
      ++refused;
      ASSERT_THAT(pair, StatusIs(absl::StatusCode::kInvalidArgument, StartsWith("pair.yaml:"))) << text;
      ASSERT_THAT(pair.status().message(), IsOneLine()) << text;
      return;
    }
    ++read;
    const auto again = ParsePair(PairToYaml(*pair), "again.yaml");
    ASSERT_THAT(again, IsOk()) << text;
    ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*pair, *again)) << text;
  });
  EXPECT_GT(read, 300);
  EXPECT_GT(refused, 3000);
}

TEST(PairTest, LineEndsAndAByteOrderMarkChangeNothing) {
  const auto pair = ParsePair(kGood, "pair.yaml");
  for (const std::string& text : {absl::StrReplaceAll(kGood, {{"\n", "\r\n"}}), absl::StrCat("\xef\xbb\xbf", kGood)}) {
    const auto same = ParsePair(text, "pair.yaml");
    ASSERT_THAT(same, IsOk());
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*pair, *same));
  }
}

// What makes other parsers recurse, expand or look ahead without end. The test's time limit is the limit.
TEST(PairTest, NoPatternFillsStackOrTime) {
  for (const char* pattern :
       {"[", "{", "- ", "? ", "a: {", "a:\n ", "\"", "'",           "|",     ">",    "&a ",  "*a ",
        "!", "%", "#",  ": ", ",",    "\t",    "\n", "- &a [*a]\n", "{a: [", "[[],", "--- ", "..."}) {
    std::string text;
    while (text.size() < (64 << 10)) text += pattern;
    const auto pair = ParsePair(text, "pair.yaml");
    ASSERT_THAT(pair, StatusIs(absl::StatusCode::kInvalidArgument, StartsWith("pair.yaml:"))) << pattern;
    EXPECT_THAT(pair.status().message(), IsOneLine()) << pattern;
  }
}

TEST(PairTest, ExplainShowsTypeUnitDefaultAndComment) {
  const auto text = ExplainPair("pair.train.lr");
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(*text, HasSubstr("default 3.0e-3"));
  EXPECT_THAT(*text, HasSubstr("Peak learning rate."));
  EXPECT_THAT(*ExplainPair("pair.distill"), HasSubstr("top_k"));
  EXPECT_THAT(ExplainPair("pair.train.l"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("did you mean pair.train.lr?")));
}

TEST(PairTest, EveryExampleIsValid) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SourceDir() + "/examples")) {
    if (entry.path().extension() != ".yaml") continue;
    EXPECT_THAT(ParsePair(*ReadFile(entry.path().string()), entry.path().filename().string()), IsOk());
    ++examples;
  }
  EXPECT_GE(examples, 3);
}

TEST(PairTest, TheSchemaKnowsEveryTopLevelKey) {
  const std::string schema = PairJsonSchema();
  for (const char* key : {"\"apiVersion\"", "\"teacher\"", "\"distill\"", "\"additionalProperties\": false"})
    EXPECT_THAT(schema, HasSubstr(key));
}

}  // namespace
}  // namespace kd
