#include "base/text.h"

#include "base/status_matchers.h"

namespace kd {
namespace {

TEST(TextTest, PutsEverythingOnOneLine) {
  EXPECT_EQ(OneLine("a\tb\r\nc\x1b[31md\x7f"), "a b  c [31md ");
  EXPECT_EQ(OneLine("Müller"), "Müller");
  EXPECT_TRUE(HasControlCharacter("a\x1b"));
  EXPECT_FALSE(HasControlCharacter("Müller, \"x\""));
}

TEST(TextTest, ShortensBetweenCharacters) {
  EXPECT_EQ(Shorten("abcdef", 6), "abcdef");
  EXPECT_EQ(Shorten("abcdefg", 6), "abc...");
  // Two bytes a letter: the third byte is the middle of the second letter.
  EXPECT_EQ(Shorten("üüüü", 6), "ü...");
  EXPECT_EQ(Shorten("abcd", 3), "...");
}

TEST(TextTest, QuotesWhatNoTerminalObeys) {
  EXPECT_EQ(Quoted("a \"b\""), "\"a \\\"b\\\"\"");
  EXPECT_EQ(Quoted("\x1b[2J\xff"), "\"\\x1b[2J\\xff\"");
  EXPECT_EQ(Quoted(std::string(81, 'x')), "\"" + std::string(77, 'x') + "...\"");
}

}  // namespace
}  // namespace kd
