#include "core/record.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/hostile_input.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "core/float16.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::RecordHeader Pivotal(v1::DataType dtype) {
  v1::RecordHeader header;
  header.set_tensor("hm.0");
  header.set_dtype(dtype);
  header.add_shape(2);
  header.add_shape(4);
  header.add_shape(4);
  header.set_selection(v1::SELECTION_PIVOTAL);
  header.set_top_k(500);
  return header;
}

v1::ResponsePlan::Item Item(const std::string& tensor, v1::Selection selection, uint32_t top_k, v1::DataType dtype) {
  v1::ResponsePlan::Item item;
  item.set_tensor(tensor);
  item.set_selection(selection);
  item.set_top_k(top_k);
  item.set_dtype(dtype);
  return item;
}

// A record of these parts with a right checksum.
std::string WithHeader(const v1::RecordHeader& header, absl::string_view payload) {
  const std::string head = header.SerializeAsString();
  const uint32_t head_size = static_cast<uint32_t>(head.size());
  const uint64_t payload_size = payload.size();
  std::string bytes(sizeof(head_size) + sizeof(payload_size), '\0');
  std::memcpy(bytes.data(), &head_size, sizeof(head_size));
  std::memcpy(bytes.data() + sizeof(head_size), &payload_size, sizeof(payload_size));
  absl::StrAppend(&bytes, head, payload);
  const uint32_t crc = Crc32c(bytes);
  return bytes + std::string(reinterpret_cast<const char*>(&crc), sizeof(crc));
}

TEST(RecordTest, Float32ComesBackBitForBit) {
  const auto bytes = EncodeRecord(Pivotal(v1::DATA_TYPE_FLOAT32), {3, 7}, {1.5f, -2.0f, 0.1f, 1e-30f});
  ASSERT_THAT(bytes, IsOk());
  const auto record = DecodeRecord(*bytes);
  ASSERT_THAT(record, IsOk());
  EXPECT_THAT(record->indices, ElementsAre(3, 7));
  EXPECT_THAT(record->values, ElementsAre(1.5f, -2.0f, 0.1f, 1e-30f));
  EXPECT_EQ(record->header.count(), 2u);
}

TEST(RecordTest, Int8ErrorIsAtMostOneScalePerChannel) {
  CounterRng rng(7);
  std::vector<float> values(2 * 100);
  std::vector<uint32_t> indices(100);
  for (uint32_t i = 0; i < 100; ++i) indices[i] = i;
  for (float& value : values) value = static_cast<float>(rng.Uniform(-9.0, 4.0));
  const auto bytes = EncodeRecord(Pivotal(v1::DATA_TYPE_INT8), indices, values);
  ASSERT_THAT(bytes, IsOk());
  const auto record = DecodeRecord(*bytes);
  ASSERT_THAT(record, IsOk());
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(record->values[i], values[i], record->header.scale(i % 2) * 1.01);
}

TEST(RecordTest, HalfConvertsAsTheStandardSays) {
  EXPECT_EQ(FloatToHalf(1.0f), 0x3c00);
  EXPECT_EQ(FloatToHalf(-2.0f), 0xc000);
  EXPECT_EQ(FloatToHalf(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(0x1p-24f), 0x0001);
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3c00);  // tie to even
  for (uint32_t half = 0; half < 0x7c00; ++half) EXPECT_EQ(FloatToHalf(HalfToFloat(static_cast<uint16_t>(half))), half);
}

TEST(RecordTest, AnyFlippedBitIsDataLoss) {
  const std::string good = *EncodeRecord(Pivotal(v1::DATA_TYPE_FLOAT32), {3}, {1.5f, 2.5f});
  for (size_t i = 0; i < good.size() * 8; ++i) {
    std::string bytes = good;
    bytes[i / 8] ^= static_cast<char>(1 << (i % 8));
    EXPECT_THAT(DecodeRecord(bytes), StatusIs(absl::StatusCode::kDataLoss)) << "bit " << i;
  }
}

TEST(RecordTest, RecordsStandOneAfterTheOther) {
  const std::string first = *EncodeRecord(Pivotal(v1::DATA_TYPE_FLOAT32), {3}, {1.5f, 2.5f});
  const std::string both = first + *EncodeRecord(Pivotal(v1::DATA_TYPE_FLOAT16), {4}, {1, 2});
  const auto view = ParseRecord(both);
  ASSERT_THAT(view, IsOk());
  EXPECT_EQ(view->size, first.size());
  EXPECT_THAT(DecodeRecord(absl::string_view(both).substr(view->size)), IsOk());
}

