// The files of tests/golden/torch were written by torch itself (make.py beside them); hostile ones are made here.
#include "core/torch_checkpoint.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/zip_archive.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr absl::StatusCode kBad = absl::StatusCode::kInvalidArgument;

std::string Golden(const std::string& name) {
  const absl::StatusOr<std::string> bytes = ReadFile(SourceDir() + "/tests/golden/torch/" + name);
  EXPECT_THAT(bytes.status(), IsOk());
  return bytes.value_or("");
}

absl::StatusOr<TorchCheckpoint> ReadGolden(const std::string& name) { return ParseTorchCheckpoint(Golden(name)); }

template <typename T>
std::vector<T> Numbers(const TorchCheckpoint& checkpoint, const std::string& name) {
  const auto found = checkpoint.weights.tensors.find(name);
  if (found == checkpoint.weights.tensors.end()) return {};
  std::vector<T> numbers(found->second.bytes.size() / sizeof(T));
  std::memcpy(numbers.data(), found->second.bytes.data(), numbers.size() * sizeof(T));
  return numbers;
}

std::vector<std::string> Names(const TorchCheckpoint& checkpoint) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : checkpoint.weights.tensors) names.push_back(name);
  return names;
}

TEST(TorchCheckpointTest, ReadsOpenPcdetsCheckpointWithoutItsOptimiser) {
  const auto checkpoint = ReadGolden("openpcdet.pth");
  ASSERT_THAT(checkpoint.status(), IsOk());
  EXPECT_EQ(checkpoint->section, "model_state");
  EXPECT_THAT(checkpoint->skipped, ElementsAre("epoch", "it", "optimizer_state", "version"));
  EXPECT_EQ(checkpoint->weights.tensors.size(), 9u);  // The tied layer has two names.
  EXPECT_EQ(checkpoint->weights.tensors.at("block.0.weight").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_THAT(Numbers<float>(*checkpoint, "block.0.weight"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(Numbers<float>(*checkpoint, "tied.bias"), ElementsAre(10, 11));
  EXPECT_EQ(checkpoint->weights.tensors.at("block.1.num_batches_tracked").dtype, "I64");
  EXPECT_THAT(checkpoint->weights.tensors.at("block.1.num_batches_tracked").shape, IsEmpty());
  EXPECT_THAT(Numbers<int64_t>(*checkpoint, "block.1.num_batches_tracked"), ElementsAre(1));
}

TEST(TorchCheckpointTest, ReadsViewsAndEveryNumberType) {
  const auto checkpoint = ReadGolden("views.pth");
  ASSERT_THAT(checkpoint.status(), IsOk());
  EXPECT_EQ(checkpoint->section, "");
  EXPECT_THAT(checkpoint->skipped, IsEmpty());
  EXPECT_THAT(Numbers<float>(*checkpoint, "transposed"),
              ElementsAre(0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23));
  EXPECT_EQ(checkpoint->weights.tensors.at("transposed").shape, (std::vector<int64_t>{6, 4}));
  EXPECT_THAT(Numbers<float>(*checkpoint, "part"), ElementsAre(8, 9, 10, 14, 15, 16));
  EXPECT_THAT(Numbers<float>(*checkpoint, "column"), ElementsAre(1, 7, 13, 19));
  EXPECT_THAT(Numbers<float>(*checkpoint, "expanded"), ElementsAre(3, 3, 3, 3, 3, 3));
  EXPECT_THAT(Numbers<float>(*checkpoint, "parameter"), ElementsAre(1, 2));
  EXPECT_THAT(Numbers<int64_t>(*checkpoint, "scalar"), ElementsAre(5));
  EXPECT_EQ(checkpoint->weights.tensors.at("empty").shape, (std::vector<int64_t>{0, 3}));
  EXPECT_THAT(Numbers<double>(*checkpoint, "f64"), ElementsAre(1, 2));
  EXPECT_THAT(Numbers<uint16_t>(*checkpoint, "f16"), ElementsAre(0x3c00, 0x4000));
  EXPECT_THAT(Numbers<uint16_t>(*checkpoint, "bf16"), ElementsAre(0x3f80, 0x4000));
  EXPECT_THAT(Numbers<int32_t>(*checkpoint, "i32"), ElementsAre(1, 2));
  EXPECT_THAT(Numbers<int16_t>(*checkpoint, "i16"), ElementsAre(1, 2));
  EXPECT_THAT(Numbers<int8_t>(*checkpoint, "i8"), ElementsAre(-1, 0));
  EXPECT_THAT(Numbers<uint8_t>(*checkpoint, "u8"), ElementsAre(254, 255));
  EXPECT_THAT(Numbers<uint8_t>(*checkpoint, "bool"), ElementsAre(1, 0));
  for (const auto& [name, dtype] :
       {std::pair{"f64", "F64"}, {"f16", "F16"}, {"bf16", "BF16"}, {"i16", "I16"}, {"bool", "BOOL"}}) {
    EXPECT_EQ(checkpoint->weights.tensors.at(name).dtype, dtype);
  }
}

TEST(TorchCheckpointTest, ReadsTorchScriptUnderTheNamesOfItsModules) {
  const auto checkpoint = ReadGolden("script.pt");
  ASSERT_THAT(checkpoint.status(), IsOk());
  EXPECT_EQ(checkpoint->section, "TorchScript");
  EXPECT_THAT(Names(*checkpoint),
              UnorderedElementsAre("block.0.bias", "block.0.weight", "block.1.bias", "block.1.num_batches_tracked",
                                   "block.1.running_mean", "block.1.running_var", "block.1.weight", "tied.bias",
                                   "tied.weight"));
  EXPECT_THAT(Numbers<float>(*checkpoint, "block.0.weight"), ElementsAre(0, 1, 2, 3, 4, 5));
}

// The same tensors, written once more by the same program.
TEST(TorchCheckpointTest, FilesOfTorchBefore16HoldTheSameAsArchives) {
  for (const auto& [legacy, archive] :
       {std::pair{"legacy.pth", "openpcdet.pth"}, std::pair{"legacy_views.pth", "views.pth"}}) {
    const auto checkpoint = ReadGolden(legacy), want = ReadGolden(archive);
    ASSERT_THAT(checkpoint.status(), IsOk());
    ASSERT_THAT(want.status(), IsOk());
    EXPECT_EQ(checkpoint->section, want->section);
    EXPECT_EQ(checkpoint->skipped, want->skipped);
    EXPECT_EQ(SerializeSafeTensors(checkpoint->weights), SerializeSafeTensors(want->weights)) << legacy;
  }
}

TEST(TorchCheckpointTest, RefusesWhatItWouldHaveToRunWithTheRemedy) {
  EXPECT_THAT(
      ReadGolden("module.pth").status(),
      StatusIs(kBad, AllOf(HasSubstr("asks to call torch.nn.modules.linear.Linear"), HasSubstr("model.state_dict()"))));
}

TEST(TorchCheckpointTest, ParseWeightsTellsTheFormatsApart) {
  SafeTensorsFile file;
  file.tensors["w"] = {.dtype = "U8", .shape = {1}, .bytes = "7"};
  const auto ours = ParseWeights(SerializeSafeTensors(file));
  ASSERT_THAT(ours.status(), IsOk());
  EXPECT_EQ(ours->weights.tensors.at("w").bytes, "7");
  EXPECT_THAT(ParseWeights(Golden("script.pt")).status(), IsOk());
  EXPECT_THAT(ParseWeights(Golden("legacy.pth")).status(), IsOk());
  EXPECT_THAT(ParseWeights("").status(), StatusIs(kBad));
}

TEST(TorchCheckpointTest, WhatWasWrittenIsRead) {
  SafeTensorsFile file;
  file.tensors["a.weight"] = {.dtype = "F32", .shape = {1, 2}, .bytes = std::string("\0\0\x80\x3f\0\0\0\x40", 8)};
  file.tensors["b"] = {.dtype = "I64", .shape = {}, .bytes = std::string(8, '\1')};
  file.tensors["none"] = {.dtype = "BF16", .shape = {2, 0, 3}, .bytes = ""};
  const auto bytes = SerializeTorchCheckpoint(file);
  ASSERT_THAT(bytes.status(), IsOk());
  EXPECT_EQ(*bytes, *SerializeTorchCheckpoint(file));
  const auto checkpoint = ParseTorchCheckpoint(*bytes);
  ASSERT_THAT(checkpoint.status(), IsOk());
  EXPECT_EQ(checkpoint->section, "model_state");
  EXPECT_EQ(SerializeSafeTensors(checkpoint->weights), SerializeSafeTensors(file));
  file.tensors["u"] = {.dtype = "U64", .shape = {}, .bytes = std::string(8, '\1')};
  EXPECT_THAT(SerializeTorchCheckpoint(file).status(), StatusIs(kBad, HasSubstr("no storage of U64")));
}

// An archive whose pickle is protocol 2 with this body.
absl::StatusOr<TorchCheckpoint> ReadPickle(const std::string& body, const std::string& storage = std::string(16, 'x')) {
  const auto zip = WriteZip({{"a/data.pkl", absl::StrCat("\x80\x02", body, ".")}, {"a/data/0", storage}});
  EXPECT_THAT(zip.status(), IsOk());
  return ParseTorchCheckpoint(*zip);
}

std::string Text(const std::string& text) {
  return absl::StrCat("\x8c", std::string(1, static_cast<char>(text.size())), text);
}

// A tensor on storage "0".
std::string Tensor(const std::string& elements, const std::string& offset, const std::string& shape,
                   const std::string& strides, const std::string& storage_class = "FloatStorage") {
  return absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n((", Text("storage"), "ctorch\n", storage_class, "\n",
                      Text("0"), Text("cpu"), elements, "tQ", offset, shape, strides, "\x89", ")tR");
}
std::string Dictionary(const std::string& tensor) { return absl::StrCat("}", Text("w"), tensor, "s"); }

const std::string kFour = "K\x04", kNone("K\0", 2);
const std::string kShape4 = "K\x04\x85", kStride1 = "K\x01\x85";

TEST(TorchCheckpointTest, APickleMadeByHandIsRead) {
  const auto checkpoint = ReadPickle(Dictionary(Tensor(kFour, kNone, kShape4, kStride1)));
  ASSERT_THAT(checkpoint.status(), IsOk());
  EXPECT_EQ(checkpoint->weights.tensors.at("w").bytes, std::string(16, 'x'));
}

TEST(TorchCheckpointTest, NothingIsCalledAndTheCalleeIsNamed) {
  for (const auto& [body, callee] : {
           std::pair<std::string, std::string>{absl::StrCat("cposix\nsystem\n", Text("true"), "\x85R"), "posix.system"},
           {absl::StrCat("cos\nsystem\n", Text("true"), "\x85R"), "os.system"},
           {absl::StrCat("cbuiltins\neval\n", Text("1"), "\x85R"), "builtins.eval"},
           {"c__builtin__\ngetattr\n)R", "__builtin__.getattr"},
           {Text("os") + Text("popen") + "\x93" + Text("true") + "\x85R", "os.popen"},
           {absl::StrCat("(", Text("true"), "ios\nsystem\n"), "os.system"},
           {Dictionary("csubprocess\nPopen\n)\x81"), "subprocess.Popen"},
           {"ctorch\nload\n)R", "torch.load"},
           {"ctorch.hub\nload\n)R", "torch.hub.load"},
           {"c__torch\n__.x\n)R", "__torch.__.x"},
           {"ctorch._utils\n_import_dotted_name\n)R", "torch._utils._import_dotted_name"},
           // Hidden where no weights are.
           {Dictionary(Tensor(kFour, kNone, kShape4, kStride1)) + Text("x") + "cos\nsystem\n)Rs", "os.system"},
       }) {
    EXPECT_THAT(ReadPickle(body).status(), StatusIs(kBad, HasSubstr("asks to call " + callee + ", which"))) << callee;
  }
  EXPECT_THAT(ReadPickle(absl::StrCat("c", std::string(100000, 'x'), "\ny\n)R")).status(),
              StatusIs(kBad, AllOf(HasSubstr("xxx"), IsOneLine())));
  EXPECT_THAT(ReadPickle("c\x1b[2J\nx\n)R").status(), StatusIs(kBad, IsOneLine()));
}

TEST(TorchCheckpointTest, PicklesThatAreNoDataAreRefused) {
  const std::string od = "ccollections\nOrderedDict\n";
  for (const auto& [body, problem] : {
           std::pair<std::string, std::string>{od + ")R)R", "calls something that is no global"},
           {od + "K\x01R", "something else than a tuple"},
           {"R", "empty stack"},
           {"(" + od + "(R", "empty stack"},
           {"t", "mark that is not there"},
           {"h\x07", "value 7, which was never kept"},
           {absl::StrCat("}", Text("w"), "(e"), "no list"},
           {"](K\x01K\x02u", "no dictionary"},
           {"}(K\x01u", "key without a value"},
           {"\x80\x09", "protocol 9"},
           {"P1\n", "opcode 0x50"},
           {"\x82\x01", "opcode 0x82"},
           {std::string("X\xff\xff\xff\xff", 5), "ends in the middle"},
           {std::string("\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", 9), "ends in the middle"},
           {"N", "no dictionary"},
           {"}", "no tensors among its entries (it has none)"},
           {absl::StrCat("}", Text("epoch"), "K\x01s"), "no tensors among its entries \"epoch\""},
           {Tensor(kFour, kNone, kShape4, kStride1), "a single tensor"},
           {std::string(2'100'000, 'N'), "more than 2000000 values"},
           {[] {
              std::string gets("Nq\0", 3);
              for (int i = 0; i < 2'100'000; ++i) gets += std::string("h\0", 2);
              return gets;
            }(),
            "more than 2000000 values"},
           {std::string(2'100'000, '('), "more than 2000000 marks"},
       }) {
    EXPECT_THAT(ReadPickle(body).status(), StatusIs(kBad, AllOf(HasSubstr(problem), IsOneLine())))
        << body.substr(0, 100);
  }
}

TEST(TorchCheckpointTest, SizesAreCheckedBeforeAnythingIsTaken) {
  const std::string huge = absl::StrCat("\x8a\x08", std::string(7, '\xff'), "\x7f"), negative = "J\xff\xff\xff\xff";
  for (const auto& [tensor, problem] : {
           std::pair<std::string, std::string>{Tensor("K\x05", kNone, kShape4, kStride1), "has 16 bytes, expected 20"},
           {Tensor(kFour, "K\x01", kShape4, kStride1), "leaves its storage of 4 numbers"},
           {Tensor(kFour, kNone, kShape4, "K\x02\x85"), "leaves its storage"},
           {Tensor(kFour, kNone, huge + "\x85", kStride1), "leaves its storage"},
           {Tensor(kFour, kNone, huge + huge + "\x86", "K\x01K\x01\x86"), "leaves its storage"},
           {Tensor(kFour, huge, kShape4, kStride1), "leaves its storage"},
           {Tensor(kFour, kNone, kShape4, huge + "\x85"), "leaves its storage"},
           {Tensor(huge, kNone, kShape4, kStride1), "a storage of 9223372036854775807 numbers"},
           // Strides of zero make a large tensor of one number.
           {Tensor(kFour, kNone, huge + "\x85", kNone + "\x85"), "times the bytes of the file"},
           {Tensor(kFour, negative, kShape4, kStride1), "offset is no size"},
           {Tensor(kFour, kNone, negative + "\x85", kStride1), "shape is no list of sizes"},
           {Tensor(kFour, kNone, kShape4, "K\x01K\x01\x86"), "differ in length"},
           {Tensor(negative, kNone, kShape4, kStride1), "described in an unknown way"},
           {"ctorch._utils\n_rebuild_tensor_v2\n)R", "storage, offset, shape and strides expected"},
           {"ctorch._utils\n_rebuild_parameter\n)R", "a parameter of nothing"},
           {"ctorch._utils\n_rebuild_parameter\nN\x85R", "no tensor where one is expected"},
           {Tensor(kFour, kNone, kShape4, kStride1, "UntypedStorage"), "asks to call torch.UntypedStorage"},
       }) {
    EXPECT_THAT(ReadPickle(Dictionary(tensor)).status(), StatusIs(kBad, AllOf(HasSubstr(problem), IsOneLine())));
  }
  EXPECT_THAT(ReadPickle(absl::StrCat("}", Text("\xff"), Tensor(kFour, kNone, kShape4, kStride1), "s")).status(),
              StatusIs(kBad, AllOf(HasSubstr("not printable ASCII"), IsOneLine())));
  EXPECT_THAT(ReadPickle(Dictionary(Tensor(kFour, kNone, kShape4, kStride1)) + Text("w") +
                         Tensor(kFour, kNone, kShape4, kStride1) + "s")
                  .status(),
              StatusIs(kBad, HasSubstr("tensor \"w\": appears twice")));
  EXPECT_THAT(ReadPickle(Dictionary(Tensor(kFour, kNone, kShape4, kStride1)) + Text("v") +
                         Tensor(kFour, kNone, kShape4, kStride1, "IntStorage") + "s")
                  .status(),
              StatusIs(kBad, HasSubstr("describe one storage in two ways")));
}

// Each list holds the one before twice: 2^200 values if anything walked through them, and a stack of 300000 frames if
// anything followed the second.
TEST(TorchCheckpointTest, SharedAndDeepValuesCostNothing) {
  std::string laughs = std::string("]q\0", 3);
  for (int i = 0; i < 200; ++i) laughs += std::string("0](h\0h\0eq\0", 10);
  std::string deep;
  for (int i = 0; i < 300000; ++i) deep += "]";
  for (int i = 1; i < 300000; ++i) deep += "a";
  const std::string self = std::string("]q\1h\1a", 6);
  for (const std::string& value : {laughs, deep, self}) {
    const auto checkpoint = ReadPickle(Dictionary(Tensor(kFour, kNone, kShape4, kStride1)) + Text("x") + value + "s");
    ASSERT_THAT(checkpoint.status(), IsOk());
    EXPECT_THAT(checkpoint->skipped, ElementsAre("x"));
  }
}

TEST(TorchCheckpointTest, TorchScriptThatContainsItselfEnds) {
  // An object whose attribute "m" is itself, then one of two attributes that are the same object, 60 deep.
  const std::string object = "c__torch__\nM\n)\x81";
  const std::string self = object + std::string("q\1}", 3) + Text("m") + std::string("h\1sb", 4);
  EXPECT_THAT(ReadPickle(self).status(), StatusIs(kBad, HasSubstr("nested too deeply")));
  std::string lattice = object + std::string("q\1", 2);
  for (int i = 0; i < 60; ++i)
    lattice += object + "}(" + Text("a") + std::string("h\1", 2) + Text("b") + std::string("h\1ubq\1", 6);
  EXPECT_THAT(ReadPickle(lattice).status(), StatusIs(kBad, HasSubstr("more than 100000 modules")));
}

// Of torch before 1.6: the saved object, the keys of the storages, and what follows.
absl::StatusOr<TorchCheckpoint> ReadLegacy(const std::string& object, const std::vector<std::string>& keys,
                                           const std::string& storages,
                                           const std::string& version = std::string("M\xe9\x03", 3)) {
  std::string list = "]";
  for (const std::string& key : keys) absl::StrAppend(&list, Text(key), "a");
  std::string file("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", 15);
  for (const std::string& pickle : {version, std::string("}"), object, list})
    absl::StrAppend(&file, "\x80\x02", pickle, ".");
  return ParseTorchCheckpoint(file + storages);
}

std::string Storage(int64_t count, const std::string& numbers) {
  return std::string(reinterpret_cast<const char*>(&count), sizeof(count)) + numbers;
}

TEST(TorchCheckpointTest, AFileOfTorchBefore16MadeByHandIsRead) {
  const std::string tensor = Tensor(kFour, kNone, kShape4, kStride1), bytes = "abcdefghijklmnop";
  const auto checkpoint = ReadLegacy(Dictionary(tensor), {"0"}, Storage(4, bytes));
  ASSERT_THAT(checkpoint.status(), IsOk());
  EXPECT_EQ(checkpoint->weights.tensors.at("w").bytes, bytes);
}

TEST(TorchCheckpointTest, FilesOfTorchBefore16WhoseStoragesLieAreRefused) {
  const std::string object = Dictionary(Tensor(kFour, kNone, kShape4, kStride1)), numbers(16, 'x');
  const std::string huge = absl::StrCat("\x8a\x08", std::string(7, '\xff'), "\x7f");
  const std::string vast = Dictionary(Tensor(huge, kNone, kShape4, kStride1));
  constexpr int64_t kMost = INT64_MAX;
  for (const auto& [status, problem] : {
           std::pair<absl::Status, std::string>{ReadLegacy(object, {"0"}, Storage(3, numbers)).status(),
                                                "has a count of 3, its object says 4"},
           {ReadLegacy(object, {"0"}, Storage(-1, numbers)).status(), "has a count of -1, its object says 4"},
           {ReadLegacy(object, {"0"}, Storage(kMost, numbers)).status(), "has a count of 9223372036854775807"},
           {ReadLegacy(vast, {"0"}, Storage(kMost, numbers)).status(),
            "9223372036854775807 numbers of 4 bytes expected, the file ends after 16 bytes"},
           {ReadLegacy(object, {"0"}, Storage(4, "x")).status(), "4 numbers of 4 bytes expected"},
           {ReadLegacy(object, {"0"}, "1234567").status(), "the file ends before its count"},
           {ReadLegacy(object, {"0"}, "").status(), "the file ends before its count"},
           {ReadLegacy(object, {}, "").status(), "its storage \"0\" is not in the file"},
           {ReadLegacy(object, {"0", "1"}, Storage(4, numbers)).status(),
            "storage \"1\" that its object does not describe"},
           {ReadLegacy(object, {"0", "0"}, Storage(4, numbers) + Storage(4, numbers)).status(), "\"0\" twice"},
           {ReadLegacy(object, {"0"}, Storage(4, numbers) + "y").status(), "1 bytes stand after its last storage"},
           {ReadLegacy(object + Text("v") + Tensor(kFour, kNone, kShape4, kStride1, "IntStorage") + "s", {"0"},
                       Storage(4, numbers))
                .status(),
            "describes storage \"0\" in two ways"},
           {ReadLegacy(object, {"0"}, Storage(4, numbers), "M\xea\x03").status(), "its version is not 1001"},
           {ReadLegacy(object, {"0"}, Storage(4, numbers), "N").status(), "its version is not 1001"},
           {ReadLegacy("cos\nsystem\n)R", {}, "").status(), "asks to call os.system"},
           {ReadLegacy(object, {"0"}, Storage(4, numbers), "cos\nsystem\n)R").status(), "asks to call os.system"},
       }) {
    EXPECT_THAT(status,
                StatusIs(kBad, AllOf(HasSubstr("not a checkpoint of torch: "), HasSubstr(problem), IsOneLine())));
  }
}

TEST(ZipArchiveTest, CompressedAndOverlappingEntriesAreRefused) {
  // 'deflated' by Python's zipfile: {"a/data.pkl": 1000 x "N"}.
  const std::string content(1000, 'N');
  auto zip = WriteZip({{"a/data.pkl", content}});
  ASSERT_THAT(zip.status(), IsOk());
  auto archive = ZipArchive::Open(*zip);
  ASSERT_THAT(archive.status(), IsOk());
  EXPECT_THAT(archive->Read("a/data.pkl", 999).status(), StatusIs(kBad, HasSubstr("has 1000 bytes, expected 999")));
  EXPECT_EQ(*archive->Read("a/data.pkl"), content);
  // The file has not that many bytes: whoever reads an entry again and again has entries that overlap.
  EXPECT_THAT(archive->Read("a/data.pkl").status(), StatusIs(kBad, HasSubstr("more than the file has left")));
  EXPECT_THAT(archive->Read("none").status(), StatusIs(kBad, HasSubstr("not in the archive")));

  // The method stands twice, in the entry and in the directory; here it becomes 8, deflated.
  std::string compressed = *zip;
  compressed[8] = 8;
  compressed[compressed.rfind("PK\x01\x02") + 10] = 8;
  auto bomb = ZipArchive::Open(compressed);
  ASSERT_THAT(bomb.status(), IsOk());
  EXPECT_THAT(bomb->Read("a/data.pkl").status(), StatusIs(kBad, HasSubstr("is compressed")));

  std::string damaged = *zip;
  damaged[damaged.find("NNNN") + 500] = 'M';
  auto broken = ZipArchive::Open(damaged);
  ASSERT_THAT(broken.status(), IsOk());
  EXPECT_THAT(broken->Read("a/data.pkl").status(), StatusIs(kBad, HasSubstr("is damaged")));
}

void ExpectWholeOrRefused(const std::string& bytes, int* read, int* refused) {
  const auto checkpoint = ParseTorchCheckpoint(bytes);
  if (!checkpoint.ok()) {
    ++*refused;
    ASSERT_THAT(checkpoint.status(), StatusIs(kBad, HasSubstr("not a checkpoint of torch")));
    ASSERT_THAT(checkpoint.status().message(), IsOneLine());
    return;
  }
  ++*read;
  for (const auto& [name, tensor] : checkpoint->weights.tensors) {
    size_t size = static_cast<size_t>(SafeTensorElementSize(tensor.dtype));
    for (const int64_t extent : tensor.shape) size *= static_cast<size_t>(extent);
    ASSERT_EQ(tensor.bytes.size(), size) << name;
  }
  ASSERT_THAT(ParseSafeTensors(SerializeSafeTensors(checkpoint->weights)), IsOk());
}

TEST(TorchCheckpointTest, HostileBytesAreRefusedInOneLineOrHoldWhatTheyDeclare) {
  SafeTensorsFile file;
  file.tensors["w"] = {.dtype = "F32", .shape = {2}, .bytes = "12345678"};
  int read = 0, refused = 0;
  ForHostileInput(*SerializeTorchCheckpoint(file), 5000,
                  [&](const std::string& bytes) { ExpectWholeOrRefused(bytes, &read, &refused); });
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 1000);
}

TEST(TorchCheckpointTest, EveryByteOfTorchsFilesMayBeWrong) {
  for (const char* name : {"openpcdet.pth", "views.pth", "script.pt", "module.pth"}) {
    const std::string good = Golden(name);
    int read = 0, refused = 0;
    for (size_t at = 0; at < good.size(); ++at) {
      std::string bytes = good;
      bytes[at] ^= at % 2 == 0 ? '\x01' : '\xff';
      ExpectWholeOrRefused(bytes, &read, &refused);
    }
    EXPECT_GT(refused, 1000) << name;
  }
}

// These have no checksums: what numbers say may change, what they are may not.
TEST(TorchCheckpointTest, EveryByteOfFilesOfTorchBefore16MayBeWrongOrMissing) {
  for (const char* name : {"legacy.pth", "legacy_views.pth"}) {
    const std::string good = Golden(name);
    int read = 0, refused = 0;
    for (size_t at = 0; at < good.size(); ++at) {
      EXPECT_THAT(ParseTorchCheckpoint(absl::string_view(good).substr(0, at)).status(), StatusIs(kBad, IsOneLine()));
      std::string bytes = good;
      bytes[at] ^= at % 2 == 0 ? '\x01' : '\xff';
      ExpectWholeOrRefused(bytes, &read, &refused);
    }
    EXPECT_GT(read, 100) << name;
    EXPECT_GT(refused, 1000) << name;
  }
}

// A pickle is checked by its archive; here it is not, so that damage reaches the machine itself.
TEST(TorchCheckpointTest, DamagedPicklesInWholeArchivesAreRefusedOrRead) {
  for (const std::string& body : {Dictionary(Tensor(kFour, kNone, kShape4, kStride1)),
                                  Text("a") + Dictionary(Tensor(kFour, kNone, kShape4, kStride1))}) {
    int read = 0, refused = 0;
    ForHostileInput(absl::StrCat("\x80\x02", body, "."), 20000, [&](const std::string& pickle) {
      const auto zip = WriteZip({{"a/data.pkl", pickle}, {"a/data/0", std::string(16, 'x')}});
      ASSERT_THAT(zip.status(), IsOk());
      ExpectWholeOrRefused(*zip, &read, &refused);
    });
    EXPECT_GT(read, 100);
    EXPECT_GT(refused, 1000);
  }
}

}  // namespace
}  // namespace kd
