#include "client/table.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

Table Students() {
  return {.columns = {{"ID"}, {"STATE"}, {.title = "REASON", .cut = 10}, {.title = "NOTE", .wide = true}},
          .rows = {{"a-1", {"a-1", "RUNNING", "", "x"}, {{"id", "a-1"}, {"step", 5}}},
                   {"long-name-2",
                    {"long-name-2", "FAILED", "line one\nline two", "say \"hi\", twice"},
                    {{"id", "long-name-2"}}}}};
}

TEST(TableTest, ColumnsStandUnderTheirTitles) {
  EXPECT_EQ(RenderTable(Students(), "table"),
            "ID           STATE    REASON\n"
            "a-1          RUNNING  -\n"
            "long-name-2  FAILED   line one l..\n");
}

TEST(TableTest, WideShowsEveryColumnUncut) {
  const std::string wide = RenderTable(Students(), "wide");
  EXPECT_THAT(wide, HasSubstr("NOTE"));
  EXPECT_THAT(wide, HasSubstr("line one line two"));
}

TEST(TableTest, CutsBetweenCharactersOnly) {
  Table table{.columns = {{.title = "T", .cut = 2}}, .rows = {{"x", {"a\u00e9b"}, {}}}};
  EXPECT_EQ(RenderTable(table, "table"), "T\na..\n");
}

TEST(TableTest, CsvQuotesWhatNeedsIt) {
  EXPECT_EQ(RenderTable(Students(), "csv"),
            "ID,STATE,REASON,NOTE\r\n"
            "a-1,RUNNING,,x\r\n"
            "long-name-2,FAILED,\"line one\nline two\",\"say \"\"hi\"\", twice\"\r\n");
}

TEST(TableTest, NameIsOneNameALine) { EXPECT_EQ(RenderTable(Students(), "name"), "a-1\nlong-name-2\n"); }

TEST(TableTest, JsonAndYamlListWhatIsKnown) {
  EXPECT_EQ(nlohmann::json::parse(RenderTable(Students(), "json")),
            nlohmann::json::parse(R"([{"id": "a-1", "step": 5}, {"id": "long-name-2"}])"));
  EXPECT_EQ(RenderTable(Students(), "yaml"), "- id: a-1\n  step: 5\n- id: long-name-2\n");
}

TEST(TableTest, NoRowsAreAnEmptyListInEveryFormat) {
  const Table none{.columns = {{"ID"}}};
  EXPECT_EQ(RenderTable(none, "table"), "");
  EXPECT_EQ(RenderTable(none, "json"), "[]\n");
  EXPECT_EQ(RenderTable(none, "yaml"), "[]\n");
  EXPECT_EQ(RenderTable(none, "csv"), "ID\r\n");
}

}  // namespace
}  // namespace kd