TEST(RecordTest, HostileBytesAreDataLoss) {
  const std::string good = *EncodeRecord(Pivotal(v1::DATA_TYPE_INT8), {3, 9}, {1.5f, 2.5f, 3, 4});
  int refused = 0;
  ForHostileInput(good, 20000, [&](const std::string& bytes) {
    const auto record = DecodeRecord(bytes);
    if (record.ok()) {
      // What follows a whole record is the next one's.
      ASSERT_EQ(bytes.substr(0, good.size()), good);
      return;
    }
    ++refused;
    ASSERT_EQ(record.status().code(), absl::StatusCode::kDataLoss) << record.status();
    ASSERT_THAT(record.status().message(), IsOneLine());
  });
  EXPECT_GT(refused, 19000);
}

// Sizes that a sound checksum vouches for, and that no memory holds.
TEST(RecordTest, HugeDeclaredSizesAreDataLossAndTakeNoMemory) {
  const std::string good = *EncodeRecord(Pivotal(v1::DATA_TYPE_FLOAT32), {3}, {1.5f, 2.5f});
  const RecordView view = *ParseRecord(good);
  constexpr uint32_t kHuge = std::numeric_limits<uint32_t>::max();
  std::vector<v1::RecordHeader> headers(6, view.header);
  headers[0].set_count(kHuge);
  headers[1].set_shape(0, kHuge);
  headers[2].set_shape(0, 0);
  headers[2].set_count(kHuge);
  for (int i = 0; i < 3; ++i) headers[3].set_shape(i, kHuge);
  headers[3].set_selection(v1::SELECTION_ALL);
  for (int i = 0; i < 40; ++i) headers[4].add_shape(65536);
  headers[5].set_dtype(v1::DATA_TYPE_INT8);
  headers[5].set_shape(0, kHuge);
  headers[5].set_count(0);
  for (const v1::RecordHeader& header : headers) {
    EXPECT_THAT(DecodeRecord(WithHeader(header, view.payload)), StatusIs(absl::StatusCode::kDataLoss))
        << header.DebugString();
  }
}

TEST(RecordTest, Int8HasNoFormOfANumberThatIsNotFinite) {
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(EncodeRecord(Pivotal(v1::DATA_TYPE_INT8), {3}, {1.5f, value}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("record \"hm.0\": value 1 is")));
  }
}

TEST(RecordTest, WrongNumberOfValuesIsRefused) {
  EXPECT_THAT(EncodeRecord(Pivotal(v1::DATA_TYPE_FLOAT32), {3, 7}, {1.0f}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(RecordTest, ARicherRecordCoversAPoorerPlan) {
  v1::RecordHeader header = Pivotal(v1::DATA_TYPE_FLOAT32);
  EXPECT_TRUE(Covers(header, Item("hm.0", v1::SELECTION_PIVOTAL, 100, v1::DATA_TYPE_FLOAT16)));
  EXPECT_TRUE(Covers(header, Item("hm.0", v1::SELECTION_PIVOTAL, 500, v1::DATA_TYPE_FLOAT32)));
  EXPECT_FALSE(Covers(header, Item("hm.0", v1::SELECTION_PIVOTAL, 501, v1::DATA_TYPE_FLOAT32)));
  EXPECT_FALSE(Covers(header, Item("hm.1", v1::SELECTION_PIVOTAL, 1, v1::DATA_TYPE_FLOAT32)));
  EXPECT_FALSE(Covers(header, Item("hm.0", v1::SELECTION_ALL, 0, v1::DATA_TYPE_FLOAT32)));
  header.set_dtype(v1::DATA_TYPE_INT8);
  EXPECT_FALSE(Covers(header, Item("hm.0", v1::SELECTION_PIVOTAL, 100, v1::DATA_TYPE_FLOAT32)));
}

TEST(RecordTest, MergedPlansAreWidenedNotRepeated) {
  v1::ResponsePlan a, b;
  *a.add_items() = Item("hm.0", v1::SELECTION_PIVOTAL, 100, v1::DATA_TYPE_FLOAT32);
  *b.add_items() = Item("hm.0", v1::SELECTION_PIVOTAL, 500, v1::DATA_TYPE_FLOAT16);
  *b.add_items() = Item("boxes", v1::SELECTION_OBJECTS, 0, v1::DATA_TYPE_FLOAT32);
  const v1::ResponsePlan merged = MergePlans(a, b);
  ASSERT_EQ(merged.items_size(), 2);
  EXPECT_EQ(merged.items(0).top_k(), 500u);
  EXPECT_EQ(merged.items(0).dtype(), v1::DATA_TYPE_FLOAT32);
}

}  // namespace
}  // namespace kd
